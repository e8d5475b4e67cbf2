"""What one annotation says: its box, its extreme points, its area, whether it is a crowd."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from pycocotools import mask as coco_masks

from exits_jax.annotations.extreme import (
    complete_points,
    extreme_points,
    order_points,
    tight_box,
)
from exits_jax.annotations.geometry import ROLES, Geometry, points_fit
from exits_jax.annotations.masks import decode_segmentation, run_lengths
from exits_jax.annotations.numbers import finite_number, finite_numbers, shown
from exits_jax.annotations.outlines import is_rectangle, plain_outline, polygons_box
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.summary import counted

NO_BOX = [0, 0, 0, 0]
SOLID_PX = 4  # filled boxes narrower than that come about by chance
EDGE_TOLERANCE_PX = 1.0  # a click this far outside the image still means its edge


class Located(NamedTuple):
    """Where an annotation's object is.

    Attributes:
      box_xyxy: the box, clipped to the image.
      points_xy: extreme points top, left, bottom, right; None where only a box is known.
      points_source: "given", "mask" or "box".
      place: what the annotation says of its geometry, for `geometry.doubts`.
      lost: what it says and cannot be used, though the object can.
      solid: whether its run lengths fill their whole box, as those of a box do.
    """

    box_xyxy: Float[np.ndarray, "4"]
    points_xy: Float[np.ndarray, "4 2"] | None
    points_source: str
    place: Geometry
    lost: list[BadItem]
    solid: bool = False


def locate(annotation: dict[str, Any], width: int, height: int, rule: str) -> Located:
    """Box and extreme points of an annotation.

    A stated box wins over the points' bounding box. A mask is only drawn where no points are given.
    One that cannot be read, or is but the box written as a polygon, costs the mask and not the
    object: it is taken out of the annotation.

    Raises:
      UserError: there is nothing to go by, or it is malformed.
    """
    lost = [*_passed_over(annotation)]
    outline = _outline(annotation, lost)
    stated = box = stated_box(annotation, width, height)
    if is_rectangle(outline):
        if box is None:
            box = polygons_box(outline, width, height)
        lost.append(BadItem("box_as_mask", "the segmentation is a box: it is read as one"))
        outline = annotation["segmentation"] = None
    around = _mask_box(outline, width, height) if box is None else box
    points, mask_box, solid = given_points(annotation, around), None, False
    source = "given" if points is not None else "box"
    if points is not None:
        points = inside_image(points, width, height)
        box = points_box(points, width, height) if box is None else box
        mask_box = _mask_box(outline, width, height)
    elif outline is not None:
        mask = _drawn(annotation, outline, width, height, box, lost)
        if mask is not None:
            points, source, tight = extreme_points(mask, rule), "mask", tight_box(mask)
            box = tight if box is None else box
            solid = isinstance(outline, dict) and _fills(mask, tight)
            # By a polygon's corners: its thin ends cover no pixel, and are no mistake.
            mask_box = _mask_box(outline, width, height)
    if box is None:
        raise BadItem(
            "nothing_given", "found no extreme points, no pixel in a segmentation and no bbox"
        )
    if source != "given" and _is_four_keypoints(annotation.get("keypoints")):
        text = "its four keypoints are hidden or off its sides: no extreme points"
        lost.append(BadItem("keypoints_unused", text))
    bbox = None if stated is None else finite_numbers(annotation["bbox"])
    given = points if source == "given" else None
    place = Geometry(bbox, box, given, mask_box, (width, height))
    return Located(box, points, source, place, lost, solid)


def _passed_over(annotation: dict[str, Any]) -> Iterator[BadItem]:
    """What looks like a box, and is not read as one."""
    if annotation.get("bbox") == NO_BOX:
        yield BadItem("zero_box", "bbox [0, 0, 0, 0] is taken for an absent one")


def _outline(annotation: dict[str, Any], lost: list[BadItem]) -> Any:
    """The segmentation in COCO's own form, which is put in place of what stands there."""
    found = annotation.get("segmentation")
    outline = plain_outline(found)
    if found is not None:
        annotation["segmentation"] = outline.segmentation
    if outline.rewritten:
        lost.append(BadItem("other_form", f"the segmentation {shown(found)} is read as polygons"))
    if outline.without_area:
        lost.append(
            BadItem(
                "part_without_area",
                f"{counted(outline.without_area, 'part')} of the segmentation left out: fewer than"
                " three corners",
            )
        )
    return outline.segmentation


def _drawn(
    annotation: dict[str, Any],
    outline: Any,
    width: int,
    height: int,
    box_xyxy: Float[np.ndarray, "4"] | None,
    lost: list[BadItem],
) -> Bool[np.ndarray, "h w"] | None:
    """The mask; None where it has no pixel or, beside a box, cannot be read."""
    try:
        mask = decode_segmentation(outline, height, width)
    except BadItem as bad:
        if box_xyxy is None:
            raise
        lost.append(BadItem(bad.code, f"{bad.text}; the bbox is used instead"))
        annotation["segmentation"] = None
        return None
    return mask if mask.any() else None


def _mask_box(outline: Any, width: int, height: int) -> Float[np.ndarray, "4"] | None:
    """The box around a mask without drawing it; None without a mask, or one that is malformed."""
    if isinstance(outline, list):
        return polygons_box(outline, width, height)
    if not isinstance(outline, dict):
        return None
    try:
        runs = run_lengths(outline, height, width)
    except BadItem:
        return None
    x, y, wide, high = coco_masks.toBbox(runs).tolist()
    return np.array([x, y, x + wide, y + high]) if wide and high else None


def _fills(mask: Bool[np.ndarray, "h w"], box_xyxy: Float[np.ndarray, "4"]) -> bool:
    """Whether a mask is a filled box, of a size that does not come about by chance."""
    sides = box_xyxy[2:] - box_xyxy[:2]
    return bool(sides.min() >= SOLID_PX and mask.sum() == np.prod(sides))


def given_points(
    annotation: dict[str, Any], box_xyxy: Float[np.ndarray, "4"] | None = None
) -> Float[np.ndarray, "4 2"] | None:
    """The extreme points an annotation states, in the order top, left, bottom, right.

    Looks for `extreme_points` ([[x, y] x 4], flat [x, y, x, y, ...], {"top": [x, y], ...}), then
    for exactly four `keypoints` triplets (x, y, visibility). Other keypoints, like a person's 17,
    are not extreme points. None where neither is there. With a box one to three `extreme_points`
    are enough (`complete_points`); in the form with names the others are null or absent.

    Raises:
      UserError: they are not four finite points, or fewer without a box.
    """
    given = annotation.get("extreme_points")
    if given is None or given == []:
        return _four_keypoints(annotation.get("keypoints"), box_xyxy)
    values, roles = given, None
    if isinstance(given, dict):
        roles = [role for role in ROLES if given.get(role) is not None]
        values = [given[role] for role in roles] if given.keys() <= set(ROLES) else None
    if isinstance(values, list) and all(_has_length(value, 2) for value in values):
        values = [coordinate for pair in values for coordinate in pair]
    numbers = finite_numbers(values)
    if numbers is not None and numbers.size == 8:
        return order_points(numbers.reshape(4, 2))
    few = numbers is not None and numbers.size in (2, 4, 6)
    if few and box_xyxy is not None:
        named = None if roles is None else [ROLES.index(role) for role in roles]
        return complete_points(numbers.reshape(-1, 2), box_xyxy, named)
    expected = "a bbox beside them, or four points" if few else "four finite points [x, y]"
    raise BadItem("bad_points", f"extreme_points is {shown(given)}; expected {expected}")


def _has_length(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def inside_image(
    points_xy: Float[np.ndarray, "4 2"], width: int, height: int
) -> Float[np.ndarray, "4 2"]:
    """Points clipped to the image, where they are no more than a pixel outside it.

    Raises:
      UserError: a point is further out.
    """
    clipped = np.clip(points_xy, 0.0, (width, height))
    worst = int(np.argmax(np.abs(points_xy - clipped).max(axis=1)))
    if np.abs(points_xy - clipped).max() > EDGE_TOLERANCE_PX:
        raise BadItem(
            "point_outside_image",
            f"extreme point {points_xy[worst].tolist()} is outside the image of"
            f" {width} x {height} pixels",
        )
    return clipped


def stated_box(
    annotation: dict[str, Any], width: int, height: int
) -> Float[np.ndarray, "4"] | None:
    """The annotation's `bbox` [x, y, width, height] as xyxy clipped to the image; None without one.

    [0, 0, 0, 0] is what programs write that know none.

    Raises:
      UserError: it is no box, has no area or lies wholly outside the image.
    """
    stated = annotation.get("bbox")
    if stated is None or stated == [] or stated == NO_BOX:
        return None
    numbers = finite_numbers(stated)
    if numbers is None or numbers.size != 4:
        raise BadItem("bad_box", f"bbox is {shown(stated)}; expected [x, y, width, height]")
    if numbers[2:].min() <= 0:
        raise BadItem("empty_box", f"bbox {shown(stated)}: width and height must be positive")
    with np.errstate(over="ignore"):
        corners = np.concatenate([numbers[:2], numbers[:2] + numbers[2:]])
    box = np.clip(corners, 0.0, (width, height, width, height))
    if (box[2:] - box[:2]).min() <= 0:
        raise BadItem(
            "box_outside_image",
            f"bbox {shown(stated)} is outside the image of {width} x {height} pixels",
        )
    return box


def points_box(
    points_xy: Float[np.ndarray, "4 2"], width: int, height: int
) -> Float[np.ndarray, "4"]:
    """The bounding box of extreme points, widened to one pixel where they coincide."""
    low, high = points_xy.min(axis=0), points_xy.max(axis=0)
    lacking = np.maximum(1.0 - (high - low), 0.0)
    low, high = low - lacking / 2, high + lacking / 2
    # Widening at the image's edge: push back inside.
    shift = np.maximum(-low, 0.0) - np.maximum(high - (width, height), 0.0)
    return np.concatenate([low + shift, high + shift])


def stated_area(annotation: dict[str, Any], box_xyxy: Float[np.ndarray, "4"]) -> float:
    """The annotation's `area`, or its box's where it has none.

    Raises:
      UserError: the area is not a finite number from 0.
    """
    stated = annotation.get("area")
    if stated is None:
        return float(np.prod(box_xyxy[2:] - box_xyxy[:2]))
    area = finite_number(stated)
    if area is None or area < 0:
        raise BadItem("bad_area", f"area is {shown(stated)}; expected square pixels")
    return area


def is_marked(annotation: dict[str, Any]) -> bool:
    """Whether an annotation says `iscrowd` 1; False where what it says is malformed."""
    crowd = annotation.get("iscrowd")
    return type(crowd) in (int, bool) and crowd == 1


def is_crowd(annotation: dict[str, Any]) -> bool:
    """Whether an annotation is a region of many objects, which is passed through unlabelled.

    Raises:
      UserError: `iscrowd` is neither 0 nor 1.
    """
    crowd = annotation.get("iscrowd") or 0
    if type(crowd) not in (int, bool) or crowd not in (0, 1):
        raise BadItem("bad_crowd", f"iscrowd is {shown(crowd)}; expected 0 or 1")
    return bool(crowd)


def _four_keypoints(
    keypoints: Any, box_xyxy: Float[np.ndarray, "4"] | None
) -> Float[np.ndarray, "4 2"] | None:
    """Four keypoint triplets as extreme points; None for any other number of them.

    None also where a box says that they are something else, a number plate's corners or a pose: one
    is not labelled (visibility 0), or lies far off its side.

    Raises:
      UserError: they are not four labelled points, and there is no box to go by.
    """
    if not _is_four_keypoints(keypoints):
        return None
    if isinstance(keypoints[0], list):
        keypoints = [value for row in keypoints for value in row]
    triplets = finite_numbers(keypoints)
    if triplets is not None and triplets[2::3].min() > 0:
        points = order_points(triplets.reshape(4, 3)[:, :2])
        if box_xyxy is None or points_fit(points, box_xyxy):
            return points
    if box_xyxy is not None:
        return None
    raise BadItem(
        "bad_points", f"keypoints {shown(keypoints)}: four finite, labelled points expected"
    )


def _is_four_keypoints(keypoints: Any) -> bool:
    """Whether a value is four triplets, flat or not, that are not all zero."""
    if not isinstance(keypoints, list) or not keypoints:
        return False
    if all(_has_length(row, 3) for row in keypoints):
        keypoints = [value for row in keypoints for value in row]
    return len(keypoints) == 12 and any(keypoints)
