"""Focal loss: cross-entropy of many decisions of which nearly all are easy."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped


def focal_loss(
    logits: Float[ArrayLike, "*n"],
    target: Shaped[ArrayLike, "*n"],
    *,
    gamma: float = 2.0,
    alpha: float = 0.25,
) -> Float[Array, "*n"]:
    """alpha_t (1 - p_t)^gamma * -log p_t of each yes-or-no decision (Lin et al. 2017, eq. 5).

    Args:
      logits: of yes.
      target: 1 yes, 0 no.
      gamma: how little a decision counts that is already right.
      alpha: weight of yes; 1 - alpha is that of no.
    """
    logits, target = jnp.asarray(logits, jnp.float32), jnp.asarray(target, jnp.float32)
    wrong_way = jnp.where(target > 0, -logits, logits)  # logit of the wrong answer
    weight = jnp.where(target > 0, alpha, 1.0 - alpha)
    return weight * jax.nn.sigmoid(wrong_way) ** gamma * jax.nn.softplus(wrong_way)
