"""Box tightness as multiple-instance learning, and the soft dice it is made of."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

DICE_EPS = 1e-3  # not given in the paper


def mil_loss(
    probability: Float[ArrayLike, "b h w"],
    box_mask: Shaped[ArrayLike, "b h w"],
    *,
    valid: Shaped[ArrayLike, "b h w"] | None = None,
) -> Float[Array, "b"]:
    """Every row and column of a tight box meets the object; no other row or column does.

    Soft dice between the row maxima of the mask and those of the box, plus the same over columns.
    The paper applies it only to crops for which nothing was retrieved (supplement, B); the exact
    form is not given there.

    Args:
      probability: of the object.
      box_mask: 1 inside the tight box.
      valid: 1 inside the image; padding is ignored.

    Returns:
      float32 [b] in [0, 2]; a crop whose box has no cell is a constant 2, without gradient.
    """
    probability = jnp.asarray(probability, jnp.float32)
    box_mask = jnp.asarray(box_mask, jnp.float32)
    if valid is not None:
        inside = jnp.asarray(valid) != 0
        probability = jnp.where(inside, probability, 0.0)
        box_mask = jnp.where(inside, box_mask, 0.0)
    rows = dice_loss(jnp.max(probability, axis=2), jnp.max(box_mask, axis=2))
    columns = dice_loss(jnp.max(probability, axis=1), jnp.max(box_mask, axis=1))
    return rows + columns


def dice_loss(
    prediction: Float[Array, "b k"], target: Float[Array, "b k"], eps: float = DICE_EPS
) -> Float[Array, "b"]:
    """1 - 2 <x, y> / (|x|^2 + |y|^2 + eps): 0 for equal vectors, up to eps, and 1 for disjoint.

    Args:
      prediction: x, in [0, 1].
      target: y, in [0, 1].
      eps: keeps two empty vectors from dividing by zero; their loss is 1, with gradient 0.
    """
    overlap = jnp.sum(prediction * target, axis=-1)
    size = jnp.sum(prediction**2, axis=-1) + jnp.sum(target**2, axis=-1)
    return 1.0 - 2.0 * overlap / (size + eps)
