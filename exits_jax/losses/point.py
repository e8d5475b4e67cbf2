"""Loss on the points that carry a label (EXITS supplement, B: lambda_point)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped


def point_loss(
    logits: Float[ArrayLike, "b p"],
    labels: Shaped[ArrayLike, "b p"],
    weights: Shaped[ArrayLike, "b p"],
    *,
    balanced: bool = False,
) -> Float[Array, "b"]:
    """Binary cross-entropy at the supervised points, averaged over each crop.

    How the paper averages is not given; some 400 background points swamp four foreground ones, so
    the mean of the two classes' means is an option.

    Args:
      logits: of the mask at the points; not probabilities, so that saturated points keep exact
        gradients.
      labels: 1 foreground, 0 background, or a probability in between.
      weights: 0 where there is no label; other weights count in proportion.
      balanced: weigh foreground and background equally; a class without points does not count.

    Returns:
      float32 [b]; 0 for a crop without supervised points.
    """
    labels, weights = jnp.asarray(labels, jnp.float32), jnp.asarray(weights, jnp.float32)
    # Logits without a label must not leak into the gradient, not even as 0 * infinity.
    logits = jnp.where(weights > 0.0, jnp.asarray(logits, jnp.float32), 0.0)
    loss = labels * jax.nn.softplus(-logits) + (1.0 - labels) * jax.nn.softplus(logits)
    if not balanced:
        return _mean(loss, weights)[0]
    foreground, has_foreground = _mean(loss, weights * labels)
    background, has_background = _mean(loss, weights * (1.0 - labels))
    return (foreground + background) / jnp.maximum(has_foreground + has_background, 1.0)


def _mean(
    loss: Float[Array, "b p"], weights: Float[Array, "b p"]
) -> tuple[Float[Array, "b"], Float[Array, "b"]]:
    """Weighted mean per crop (0 without weight) and whether there is any weight, as 0 or 1."""
    total = jnp.sum(weights, axis=-1)
    mean = jnp.sum(weights * loss, axis=-1) / jnp.where(total > 0.0, total, 1.0)
    return mean, (total > 0.0).astype(jnp.float32)
