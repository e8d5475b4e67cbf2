"""How long a phase runs, and its learning rate."""

import dataclasses

import optax

from exits_jax.data.iterator import batches_per_epoch
from exits_jax.training.optimiser import learning_rate_schedule, make_optimiser
from exits_jax.training.settings import PhaseSettings


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long a phase runs, and when it writes: all in optimiser steps."""

    total_steps: int
    checkpoint_every: int
    log_every: int


def total_steps(phase: PhaseSettings, items: int) -> int:
    """The optimiser steps of a phase over this many items."""
    return steps_in(phase, batches_per_epoch(items, phase.batch_size))


def steps_in(phase: PhaseSettings, batches: int) -> int:
    """The optimiser steps of a phase, an epoch having so many batches."""
    return max(round(_epochs_in_steps(phase, batches)), phase.min_steps, 1)


def steps_asked(phase: PhaseSettings, items: int) -> float:
    """The steps in a phase's epochs, not rounded; one for no epochs (`--mode=warmup`)."""
    return _epochs_in_steps(phase, batches_per_epoch(items, phase.batch_size))


def _epochs_in_steps(phase: PhaseSettings, batches: int) -> float:
    return phase.epochs * batches or 1.0


def rates(phase: PhaseSettings, items: int, total_steps: int) -> optax.Schedule:
    """The phase's learning rate by step, over `total_steps`.

    Where `min_steps` lengthens the phase, the warm-up of the rate is lengthened too: at the full
    rate Adam's first step moves every parameter by that rate, and a few steps cannot repair it.
    """
    batches = batches_per_epoch(items, phase.batch_size)
    longer = max(phase.min_steps / steps_asked(phase, items), 1.0)
    return learning_rate_schedule(
        phase.learning_rate * phase.batch_size,
        total_steps=total_steps,
        warmup_steps=round(phase.rate_warmup_epochs * batches * longer),
        final_rate=phase.final_rate,
    )


def adamw(phase: PhaseSettings, rate: optax.Schedule) -> optax.GradientTransformation:
    """The phase's AdamW at a learning rate by step."""
    return make_optimiser(
        rate,
        betas=phase.betas,
        weight_decay=phase.weight_decay,
        clip_norm=phase.clip_norm,
        decoder_rate=phase.decoder_rate,
    )
