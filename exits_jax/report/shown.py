"""What the report shows: labels, their ground truth, and which of them there is room for."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from exits_jax.annotations import Instance, decode_segmentation
from exits_jax.data.source import Source
from exits_jax.evaluation.iou import GroundTruth
from exits_jax.export.quality import Label


@dataclasses.dataclass(frozen=True)
class Shown:
    """Instances with their labels, and ground truth and its IoU where there is one.

    Attributes:
      instances: those shown.
      source: where their images come from, files or records: `source[i]` is `instances[i]`.
      labels: by annotation id; one of every instance.
      truth: run lengths by annotation id.
      ious: by annotation id.
    """

    instances: Sequence[Instance]
    source: Source
    labels: Mapping[int, Label]
    truth: Mapping[int, dict[str, Any]]
    ious: Mapping[int, float]

    def quality(self, instance: Instance) -> float:
        """The IoU, or the score without ground truth: the worst are shown first."""
        return self.ious.get(instance.id, self.labels[instance.id].score)

    def mask(self, instance: Instance) -> Bool[np.ndarray, "h w"]:
        """The label's mask, of the size of the instance's image."""
        return _pixels(self.labels[instance.id].rle, instance)

    def true_mask(self, instance: Instance) -> Bool[np.ndarray, "h w"] | None:
        """The mask of the ground truth; None where there is none."""
        rle = self.truth.get(instance.id)
        return None if rle is None else _pixels(rle, instance)

    def take(self, positions: Sequence[int] | Int[np.ndarray, " k"]) -> "Shown":
        """The instances at `positions`, in that order."""
        chosen = [self.instances[i] for i in positions]
        return dataclasses.replace(self, instances=chosen, source=self.source.take(positions))


def shown(
    instances: Sequence[Instance],
    source: Source,
    labels: Mapping[int, Label],
    truth: GroundTruth | None = None,
    ious: Float[np.ndarray, " n"] | None = None,
) -> Shown:
    """What `write_gallery` takes; the IoUs are in the order of the ground truth's instances."""
    known = truth.instances if truth else []
    ids = [instance.id for instance in known]
    rles = dict(zip(ids, truth.rles, strict=True)) if truth else {}
    measured = dict(zip(ids, ious.tolist(), strict=True)) if truth else {}
    return Shown(instances, source, labels, rles, measured)


def chosen(what: Shown, count: int) -> Shown:
    """At most `count` instances: half of them the worst, half evenly chosen from the others.

    They stay in their order, which keeps those of an image together.
    """
    total = len(what.instances)
    if total <= count:
        return what
    order = _worst_first(what)
    half = -(-count // 2)
    others = np.sort(order[half:])
    spread = others[np.linspace(0, len(others) - 1, count - half).round().astype(int)]
    return what.take(np.sort(np.concatenate([order[:half], spread])))


def worst(what: Shown, count: int) -> Shown:
    """The `count` worst instances, in their order."""
    return what.take(np.sort(_worst_first(what)[:count]))


def worst_images(what: Shown, count: int) -> list[int]:
    """The ids of the `count` images whose instances are worst on average, worst first."""
    qualities: dict[int, list[float]] = {}
    for instance in what.instances:
        qualities.setdefault(instance.image.id, []).append(what.quality(instance))
    means = {image_id: float(np.mean(values)) for image_id, values in qualities.items()}
    return sorted(means, key=means.__getitem__)[:count]


def _worst_first(what: Shown) -> Int[np.ndarray, " n"]:
    """Positions of the instances."""
    return np.argsort([what.quality(i) for i in what.instances], kind="stable")


def _pixels(rle: dict[str, Any], instance: Instance) -> Bool[np.ndarray, "h w"]:
    return decode_segmentation(rle, instance.image.height, instance.image.width)
