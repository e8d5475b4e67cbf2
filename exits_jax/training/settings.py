"""The settings of a training phase. Loads no JAX."""

import dataclasses
from typing import ClassVar

from exits_jax.system.settings import (
    POSITIVE,
    UNIT,
    Affects,
    Section,
    again,
    at_least,
    one_of,
    setting,
)

PARAMETERS, NOTHING = Affects.PARAMETERS, Affects.NOTHING


@dataclasses.dataclass(frozen=True)
class PhaseSettings(Section):
    """How long a phase trains, on what batches, by which optimiser (AdamW)."""

    epochs: float = setting(
        10.0,
        "passes over the instances; may be a fraction",
        mark="I",
        affects=PARAMETERS,
        check=POSITIVE,
    )
    min_steps: int = setting(
        0,
        "optimiser steps at least, where the epochs have fewer",
        mark="?",
        affects=PARAMETERS,
        check=at_least(0),
    )
    batch_size: int = setting(
        32, "examples over all devices", mark="?", affects=PARAMETERS, check=at_least(1)
    )
    microbatches: int = setting(
        0,
        "gradient accumulation: how many microbatches, one after the other, a device's share of "
        "a batch is divided into. 0: one, but on a CPU microbatches of two crops (of an even "
        "share), which is faster",
        mark="?",
        affects=PARAMETERS,
        check=at_least(0),
    )
    learning_rate: float = setting(
        1.5e-6, "times the batch size", mark="I", affects=PARAMETERS, check=at_least(0)
    )
    decoder_rate: float = setting(
        1.0, "the decoder's learning rate divided by the encoder's", mark="?", affects=PARAMETERS
    )
    final_rate: float = setting(
        0.2, "share of the learning rate that the cosine ends at", mark="I", affects=PARAMETERS
    )
    rate_warmup_epochs: float = setting(
        1.0, "passes over which the rate rises from 0", mark="I", affects=PARAMETERS
    )
    betas: tuple[float, float] = setting((0.9, 0.9), "of Adam", mark="I", affects=PARAMETERS)
    weight_decay: float = setting(5e-4, "decoupled, on matrices only", mark="I", affects=PARAMETERS)
    clip_norm: float = setting(
        0.0, "bound on the global gradient norm; 0: none", mark="?", affects=PARAMETERS
    )
    train_blocks: int = setting(
        -1,
        "how many of the last transformer blocks learn; -1, or all of them: the embedding too",
        mark="?",
        affects=PARAMETERS,
        check=at_least(-1),
    )


@dataclasses.dataclass(frozen=True)
class WarmupSettings(PhaseSettings):
    """The warm-up of the similarity extractor."""

    NAME: ClassVar[str] = "warmup"

    epochs: float = again(PhaseSettings, "epochs", 8.0, mark="S", check=at_least(0))


@dataclasses.dataclass(frozen=True)
class TrainSettings(PhaseSettings):
    """The training of the generator; parallelism, checkpoints and logs of the warm-up, too."""

    NAME: ClassVar[str] = "train"

    # Measured in experiments/results/little_data.md.
    min_steps: int = again(PhaseSettings, "min_steps", 40)
    teacher_rate: float = setting(
        0.996,
        "of the exponential moving average that is the teacher",
        mark="I",
        affects=PARAMETERS,
        check=UNIT,
    )
    parallel: str = setting(
        "pmap",
        "how several devices share a step: pmap or jit",
        mark="?",
        affects=PARAMETERS,
        check=one_of("pmap", "jit"),
    )
    checkpoint_every: int = setting(500, "steps", mark="?", affects=NOTHING, check=at_least(1))
    heartbeat: int = setting(
        60,
        "seconds without a sign of life after which a process counts as dead",
        mark="?",
        affects=NOTHING,
        check=at_least(1),
    )
    log_every: int = setting(10, "steps", mark="?", affects=NOTHING, check=at_least(1))
