"""Masks of one category in one image compete where their boxes overlap (limitation H of the paper).

Not given in the paper. Supplement, H: with several objects of a class in one box the propagation
cannot tell them apart, because their features are alike. Their maps can: a pixel that the map of a
neighbour claims more strongly is the neighbour's. Only a neighbour with a smaller box may take
pixels: a large box has the smaller object's pixels wholly in it, and claims them by mistake.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from exits_jax.annotations import Instance
from exits_jax.retrieval import resample_score

# Chosen on train2017; margins from 0 to 0.5 come to within 0.001 mean IoU.
MARGIN = 0.25  # logits by which the neighbour's claim has to be the stronger
LOST = -9.0  # logits of a pixel that went to a neighbour


class Crop(NamedTuple):
    """One instance's map and where it lies."""

    instance: Instance
    logits: Float[np.ndarray, "m m"]
    window_xyxy: Float[np.ndarray, "4"]  # image coordinates


def compete(crops: Sequence[Crop]) -> list[Float[np.ndarray, "m m"]]:
    """The logits of an image's instances after pixels went to class-mates that claim them more.

    All claims are compared as they were at the start, so the order of the instances does not
    matter.

    Args:
      crops: the instances of one image.
    """
    rivals = [[other for other in crops if _may_take(other, crop)] for crop in crops]
    return [_without_lost(*pair) for pair in zip(crops, rivals, strict=True)]


def _may_take(rival: Crop, crop: Crop) -> bool:
    """Whether `rival` may take pixels from `crop`."""
    mine, its = crop.instance, rival.instance
    if mine.id == its.id or mine.category_id != its.category_id:
        return False
    low = np.maximum(mine.box_xyxy[:2], its.box_xyxy[:2])
    high = np.minimum(mine.box_xyxy[2:], its.box_xyxy[2:])
    return bool((high > low).all()) and its.box_area < mine.box_area


def _without_lost(crop: Crop, rivals: Sequence[Crop]) -> Float[np.ndarray, "m m"]:
    """The crop's logits, low where a rival's are higher."""
    logits = crop.logits
    side = len(logits)
    for rival in rivals:
        claim = resample_score(
            rival.logits[None],
            rival.window_xyxy[None],
            crop.window_xyxy[None],
            np.zeros(1),
            grid=side,
        )
        claim = np.asarray(claim)[0]
        lost = (claim > 0) & (claim > crop.logits + MARGIN)
        lost &= cells_in_box(rival.instance.box_xyxy, crop.window_xyxy, side)
        logits = np.where(lost, np.float32(LOST), logits)
    return logits


def cells_in_box(
    box_xyxy: Float[np.ndarray, "4"], window_xyxy: Float[np.ndarray, "4"], side: int
) -> Bool[np.ndarray, "m m"]:
    """Cells of a window whose centres lie in a box of the image."""
    place = (np.arange(side) + 0.5) / side
    x, y = (window_xyxy[k] + place * (window_xyxy[k + 2] - window_xyxy[k]) for k in (0, 1))
    columns = (x >= box_xyxy[0]) & (x <= box_xyxy[2])
    rows = (y >= box_xyxy[1]) & (y <= box_xyxy[3])
    return rows[:, None] & columns[None, :]
