"""A finished label, and the flags that say what can be told about it without a ground truth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from exits_jax.annotations.extreme import tight_box
from exits_jax.annotations.masks import parts_and_holes
from exits_jax.annotations.records import Instance
from exits_jax.evaluation.boxes import Region, box_pixels, encode_in_image, filled_box

SIDES = ("top", "left", "bottom", "right")  # the order of extreme points

# Tolerances, ours (not given in the paper). With them fewer than one in a hundred of COCO's own
# masks is flagged against COCO's own boxes and the extreme points of the masks.
TOLERANCE_PX = 2.0  # how far a mask may stay from a side of its box or from an extreme point ...
TOLERANCE_SHARE = 0.05  # ... or this share of the box's side, whichever is more
OUTSIDE_PX = 1  # how far a mask may reach over its box
PART_SHARE = 0.02  # of the mask: a smaller part is a speck and is not counted


@dataclass(frozen=True)
class Label:
    """The mask made for one annotation.

    Attributes:
      annotation_id: whose mask it is.
      rle: {"size": [h, w], "counts": str}, compressed, of the whole image, never empty.
      area: pixels of the mask.
      score: 0..1, four decimals: the mean probability inside the mask, or the IoU predicted of it
        (`predicted_iou`).
      flags: any of, in this order: what the caller knew (`item_error`: the mask could not be made
        and is the box; `repaired_<what>`: the annotation was mended); `box_only`: no extreme
        points; `empty_mask`: nothing was found and the mask is the box; `outside_box`: it reaches
        over its box by more than a pixel; `misses_<side>`: it stays away from that side of the
        box, `misses_point_<side>`: from that extreme point, by more than 2 pixels and 5 % of the
        box's width or height; `parts:N`: N > 1 8-connected parts of at least 2 % of the mask;
        `holes:N`: N > 0 4-connected holes.
    """

    annotation_id: int
    rle: dict[str, Any]
    area: int
    score: float
    flags: list[str]


def make_label(
    instance: Instance,
    mask: Bool[np.ndarray, "h w"],
    probability: Float[np.ndarray, "h w"],
    region: Region,
    *,
    empty: bool = False,
    known: Sequence[str] = (),
    score: float | None = None,
) -> Label:
    """Judges a mask and writes it as run lengths.

    Args:
      instance: the annotation.
      mask: on the region, at least one pixel (see `paste.binary_mask`).
      probability: of the object, 0..1, on the region.
      region: (x0, y0, x1, y1), the part of the image that the arrays show.
      empty: nothing was found; the mask is the box.
      known: flags that the caller adds.
      score: of the label; None: the mean probability inside the mask.

    Raises:
      ValueError: the mask has no pixel, or a value in it is not a probability.
    """
    height, width = instance.image.height, instance.image.width
    flags = [*known]
    if instance.points_xy is None:
        flags.append("box_only")
    if empty:
        flags.append("empty_mask")
    flags += _box_flags(mask, region, instance) + _point_flags(mask, region, instance)
    return Label(
        annotation_id=instance.id,
        rle=encode_in_image(mask, region, height, width),
        area=int(mask.sum()),
        score=_mean_inside(probability, mask) if score is None else round(score, 4),
        flags=flags + _shape_flags(mask),
    )


def box_label(instance: Instance, known: Sequence[str] = ("item_error",)) -> Label:
    """The box as the mask of an instance that could not be labelled (unreadable image), score 0.

    Args:
      instance: the annotation.
      known: the flags that say why.
    """
    height, width = instance.image.height, instance.image.width
    x0, y0, x1, y1 = box_pixels(instance.box_xyxy, height, width)
    flags = [*known] if instance.points_xy is not None else [*known, "box_only"]
    rle = filled_box(instance.box_xyxy, height, width)
    return Label(instance.id, rle, (x1 - x0) * (y1 - y0), 0.0, flags)


def _mean_inside(probability: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """The mean probability inside the mask, four decimals; summed in float64."""
    values = probability[mask].astype(np.float64)
    if not (values.size and values.min() >= -1e-6 and values.max() <= 1 + 1e-6):
        raise ValueError("a label needs at least one pixel and probabilities between 0 and 1")
    return round(min(max(float(values.mean()), 0.0), 1.0), 4)


def _tolerance_xy(instance: Instance) -> Float[np.ndarray, "2"]:
    """How far a mask may stay away from where it should reach, in x and in y, pixels."""
    sides = instance.box_xyxy[2:] - instance.box_xyxy[:2]
    return np.maximum(TOLERANCE_PX, TOLERANCE_SHARE * sides)


def _box_flags(mask: Bool[np.ndarray, "h w"], region: Region, instance: Instance) -> list[str]:
    """Whether the mask fills its box to all four sides, and no more than it."""
    if not mask.any():
        raise ValueError(f"the mask of annotation {instance.id} has no pixel")
    x0, y0, x1, y1 = tight_box(mask) + np.tile(region[:2], 2)
    left, top, right, bottom = box_pixels(
        instance.box_xyxy, instance.image.height, instance.image.width
    )
    over = max(left - x0, top - y0, x1 - right, y1 - bottom)
    short_x, short_y = _tolerance_xy(instance)
    shortfalls = (
        y0 - instance.box_xyxy[1] > short_y,
        x0 - instance.box_xyxy[0] > short_x,
        instance.box_xyxy[3] - y1 > short_y,
        instance.box_xyxy[2] - x1 > short_x,
    )
    flags = ["outside_box"] if over > OUTSIDE_PX else []
    return flags + [
        f"misses_{side}" for side, short in zip(SIDES, shortfalls, strict=True) if short
    ]


def _point_flags(mask: Bool[np.ndarray, "h w"], region: Region, instance: Instance) -> list[str]:
    """Which extreme points have no pixel of the mask near them."""
    if instance.points_xy is None:
        return []
    reach_x, reach_y = _tolerance_xy(instance)
    flags = []
    for side, (x, y) in zip(SIDES, instance.points_xy - np.array(region[:2]), strict=True):
        rows = slice(max(math.floor(y - reach_y), 0), max(math.floor(y + reach_y) + 1, 0))
        columns = slice(max(math.floor(x - reach_x), 0), max(math.floor(x + reach_x) + 1, 0))
        if not mask[rows, columns].any():
            flags.append(f"misses_point_{side}")
    return flags


def _shape_flags(mask: Bool[np.ndarray, "h w"]) -> list[str]:
    """Parts and holes of the mask."""
    x0, y0, x1, y1 = tight_box(mask).astype(int)
    areas, holes = parts_and_holes(mask[y0:y1, x0:x1])
    parts = sum(area >= PART_SHARE * sum(areas) for area in areas)
    flags = [f"parts:{parts}"] if parts > 1 else []
    return [*flags, f"holes:{holes}"] if holes else flags
