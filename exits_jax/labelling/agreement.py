"""How well masks fit what is known of their objects without a mask, and which of two sets is worse.

Not given in the paper. Extreme points, box sides and flags are known of every label
(`annotations.certificate`); here they become shares that can be averaged and compared.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_masks

from exits_jax.annotations.certificate import SIDES
from exits_jax.labelling.quality import Label

NOT_THE_MASK = {"box_only", "item_error"}  # flags that say nothing of the mask
# By how much the mean fit of masks may lie below that of others before they count as worse: see
# experiments/results/little_data.md.
MARGIN = 0.03


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Means over masks, each between 0 and 1.

    Attributes:
      points: share of the extreme points that the mask comes near; None: no instance has any.
      sides: share of the box's sides that it reaches.
      clean: share of the masks without a flag.
      fit: mean over instances of the mean of the three.
      score: mean of the labels' scores; no part of `fit`: it is what the masks say of themselves.
    """

    points: float | None
    sides: float
    clean: float
    fit: float
    score: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Masks of a generator beside those of propagation, of the same instances.

    Attributes:
      instances: how many.
      generator, propagation: how well each fits.
      overlap: mean IoU of an instance's two masks.
      worse: the generator's masks fit worse, by more than `MARGIN`.
    """

    instances: int
    generator: Agreement
    propagation: Agreement
    overlap: float
    worse: bool


def compare(generator: Sequence[Label], propagation: Sequence[Label]) -> Comparison:
    """Compares masks in the same order of instances, at least one."""
    pairs = [*zip(generator, propagation, strict=True)]
    overlap = [coco_masks.iou([one.rle], [other.rle], [0])[0, 0] for one, other in pairs]
    ours, theirs = agreement(generator), agreement(propagation)
    worse = ours.fit < theirs.fit - MARGIN
    return Comparison(len(pairs), ours, theirs, float(np.mean(overlap)), worse)


def agreement(labels: Sequence[Label]) -> Agreement:
    """How well masks, at least one, fit their points, boxes and flags."""
    rows = [_known(label) for label in labels]
    points = [row["points"] for row in rows if "points" in row]
    return Agreement(
        points=float(np.mean(points)) if points else None,
        sides=float(np.mean([row["sides"] for row in rows])),
        clean=float(np.mean([row["clean"] for row in rows])),
        fit=float(np.mean([np.mean([*row.values()]) for row in rows])),
        score=float(np.mean([label.score for label in labels])),
    )


def _known(label: Label) -> dict[str, float]:
    """The shares of one mask; a box for want of a mask (`empty_mask`) fits nothing."""
    found = "empty_mask" not in label.flags
    missed = (
        sum(f"{kind}_{side}" in label.flags for side in SIDES)
        for kind in ("misses", "misses_point")
    )
    sides, points = (found * (1 - count / len(SIDES)) for count in missed)
    row = {"sides": sides, "clean": float(not set(label.flags) - NOT_THE_MASK)}
    return row if "box_only" in label.flags else row | {"points": points}
