"""Soft dice: how little two masks, or their projections, overlap."""

import jax.numpy as jnp
from jaxtyping import Array, Float

DICE_EPS = 1e-3  # not given in the paper


def dice_loss(
    prediction: Float[Array, "*b k"], target: Float[Array, "*b k"], eps: float = DICE_EPS
) -> Float[Array, "*b"]:
    """1 - 2 <x, y> / (|x|^2 + |y|^2 + eps): 0 for equal vectors, up to eps, and 1 for disjoint.

    Args:
      prediction: x, in [0, 1].
      target: y, in [0, 1].
      eps: keeps two empty vectors from dividing by zero; their loss is 1, with gradient 0.
    """
    overlap = jnp.sum(prediction * target, axis=-1)
    size = jnp.sum(prediction**2, axis=-1) + jnp.sum(target**2, axis=-1)
    return 1.0 - 2.0 * overlap / (size + eps)
