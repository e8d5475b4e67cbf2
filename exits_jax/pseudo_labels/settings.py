"""The settings of stage 1: crops, losses, labels. Loads no JAX."""

import dataclasses
from typing import ClassVar

from exits_jax.export.paths import FORMATS
from exits_jax.system.settings import (
    POSITIVE,
    UNIT,
    Affects,
    Check,
    Section,
    at_least,
    one_of,
    setting,
    some_of,
)

PARAMETERS, LABELS, NOTHING = Affects.PARAMETERS, Affects.LABELS, Affects.NOTHING


@dataclasses.dataclass(frozen=True)
class CropSettings(Section):
    """How a crop is made around an object, and coloured."""

    NAME: ClassVar[str] = "crop"

    size: int = setting(
        512, "side of a crop, pixels", mark="S", affects=Affects.NETWORK, check=at_least(1)
    )
    train_margin: float = setting(
        1.2,
        "in training: per side u * this * g of the box's half-size (`data.crop.random_window`)",
        mark="I",
        affects=Affects.PARAMETERS,
        check=at_least(0),
    )
    label_margin: float = setting(
        0.3,
        "in labelling: this share of the box's half-size per side",
        mark="I",
        affects=Affects.LABELS,
        check=at_least(0),
    )
    flip: float = setting(
        0.5,
        "probability of a horizontal flip in training",
        mark="I",
        affects=Affects.PARAMETERS,
        check=UNIT,
    )
    colour: bool = setting(
        True,
        "jitter, grey and blur of the student's image in training (`pseudo_labels.colour`)",
        mark="I",
        affects=Affects.PARAMETERS,
    )


@dataclasses.dataclass(frozen=True)
class LossSettings(Section):
    """Weights and forms of the losses; the defaults are COCO's in the supplement, section B."""

    NAME: ClassVar[str] = "loss"

    mil: float = setting(10.0, "loss weight of the MIL loss", mark="S", affects=PARAMETERS)
    point: float = setting(
        0.5, "loss weight of the point loss; 0.05 on VOC", mark="S", affects=PARAMETERS
    )
    crf: float = setting(0.5, "loss weight of the CRF loss", mark="S", affects=PARAMETERS)
    balanced: bool = setting(
        False,
        "whether the point loss is the mean of the two classes' means",
        mark="?",
        affects=PARAMETERS,
    )
    mil_everywhere: bool = setting(
        False,
        "MIL loss on every crop; in the paper only where nothing was retrieved",
        mark="S",
        affects=PARAMETERS,
    )
    soft: float = setting(
        0.0,
        "loss weight of the cross-entropy against the propagation map as soft labels, over the "
        "whole crop (not in the paper); needs retrieval.decision log_ratio",
        mark="?",
        affects=PARAMETERS,
        check=at_least(0),
    )
    crf_sweeps: int = setting(
        100, "sweeps of the mean field", mark="I", affects=PARAMETERS, check=at_least(1)
    )
    crf_sigma: float = setting(
        0.1, "colour bandwidth of the mean field", mark="I", affects=PARAMETERS, check=POSITIVE
    )


@dataclasses.dataclass(frozen=True)
class Edges(Section):
    """What happens between a map and its mask."""

    NAME: ClassVar[str] = "label"

    cubic: bool = setting(
        False,
        "whether the map is enlarged by cubics instead of linearly",
        mark="?",
        affects=LABELS,
    )
    smooth: float = setting(
        0.0,
        "the mask is smoothed by a Gaussian of this deviation, cells of the map; 0: not",
        mark="?",
        affects=LABELS,
        check=Check(lambda value: 0 <= value <= 4, "between 0 and 4"),
    )
    fill_holes: float = setting(
        0.0,
        "holes of at most this share of the mask are filled",
        mark="?",
        affects=LABELS,
        check=UNIT,
    )


# Measured best (experiments/results/edges.md): the staircase of the map's cells is gone, and the
# IoU is 0.001 higher.
SMOOTH = Edges(cubic=True, smooth=0.5)


@dataclasses.dataclass(frozen=True)
class LabelSettings(Edges):
    """How masks are made from maps, and which files they go into."""

    source: str = setting(
        "generator",
        "what makes the masks: generator, or propagation: the propagation map alone, nothing "
        "trained",
        mark="S",
        affects=LABELS,
        check=one_of("generator", "propagation"),
    )
    accept_worse: bool = setting(
        False,
        "a generator whose masks fit points, boxes and flags worse than propagation's, compared "
        "on at most 128 instances and without ground truth, is refused; True accepts it",
        mark="?",
        affects=NOTHING,
    )
    score: str = setting(
        "mean_probability",
        "score of a label: mean_probability inside the mask, or predicted_iou, which was fitted "
        "to the best settings' maps (not in the paper)",
        mark="?",
        affects=LABELS,
        check=one_of("mean_probability", "predicted_iou"),
    )
    min_score: float = setting(
        0.0,
        "labels with a lower score are left out of the label files. May change in a finished "
        "workdir: --mode=label then rewrites the files, --mode=evaluate measures them",
        mark="?",
        affects=NOTHING,
        check=UNIT,
    )
    decisions: str = setting(
        "",
        "what was accepted and rejected in report.html, as the page saves it; empty: "
        "review_decisions.json in the workdir, if it exists. Rejected masks are left out of the "
        "label files, accepted ones are kept whatever label.min_score says. May change like it",
        mark="?",
        affects=NOTHING,
        path=True,
    )
    flip: bool = setting(
        False,
        "whether to average with the prediction of the flipped crop",
        mark="I",
        affects=LABELS,
    )
    shape: float = setting(
        0.0,
        "strength of the shape evidence: extreme points and tightness move the threshold at "
        "which each mask is cut (not in the paper). 1 is the tuned value, for log odds of the "
        "propagation map's scale",
        mark="?",
        affects=LABELS,
        check=at_least(0),
    )
    compete: bool = setting(
        False,
        "whether pixels go to the stronger claim where boxes of one category overlap (not in the "
        "paper). Not with data.boxes: a detector's duplicates would take each other's pixels",
        mark="?",
        affects=LABELS,
    )
    threshold: float = setting(
        0.5,
        "threshold of the mask probability; relatives of the method use 0.1",
        mark="?",
        affects=LABELS,
        check=UNIT,
    )
    device_batch: int = setting(
        8,
        "crops a device takes at once; labels depend on it in the last bits",
        mark="?",
        affects=LABELS,
        check=at_least(1),
    )
    part_size: int = setting(
        256,
        "annotations in a part of the labels, or more to the end of an image",
        mark="?",
        affects=LABELS,
        check=at_least(1),
    )
    formats: tuple[str, ...] = setting(
        (),
        "further formats to write (label_studio: brush masks)",
        mark="?",
        affects=NOTHING,
        check=some_of(*FORMATS),
    )
    simplify: float = setting(
        0.0,
        "pixels by which the polygons of these formats may deviate from the masks' outlines, for "
        "fewer corners; 0: they run along the pixels' edges",
        mark="?",
        affects=NOTHING,
        check=at_least(0),
    )


# What measured best in making masks from maps (none of it is in the paper).
BEST_LABELS = LabelSettings(
    **{name: getattr(SMOOTH, name) for name in ("cubic", "smooth")},
    shape=1.0,
    compete=True,
    score="predicted_iou",
)
