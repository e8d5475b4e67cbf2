"""The training step: one pure function that every form of parallelism wraps."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from exits_jax.system.types import Batch, Params
from exits_jax.training.state import TrainState
from exits_jax.training.task import ITEMS, Counts, Objective

Logs = dict[str, Array]
Step = Callable[[TrainState, Params, Batch], tuple[TrainState, Logs]]


def make_step(
    objective: Objective,
    counts: Counts,
    optimiser: optax.GradientTransformation,
    *,
    teacher_rate: float | None = None,
    microbatches: int = 1,
    axis_name: str | None = None,
    offsets: Mapping[str, float] | None = None,
) -> Step:
    """Builds `step(state, frozen, batch) -> (state, logs)`.

    Sums and counts are added up separately, over microbatches and then over `axis_name`, and
    divided once. So padding, the number of devices and the number of microbatches do not change the
    result.

    A step whose loss or gradient is not finite changes nothing and says so in `logs["finite"]`.

    Args:
      objective, counts: of a `task.Task`.
      optimiser: optax transformation over the trained parameters.
      teacher_rate: teacher = rate * teacher + (1 - rate) * student after each step; None: none.
      microbatches: how many the batch is divided into, one gradient after the other, to save
        memory.
      axis_name: name of pmap's axis, or None outside pmap.
      offsets: of a `task.Task`.

    Returns:
      The step. Its batch has a multiple of `microbatches` rows. Its logs are scalars: "loss", the
      objective's terms and other sums over their counts, "gradient_norm", the items, and "finite".
    """

    def total(
        params: Params, state: TrainState, frozen: Params, batch: Batch, scale: Logs
    ) -> tuple[Array, Logs]:
        terms, shown = objective(params, state.teacher, frozen, batch)
        # A term with a count of its own weighs as if it were a mean over the items, too: the
        # gradient's sum is divided by the items once.
        terms = {
            name: term * scale[name] if name in scale else term for name, term in terms.items()
        }
        loss = sum(terms.values())
        return loss, {**terms, **shown, "loss": loss, ITEMS: counts(batch)[ITEMS]}

    def scales(batch: Batch) -> Logs:
        """Items divided by the count of each term that has its own, by the term's name."""
        counted = counts(batch)
        if axis_name is not None and len(counted) > 1:
            counted = jax.lax.psum(counted, axis_name)
        items = jnp.maximum(counted.pop(ITEMS), 1)
        added = {name: count + (offsets or {}).get(name, 0) for name, count in counted.items()}
        return {name: items / jnp.maximum(count, 1) for name, count in added.items()}

    def interleaved(x: Array) -> Array:
        """Every microbatch takes rows from all over the batch, so that all devices work on it."""
        return x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1)

    def gradient_sums(
        state: TrainState, frozen: Params, batch: Batch, scale: Logs
    ) -> tuple[Params, Logs]:
        gradient = jax.grad(total, has_aux=True)
        if microbatches == 1:
            return gradient(state.params, state, frozen, batch, scale)
        cut = jax.tree.map(interleaved, batch)

        def add(sums: Any, part: Batch) -> tuple[Any, None]:
            new = gradient(state.params, state, frozen, part, scale)
            return jax.tree.map(jnp.add, sums, new), None

        first = jax.tree.map(lambda x: x[0], cut)
        shapes = jax.eval_shape(lambda: gradient(state.params, state, frozen, first, scale))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(add, zeros, cut)[0]

    def step(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, Logs]:
        gradients, sums = gradient_sums(state, frozen, batch, scales(batch))
        if axis_name is not None:
            gradients, sums = jax.lax.psum((gradients, sums), axis_name)
        items = sums.pop(ITEMS)
        gradients = jax.tree.map(lambda g: g / jnp.maximum(items, 1), gradients)
        logs = {name: value / jnp.maximum(items, 1) for name, value in sums.items()}
        logs |= {"gradient_norm": optax.tree.norm(gradients), ITEMS: items}
        logs["finite"] = jnp.isfinite(logs["loss"]) & jnp.isfinite(logs["gradient_norm"])
        updated = _update(state, gradients, optimiser, teacher_rate)
        keep = jax.tree.map(lambda new, old: jnp.where(logs["finite"], new, old), updated, state)
        return keep, logs

    return step


def _update(
    state: TrainState,
    gradients: Params,
    optimiser: optax.GradientTransformation,
    teacher_rate: float | None,
) -> TrainState:
    """One optimiser step and, where there is one, a step of the teacher after the student."""
    updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    teacher = state.teacher
    if teacher_rate is not None:
        teacher = optax.incremental_update(params, teacher, 1 - teacher_rate)
    return TrainState(state.step + 1, params, teacher, optimiser_state)
