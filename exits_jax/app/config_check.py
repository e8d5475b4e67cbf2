"""Config values that could not work, refused before the work begins."""

import operator
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from exits_jax.annotations.read import ALLOWED
from exits_jax.app import from_config
from exits_jax.export.formats import FORMATS
from exits_jax.models import SIZES
from exits_jax.models.position import KERNELS
from exits_jax.models.vit import PIXEL_STATISTICS
from exits_jax.system.errors import UserError


def one_of(*allowed: str) -> tuple[Callable[[Any], bool], str]:
    """A test for membership, and how to say it."""
    return (lambda value: value in allowed), " or ".join(allowed)


def at_least(least: int) -> tuple[Callable[[Any], bool], str]:
    """A test for a lower bound, and how to say it."""
    return (lambda value: value >= least), f"{least} or more"


UNIT = (lambda value: 0 <= value <= 1), "between 0 and 1"
POSITIVE = (lambda value: value > 0), "more than 0"

# key -> (whether a value is right, what is expected); what `RetrievalSettings` checks is not here
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": at_least(0),
    **{f"data.{name}": one_of(*values) for name, values in ALLOWED.items()},
    "data.source": one_of("files", "tfds"),
    "data.workers": at_least(0),
    "data.click_noise": at_least(0),
    "crop.size": at_least(1),
    "crop.train_margin": at_least(0),
    "crop.label_margin": at_least(0),
    "crop.flip": UNIT,
    "retrieval.when": one_of("online", "once"),
    "retrieval.target_empty": UNIT,
    "retrieval.canonical_size": at_least(0),
    "retrieval.canonical_margin": at_least(0),
    "generator.prior": at_least(0),
    "loss.soft": at_least(0),
    "label.shape": at_least(0),
    "loss.crf_sweeps": at_least(1),
    "loss.crf_sigma": POSITIVE,
    "train.teacher_rate": UNIT,
    "train.parallel": one_of("pmap", "jit"),
    "train.checkpoint_every": at_least(1),
    "train.heartbeat": at_least(1),
    "train.log_every": at_least(1),
    "label.source": one_of("generator", "propagation"),
    "label.score": one_of("mean_probability", "predicted_iou"),
    "label.min_score": UNIT,
    "label.threshold": UNIT,
    "label.device_batch": at_least(1),
    "label.part_size": at_least(1),
    "label.formats": ((lambda value: set(value) <= set(FORMATS)), f"any of {', '.join(FORMATS)}"),
    "label.simplify": at_least(0),
    "label.smooth": ((lambda value: 0 <= value <= 4), "between 0 and 4"),
    "label.fill_holes": UNIT,
    "report.max_items": at_least(0),
    "report.max_panels": at_least(0),
}
for section in ("extractor", "generator"):
    CHECKS |= {
        f"{section}.size": one_of(*SIZES),
        f"{section}.patch": at_least(1),
        f"{section}.stem": one_of("patch", "conv"),
        f"{section}.position_resize": one_of(*KERNELS),
        f"{section}.normalise": one_of(*PIXEL_STATISTICS),
        f"{section}.attention": one_of("own", "xla", "cudnn"),
    }
for section in ("warmup", "train"):
    CHECKS |= {
        f"{section}.batch_size": at_least(1),
        f"{section}.min_steps": at_least(0),
        f"{section}.microbatches": at_least(0),
        f"{section}.learning_rate": at_least(0),
        f"{section}.train_blocks": at_least(-1),
    }
CHECKS |= {"warmup.epochs": at_least(0), "train.epochs": POSITIVE}


def check_config(config: ConfigDict) -> None:
    """Raises UserError for the first value that cannot work, saying what is expected."""
    for key, (right, expected) in CHECKS.items():
        value = operator.attrgetter(key)(config)
        if not right(value):
            raise UserError(f"{key} is {value!r}, expected {expected}")
    if config.data.boxes and config.data.source == "tfds":
        raise UserError("data.boxes needs data.source=files: prepared data has its own instances")
    _check_layers(config)
    for name in ("extractor", "generator"):
        if config[name].attention == "cudnn" and not config[name].bf16:
            raise UserError(f"{name}.attention is 'cudnn', which needs {name}.bf16 to be True")
    from_config.retrieval(config)  # checks itself when it is made
    for key in ("generator.prior", "loss.soft", "label.shape"):
        if operator.attrgetter(key)(config) and config.retrieval.decision != "log_ratio":
            raise UserError(
                f"{key} needs log odds: set retrieval.decision to 'log_ratio', or {key} to 0"
            )


def _check_layers(config: ConfigDict) -> None:
    depth = SIZES[config.extractor.size][1]
    wrong = [layer for layer in config.retrieval.layers if not 1 <= layer <= depth]
    if wrong:
        raise UserError(f"retrieval.layers has {wrong}, the extractor has layers 1 to {depth}")
