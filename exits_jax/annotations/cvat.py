"""CVAT XML ("CVAT for images 1.1") -> a COCO-style document.

Boxes, polygons, masks, ellipses and points become objects. Polygons and masks of one label in one
group (`group_id`) form one object; a single box among them is its box. Four points alone, or at the
sides of a box, are taken for an object's extreme points.
"""

import math
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Bool, Float

from exits_jax.annotations.coco import Report
from exits_jax.annotations.draft import Draft
from exits_jax.annotations.image_files import stated_size
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.regions import encode_in_image
from exits_jax.annotations.shapes import (
    BOX,
    OUTLINE,
    POINT,
    POINTS,
    Part,
    box_entry,
    coordinates,
    ellipse,
    grouped,
    mask_entry,
    outline_entry,
    turned_box,
)
from exits_jax.annotations.xml_files import number_in, parse_xml

SIDES = ("xtl", "ytl", "xbr", "ybr")
KINDS = {
    **{"box": BOX, "points": POINTS},
    **dict.fromkeys(("polygon", "mask", "ellipse"), OUTLINE),
}
KEPT = ("occluded", "z_order", "source", "group_id")  # attributes of a shape that its object keeps


def cvat_document(content: bytes, images: ImageFolder | None, report: Report) -> dict[str, Any]:
    """Reads a CVAT export; ids are made from its order, categories from its list of labels.

    Args:
      content: of the XML file.
      images: the image folder, opened only where an <image> does not state its size.
      report: takes the mistakes; what is wrong is left out.

    Raises:
      BadItem: it is not such an XML file.
    """
    root = parse_xml(content)
    if root.tag != "annotations":
        text = f"the root element is {shown(root.tag)}; expected 'annotations' of CVAT"
        raise BadItem("bad_xml", text)
    draft = Draft(report)
    tracks = root.findall("track")
    if tracks and root.find("image") is None:
        text = "it is 'CVAT for video'; export the task as 'CVAT for images 1.1'"
        raise BadItem("foreign_file", text)
    for track in tracks:
        what = "tracks are not read (export the task as 'CVAT for images 1.1')"
        draft.passed.add(what, f"track {shown(track.get('id'))}")
    for element in root.findall("image"):
        where = f"image {shown(element.get('name'))}"
        try:
            image = _add_image(draft, element, images, where)
        except BadItem as bad:
            draft.refuse(bad, where)
            continue
        _add_objects(draft, element, image, where)
        element.clear()
    names = (label.findtext("name", "").strip() for label in root.iterfind("meta//labels/label"))
    return draft.document(name for name in names if name)


def _add_image(
    draft: Draft, element: Element, images: ImageFolder | None, where: str
) -> dict[str, Any]:
    """One <image>, without its shapes."""
    name = element.get("name", "")
    sides = [element.get(side) for side in ("width", "height")]
    if None in sides:
        return draft.add_unsized(name, images, where)
    width, height = (_whole(side) for side in sides)
    size = stated_size({"width": width, "height": height})
    return draft.add_image(name, size, where, again=True)


def _add_objects(draft: Draft, element: Element, image: dict[str, Any], where: str) -> None:
    """The shapes of an <image> as objects, those of a group together."""
    for shapes in grouped(_parts(draft, element, where), draft, where):
        label = shapes[0].get("label", "").strip()
        try:
            if not label:
                raise BadItem("absent_category", "it has no label")
            entry, points = _entry(draft, shapes, image, where)
        except BadItem as bad:
            draft.refuse(bad, f"{where}: {shapes[0].tag}", image)
            continue
        draft.add(image, label, entry | _attributes(shapes[0]), points, where)


def _parts(draft: Draft, element: Element, where: str) -> Iterator[Part]:
    """The shapes of an image; those that cannot become an object are counted."""
    for shape in element:
        kind = KINDS.get(shape.tag)
        if kind is None:
            draft.passed.add(f"<{shown(shape.tag)[1:-1]}> elements are not read", where)
            continue
        if kind == POINTS and ";" not in shape.get("points", ""):
            kind = POINT
        group = (shape.get("group_id") or "0").removeprefix("0")
        yield Part(group, shape.get("label", ""), kind, shape)


def _entry(
    draft: Draft, shapes: list[Element], image: dict[str, Any], where: str
) -> tuple[dict[str, Any], Float[np.ndarray, "n 2"]]:
    """An annotation without its ids, of an object's shapes, and the points that it has."""
    points = [_corners(shape) for shape in shapes if shape.tag == "points"]
    boxes = [_box(draft, shape, where) for shape in shapes if shape.tag == "box"]
    entry = box_entry(boxes[0]) if boxes else {}
    outlines = [shape for shape in shapes if KINDS[shape.tag] == OUTLINE]
    if outlines:
        entry = _outlined(outlines, image) | ({"bbox": entry["bbox"]} if boxes else {})
    return entry, np.concatenate([np.zeros((0, 2)), *points])


def _outlined(outlines: list[Element], image: dict[str, Any]) -> dict[str, Any]:
    """An object with a mask."""
    if any(shape.tag == "mask" for shape in outlines):
        parts = [_part(shape, image) for shape in outlines]
        return mask_entry(parts, image["height"], image["width"])
    return outline_entry([_outline(shape) for shape in outlines])


def _part(shape: Element, image: dict[str, Any]) -> Any:
    """A polygon, an ellipse or a mask as a COCO segmentation."""
    return _runs(shape, image) if shape.tag == "mask" else [_outline(shape).ravel().tolist()]


def _outline(shape: Element) -> Float[np.ndarray, "n 2"]:
    return _ellipse(shape) if shape.tag == "ellipse" else _corners(shape)


def _box(draft: Draft, shape: Element, where: str) -> Float[np.ndarray, "n 2"]:
    """The corners of a <box>, rotated if it is."""
    x0, y0, x1, y1 = coordinates([number_in(shape.get(side)) for side in SIDES], "box", 4)
    turn = _turn(shape)
    if turn == 0:
        return np.array([[x0, y0], [x1, y1]])
    draft.passed.add("rotated boxes are read as the upright boxes around them", where)
    size, middle = np.array([x0, y0, x1 - x0, y1 - y0]), np.array([x0 + x1, y0 + y1]) / 2
    return turned_box(size, turn, middle)


def _ellipse(shape: Element) -> Float[np.ndarray, "n 2"]:
    numbers = [number_in(shape.get(name)) for name in ("cx", "cy", "rx", "ry")]
    found = coordinates(numbers, "ellipse", 4)
    return ellipse(found[:2], found[2:], _turn(shape))


def _turn(shape: Element) -> float:
    """Degrees, clockwise."""
    return float(coordinates([number_in(shape.get("rotation", "0"))], "rotation", 1)[0])


def _corners(shape: Element) -> Float[np.ndarray, "n 2"]:
    """The attribute `points`: "x,y;x,y;..."."""
    text = shape.get("points", "")
    sides = [number_in(side) for side in text.replace(";", ",").split(",")]
    return coordinates(sides, shape.tag, 2 * text.count(";") + 2).reshape(-1, 2)


def _runs(shape: Element, image: dict[str, Any]) -> dict[str, Any]:
    """A <mask>: run lengths of a part of the image, row by row, background first."""
    sides = (shape.get(name) for name in ("left", "top", "width", "height"))
    left, top, width, height = (_whole(side) for side in sides)
    inside = 0 <= left <= left + width <= image["width"]
    if not (inside and 0 <= top <= top + height <= image["height"] and width * height > 0):
        text = f"a mask of {width} x {height} pixels at ({left}, {top}) is not inside the image"
        raise BadItem("bad_rle", text)
    mask = _drawn(shape.get("rle", ""), width * height).reshape(height, width)
    region = (left, top, left + width, top + height)
    return encode_in_image(mask, region, image["height"], image["width"])


def _drawn(text: str, pixels: int) -> Bool[np.ndarray, "n"]:
    """Run lengths "background, object, background, ..." as pixels."""
    runs = coordinates([number_in(run) for run in text.split(",")], "rle")
    if (runs < 0).any() or (runs % 1 != 0).any() or runs.sum() != pixels:
        raise BadItem("bad_rle", f"rle {shown(text)} are not run lengths of {pixels} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs.astype(np.int64))


def _whole(text: str | None) -> int:
    """A whole number in an attribute; -1, which is never a size, for anything else."""
    number = number_in(text)
    return int(number) if number is not None and math.floor(number) == number else -1


def _attributes(shape: Element) -> dict[str, Any]:
    """What else a shape says about its object."""
    values = {name: shape.get(name) for name in KEPT if shape.get(name)}
    texts = {item.get("name", ""): item.text or "" for item in shape.findall("attribute")}
    return {"attributes": values | texts} if values or texts else {}
