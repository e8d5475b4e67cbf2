"""The shapes of annotation tools -> COCO annotations."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from pycocotools import mask as coco_masks

from exits_jax.annotations.draft import Draft
from exits_jax.annotations.geometry import polygon_area
from exits_jax.annotations.image_files import MAX_SIDE
from exits_jax.annotations.masks import run_lengths
from exits_jax.annotations.numbers import finite_numbers, shown
from exits_jax.annotations.records import BadItem

FAR_PX = 10 * MAX_SIDE  # no coordinate of a shape on an image is beyond this
RING_CORNERS = 72  # of a circle drawn as a polygon: within 0.1 % of its radius

BOX, OUTLINE, POINT, POINTS = "box", "outline", "point", "points"  # POINTS: several in one shape


class Part(NamedTuple):
    """A shape that may belong to an object.

    Attributes:
      group: what the shapes of one group share; empty for none.
      label: of the shape.
      kind: BOX, OUTLINE, POINT or POINTS.
      shape: as the tool has it.
    """

    group: str
    label: str
    kind: str
    shape: Any


def grouped(parts: Iterable[Part], draft: Draft, where: str) -> Iterator[list[Any]]:
    """The shapes of each object, the one with its label first.

    Outlines of one label in one group form one object, with a single box among them; several boxes
    are several objects. Points of a label that has nothing else in the group belong to the label
    that has.
    """
    groups: dict[str, dict[str, list[Part]]] = defaultdict(lambda: defaultdict(list))
    for part in parts:
        if part.group:
            groups[part.group][part.label].append(part)
        else:
            yield [part.shape]
    for labels in groups.values():
        drawn = [label for label, found in labels.items() if {BOX, OUTLINE} & _kinds(found)]
        loose = [part for label in labels if label not in drawn for part in labels[label]]
        if not drawn:
            for found in labels.values():
                yield from _alone(found)
            continue
        for label in drawn:
            own = [part for part in labels[label] if part.kind in (POINT, POINTS)]
            points = [part.shape for part in own + loose * (len(drawn) == 1)]
            outlines = [part.shape for part in labels[label] if part.kind == OUTLINE]
            boxes = [part.shape for part in labels[label] if part.kind == BOX]
            draft.count_joined(len(outlines), where)
            if len(boxes) > 1:
                yield from ([box] for box in boxes)
                boxes = []
            if outlines or boxes:
                yield [*outlines, *boxes, *points]
            else:
                draft.count_points(points, where)
        if len(drawn) > 1:
            draft.count_points(loose, where)


def _kinds(parts: list[Part]) -> set[str]:
    return {part.kind for part in parts}


def _alone(parts: list[Part]) -> Iterator[list[Any]]:
    """Points of one label with nothing else: single ones together, others each on its own."""
    single = [part.shape for part in parts if part.kind == POINT]
    if single:
        yield single
    yield from ([part.shape] for part in parts if part.kind == POINTS)


def coordinates(values: Any, what: str, count: int | None = None) -> Float[np.ndarray, "n"]:
    """Numbers of a shape as float64, all of them finite and not absurdly far from any image.

    Raises:
      BadItem: they are something else, or not `count` of them.
    """
    numbers = finite_numbers(values)
    right = numbers is not None and count in (None, numbers.size)
    if not right or np.abs(numbers).max(initial=0) > FAR_PX:
        expected = "numbers" if count is None else f"{count} numbers"
        raise BadItem("bad_number", f"{what}: found {shown(values)}; expected {expected}")
    return numbers


def corners(values: Any, what: str) -> Float[np.ndarray, "n 2"]:
    """Corners [[x, y], ...] of a shape, one at least.

    Raises:
      BadItem: they are something else.
    """
    pairs = values if isinstance(values, list | tuple) and values else [None]
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise BadItem("bad_number", f"{what}: found {shown(values)}; expected corners [x, y]")
    return coordinates([side for pair in pairs for side in pair], what).reshape(-1, 2)


def box_entry(low_high: Float[np.ndarray, "n 2"]) -> dict[str, Any]:
    """The box around points: [x, y, width, height] and its area.

    Raises:
      BadItem: it has no area.
    """
    low, high = low_high.min(axis=0), low_high.max(axis=0)
    if (high <= low).any():
        raise BadItem("empty_box", f"a box from {low.tolist()} to {high.tolist()} has no area")
    return {"bbox": [*low.tolist(), *(high - low).tolist()], "area": float(np.prod(high - low))}


def outline_entry(parts: Sequence[Float[np.ndarray, "_ 2"]]) -> dict[str, Any]:
    """An object of one or more polygons: segmentation, the box around them, their area.

    Raises:
      BadItem: a polygon has fewer than three corners, or there is no area.
    """
    if min(len(part) for part in parts) < 3:
        raise BadItem("bad_polygon", "a polygon with fewer than three corners")
    area = sum(polygon_area(part) for part in parts)
    entry = box_entry(np.concatenate(parts)) | {"area": area}
    return {"segmentation": [part.ravel().tolist() for part in parts], **entry}


def mask_entry(segmentations: Sequence[Any], height: int, width: int) -> dict[str, Any]:
    """An object whose parts are masks, or masks and polygons: their union as run lengths.

    Raises:
      BadItem: a part is malformed, or they cover no pixel.
    """
    runs = coco_masks.merge([run_lengths(part, height, width) for part in segmentations])
    area = int(coco_masks.area(runs))
    if area == 0:
        raise BadItem("empty_mask", "the mask covers no pixel")
    counts = runs["counts"]
    counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {
        "segmentation": {"size": [height, width], "counts": counts},
        "bbox": coco_masks.toBbox(runs).tolist(),
        "area": area,
    }


def turned_box(
    box_xywh: Float[np.ndarray, "4"], degrees: float, about_xy: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "4 2"]:
    """The corners of a box rotated clockwise, as seen, about a point."""
    x, y, width, height = box_xywh
    around = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    return _turned(around, degrees, about_xy)


def ellipse(
    centre_xy: Float[np.ndarray, "2"], radii_xy: Float[np.ndarray, "2"], degrees: float = 0.0
) -> Float[np.ndarray, "n 2"]:
    """An ellipse as a polygon that touches its own box, rotated clockwise about its centre."""
    angles = np.arange(RING_CORNERS) * (2 * math.pi / RING_CORNERS)
    ring = centre_xy + radii_xy * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _turned(ring, degrees, centre_xy)


def _turned(
    points_xy: Float[np.ndarray, "n 2"], degrees: float, about_xy: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "n 2"]:
    angle = math.radians(degrees % 360)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (points_xy - about_xy) @ turn + about_xy
