"""The polygons of VOC XML: not in VOC's specification, but written by many tools.

Forms: <x1>, <y1>, <x2>, ... (Roboflow, X-AnyLabeling, supervision), <pt> or <point> with <x> and
<y> (LabelMe's web tool); an object may have several <polygon>.

Their coordinates are those of the image, from 0. supervision (0.31) alone adds one to each, as VOC
counts the pixels of boxes from 1; that shows where all polygons of a file begin where their boxes
begin and end one past them. If they end together nothing shows it, and a pixel is lost.
"""

from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.shapes import corners, outline_entry
from exits_jax.annotations.xml_files import number_in

# A box belongs to polygons that end within this many pixels of it: tools round it, from 0 or 1.
BOX_SLACK_PX = 2.0

Part = Float[np.ndarray, "_ 2"]


def object_polygons(element: Element) -> list[Part]:
    """The polygons of an <object>, as written.

    Raises:
      BadItem: one of them is malformed.
    """
    return [_corners(polygon) for polygon in element.findall("polygon") if len(polygon)]


def counted_from_one(objects: list[Element]) -> bool:
    """Whether the polygons of an XML's objects are counted from 1 (see the module's head).

    Raises:
      BadItem: a polygon is malformed.
    """
    pairs = [(object_polygons(element), _stated_box(element)) for element in objects]
    boxes = [(np.concatenate(parts), box) for parts, box in pairs if parts]
    return bool(boxes) and all(
        box is not None
        and np.array_equal(points.min(axis=0), box[:2])
        and np.array_equal(points.max(axis=0), box[2:] + 1)
        for points, box in boxes
    )


def polygon_entry(
    parts: list[Part], from_one: bool, box_xyxy: Float[np.ndarray, "4"] | None
) -> dict:
    """Segmentation, box and area of an object with polygons.

    Args:
      parts: from `object_polygons`.
      from_one: whether they are counted from 1.
      box_xyxy: the object's own box, from 0; if it is the polygons' box except for rounding, theirs
        is taken, because tools differ by a pixel in what a VOC box means.

    Raises:
      BadItem: they have no area.
    """
    entry = outline_entry([part - 1.0 if from_one else part for part in parts])
    x, y, width, height = entry["bbox"]
    own = np.array([x, y, x + width, y + height])
    if box_xyxy is not None and np.abs(box_xyxy - own).max() > BOX_SLACK_PX:
        x0, y0, x1, y1 = box_xyxy.tolist()
        entry["bbox"] = [x0, y0, x1 - x0, y1 - y0]
    return entry


def _corners(polygon: Element) -> Part:
    points = [child for child in polygon if child.tag in ("pt", "point")]
    if points:
        pairs = [[number_in(point.findtext(axis)) for axis in "xy"] for point in points]
    else:
        numbers = {child.tag: number_in(child.text) for child in polygon}
        count = sum(tag.startswith("x") for tag in numbers)
        pairs = [[numbers.get(f"{axis}{k}") for axis in "xy"] for k in range(1, count + 1)]
    return corners(pairs, "polygon")


def _stated_box(element: Element) -> Float[np.ndarray, "4"] | None:
    sides = [number_in(element.findtext(f"bndbox/{s}")) for s in ("xmin", "ymin", "xmax", "ymax")]
    return None if None in sides else np.array(sides)
