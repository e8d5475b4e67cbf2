"""labelme JSON, one file or a folder of them -> a COCO-style document.

Also of the tools that write its form (X-AnyLabeling, AnyLabeling, ISAT's export). Shapes of one
label and one `group_id` are parts of one object, as labelme's own converters have it.
"""

import base64
import io
import pathlib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from exits_jax.annotations.coco import Report
from exits_jax.annotations.draft import Draft, image_size
from exits_jax.annotations.image_files import stated_size
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.regions import encode_in_image
from exits_jax.annotations.shapes import box_entry, corners, ellipse, mask_entry, outline_entry
from exits_jax.errors import one_line

TURNED = ("oriented_rectangle", "rotation")  # labelme's word and X-AnyLabeling's
BOXES = ("rectangle", *TURNED)
OUTLINES = ("polygon", "circle", "mask", "quadrilateral")
POINTS = ("point", "points")
KEPT = ("group_id", "description", "difficult")  # what an object keeps of its shape

Shape = dict[str, Any]


def is_labelme(content: Any) -> bool:
    """Whether the content of a JSON file is labelme's."""
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def labelme_document(
    files: Iterable[tuple[pathlib.Path, Any]], images: ImageFolder | None, report: Report
) -> dict[str, Any]:
    """Reads labelme files into a document; ids are made from their order.

    Polygons, circles and masks become masks, rectangles boxes; exactly four `point` shapes of one
    label and one group, alone or with a rectangle, are the extreme points of an object, and so is
    a `points` shape of four. Everything else is counted.

    Args:
      files: path and content of each.
      images: the image folder, opened only where a file does not state its image's size.
      report: takes the mistakes; what is wrong is left out.
    """
    draft = Draft(report)
    for path, content in files:
        if not is_labelme(content) or not isinstance(content["shapes"], list):
            draft.passed.add("JSON files are not labelme's and are not read", path.name)
            continue
        try:
            image = _add_image(draft, content, path, images)
        except BadItem as bad:
            draft.refuse(bad, path.name)
            continue
        for shapes in _objects(content["shapes"]):
            _add_object(draft, shapes, image, path.name)
    return draft.document()


def _add_image(
    draft: Draft, content: dict[str, Any], path: pathlib.Path, images: ImageFolder | None
) -> dict[str, Any]:
    """The image a labelme file is of; named like the file where it does not say."""
    stated = content["imagePath"]
    name = stated if isinstance(stated, str) and stated else f"{path.stem}.jpg"
    sides = {"width": content.get("imageWidth"), "height": content.get("imageHeight")}
    known = all(side not in (None, -1) for side in sides.values())  # converters write -1
    size = stated_size(sides) if known else image_size(name, images)
    return draft.add_image(name, size, path.name)


def _objects(shapes: list[Any]) -> Iterator[list[Any]]:
    """The shapes of each object: those of one label and group, each of the others alone."""
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for shape in shapes:
        group = shape.get("group_id") if isinstance(shape, dict) else None
        if group is None:
            yield [shape]
        else:
            groups[repr(shape.get("label")), repr(group)].append(shape)
    yield from groups.values()


def _add_object(draft: Draft, shapes: list[Any], image: dict[str, Any], where: str) -> None:
    """One object, or a word on why there is none."""
    try:
        if not all(isinstance(shape, dict) for shape in shapes):
            raise BadItem("bad_annotation", f"found {shown(shapes[0])}; expected an object")
        label = shapes[0].get("label")
        if not isinstance(label, str) or not label.strip():
            raise BadItem("absent_category", f"label is {shown(label)}; expected text")
        entry = _entry(draft, shapes, image, where)
    except BadItem as bad:
        draft.refuse(bad, where, image)
        return
    if entry is not None:
        draft.add(image, label.strip(), entry | _attributes(shapes[0]))


def _entry(
    draft: Draft, shapes: list[Shape], image: dict[str, Any], where: str
) -> dict[str, Any] | None:
    """An annotation without its ids, of an object's shapes; None where they are only counted."""
    by_kind: dict[str, list[Shape]] = defaultdict(list)
    for shape in shapes:
        kind = shape.get("shape_type") or "polygon"  # labelme 3 drew nothing else
        by_kind[kind if isinstance(kind, str) else ""].append(shape)
    points = [row for kind in POINTS for shape in by_kind.pop(kind, []) for row in _corners(shape)]
    boxes = [_corners(shape) for kind in BOXES for shape in by_kind.pop(kind, [])]
    outlines = [(kind, shape) for kind in OUTLINES for shape in by_kind.pop(kind, [])]
    for shape in shapes:
        if shape.get("shape_type") in TURNED:
            draft.passed.add("turned rectangles are read as the upright boxes around them", where)
    for kind, rest in by_kind.items():
        for _ in rest:
            draft.passed.add(f"shapes of the type {shown(kind)} are not read", where)
    if len(points) == 4 and len(boxes) <= 1 and not outlines:
        box = box_entry(boxes[0]) if boxes else {}
        return box | {"extreme_points": np.array(points).tolist()}
    for _ in points:
        draft.passed.add("points are not read (four of one label and group_id are)", where)
    if outlines:
        return _outlined(outlines, boxes, image)
    return box_entry(np.concatenate(boxes)) if boxes else None


def _outlined(
    outlines: list[tuple[str, Shape]],
    boxes: list[Float[np.ndarray, "_ 2"]],
    image: dict[str, Any],
) -> dict[str, Any]:
    """An object with a mask. A rectangle in its group is its box."""
    if any(kind == "mask" for kind, _ in outlines):
        parts = [
            _mask(shape, image) if kind == "mask" else [_outline(kind, shape).ravel().tolist()]
            for kind, shape in outlines
        ]
        entry = mask_entry(parts, image["height"], image["width"])
    else:
        entry = outline_entry([_outline(kind, shape) for kind, shape in outlines])
    return entry | {"bbox": box_entry(np.concatenate(boxes))["bbox"]} if boxes else entry


def _corners(shape: Shape) -> Float[np.ndarray, "n 2"]:
    return corners(shape.get("points"), "points")


def _outline(kind: str, shape: Shape) -> Float[np.ndarray, "n 2"]:
    """A shape as a polygon; a circle is its centre and a point on it."""
    points = _corners(shape)
    if kind != "circle":
        return points
    if len(points) != 2:
        raise BadItem("bad_number", f"a circle of {len(points)} points; expected centre and rim")
    radius = float(np.hypot(*(points[1] - points[0])))
    return ellipse(points[0], np.array([radius, radius]))


def _mask(shape: Shape, image: dict[str, Any]) -> dict[str, Any]:
    """A mask: a PNG of the part of the image that begins at the first of its points."""
    mask = _png(shape.get("mask"), image)
    left, top = np.rint(_corners(shape)[0]).astype(int)
    x0, y0 = max(left, 0), max(top, 0)
    inside = mask[y0 - top : image["height"] - top, x0 - left : image["width"] - left]
    if left >= image["width"] or top >= image["height"] or inside.size == 0:
        raise BadItem("empty_mask", f"a mask at ({left}, {top}) is outside the image")
    region = (int(x0), int(y0), int(x0) + inside.shape[1], int(y0) + inside.shape[0])
    return encode_in_image(inside, region, image["height"], image["width"])


def _png(text: Any, image: dict[str, Any]) -> Bool[np.ndarray, "h w"]:
    """A base64 PNG as a mask; its size is looked at before it is decoded."""
    if not isinstance(text, str):
        raise BadItem("bad_segmentation", f"mask is {shown(text)}; expected a PNG in base64")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as png:
                if png.width <= image["width"] + 1 and png.height <= image["height"] + 1:
                    return np.array(png.convert("L")) > 0
    except Exception as error:  # decoders raise whatever a broken file makes them stumble over
        raise BadItem("bad_segmentation", f"mask is no PNG: {one_line(error)}") from error
    raise BadItem("bad_segmentation", "the mask's PNG is larger than the image")


def _attributes(shape: Shape) -> dict[str, Any]:
    """What else a shape says of its object, where it says it in a text or a whole number."""
    kept = {key: shape[key] for key in KEPT if isinstance(shape.get(key), str | int) and shape[key]}
    return {"attributes": kept} if kept else {}
