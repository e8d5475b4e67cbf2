"""labelme JSON, one file or a folder of them -> a COCO-style document.

Also from tools that write the same form (X-AnyLabeling, AnyLabeling, ISAT's export). Shapes of one
label and one `group_id` form one object, as in labelme's own converters.
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
    corners,
    ellipse,
    grouped,
    mask_entry,
    outline_entry,
)
from exits_jax.system.errors import one_line

TURNED = ("oriented_rectangle", "rotation")  # labelme's word and X-AnyLabeling's
KINDS = {
    **dict.fromkeys(("rectangle", *TURNED), BOX),
    **dict.fromkeys(("polygon", "circle", "mask", "quadrilateral"), OUTLINE),
    **{"point": POINT, "points": POINTS},
}
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
    group, alone or at the sides of a rectangle, are the extreme points of an object, and so is a
    `points` shape of four. Everything else is counted.

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
        parts = _parts(draft, content["shapes"], path.name)
        for shapes in grouped(parts, draft, path.name):
            _add_object(draft, shapes, image, path.name)
    return draft.document()


def _add_image(
    draft: Draft, content: dict[str, Any], path: pathlib.Path, images: ImageFolder | None
) -> dict[str, Any]:
    """The image of a labelme file; named like the file if it does not say.

    If the named one is missing, the one named like the file is taken: people rename both.

    Raises:
      BadItem: its size cannot be found, or another file is of the same image.
    """
    stated = content["imagePath"]
    name = stated if isinstance(stated, str) and stated else f"{path.stem}.jpg"
    own = images and images.own_name(name, path.stem)
    if own and not (images.exact([name]) or images.near([name])):
        draft.passed.add(
            "files name an image that is missing, the one named like them is read", path.name
        )
        name = own
    sides = {"width": content.get("imageWidth"), "height": content.get("imageHeight")}
    known = all(side not in (None, -1) for side in sides.values())  # converters write -1
    # If a file was copied for another image without changing its name, the right image is unknown.
    again = own is None
    if not known:
        return draft.add_unsized(name, images, path.name, again=again)
    return draft.add_image(name, stated_size(sides), path.name, again=again)


def _parts(draft: Draft, shapes: list[Any], where: str) -> Iterator[Part]:
    """The shapes that belong to objects; the others are counted."""
    for shape in shapes:
        if not isinstance(shape, dict):
            yield Part("", "", "", shape)  # to be refused
            continue
        kind = _kind(shape)
        if kind in TURNED:
            draft.passed.add("rotated rectangles are read as the upright boxes around them", where)
        if kind not in KINDS:
            draft.passed.add(f"shapes of the type {shown(kind)} are not read", where)
            continue
        group = shape.get("group_id")
        name = "" if group is None else repr(group)
        yield Part(name, repr(shape.get("label")), KINDS[kind], shape)


def _kind(shape: Shape) -> str:
    kind = shape.get("shape_type") or "polygon"  # labelme 3 drew nothing else
    return kind if isinstance(kind, str) else ""


def _add_object(draft: Draft, shapes: list[Any], image: dict[str, Any], where: str) -> None:
    """Adds one object, or reports why it cannot be one."""
    try:
        if not all(isinstance(shape, dict) for shape in shapes):
            raise BadItem("bad_annotation", f"found {shown(shapes[0])}; expected an object")
        label = shapes[0].get("label")
        if not isinstance(label, str) or not label.strip():
            raise BadItem("absent_category", f"label is {shown(label)}; expected text")
        entry, points = _entry(shapes, image)
    except BadItem as bad:
        draft.refuse(bad, where, image)
        return
    draft.add(image, label.strip(), entry | _attributes(shapes[0]), points, where)


def _entry(
    shapes: list[Shape], image: dict[str, Any]
) -> tuple[dict[str, Any], Float[np.ndarray, "n 2"]]:
    """An annotation without its ids, of an object's shapes, and the points that it has."""
    of_kind: dict[str, list[Shape]] = defaultdict(list)
    for shape in shapes:
        of_kind[KINDS[_kind(shape)]].append(shape)
    points = [_corners(shape) for kind in (POINT, POINTS) for shape in of_kind[kind]]
    boxes = [_corners(shape) for shape in of_kind[BOX]]
    entry = box_entry(np.concatenate(boxes)) if boxes else {}
    if of_kind[OUTLINE]:
        entry = _outlined(of_kind[OUTLINE], image) | ({"bbox": entry["bbox"]} if boxes else {})
    return entry, np.concatenate([np.zeros((0, 2)), *points])


def _outlined(outlines: list[Shape], image: dict[str, Any]) -> dict[str, Any]:
    """An object with a mask."""
    if any(_kind(shape) == "mask" for shape in outlines):
        parts = [
            _mask(shape, image) if _kind(shape) == "mask" else [_outline(shape).ravel().tolist()]
            for shape in outlines
        ]
        return mask_entry(parts, image["height"], image["width"])
    return outline_entry([_outline(shape) for shape in outlines])


def _corners(shape: Shape) -> Float[np.ndarray, "n 2"]:
    return corners(shape.get("points"), "points")


def _outline(shape: Shape) -> Float[np.ndarray, "n 2"]:
    """A shape as a polygon; a circle is its centre and a point on it."""
    points = _corners(shape)
    if _kind(shape) != "circle":
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
    """A base64 PNG as a mask; its size is checked before it is decoded."""
    if not isinstance(text, str):
        raise BadItem("bad_segmentation", f"mask is {shown(text)}; expected a PNG in base64")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as png:
                if png.width <= image["width"] + 1 and png.height <= image["height"] + 1:
                    return np.array(png.convert("L")) > 0
    except Exception as error:  # decoders may raise anything on a broken file
        raise BadItem("bad_segmentation", f"mask is not a PNG: {one_line(error)}") from error
    raise BadItem("bad_segmentation", "the mask's PNG is larger than the image")


def _attributes(shape: Shape) -> dict[str, Any]:
    """What else a shape says about its object, if it is text or a whole number."""
    kept = {key: shape[key] for key in KEPT if isinstance(shape.get(key), str | int) and shape[key]}
    return {"attributes": kept} if kept else {}
