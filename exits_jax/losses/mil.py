"""Box tightness as multiple-instance learning."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from exits_jax.losses.dice import dice_loss


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
