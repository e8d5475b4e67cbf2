"""The figures of `evaluation.json`, means by group, and differences with their uncertainty."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from exits_jax.evaluation.coco_ap import AveragePrecision, box_conditioned_ap
from exits_jax.evaluation.iou import GroundTruth, ScoredMask, filled_box_labels, label_ious

SMALL, MEDIUM = 32.0**2, 96.0**2  # COCO's bounds, square pixels of the annotation's area
DECIMALS = 6
BOOTSTRAP_CHUNK = 256  # resamplings held in memory at a time

METRICS = (
    "n", "miou", "miou_small", "miou_medium", "miou_large", "miou_area_1024", "n_area_1024",
    "miou_separated", "n_separated", "miou_same_class", "n_same_class", "share_iou_75",
    "ap", "ap50", "ap75",
)  # fmt: skip


class GroupMean(NamedTuple):
    """Mean IoU of n instances that share a name: a photograph, a category."""

    name: str
    n: int
    miou: float


def evaluate(truth: GroundTruth, labels: Mapping[int, ScoredMask]) -> dict[str, Any]:
    """The figures of one set of labels, exactly the keys `METRICS`.

    Fractions 0..1, rounded to six decimals; the mean of an empty group is None, never NaN. An
    instance without a label counts as IoU 0. Area is what the annotation says: small below 32^2,
    medium below 96^2, large from there on, `area_1024` from 32^2 on. `share_iou_75`: share of
    instances with an IoU above .75.

    Raises:
      UserError: a label's run lengths are malformed or of another image size.
    """
    return summarise(truth, label_ious(truth, labels), box_conditioned_ap(truth, labels))


def evaluation_record(
    truth: GroundTruth,
    labels: Mapping[int, ScoredMask],
    propagation_only: Mapping[int, ScoredMask] | None = None,
) -> dict[str, Any]:
    """What `evaluation.json` holds: the labels' figures and, under `baselines`, two others'.

    Args:
      truth: the ground truth.
      labels: the generator's, by annotation id.
      propagation_only: labels made without training; None if there are none: every figure is null.

    Returns:
      the keys of `METRICS`; `n_without_mask` (annotations that cannot be evaluated) and `n_missing`
      (evaluated, but without a label); `baselines`: {filled_box, propagation_only}, `METRICS` each.
    """
    propagated = dict.fromkeys(METRICS)
    if propagation_only is not None:
        propagated = evaluate(truth, propagation_only)
    return {
        **evaluate(truth, labels),
        "n_without_mask": len(truth.without_mask),
        "n_missing": sum(instance.id not in labels for instance in truth.instances),
        "baselines": {
            "filled_box": evaluate(truth, filled_box_labels(truth.instances)),
            "propagation_only": propagated,
        },
    }


def summarise(
    truth: GroundTruth, ious: Float[np.ndarray, "n"], precision: AveragePrecision
) -> dict[str, Any]:
    """The keys `METRICS` from the IoU of every instance; see `evaluate`."""
    area = np.array([instance.area for instance in truth.instances])
    means = {
        "miou": ious,
        "miou_small": ious[area < SMALL],
        "miou_medium": ious[(area >= SMALL) & (area < MEDIUM)],
        "miou_large": ious[area >= MEDIUM],
        "miou_area_1024": ious[area >= SMALL],
        "miou_separated": ious[truth.separated],
        "miou_same_class": ious[truth.same_class],
        "share_iou_75": (ious > 0.75).astype(float),
    }
    figures = {name: _mean(values) for name, values in means.items()}
    figures |= {name: round(value, DECIMALS) for name, value in precision._asdict().items()}
    figures |= {
        "n": len(ious),
        "n_area_1024": int((area >= SMALL).sum()),
        "n_separated": int(truth.separated.sum()),
        "n_same_class": int(truth.same_class.sum()),
    }
    return {name: figures[name] for name in METRICS}


def grouped_means(names: Sequence[str], ious: Float[np.ndarray, "n"]) -> list[GroupMean]:
    """Mean IoU of each name's instances, in the order in which the names first appear."""
    groups: dict[str, list[float]] = {}
    for name, iou in zip(names, ious.tolist(), strict=True):
        groups.setdefault(name, []).append(iou)
    return [
        GroupMean(name, len(values), _mean(np.array(values))) for name, values in groups.items()
    ]


def image_names(truth: GroundTruth) -> list[str]:
    """File name of each instance's image, for `grouped_means`."""
    return [instance.image.file_name for instance in truth.instances]


def category_names(
    truth: GroundTruth, groups: Mapping[str, str] | None = None, rest: str | None = None
) -> list[str]:
    """Category of each instance, for `grouped_means`.

    Args:
      truth: the ground truth.
      groups: category name -> name of the group to count it under.
      rest: the group of every category not named in `groups`; None: it keeps its own name.
    """
    names = [instance.category for instance in truth.instances]
    return [(groups or {}).get(name, name if rest is None else rest) for name in names]


def paired_bootstrap(
    iou_a: Float[np.ndarray, "n"],
    iou_b: Float[np.ndarray, "n"],
    *,
    seed: int = 0,
    samples: int = 10_000,
    groups: Sequence[Any] | None = None,
) -> tuple[float, float, float]:
    """The mean of a - b over the same instances, with its 95 % percentile interval.

    Args:
      iou_a, iou_b: IoU of each instance under two methods.
      seed, samples: of the resampling.
      groups: one key per instance, such as its image: whole groups are drawn, because objects in
        one photograph are easy or hard together. None: every instance by itself.

    Returns:
      (mean difference, low, high).

    Raises:
      ValueError: no instances, or sequences of different lengths.
    """
    if len(iou_a) == 0 or (groups is not None and len(groups) != len(iou_a)):
        raise ValueError(f"{len(iou_a)} instances cannot be resampled")
    difference = iou_a - iou_b
    keys = list(range(len(difference))) if groups is None else list(groups)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    members = np.array([numbers[key] for key in keys])
    totals, counts = np.bincount(members, difference), np.bincount(members)
    rng = np.random.default_rng(seed)
    means = []
    for first in range(0, samples, BOOTSTRAP_CHUNK):
        size = (min(BOOTSTRAP_CHUNK, samples - first), len(totals))
        drawn = rng.integers(len(totals), size=size)
        means.append(totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)


def _mean(values: Float[np.ndarray, "k"] | Bool[np.ndarray, "k"]) -> float | None:
    """The rounded mean; None for no values."""
    return round(float(values.mean()), DECIMALS) if values.size else None
