"""How similar two points of a crop are: the matrix the random walk runs on.

The paper reads it off the self-attention of one frozen transformer layer (EXITS supplement, C).
Affinity of the keys, not given in the paper, is the alternative that measured better.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Layers = int | tuple[int, ...] | Literal["all"]

NORM_EPS = 1e-12  # keeps an all-zero key from dividing by zero


def attention_similarity(
    attention: dict[int, Float[ArrayLike, "b n n"]], layer: Layers, *, class_token: bool
) -> Float[Array, "b p p"]:
    """Similarity of points from self-attention (EXITS supplement, C and table a1).

    Nothing else is done to the attention: one hop on it is "directly from the similarity matrix".

    Args:
      attention: post-softmax attention, mean over heads, by layer (1-based); entry [i, j] is what
        token i takes from token j.
      layer: one layer, several whose mean is taken, or "all" for the mean over all given.
      class_token: whether token 0 is a class token; its row and column are then dropped.

    Returns:
      Non-negative float32 [b, p, p]; rows sum to at most 1.

    Raises:
      ValueError: a layer that is not in `attention`.
    """
    chosen = _chosen(attention, layer)
    mean = sum(jnp.asarray(attention[index], jnp.float32) for index in chosen) / len(chosen)
    return mean[:, 1:, 1:] if class_token else mean


def key_similarity(
    keys: dict[int, Float[ArrayLike, "b n D"]],
    layer: Layers,
    *,
    class_token: bool,
    temperature: float = 0.1,
    distance_sigma: float = 0.0,
) -> Float[Array, "b p p"]:
    """Similarity of points from the keys of attention layers (not given in the paper).

    exp((cosine - 1) / temperature) * exp(-distance^2 / (2 distance_sigma^2)), where the keys are
    L2-normalised layer by layer and then concatenated, so that every layer has an equal say: the
    cosine is the mean of the layers' cosines.

    Args:
      keys: keys of all heads side by side, by layer (1-based).
      layer: one layer, several, or "all".
      class_token: whether token 0 is a class token, which is then dropped.
      temperature: the smaller, the sooner a dissimilar point counts for nothing.
      distance_sigma: in grid cells; 0 leaves the distance out.

    Returns:
      float32 [b, p, p], symmetric, 1 on the diagonal, entries in [0, 1].

    Raises:
      ValueError: a layer that is not in `keys`, or a distance on points that do not form a square
        grid.
    """
    chosen = _chosen(keys, layer)
    unit = jnp.concatenate([_unit(keys[index]) for index in chosen], axis=-1)
    unit = unit[:, 1:] if class_token else unit
    cosine = jnp.einsum("bid,bjd->bij", unit, unit, precision="highest") / len(chosen)
    exponent = (cosine - 1.0) / temperature
    if distance_sigma:
        exponent -= _squared_distance(unit.shape[1]) / (2.0 * distance_sigma**2)
    return jnp.exp(jnp.minimum(exponent, 0.0))


def _chosen(by_layer: dict[int, Any], layer: Layers) -> tuple[int, ...]:
    """The layers asked for, or a ValueError that lists those that exist."""
    chosen = tuple(by_layer) if layer == "all" else (layer,) if isinstance(layer, int) else layer
    missing = [index for index in chosen if index not in by_layer]
    if missing or not chosen:
        raise ValueError(f"layers {missing or chosen} asked for, found only {sorted(by_layer)}")
    return chosen


def _unit(vectors: Float[ArrayLike, "b n D"]) -> Float[Array, "b n D"]:
    """Vectors of length 1; a zero vector stays zero."""
    vectors = jnp.asarray(vectors, jnp.float32)
    return vectors * jax.lax.rsqrt(jnp.sum(vectors**2, axis=-1, keepdims=True) + NORM_EPS)


def _squared_distance(points: int) -> Float[Array, "p p"]:
    """Squared distances between the cells of a square row-major grid, in cells."""
    grid = math.isqrt(points)
    if grid * grid != points:
        raise ValueError(f"{points} points do not form a square grid; is there a class token left?")
    row, column = jnp.divmod(jnp.arange(points, dtype=jnp.float32), grid)
    return (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
