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
        "passes over the instances; fractions of one are possible",
        mark="I",
        affects=PARAMETERS,
        check=POSITIVE,
    )
    min_steps: int = setting(
        0,
        "where the epochs are fewer optimiser steps, so many are made",
        mark="?",
        affects=PARAMETERS,
        check=at_least(0),
    )
    batch_size: int = setting(
        32, "over all devices", mark="?", affects=PARAMETERS, check=at_least(1)
    )
    microbatches: int = setting(
        0,
        "gradient accumulation: parts a device's share of a batch is cut into, one after the "
        "other. 0: one, but on a CPU parts of two crops (of an even share), which is faster",
        mark="?",
        affects=PARAMETERS,
        check=at_least(0),
    )
    learning_rate: float = setting(
        1.5e-6, "times the batch size", mark="I", affects=PARAMETERS, check=at_least(0)
    )
    decoder_rate: float = setting(
        1.0, "the decoder's learning rate over the encoder's", mark="?", affects=PARAMETERS
    )
    final_rate: float = setting(
        0.2, "share of the learning rate that the cosine ends at", mark="I", affects=PARAMETERS
    )
    rate_warmup_epochs: float = setting(
        1.0, "passes in which the rate rises from 0", mark="I", affects=PARAMETERS
    )
    betas: tuple[float, float] = setting((0.9, 0.9), "of Adam", mark="I", affects=PARAMETERS)
    weight_decay: float = setting(
        5e-4, "decoupled, of matrices alone", mark="I", affects=PARAMETERS
    )
    clip_norm: float = setting(
        0.0, "bound on the global gradient norm; 0: none", mark="?", affects=PARAMETERS
    )
    train_blocks: int = setting(
        -1,
        "the last so many transformer blocks learn; -1, or all of them: the embedding too",
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
    """The training of the generator; parallelism, checkpoints and logs also of the warm-up."""

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
