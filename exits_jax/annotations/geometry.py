"""Impossible geometry: what an annotation says in two ways that do not agree.

Labelling and the checker use the same functions. A *severe* doubt means that a mask made from it
would be of something else: labelling refuses the annotation or leaves it out. The others are notes.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.records import Instance

ROLES = ("top", "left", "bottom", "right")
BORDER_PX = 1.0  # how far a box may reach over the image's border
LEAST_INSIDE = 0.5  # of a box's area: with less in the image there is no object to label
SIDE_PX = 3.0  # how far a click or a mask may stay off a side of its box ...
SIDE_SHARE = 0.05  # ... or this share of the side, whichever is more
FAR_PX, FAR_SHARE = 5.0, 0.25  # the same, where it is a severe doubt
# How far a keypoint may stay off its side to be an extreme point: a share of the box, from 1 px to
KEYPOINT_SHARE, KEYPOINT_PX = 0.1, 5.0
KEYPOINT_MASK_PX = 2  # and off the mask
# Of box and mask. Two boxes of a few pixels may differ by that much and mean the same, so one of
# their sides has to be more than SIDE_PX off as well.
LEAST_IOU = 0.5
# Two boxes of one category that are the same object twice. Of 10,934 pairs of different objects in
# coco-mini one is above .70, with .87: its masks tell (`TWICE_MASKS`). Of pairs of people who are
# off by 3 % of every side, 95 % are above .80 for objects of 32 pixels or more, 74 % above .85.
TWICE_IOU = 0.8
TWICE_MASKS = 0.5  # of their masks, where both have one


class Doubt(NamedTuple):
    """One thing about an annotation that cannot be meant."""

    code: str
    text: str
    severe: bool = False


class Geometry(NamedTuple):
    """What an annotation says about its position, in image coordinates.

    Attributes:
      bbox: the four numbers of `bbox` as in the file; None without one.
      box_xyxy: the box that is labelled.
      points_xy: given extreme points in role order; None where none are given.
      mask_xyxy: the box around the mask; None without a mask.
      size_wh: of the image.
    """

    bbox: Float[np.ndarray, "4"] | None
    box_xyxy: Float[np.ndarray, "4"]
    points_xy: Float[np.ndarray, "4 2"] | None
    mask_xyxy: Float[np.ndarray, "4"] | None
    size_wh: tuple[int, int]


def doubts(place: Geometry, *, made: bool = False) -> Iterator[Doubt]:
    """What cannot be meant in one annotation.

    Args:
      place: what it says.
      made: a program made the mask: it need not reach the sides of its box.
    """
    if place.bbox is not None:
        yield from _over_border(place.bbox, place.size_wh)
        if place.mask_xyxy is not None:
            between = _box_and_mask(place.box_xyxy, place.mask_xyxy)
            yield from (doubt for doubt in between if doubt.severe or not made)
        if place.points_xy is not None:
            yield from _points_and_box(place.points_xy, place.box_xyxy)
    if under_a_pixel(place.box_xyxy):
        yield Doubt(
            "tiny_box", f"the box {_rounded(place.box_xyxy)} is less than a pixel wide or high"
        )


def under_a_pixel(box_xyxy: Float[np.ndarray, "4"]) -> bool:
    """Whether a box is less than a pixel wide or high: its mask can show nothing."""
    return bool((box_xyxy[2:] - box_xyxy[:2]).min() < 1 - 1e-6)


def box_iou(first_xyxy: Float[np.ndarray, "*#n 4"], second_xyxy: Float[np.ndarray, "*#n 4"]) -> Any:
    """The IoU of boxes, by numpy's rules for arrays of two shapes; 0 where both are empty."""
    low = np.maximum(first_xyxy[..., :2], second_xyxy[..., :2])
    high = np.minimum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = _area(first_xyxy) + _area(second_xyxy) - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def _area(box_xyxy: Float[np.ndarray, "*n 4"]) -> Any:
    return np.prod(np.clip(box_xyxy[..., 2:] - box_xyxy[..., :2], 0, None), axis=-1)


def near_duplicates(instances: Sequence[Instance]) -> Iterator[tuple[Instance, Instance]]:
    """Pairs of one category in one image whose boxes are nearly the same, the later one second."""
    groups: dict[tuple[int, int], list[int]] = {}
    for position, instance in enumerate(instances):
        groups.setdefault((instance.image.id, instance.category_id), []).append(position)
    for members in groups.values():
        if len(members) > 1:
            boxes = np.array([instances[position].box_xyxy for position in members])
            for later, earlier in _twins(boxes):
                yield instances[members[earlier]], instances[members[later]]


def same_object(first: Instance, second: Instance) -> bool:
    """Whether two annotations of one category and image seem to be of one object."""
    return bool(box_iou(first.box_xyxy, second.box_xyxy) >= TWICE_IOU)


def _twins(boxes_xyxy: Float[np.ndarray, "n 4"]) -> Iterator[tuple[int, int]]:
    """For each box the first before it that is nearly the same, if any, row by row.

    Such boxes share at least TWICE_IOU of their widths, so only boxes that begin within the rest of
    the left one's width are compared: satellite images have thousands of boxes.
    """
    order = np.argsort(boxes_xyxy[:, 0], kind="stable")
    left = boxes_xyxy[order]
    reach = left[:, 0] + (1 - TWICE_IOU) * (left[:, 2] - left[:, 0])
    ends = np.searchsorted(left[:, 0], reach, side="right")
    first: dict[int, int] = {}
    for place, end in enumerate(ends.tolist()):
        same = box_iou(left[place], left[place + 1 : end]) >= TWICE_IOU
        for other in order[place + 1 : end][same].tolist():
            earlier, later = sorted((int(order[place]), other))
            first[later] = min(first.get(later, earlier), earlier)
    yield from sorted(first.items())


def _over_border(bbox: Float[np.ndarray, "4"], size_wh: tuple[int, int]) -> Iterator[Doubt]:
    """A box that reaches over the image's border: it is clipped, but other programs may not do so.

    If most of it lies outside, little is left that could be labelled.
    """
    x, y, box_width, box_height = bbox.tolist()
    width, height = size_wh
    over = max(-x, -y, x + box_width - width, y + box_height - height)
    if over <= BORDER_PX:
        return
    border = f"the border of the image of {width} x {height} pixels"
    wide = min(x + box_width, width) - max(x, 0)
    high = min(y + box_height, height) - max(y, 0)
    if (wide / box_width) * (high / box_height) < LEAST_INSIDE:
        text = f"most of bbox {_rounded(bbox)} lies beyond {border}"
        yield Doubt("box_outside_image", text, severe=True)
    else:
        text = f"bbox {_rounded(bbox)} reaches {over:g} pixels beyond {border}"
        yield Doubt("box_over_border", text)


def _box_and_mask(
    box_xyxy: Float[np.ndarray, "4"], mask_xyxy: Float[np.ndarray, "4"]
) -> Iterator[Doubt]:
    off = np.abs(box_xyxy - mask_xyxy)
    iou = float(box_iou(box_xyxy, mask_xyxy))
    if (off <= _tolerance(mask_xyxy, SIDE_PX, SIDE_SHARE)[[1, 0, 1, 0]]).all():
        return
    text = f"the box {_rounded(box_xyxy)} and the mask, which lies in {_rounded(mask_xyxy)}, differ"
    yield Doubt("box_off_mask", f"{text} (IoU of the two boxes {iou:.2f})", iou < LEAST_IOU)


def _points_and_box(
    points_xy: Float[np.ndarray, "4 2"], box_xyxy: Float[np.ndarray, "4"]
) -> Iterator[Doubt]:
    """The extreme point that is furthest off its side of the box."""
    off = points_off(points_xy, box_xyxy)
    beyond = off - _tolerance(box_xyxy, SIDE_PX, SIDE_SHARE)
    worst = int(np.argmax(beyond))
    if beyond[worst] > 0:
        far = bool((off > _tolerance(box_xyxy, FAR_PX, FAR_SHARE)).any())
        yield Doubt(
            "point_off_box",
            f"the {ROLES[worst]} point {points_xy[worst].tolist()} is {off[worst]:.1f}"
            f" pixels off its side of the box {_rounded(box_xyxy)}",
            far,
        )


def points_off(
    points_xy: Float[np.ndarray, "4 2"], box_xyxy: Float[np.ndarray, "4"]
) -> Float[np.ndarray, "4"]:
    """How far each extreme point is off its side of a box, in pixels; roles in order."""
    return np.abs(points_xy[[0, 1, 2, 3], [1, 0, 1, 0]] - box_xyxy[[1, 0, 3, 2]])


def points_fit(points_xy: Float[np.ndarray, "4 2"], box_xyxy: Float[np.ndarray, "4"]) -> bool:
    """Whether four points without a name are the extreme points of what is in a box.

    Each lies at its own side. Four that lie at two sides each are the corners of a box or a plate,
    and say nothing about what is in it.
    """
    at_sides = _at_sides(points_xy, box_xyxy)
    return bool(at_sides.diagonal().all() and (at_sides.sum(axis=1) < 2).any())


def may_be_extreme(points_xy: Float[np.ndarray, "4 2"]) -> bool:
    """Whether four points in any order, without a box to tell, can be an object's extreme points.

    Each is the outermost on a side of its own, and they are not the corners of an upright box.
    """
    around = np.concatenate([points_xy.min(axis=0), points_xy.max(axis=0)])
    at_sides = _at_sides(points_xy, around)
    orders = itertools.permutations(range(4))
    one_each = any(at_sides[range(4), order].all() for order in orders)
    return one_each and bool((at_sides.sum(axis=1) < 2).any())


def within(points_xy: Float[np.ndarray, "n 2"], box_xyxy: Float[np.ndarray, "4"]) -> bool:
    """Whether points lie in a box, or beside it no further than a keypoint may."""
    beyond = np.maximum(box_xyxy[:2] - points_xy, points_xy - box_xyxy[2:])
    return bool((beyond <= KEYPOINT_PX).all())


def _at_sides(points_xy: Float[np.ndarray, "4 2"], box_xyxy: Float[np.ndarray, "4"]) -> Any:
    """Which of four points lie at which sides of a box: bool[point, side]."""
    tolerance = np.clip(_tolerance(box_xyxy, 0.0, KEYPOINT_SHARE), 1.0, KEYPOINT_PX)
    x, y = points_xy.T
    return np.abs(np.stack([y, x, y, x], axis=1) - box_xyxy[[1, 0, 3, 2]]) <= tolerance


def _tolerance(box_xyxy: Float[np.ndarray, "4"], px: float, share: float) -> Float[np.ndarray, "4"]:
    """For top, left, bottom and right: this many pixels, or a share of the box across that side."""
    width, height = box_xyxy[2:] - box_xyxy[:2]
    return np.maximum(px, share * np.array([height, width, height, width]))


def _rounded(box_xyxy: Float[np.ndarray, "4"]) -> list[float]:
    return [round(side, 2) for side in box_xyxy.tolist()]


def polygon_area(corners: Float[np.ndarray, "n 2"]) -> float:
    """The area of a polygon, by the shoelace formula."""
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
