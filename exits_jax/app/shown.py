"""What the report shows: labels, their ground truth, and which of them there is room for."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from exits_jax.annotations import Instance, decode_segmentation
from exits_jax.app.run import DataSet
from exits_jax.evaluation.iou import GroundTruth
from exits_jax.export.quality import Label


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the gallery shows: labels, and ground truth and its IoU where there is one."""

    data: DataSet  # pictures come from its source, files or records
    labels: Mapping[int, Label]  # by annotation id; one of every instance of `data`
    truth: Mapping[int, dict[str, Any]]  # run lengths by annotation id
    ious: Mapping[int, float]

    def quality(self, instance: Instance) -> float:
        """The IoU, or the score where no ground truth is known: the worst are shown first."""
        return self.ious.get(instance.id, self.labels[instance.id].score)


def shown(
    data: DataSet,
    labels: Mapping[int, Label],
    truth: GroundTruth | None,
    ious: Float[np.ndarray, " n"] | None,
) -> Shown:
    """Ground truth by annotation id, for `write_gallery`."""
    instances = truth.instances if truth else []
    ids = [instance.id for instance in instances]
    rles = dict(zip(ids, truth.rles, strict=True)) if truth else {}
    measured = dict(zip(ids, ious.tolist(), strict=True)) if truth else {}
    return Shown(data, labels, rles, measured)


def chosen(what: Shown, count: int) -> DataSet:
    """At most `count` instances: half of them the worst, half an even choice of the others.

    They stay in their order, which keeps those of an image together.
    """
    total = len(what.data.instances)
    if total <= count:
        return what.data
    order = np.argsort([what.quality(i) for i in what.data.instances], kind="stable")
    half = -(-count // 2)
    others = np.sort(order[half:])
    spread = others[np.linspace(0, len(others) - 1, count - half).round().astype(int)]
    return what.data.take(np.sort(np.concatenate([order[:half], spread])))


def worst(what: Shown, data: DataSet, count: int) -> DataSet:
    """The `count` worst instances of `data`, in their order."""
    order = np.argsort([what.quality(i) for i in data.instances], kind="stable")
    return data.take(np.sort(order[:count]))


def worst_images(what: Shown, data: DataSet, count: int) -> list[int]:
    """The ids of the `count` images whose instances are worst on average, worst first."""
    qualities: dict[int, list[float]] = {}
    for instance in data.instances:
        qualities.setdefault(instance.image.id, []).append(what.quality(instance))
    means = {image_id: float(np.mean(values)) for image_id, values in qualities.items()}
    return sorted(means, key=means.__getitem__)[:count]


def pixels(rle: dict[str, Any], instance: Instance) -> Bool[np.ndarray, "h w"]:
    """A mask of an instance's image."""
    return decode_segmentation(rle, instance.image.height, instance.image.width)
