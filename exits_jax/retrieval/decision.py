"""Weighing two walks against each other, and shifting the result to fit a tight box."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

LOG_EPS = 1e-6  # added to p * s before the logarithm; 1 is what a uniform walk gives


def mean_seed(seeds: Float[Array, "b p"]) -> Float[Array, "b p"]:
    """1_X / |X|; an empty set gives zeros."""
    total = jnp.sum(seeds, axis=-1, keepdims=True)
    return jnp.where(total > 0.0, seeds / jnp.where(total > 0.0, total, 1.0), 0.0)


def decide(
    foreground: Float[Array, "b p"], background: Float[Array, "b p"], decision: str
) -> Float[Array, "b p"]:
    """Difference or logarithm of the ratio of the two walks.

    A walk without any seed (a box that fills the crop leaves no background) is zero everywhere.
    The difference uses that zero; the ratio compares with 1, the uniform walk, instead, because
    against zero everything would be foreground.

    Args:
      foreground: p * s_FG.
      background: p * s_BG.
      decision: "difference" or "log_ratio".
    """
    if decision == "difference":
        return foreground - background
    seeded = jnp.any(background > 0.0, axis=-1, keepdims=True)
    background = jnp.where(seeded, background, 1.0)
    return jnp.log(foreground + LOG_EPS) - jnp.log(background + LOG_EPS)


def centre_score(
    score: Float[Array, "b p"], inside: Bool[Array, "b p"], strength: float
) -> Float[Array, "b p"]:
    """Shifts each crop's score so that the object touches its box (not given in the paper).

    A tight box has the object in every row and every column. So the maxima over the rows and over
    the columns of the box should be positive, all but a few; their 5 % quantile, limited to [-3, 4]
    against outliers, says by how much they are too low or too high.

    Args:
      score: usually a log ratio.
      inside: cells in the box.
      strength: share of that quantile to take off; 0 changes nothing.
    """
    if strength == 0.0:
        return score
    grid = round(score.shape[-1] ** 0.5)
    boxed = jnp.where(inside, score, -jnp.inf).reshape(-1, grid, grid)
    maxima = jnp.concatenate([jnp.max(boxed, axis=2), jnp.max(boxed, axis=1)], axis=1)
    shift = _low_quantile(maxima, share=0.05)
    return score - strength * jnp.clip(shift, -3.0, 4.0)[:, None]


def _low_quantile(values: Float[Array, "b k"], share: float) -> Float[Array, "b"]:
    """Linearly interpolated quantile of the finite values of each row; 0 where there is none."""
    finite = jnp.isfinite(values)
    ordered = jnp.sort(jnp.where(finite, values, jnp.inf), axis=-1)
    count = jnp.sum(finite, axis=-1)
    place = share * jnp.maximum(count - 1, 0)
    low = jnp.floor(place).astype(jnp.int32)
    high = jnp.minimum(low + 1, jnp.maximum(count - 1, 0))
    below, above = (jnp.take_along_axis(ordered, i[:, None], axis=-1)[:, 0] for i in (low, high))
    return jnp.where(count > 0, below + (place - low) * (above - below), 0.0)
