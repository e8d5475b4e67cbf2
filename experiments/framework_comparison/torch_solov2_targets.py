"""Targets and loss of SOLOv2, by plain loops over images, levels, instances and cells."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from exits_jax.segmentation.settings import SegmentationSettings
from experiments.framework_comparison.torch_solov2 import Outputs

REACH = 1  # cells round the centre's own that an instance may claim
DICE_EPS = 2e-3
GAMMA, ALPHA = 2.0, 0.25  # of the focal loss

# An image's instances: "masks" uint8 [n,H/4,W/4], "classes" [n], "centre_xy" [n,2] and "size_wh"
# [n,2] in continuous pixels of the canvas, "area" [n]; area 0: there is none.
Instances = Mapping[str, np.ndarray]
Cell = tuple[int, int]


class LevelTargets(NamedTuple):
    """What a level of one image shall say.

    Attributes:
      classes: of each cell, int64 [S,S]; -1: no object's.
      pairs: (row, column, instance) of every mask that is trained, in the order of the cells.
    """

    classes: np.ndarray
    pairs: list[tuple[int, int, int]]


class Terms(NamedTuple):
    """The sums over a batch of which the loss is made.

    Attributes:
      dice: over the pairs of a cell and an instance.
      focal: over all cells and classes.
      pairs: how many; more than `cells` only where a cell trains two masks.
      cells: cells with an object.
    """

    dice: Tensor
    focal: Tensor
    pairs: int
    cells: int

    def loss(self, settings: SegmentationSettings) -> Tensor:
        """The weighted sum, each term by its count in the whole batch."""
        dice = settings.dice * self.dice / max(self.pairs, 1)
        return dice + settings.focal * self.focal / (self.cells + 1)


def image_targets(
    instances: Instances, canvas: tuple[int, int], settings: SegmentationSettings
) -> list[LevelTargets]:
    """The targets of every level, on a canvas of (rows, columns) pixels."""
    return [
        level_targets(instances, canvas, grid, span, settings)
        for grid, span in zip(settings.grids, settings.ranges, strict=False)
    ]


def level_targets(
    instances: Instances,
    canvas: tuple[int, int],
    grid: int,
    span: tuple[float, float],
    settings: SegmentationSettings,
) -> LevelTargets:
    """One level, of grid x grid cells, whose objects have sqrt(w h) in `span`, ends included."""
    claims: dict[Cell, list[int]] = {}
    for number, (width, height) in enumerate(instances["size_wh"].tolist()):
        fits = span[0] <= math.sqrt(width * height) <= span[1]
        if instances["area"][number] > 0 and fits:
            centre = instances["centre_xy"][number].tolist()
            for cell in claimed(centre, (width, height), canvas, grid, settings.centre):
                claims.setdefault(cell, []).append(number)
    classes, pairs = np.full((grid, grid), -1, np.int64), []
    for cell in sorted(claims):
        owners = claims[cell]
        if settings.owners == "smaller":
            owners = [min(owners, key=lambda number: instances["area"][number])]
        classes[cell] = instances["classes"][owners[-1]]
        pairs += [(*cell, number) for number in owners]
    return LevelTargets(classes, pairs)


def claimed(
    centre_xy: Sequence[float],
    size_wh: Sequence[float],
    canvas: tuple[int, int],
    grid: int,
    share: float,
) -> list[Cell]:
    """The cells that meet the middle `share` of an object, at most one from its centre's cell."""
    spans = []
    for centre, size, pixels in zip(reversed(centre_xy), reversed(size_wh), canvas, strict=True):
        index = centre - 0.5  # the centre of mass counts from the first pixel's centre
        own, first, last = (
            math.floor((index + offset) / pixels * grid)
            for offset in (0.0, -share * size / 2, share * size / 2)
        )
        first, last = max(first, own - REACH, 0), min(last, own + REACH, grid - 1)
        spans.append(range(first, last + 1))
    rows, columns = spans
    return [(row, column) for row in rows for column in columns]


def loss_terms(
    outputs: Outputs, targets: Sequence[Sequence[LevelTargets]], batch: Sequence[Instances]
) -> Terms:
    """The loss of a batch.

    Args:
      outputs: of the network.
      targets: by image, then by level.
      batch: by image, of which the masks are read.
    """
    dice, focal = outputs.features.new_zeros(()), outputs.features.new_zeros(())
    pairs = cells = 0
    for image, levels in enumerate(targets):
        masks = torch.from_numpy(batch[image]["masks"]).to(outputs.features)
        for level, (classes, wanted) in enumerate(levels):
            focal = focal + focal_loss(outputs.logits[level][image], torch.from_numpy(classes))
            cells += int((classes >= 0).sum())
            pairs += len(wanted)
            if wanted:
                rows, columns, owners = (list(column) for column in zip(*wanted, strict=True))
                kernels = outputs.kernels[level][image][:, rows, columns].T
                dice = dice + dice_loss(kernels, outputs.features[image], masks[owners])
    return Terms(dice, focal, pairs, cells)


def dice_loss(kernels: Tensor, features: Tensor, masks: Tensor) -> Tensor:
    """1 - 2 <p, t> / (|p|^2 + |t|^2 + eps), summed over kernels [k,E] and masks [k,h,w]."""
    probability, target = (kernels @ features.flatten(1)).sigmoid(), masks.flatten(1)
    overlap = (probability * target).sum(dim=1)
    size = probability.square().sum(dim=1) + target.square().sum(dim=1)
    return (1 - 2 * overlap / (size + DICE_EPS)).sum()


def focal_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Sigmoid focal loss (Lin et al., 2017) of logits [C,S,S], summed; classes [S,S], -1: none."""
    numbers = torch.arange(len(logits), device=logits.device)[:, None, None]
    target = (classes.to(logits.device) == numbers).to(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    missed = torch.where(target > 0, 1 - probability, probability)
    weight = torch.where(target > 0, ALPHA, 1 - ALPHA)
    return (weight * missed**GAMMA * cross_entropy).sum()
