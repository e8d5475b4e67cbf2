"""Matrix NMS: masks that repeat a better one lose score, all at once (SOLOv2, section 3.3)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def matrix_nms(
    masks: Bool[Array, "k p"] | Float[Array, "k p"],
    classes: Int[Array, " k"],
    scores: Float[Array, " k"],
    *,
    sigma: float = 2.0,
) -> Float[Array, " k"]:
    """Scores after suppression.

    With u_ij = IoU of i and j for a better i of the same class and 0 else, and c_i = max_k u_ki,
    the score of j is multiplied by min_i exp(-sigma (u_ij^2 - c_i^2)).

    Args:
      masks: 0 or 1.
      classes: of the masks.
      scores: of the masks, descending; ones of 0 are none and decay nothing.
      sigma: of the Gaussian.
    """
    masks = masks.astype(jnp.float32)
    overlap = masks @ masks.T
    area = jnp.diagonal(overlap)
    union = area[:, None] + area[None, :] - overlap
    iou = overlap / jnp.maximum(union, 1.0)
    order = jnp.arange(len(scores))
    better = (order[:, None] < order[None, :]) & (scores > 0)[:, None]
    iou = jnp.where(better & (classes[:, None] == classes[None, :]), iou, 0.0)
    covered = jnp.max(iou, axis=0)
    decay = jnp.exp(-sigma * (iou**2 - covered[:, None] ** 2))
    return scores * jnp.min(decay, axis=0)
