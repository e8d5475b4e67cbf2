"""Corrective clicks on a propagation map: more of this, less of that. Not given in the paper."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from exits_jax.retrieval.propagation import propagate

# Chosen on the demo's 56 objects with simulated clicks in the largest error.
BEYOND = 1.5  # log odds that a wrong cell has after a click on it
NEAR = 0.25  # of the crop: the deviation of a click's reach
HOPS = 2


def corrected(
    score: Float[Array, " p"],
    transition: Float[Array, "p p"],
    clicks_xy: Float[ArrayLike, "c 2"],
    signs: Float[ArrayLike, " c"],
    *,
    grid: int,
) -> Float[Array, " p"]:
    """Log odds after clicks, one after the other.

    A click on a cell that is on the wrong side moves it to the right side, together with similar
    cells near it; a click on a cell that is already right changes nothing.

    Args:
      score: log odds of one crop's cells.
      transition: of the same crop.
      clicks_xy: crop coordinates in [0, 1].
      signs: 1 where the object is, -1 where it is not; 0 for no click.
      grid: N, cells per side.
    """
    clicks_xy, signs = jnp.asarray(clicks_xy, jnp.float32), jnp.asarray(signs, jnp.float32)
    cell_xy = jnp.clip(jnp.floor(clicks_xy * grid), 0, grid - 1).astype(jnp.int32)
    cells = cell_xy[:, 1] * grid + cell_xy[:, 0]
    here = jnp.eye(grid * grid)[cells].T  # [p, c]
    alike = propagate(transition[None], here[None], HOPS)[0]
    alike /= jnp.maximum(alike.max(axis=0, keepdims=True), 1e-12)
    row, column = jnp.divmod(jnp.arange(grid * grid), grid)
    middles = (jnp.stack([column, row], axis=1) + 0.5) / grid
    squared = jnp.sum((middles[:, None] - clicks_xy) ** 2, axis=-1)
    reach = alike * jnp.exp(-squared / (2 * NEAR**2))
    for number in range(len(signs)):
        wrong = score[cells[number]] * signs[number] < 0
        strength = jnp.where(wrong, jnp.abs(score[cells[number]]) + BEYOND, 0.0)
        score = score + signs[number] * strength * reach[:, number]
    return score
