"""What training carries from step to step, and which parameters of a network it trains."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jaxtyping import Array, Int

from exits_jax.system.types import Params


class TrainState(NamedTuple):
    """What training changes, of any task; it has no device axis.

    Attributes:
      step: optimiser steps taken.
      params: the *trained* parameters only (see `split_params`).
      teacher: exponential moving average of `params`, the same tree; {} where there is none.
      optimiser: optax's state.
    """

    step: Int[Array, ""]
    params: Params
    teacher: Params
    optimiser: Any  # optax.OptState, a tree of arrays


def init_state(
    params: Params, optimiser: optax.GradientTransformation, *, teacher: bool = False
) -> TrainState:
    """The state before the first step; a teacher starts as a copy of the student.

    Args:
      params: the trained parameters; numpy arrays, as a file gives them, become jax arrays.
      optimiser: of these parameters.
      teacher: whether there is one.
    """
    params = jax.tree.map(jnp.asarray, params)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        teacher=jax.tree.map(jnp.copy, params) if teacher else {},
        optimiser=optimiser.init(params),
    )


def split_params(
    params: Params, trained: Callable[[tuple[str, ...]], bool]
) -> tuple[Params, Params]:
    """Cuts a parameter tree into (trained, frozen) by a predicate on paths.

    Frozen parameters stay out of the state: they cost no gradient, no optimiser moments, no teacher
    copy and no checkpoint. `merge_params` puts the two back together.
    """
    flat = traverse_util.flatten_dict(params)
    chosen = {path: value for path, value in flat.items() if trained(path)}
    rest = {path: value for path, value in flat.items() if path not in chosen}
    return traverse_util.unflatten_dict(chosen), traverse_util.unflatten_dict(rest)


def merge_params(trained: Params, frozen: Params) -> Params:
    """The inverse of `split_params`."""
    flat = traverse_util.flatten_dict(trained) | traverse_util.flatten_dict(frozen)
    return traverse_util.unflatten_dict(flat)
