"""The propagation map as the generator's starting point (not given in the paper)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

# Beyond this many logits the map is certain enough; the generator should still be able to disagree.
LIMIT = 4.0


def prior_logits(
    score: Float[ArrayLike, "b p"], side: int, strength: float
) -> Float[Array, "b m m"]:
    """Propagation scores as mask logits for a generator that learns the residual.

    Args:
      score: log odds of the points, from `propagation_score`.
      side: m of the mask.
      strength: factor on the scores; they are then limited to +-`LIMIT`.
    """
    score = jnp.asarray(score, jnp.float32)
    grid = round(score.shape[-1] ** 0.5)
    limited = jnp.clip(strength * score, -LIMIT, LIMIT).reshape(-1, grid, grid)
    return jax.image.resize(limited, (limited.shape[0], side, side), "linear", antialias=False)
