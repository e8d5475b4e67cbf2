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
from exits_jax.annotations.geometry import same_object
from exits_jax.retrieval.resample import resample_score

# Chosen on train2017; margins from 0 to 0.5 come to within 0.001 mean IoU.
MARGIN = 0.25  # logits by which the neighbour's claim has to be stronger
LOST = -9.0  # logits of a pixel that went to a neighbour


class Crop(NamedTuple):
    """One instance's map and where it lies."""

    instance: Instance
    logits: Float[np.ndarray, "m m"]
    window_xyxy: Float[np.ndarray, "4"]  # image coordinates


def compete(crops: Sequence[Crop]) -> list[Float[np.ndarray, "m m"]]:
    """The logits of an image's instances after others of their category took pixels.

    All claims are compared as they were at the start, so the order of the instances does not
    matter.

    Args:
      crops: the instances of one image.
    """
    return [_without_lost(crop, rivals(crop, crops)) for crop in crops]


def rivals(crop: Crop, crops: Sequence[Crop]) -> list[Crop]:
    """Those that may take pixels from `crop`: its category, an overlapping and smaller box.

    Not a duplicate annotation of the same object: each copy keeps all of it.
    """
    mine = crop.instance
    return [
        other
        for other in crops
        if other.instance.category_id == mine.category_id
        and other.instance.box_area < mine.box_area
        and _overlap(other.instance.box_xyxy, mine.box_xyxy)
        and not same_object(other.instance, mine)
    ]


def claim(rival: Crop, crop: Crop) -> Float[np.ndarray, "m m"]:
    """The rival's logits on the cells of `crop`, minus infinity outside the rival's box."""
    side = len(crop.logits)
    windows = rival.window_xyxy[None], crop.window_xyxy[None]
    logits = np.asarray(resample_score(rival.logits[None], *windows, np.zeros(1), grid=side))[0]
    return np.where(cells_in_box(rival.instance.box_xyxy, crop.window_xyxy, side), logits, -np.inf)


def cells_in_box(
    box_xyxy: Float[np.ndarray, "4"], window_xyxy: Float[np.ndarray, "4"], side: int
) -> Bool[np.ndarray, "m m"]:
    """Cells of a window whose centres lie in a box of the image."""
    place = (np.arange(side) + 0.5) / side
    x, y = (window_xyxy[k] + place * (window_xyxy[k + 2] - window_xyxy[k]) for k in (0, 1))
    columns = (x >= box_xyxy[0]) & (x <= box_xyxy[2])
    rows = (y >= box_xyxy[1]) & (y <= box_xyxy[3])
    return rows[:, None] & columns[None, :]


def _without_lost(crop: Crop, against: Sequence[Crop]) -> Float[np.ndarray, "m m"]:
    """The crop's logits, low where a rival's are higher."""
    logits = crop.logits
    for rival in against:
        claimed = claim(rival, crop)
        lost = (claimed > 0) & (claimed > crop.logits + MARGIN)
        logits = np.where(lost, np.float32(LOST), logits)
    return logits


def _overlap(first_xyxy: Float[np.ndarray, "4"], second_xyxy: Float[np.ndarray, "4"]) -> bool:
    low = np.maximum(first_xyxy[:2], second_xyxy[:2])
    return bool((np.minimum(first_xyxy[2:], second_xyxy[2:]) > low).all())
