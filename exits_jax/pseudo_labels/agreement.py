"""How well masks fit what is known of their objects without ground truth, and which set is worse.

Not given in the paper. Extreme points, box sides and flags are known for every label
(`annotations.certificate`); here they become shares that can be averaged and compared. A filled box
would satisfy them all, so being more than the box counts, too.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_masks

from exits_jax.annotations.certificate import SIDES
from exits_jax.annotations.records import Instance
from exits_jax.annotations.regions import box_pixels
from exits_jax.export.quality import Label

SHARES = ("points", "sides", "clean", "shaped")  # what is known of a mask; not every one has points
NOT_THE_MASK = {"box_only", "item_error"}  # flags that say nothing of the mask
# Share of its box's pixels from which on a mask is no more than the box; 2.5 % of COCO val2017's
# own masks fill as much.
FULL = 0.9
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
      shaped: share of the masks that fill less than `FULL` of their box.
      fit: mean over instances of the mean of the four.
      score: mean of the labels' scores; not part of `fit`, because it is the masks' own opinion.
    """

    points: float | None
    sides: float
    clean: float
    shaped: float
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


def compare(
    instances: Sequence[Instance], generator: Sequence[Label], propagation: Sequence[Label]
) -> Comparison:
    """Compares two sets of masks of the same instances, at least one, in their order."""
    pairs = zip(generator, propagation, strict=True)
    overlap = [coco_masks.iou([one.rle], [other.rle], [0])[0, 0] for one, other in pairs]
    ours, theirs = agreement(instances, generator), agreement(instances, propagation)
    worse = ours.fit < theirs.fit - MARGIN
    return Comparison(len(instances), ours, theirs, float(np.mean(overlap)), worse)


def agreement(instances: Sequence[Instance], labels: Sequence[Label]) -> Agreement:
    """How well masks, at least one, fit their points, boxes and flags; in the instances' order."""
    rows = [_known(*pair) for pair in zip(instances, labels, strict=True)]
    columns = {name: [row[name] for row in rows if name in row] for name in SHARES}
    means = {name: float(np.mean(column)) if column else None for name, column in columns.items()}
    fit = float(np.mean([np.mean([*row.values()]) for row in rows]))
    return Agreement(**means, fit=fit, score=float(np.mean([label.score for label in labels])))


def _known(instance: Instance, label: Label) -> dict[str, float]:
    """The shares of one mask; a box in place of a mask (`empty_mask`) fits nothing."""
    names = SHARES if instance.points_xy is not None else SHARES[1:]
    if "empty_mask" in label.flags:
        return dict.fromkeys(names, 0.0)
    missed = {
        name: sum(f"{flag}_{side}" in label.flags for side in SIDES) / len(SIDES)
        for name, flag in (("points", "misses_point"), ("sides", "misses"))
    }
    x0, y0, x1, y1 = box_pixels(instance.box_xyxy, instance.image.height, instance.image.width)
    known = {name: 1 - share for name, share in missed.items()}
    known["clean"] = float(not set(label.flags) - NOT_THE_MASK)
    known["shaped"] = float(label.area < FULL * (x1 - x0) * (y1 - y0))
    return {name: known[name] for name in names}
