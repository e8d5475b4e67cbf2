"""The fields of one annotation: its box, its extreme points, its area, whether it is a crowd."""

from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.extreme import complete_points, order_points
from exits_jax.annotations.geometry import ROLES, may_be_extreme, points_fit
from exits_jax.annotations.numbers import finite_number, finite_numbers, shown
from exits_jax.annotations.records import BadItem

NO_BOX = [0, 0, 0, 0]
EDGE_TOLERANCE_PX = 1.0  # a click this far outside the image still means its edge


def given_points(
    annotation: dict[str, Any], box_xyxy: Float[np.ndarray, "4"] | None = None
) -> Float[np.ndarray, "4 2"] | None:
    """The extreme points an annotation states, in the order top, left, bottom, right.

    Looks for `extreme_points` ([[x, y] x 4], flat [x, y, x, y, ...], {"top": [x, y], ...}), then
    for exactly four `keypoints`, triplets (x, y, visibility) or pairs. Other
    keypoints, like a person's 17, are not extreme points. None if there are neither. With a box one
    to three `extreme_points` are enough (`complete_points`); in the form with names the others are
    null or missing.

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

    [0, 0, 0, 0] counts as none: programs write it for an unknown box.

    Raises:
      UserError: it is not a box, has no area or lies wholly outside the image.
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
    """The annotation's `area`, or its box's if it has none.

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
    """Whether an annotation says `iscrowd` 1; False if that is malformed."""
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
    """Four keypoints as extreme points: triplets, or beside a box also pairs; None for any others.

    None also where they are something else, a number plate's corners or a pose: one is not labelled
    (visibility 0), lies off its side of the box or, without a box, is not the outermost on a side.

    Raises:
      UserError: they are not four labelled points, and there is no box to go by.
    """
    numbers = _keypoint_numbers(keypoints)
    triplets = len(numbers) == 12
    if not any(numbers) or not (triplets or (len(numbers) == 8 and box_xyxy is not None)):
        return None
    found = finite_numbers(numbers)
    if found is not None and (not triplets or found[2::3].min() > 0):
        given = found.reshape(4, -1)[:, :2]
        points = order_points(given)
        fit = may_be_extreme(given) if box_xyxy is None else points_fit(points, box_xyxy)
        return points if fit else None
    if box_xyxy is not None:
        return None
    raise BadItem(
        "bad_points", f"keypoints {shown(keypoints)}: four finite, labelled points expected"
    )


def has_keypoints(annotation: dict[str, Any]) -> bool:
    """Whether an annotation has keypoints that are not all zero, as absent ones are written."""
    return any(_keypoint_numbers(annotation.get("keypoints")))


def _keypoint_numbers(keypoints: Any) -> list[Any]:
    """Keypoints as one row of numbers, pairs and triplets alike; empty where there are none."""
    if not isinstance(keypoints, list):
        return []
    rows = keypoints and all(_has_length(row, 2) or _has_length(row, 3) for row in keypoints)
    return [value for row in keypoints for value in row] if rows else keypoints
