"""The training step: one pure function that every form of parallelism wraps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from exits_jax.training.state import Params, TrainState

Batch = dict[str, Any]
# (trained parameters, teacher's, frozen parameters, batch) -> (loss [b], {part: [b]})
Objective = Callable[
    [Params, Params, Params, Batch], tuple[Float[Array, " b"], dict[str, Float[Array, " b"]]]
]
Logs = dict[str, Array]
Step = Callable[[TrainState, Params, Batch], tuple[TrainState, Logs]]


def make_step(
    objective: Objective,
    optimiser: optax.GradientTransformation,
    *,
    teacher_rate: float,
    microbatches: int = 1,
    axis_name: str | None = None,
) -> Step:
    """Builds `step(state, frozen, batch) -> (state, logs)`.

    The loss of a batch is the mean over its *valid* crops on all devices: sums and counts are added
    up separately, over microbatches and then over `axis_name`, and divided once. So padding, the
    number of devices and the number of microbatches leave the result alone.

    A step whose loss or gradient is not finite changes nothing and says so in `logs["finite"]`.

    Args:
      objective: per-crop losses; see `objectives`.
      optimiser: optax transformation over the trained parameters.
      teacher_rate: teacher = rate * teacher + (1 - rate) * student after each step.
      microbatches: parts that the batch is cut into, one gradient after the other, to save memory.
      axis_name: name of pmap's axis, or None outside pmap.

    Returns:
      The step. `batch["valid"]` is bool[b], b a multiple of `microbatches`. Its logs are scalars:
      "loss", the objective's parts, "gradient_norm", "crops" and "finite".
    """

    def total(
        params: Params, state: TrainState, frozen: Params, batch: Batch
    ) -> tuple[Array, Logs]:
        losses, parts = objective(params, state.teacher, frozen, batch)
        parts = {"loss": losses, "crops": jnp.ones_like(losses), **parts}
        sums = {name: jnp.sum(jnp.where(batch["valid"], part, 0)) for name, part in parts.items()}
        return sums["loss"], sums

    def interleaved(x: Array) -> Array:
        """Every microbatch takes crops from all over the batch, so that all devices work on it."""
        return x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1)

    def gradient_sums(state: TrainState, frozen: Params, batch: Batch) -> tuple[Params, Logs]:
        gradient = jax.grad(total, has_aux=True)
        if microbatches == 1:
            return gradient(state.params, state, frozen, batch)
        cut = jax.tree.map(interleaved, batch)

        def add(sums: Any, part: Batch) -> tuple[Any, None]:
            new = gradient(state.params, state, frozen, part)
            return jax.tree.map(jnp.add, sums, new), None

        shapes = jax.eval_shape(
            lambda: gradient(state.params, state, frozen, jax.tree.map(lambda x: x[0], cut))
        )
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(add, zeros, cut)[0]

    def step(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, Logs]:
        gradients, sums = gradient_sums(state, frozen, batch)
        if axis_name is not None:
            gradients, sums = jax.lax.psum((gradients, sums), axis_name)
        count = sums.pop("crops")
        gradients = jax.tree.map(lambda g: g / jnp.maximum(count, 1), gradients)
        logs = {name: value / jnp.maximum(count, 1) for name, value in sums.items()}
        logs |= {"gradient_norm": optax.tree.norm(gradients), "crops": count}
        logs["finite"] = jnp.isfinite(logs["loss"]) & jnp.isfinite(logs["gradient_norm"])
        updated = _update(state, gradients, optimiser, teacher_rate)
        keep = jax.tree.map(lambda new, old: jnp.where(logs["finite"], new, old), updated, state)
        return keep, logs

    return step


def _update(
    state: TrainState,
    gradients: Params,
    optimiser: optax.GradientTransformation,
    teacher_rate: float,
) -> TrainState:
    """One optimiser step and one step of the teacher after the student."""
    updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    teacher = optax.incremental_update(params, state.teacher, 1 - teacher_rate)
    return TrainState(state.step + 1, params, teacher, optimiser_state)
