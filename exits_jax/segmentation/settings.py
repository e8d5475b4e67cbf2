"""The settings of stage 2, instance segmentation. Loads no JAX.

Defaults are those of the released SOLOv2 with ResNet-50, which the paper's tables a3 and a4 train
on pseudo masks [I].
"""

import dataclasses
from typing import ClassVar

from exits_jax.export.paths import FORMATS
from exits_jax.system.settings import (
    POSITIVE,
    UNIT,
    Affects,
    Check,
    again,
    at_least,
    one_of,
    setting,
    some_of,
)
from exits_jax.training.settings import PhaseSettings

PARAMETERS, NETWORK, LABELS = Affects.PARAMETERS, Affects.NETWORK, Affects.LABELS

GRIDS = Check(lambda value: bool(value) and min(value) >= 1, "numbers of 1 or more")
RANGES = Check(
    lambda value: bool(value) and all(0 < low < high for low, high in value),
    "pairs (low, high), 0 < low < high",
)
CANVASES = Check(
    lambda value: (
        bool(value) and all(side >= 4 and side % 4 == 0 for pair in value for side in pair)
    ),
    "pairs (rows, columns) of pixels, multiples of 4",
)
SHARES = Check(lambda value: 0 < value[0] <= value[1] <= 1, "(low, high), 0 < low <= high <= 1")


@dataclasses.dataclass(frozen=True)
class SegmentationSettings(PhaseSettings):
    """Stage 2: a model that finds and segments objects, trained on masks of any COCO file."""

    NAME: ClassVar[str] = "segmentation"

    # What is trained on.
    annotations: str = setting(
        "",
        "file with masks to train on; empty: this workdir's pseudo_labels.json",
        mark="?",
        affects=PARAMETERS,
        path=True,
    )
    images: str = setting(
        "",
        "folder of their images; empty: that of the labelled images (data.images)",
        mark="?",
        affects=PARAMETERS,
        path=True,
    )
    classes: tuple[str, ...] = setting(
        (),
        "names of the categories that are classes; '*' is one class of all others, "
        "('*',) one of everything. (): every category of the file",
        mark="?",
        affects=NETWORK,
    )
    keep_empty: bool = setting(
        False, "whether images without objects are trained on", mark="I", affects=PARAMETERS
    )
    trust: bool = setting(
        False,
        "whether the loss of an instance weighs as much as its label's exits.score; not in the "
        "paper",
        mark="?",
        affects=PARAMETERS,
    )
    canvases: tuple[tuple[int, int], ...] = setting(
        ((800, 1344), (1344, 800)),
        "(rows, columns) that images are fitted into, each into the one that shows it largest",
        mark="I",
        affects=NETWORK,
        check=CANVASES,
    )
    scales: tuple[float, float] = setting(
        (1.0, 1.0),
        "training: an image covers a random share between these of what fits",
        mark="I",
        affects=PARAMETERS,
        check=SHARES,
    )
    flip: float = setting(
        0.5, "probability of a horizontal flip", mark="I", affects=PARAMETERS, check=UNIT
    )
    max_instances: int = setting(
        100,
        "instances of an image that are trained on, the largest",
        mark="?",
        affects=PARAMETERS,
        check=at_least(1),
    )

    # The network.
    model: str = setting("solov2", "the model", mark="P", affects=NETWORK, check=one_of("solov2"))
    encoder: str = setting(
        "resnet50",
        "resnet50; resnet_mini, a narrow one; or vit, a plain pyramid on a ViT's features",
        mark="P",
        affects=NETWORK,
        check=one_of("resnet50", "resnet_mini", "vit"),
    )
    weights: str = setting(
        "random",
        "of the encoder: a file, a known ViT, or random",
        mark="P",
        affects=PARAMETERS,
        path=True,
    )
    layers: tuple[int, ...] = setting(
        (12,),
        "of a ViT, from 1, whose features the pyramid mixes",
        mark="?",
        affects=NETWORK,
    )
    norm: str = setting(
        "frozen",
        "of the ResNet: frozen batch norm, which needs weights, or group",
        mark="I",
        affects=NETWORK,
        check=one_of("frozen", "group"),
    )
    groups: int = setting(32, "of every group norm", mark="I", affects=NETWORK, check=at_least(1))
    neck_width: int = setting(
        256, "channels of the pyramid", mark="I", affects=NETWORK, check=at_least(1)
    )
    grids: tuple[int, ...] = setting(
        (40, 36, 24, 16, 12),
        "cells along each side of the canvas, by level, finest first",
        mark="I",
        affects=NETWORK,
        check=GRIDS,
    )
    ranges: tuple[tuple[float, float], ...] = setting(
        ((1.0, 96.0), (48.0, 192.0), (96.0, 384.0), (192.0, 768.0), (384.0, 2048.0)),
        "sqrt(width * height) of the objects of a level, pixels of the canvas, both ends included",
        mark="I",
        affects=PARAMETERS,
        check=RANGES,
    )
    head_width: int = setting(
        512, "channels of the head's towers", mark="I", affects=NETWORK, check=at_least(1)
    )
    head_depth: int = setting(
        4, "convolutions of a tower", mark="I", affects=NETWORK, check=at_least(1)
    )
    kernel_width: int = setting(
        256, "channels of mask features and kernels", mark="I", affects=NETWORK, check=at_least(1)
    )
    mask_width: int = setting(
        128, "channels inside the mask branch", mark="I", affects=NETWORK, check=at_least(1)
    )

    # Targets and loss.
    centre: float = setting(
        0.2,
        "share of an object's width and height, round its centre of mass, whose cells it owns",
        mark="I",
        affects=PARAMETERS,
        check=UNIT,
    )
    owners: str = setting(
        "smaller",
        "of a cell that two objects claim: the smaller alone, or both (the released code)",
        mark="?",
        affects=PARAMETERS,
        check=one_of("smaller", "both"),
    )
    positives: int = setting(
        128,
        "cells with an object that an image's masks are trained on; of more a random choice",
        mark="?",
        affects=PARAMETERS,
        check=at_least(1),
    )
    dice: float = setting(3.0, "weight of the mask loss", mark="I", affects=PARAMETERS)
    focal: float = setting(1.0, "weight of the class loss", mark="I", affects=PARAMETERS)

    # The schedule.
    optimiser: str = setting(
        "sgd",
        "sgd with momentum or adamw",
        mark="I",
        affects=PARAMETERS,
        check=one_of("sgd", "adamw"),
    )
    momentum: float = setting(0.9, "of sgd", mark="I", affects=PARAMETERS, check=UNIT)
    epochs: float = again(
        PhaseSettings,
        "epochs",
        0.0,
        words="passes over the images; 0: there is no stage 2",
        check=at_least(0),
    )
    batch_size: int = again(PhaseSettings, "batch_size", 16)
    learning_rate: float = again(PhaseSettings, "learning_rate", 0.01 / 16)
    weight_decay: float = again(PhaseSettings, "weight_decay", 1e-4)
    clip_norm: float = again(PhaseSettings, "clip_norm", 35.0, mark="I")
    drops: tuple[float, ...] = setting(
        (8.0, 11.0),
        "epochs after which the rate falls to a tenth; (): a cosine down to final_rate",
        mark="I",
        affects=PARAMETERS,
    )
    rate_warmup_epochs: float = again(PhaseSettings, "rate_warmup_epochs", 0.0)
    rate_warmup_steps: int = setting(
        500,
        "steps in which the rate rises, on top of the epochs",
        mark="I",
        affects=PARAMETERS,
        check=at_least(0),
    )
    cache_features: bool = setting(
        False,
        "a ViT's frozen blocks are computed once and kept in the workdir; needs scales (1, 1)",
        mark="?",
        affects=PARAMETERS,
    )

    # Prediction.
    test_annotations: str = setting(
        "",
        "file whose images are predicted and evaluated; empty: data.annotations, which may be too: "
        "then every image of the folder",
        mark="?",
        affects=LABELS,
        path=True,
    )
    test_images: str = setting(
        "", "folder of the images of test_annotations", mark="?", affects=LABELS, path=True
    )
    params: str = setting(
        "",
        "a trained model to predict with, instead of the workdir's own",
        mark="?",
        affects=LABELS,
        path=True,
    )
    score_floor: float = setting(
        0.1, "classes below it are passed over", mark="I", affects=LABELS, check=UNIT
    )
    mask_threshold: float = setting(
        0.5, "probability from which a pixel is the object's", mark="I", affects=LABELS, check=UNIT
    )
    candidates: int = setting(
        500, "masks that suppression looks at", mark="I", affects=LABELS, check=at_least(1)
    )
    suppression_sigma: float = setting(
        2.0, "of matrix NMS's Gaussian", mark="I", affects=LABELS, check=POSITIVE
    )
    min_score: float = setting(
        0.05, "detections below it are left out", mark="I", affects=LABELS, check=UNIT
    )
    shown_score: float = setting(
        0.3,
        "of detections in pictures and exports; all of min_score or more are in predictions.json "
        "and count for average precision",
        mark="?",
        affects=Affects.NOTHING,
        check=UNIT,
    )
    formats: tuple[str, ...] = setting(
        (),
        "further outputs of the detections of shown_score or more, in predictions/",
        mark="?",
        affects=Affects.NOTHING,
        check=some_of(*FORMATS),
    )
    max_detections: int = setting(
        100, "detections of an image", mark="I", affects=LABELS, check=at_least(1)
    )
    device_batch: int = setting(
        1, "images that a device looks at together", mark="?", affects=LABELS, check=at_least(1)
    )
    part_size: int = setting(
        64,
        "images in a part of the predictions",
        mark="?",
        affects=LABELS,
        check=at_least(1),
    )
