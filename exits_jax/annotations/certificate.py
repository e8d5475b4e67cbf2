"""What can be said about a mask without ground truth: does it fit its box and its points?"""

import math

import numpy as np
from jaxtyping import Bool, Float

from exits_jax.annotations.extreme import tight_box
from exits_jax.annotations.masks import parts_and_holes
from exits_jax.annotations.regions import Region, box_pixels

SIDES = ("top", "left", "bottom", "right")  # the order of extreme points

# Tolerances, ours (not given in the paper). With them fewer than one in a hundred of COCO's own
# masks is flagged against COCO's own boxes and the extreme points of the masks.
TOLERANCE_PX = 2.0  # how far a mask may stay from a side of its box or from an extreme point ...
TOLERANCE_SHARE = 0.05  # ... or this share of the box's side, whichever is more
OUTSIDE_PX = 1  # how far a mask may reach over its box
PART_SHARE = 0.02  # of the mask: a smaller component is a speck and is not counted


def fit_flags(
    mask: Bool[np.ndarray, "h w"],
    region: Region,
    box_xyxy: Float[np.ndarray, "4"],
    points_xy: Float[np.ndarray, "4 2"] | None,
    size_hw: tuple[int, int],
) -> list[str]:
    """`outside_box`, `misses_<side>`, `misses_point_<side>`: where a mask does not fit.

    Args:
      mask: on the region, at least one pixel.
      region: (x0, y0, x1, y1), the part of the image that the mask shows.
      box_xyxy: the box, image coordinates.
      points_xy: extreme points top, left, bottom, right, or None.
      size_hw: the image's.

    Raises:
      ValueError: the mask has no pixel.
    """
    if not mask.any():
        raise ValueError("the mask has no pixel")
    # Whole pixels: what is written as `bbox` where the input had none.
    box = np.array(box_pixels(box_xyxy, *size_hw), np.float64)
    tolerance_xy = np.maximum(TOLERANCE_PX, TOLERANCE_SHARE * (box[2:] - box[:2]))
    flags = _box_flags(mask, region, box, tolerance_xy)
    if points_xy is None:
        return flags
    return flags + _point_flags(mask, points_xy - np.array(region[:2]), tolerance_xy)


def shape_flags(mask: Bool[np.ndarray, "h w"]) -> list[str]:
    """The flags `parts:N` and `holes:N` of a mask."""
    x0, y0, x1, y1 = tight_box(mask).astype(int)
    areas, holes = parts_and_holes(mask[y0:y1, x0:x1])
    parts = sum(area >= PART_SHARE * sum(areas) for area in areas)
    flags = [f"parts:{parts}"] if parts > 1 else []
    return [*flags, f"holes:{holes}"] if holes else flags


def _box_flags(
    mask: Bool[np.ndarray, "h w"],
    region: Region,
    box_xyxy: Float[np.ndarray, "4"],
    tolerance_xy: Float[np.ndarray, "2"],
) -> list[str]:
    """Whether the mask fills its box to all four sides, and no more than it."""
    x0, y0, x1, y1 = tight_box(mask) + np.tile(region[:2], 2)
    left, top, right, bottom = box_xyxy
    short = np.array([y0 - top, x0 - left, bottom - y1, right - x1])
    flags = ["outside_box"] if -short.min() > OUTSIDE_PX else []
    missed = short > np.tile(tolerance_xy[::-1], 2)
    return flags + [f"misses_{side}" for side, far in zip(SIDES, missed, strict=True) if far]


def _point_flags(
    mask: Bool[np.ndarray, "h w"],
    points_xy: Float[np.ndarray, "4 2"],
    tolerance_xy: Float[np.ndarray, "2"],
) -> list[str]:
    """Which extreme points, in the mask's coordinates, have no pixel of it near them."""
    reach_x, reach_y = tolerance_xy
    flags = []
    for side, (x, y) in zip(SIDES, points_xy, strict=True):
        rows = slice(max(math.floor(y - reach_y), 0), max(math.floor(y + reach_y) + 1, 0))
        columns = slice(max(math.floor(x - reach_x), 0), max(math.floor(x + reach_x) + 1, 0))
        if not mask[rows, columns].any():
            flags.append(f"misses_point_{side}")
    return flags
