"""Label Studio JSON (its JSON and JSON-MIN exports) -> a COCO-style document.

Coordinates are percentages of the image. Of several annotations of a task one is read: the one
marked as ground truth, else the last; reading all would give every object twice. Exactly four
keypoints of one label, where the image has nothing else of that label, are the extreme points of an
object of that label, and so are four at the sides of the rectangle whose children they are.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.coco import Report
from exits_jax.annotations.draft import Draft
from exits_jax.annotations.image_files import stated_size
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.label_studio_brush import brush_entry
from exits_jax.annotations.label_studio_tasks import tasks_in
from exits_jax.annotations.numbers import finite_number, shown
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.shapes import (
    box_entry,
    coordinates,
    corners,
    ellipse,
    outline_entry,
    turned_box,
)

Result = dict[str, Any]

NUMBERS = ("x", "y", "width", "height", "radiusX", "radiusY")  # of a value, beside its points
SHAPES = ("rectangle", "polygon", "ellipse", "brush", "keypoint")


def label_studio_document(
    content: Any, images: ImageFolder | None, report: Report
) -> dict[str, Any]:
    """Reads a Label Studio export into a document; ids are made from its order.

    Args:
      content: of the JSON file.
      images: the image folder: names are looked up in it, and sizes that no result states.
      report: takes the mistakes; what is wrong is left out.

    Raises:
      BadItem: its coordinates are shares of the image.
    """
    draft = Draft(report)
    read = [(task, _regions(task.results, draft, task.where)) for task in tasks_in(content, draft)]
    _refuse_shares(region["value"] for _, regions in read for region in regions)
    for task, regions in read:
        try:
            size = _size(regions)
            if size is None:
                image = draft.add_unsized(task.file_name, images, task.where, pixels=False)
            else:
                image = draft.add_image(task.file_name, size, task.where, again=True)
        except BadItem as bad:
            draft.refuse(bad, task.where)
            continue
        for region in _with_points(draft, regions, task.where):
            _add_object(draft, region, image, task.where)
    return draft.document()


def _size(regions: list[Result]) -> tuple[int, int] | None:
    """The image's size, which every result states for itself; None if none does."""
    sizes = [[region.get(f"original_{side}") for side in ("width", "height")] for region in regions]
    sizes = [size for size in sizes if size != [None, None]]
    if not sizes:
        return None
    if any(size != sizes[0] for size in sizes):
        raise BadItem("bad_size", f"its results state several image sizes: {shown(sizes)}")
    return stated_size(dict(zip(("width", "height"), sizes[0], strict=True)))


def _regions(results: list[Any], draft: Draft, where: str) -> list[Result]:
    """The results that are shapes, with the labels that other results of the same id give them.

    `<Rectangle>` with `<Labels>` makes two results of one id, one of them with the label.
    """
    regions: dict[Any, Result] = {}
    for number, result in enumerate(results):
        if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
            draft.passed.add("results are not regions (relations, for instance)", where)
            continue
        name = result.get("id")
        key = name if isinstance(name, str) else number
        known = regions.setdefault(key, {**result, "value": {}, "kinds": []})
        known["value"] |= result["value"]
        known["kinds"].append(result.get("type"))
    return list(regions.values())


def _refuse_shares(values: Iterable[dict[str, Any]]) -> None:
    """Refuses a file in which all coordinates lie in the first per cent: objects never all do.

    Raises:
      BadItem: they do.
    """
    given: list[Any] = []
    for value in values:
        pairs = value.get("points")
        pairs = (
            [pair for pair in pairs if isinstance(pair, list)] if isinstance(pairs, list) else []
        )
        given += [value.get(name) for name in NUMBERS] + [
            number for pair in pairs for number in pair
        ]
    numbers = [abs(number) for number in map(finite_number, given) if number is not None]
    if 0 < max(numbers, default=0) <= 1:
        raise BadItem(
            "shares_for_percent",
            f"none of its {len(numbers)} coordinates is above 1: they are read as per cent of "
            "the image, not as shares; multiply them by 100",
        )


def _kind(region: Result) -> str:
    """Which of the `SHAPES` a region is, by its type and its keys; else its type."""
    value = region["value"]
    types = [kind for kind in region["kinds"] if isinstance(kind, str)]
    for shape in SHAPES:
        if any(kind.startswith(shape) for kind in types) or f"{shape}labels" in value:
            return shape
    if types and types != ["labels"]:
        return types[0]
    # The JSON-MIN export has no types.
    by_key = {"rle": "brush", "points": "polygon", "radiusX": "ellipse", "width": "rectangle"}
    return next((shape for key, shape in by_key.items() if key in value), "keypoint")


def _label(draft: Draft, region: Result, where: str) -> str:
    """The label of a region.

    Raises:
      BadItem: it has none.
    """
    value = region["value"]
    found = [value.get(name) for name in ("labels", *(f"{shape}labels" for shape in SHAPES))]
    labels = [label for names in found if isinstance(names, list) for label in names]
    labels = [label.strip() for label in labels if isinstance(label, str) and label.strip()]
    if not labels:
        raise BadItem("absent_category", f"a {_kind(region)} without a label")
    if len(labels) > 1:
        draft.passed.add("regions have several labels, of which the first is read", where)
    return labels[0]


def _with_points(draft: Draft, regions: list[Result], where: str) -> list[Result]:
    """The regions to make objects of; four keypoints of one object become one region."""
    points, others = [], []
    for region in regions:
        (points if _kind(region) == "keypoint" else others).append(region)
    by_id = {region["id"]: region for region in others if isinstance(region.get("id"), str)}
    groups: dict[str, list[Result]] = defaultdict(list)
    for point in points:
        groups[repr((point.get("parentID"), point["value"].get("keypointlabels")))].append(point)
    labels = {repr(region["value"].get(f"{_kind(region)}labels")) for region in others}
    for group in groups.values():
        parent = by_id.get(group[0]["parentID"]) if _has_parent(group[0]) else None
        lonely = repr(group[0]["value"].get("keypointlabels")) not in labels
        if len(group) == 4 and parent is not None and _kind(parent) == "rectangle":
            parent["points"] = group
        elif len(group) == 4 and parent is None and lonely:
            others.append({**group[0], "points": group})
        else:
            draft.count_points(group, where)
    return others


def _has_parent(region: Result) -> bool:
    return isinstance(region.get("parentID"), str)


def _add_object(draft: Draft, region: Result, image: dict[str, Any], where: str) -> None:
    """Adds one region as an object, or reports why it cannot be one."""
    kind = _kind(region)
    if kind not in SHAPES:
        draft.passed.add(f"results of the type {shown(kind)} are not read", where)
        return
    try:
        if finite_number(region.get("image_rotation") or 0) != 0:
            text = "it was drawn on a rotated image; rotate it back and export it again"
            raise BadItem("turned_image", text)
        label = _label(draft, region, where)
        entry = _entry(draft, kind, region, image, where)
        points = _points(region, image)
    except BadItem as bad:
        draft.refuse(bad, f"{where}: {kind}", image)
        return
    draft.add(image, label, entry, points, where)


def _entry(
    draft: Draft, kind: str, region: Result, image: dict[str, Any], where: str
) -> dict[str, Any]:
    """An annotation without its ids."""
    value, scale = region["value"], np.array([image["width"], image["height"]]) / 100
    if kind == "keypoint":
        return {}
    if kind == "brush":
        return brush_entry(value, image["height"], image["width"])
    if kind == "polygon":
        return outline_entry([corners(value.get("points"), "points") * scale])
    if kind == "ellipse":
        return outline_entry([_ellipse(value, scale)])
    return box_entry(_rectangle(draft, value, scale, where))


def _points(region: Result, image: dict[str, Any]) -> Float[np.ndarray, "n 2"]:
    """The keypoints that a region has, in pixels."""
    found = [[point["value"].get(axis) for axis in "xy"] for point in region.get("points", ())]
    if not found:
        return np.zeros((0, 2))
    return corners(found, "keypoints") * [image["width"] / 100, image["height"] / 100]


def _rectangle(
    draft: Draft, value: dict[str, Any], scale: Float[np.ndarray, "2"], where: str
) -> Float[np.ndarray, "n 2"]:
    """The corners of a rectangle, which Label Studio rotates about its top left corner."""
    sides = [value.get(name) for name in ("x", "y", "width", "height")]
    box = coordinates(sides, "rectangle", 4) * np.tile(scale, 2)
    turn = _turn(value)
    if turn:
        draft.passed.add("rotated rectangles are read as the upright boxes around them", where)
    return turned_box(box, turn, box[:2])


def _ellipse(value: dict[str, Any], scale: Float[np.ndarray, "2"]) -> Float[np.ndarray, "n 2"]:
    names = ("x", "y", "radiusX", "radiusY")
    numbers = coordinates([value.get(name) for name in names], "ellipse", 4) * np.tile(scale, 2)
    return ellipse(numbers[:2], numbers[2:], _turn(value))


def _turn(value: dict[str, Any]) -> float:
    """Degrees, clockwise."""
    return float(coordinates([value.get("rotation") or 0], "rotation", 1)[0])
