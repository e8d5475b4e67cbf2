"""Walks over a similarity: by its matrix, without ever holding it, by its largest entries.

"Streamed" keeps the memory of a key walk linear in the points: the similarity is computed again,
some rows at a time, for every product with it; Sinkhorn's normalisation then is two vectors. The
scores are those of the matrix, to rounding (a test holds them to it). On two cores that takes ten
times as long at 4,096 points and saves a tenth of a gigabyte, so the package does not offer it; nor
the largest entries, which label other points and make no better masks (results/growth.md).
"""

import math

import jax
import jax.numpy as jnp

from exits_jax.retrieval.propagation import propagate, transition_matrix
from exits_jax.retrieval.similarity import attention_similarity, key_similarity

LAYERS, HOPS, SINKHORN = 3, 3, 3
TEMPERATURE, DISTANCE_SIGMA = 0.1, 8.0
ROWS_AT_A_TIME = 256


def attention_walk(attention: jax.Array, seeds: jax.Array) -> jax.Array:
    """Attention [b,n,n] and seeds [b,p,2] -> T^3 seeds, as the paper has it."""
    similarity = attention_similarity({10: attention}, 10, class_token=True)
    return propagate(transition_matrix(similarity, iterations=SINKHORN), seeds, HOPS)


def key_walk(keys: jax.Array, seeds: jax.Array) -> jax.Array:
    """Keys [b,n,3 D] and seeds [b,p,2] -> T^3 seeds, by the matrix."""
    return propagate(transition_matrix(_similarity(keys), iterations=SINKHORN), seeds, HOPS)


def top_k_key_walk(keys: jax.Array, seeds: jax.Array, count: int) -> jax.Array:
    """Only the `count` largest similarities of each row walk; for what that does to the scores.

    The matrix is dense all the same: choosing its entries needs all of them.
    """
    similarity = _similarity(keys)
    least = jax.lax.top_k(similarity, min(count, similarity.shape[-1]))[0][..., -1:]
    kept = jnp.where(similarity >= least, similarity, 0.0)
    return propagate(transition_matrix(kept, iterations=SINKHORN), seeds, HOPS)


def _similarity(keys: jax.Array) -> jax.Array:
    layers = dict(enumerate(jnp.split(keys, LAYERS, axis=-1)))
    return key_similarity(
        layers, "all", class_token=True, temperature=TEMPERATURE, distance_sigma=DISTANCE_SIGMA
    )


def streamed_key_walk(keys: jax.Array, seeds: jax.Array) -> jax.Array:
    """The same without ever holding the matrix."""
    return jax.lax.map(lambda pair: _streamed(*pair), (keys[:, 1:], seeds))


def _streamed(keys: jax.Array, seeds: jax.Array) -> jax.Array:
    """One crop: keys [p,3 D], seeds [p,2]."""
    layers = jnp.split(keys, LAYERS, axis=-1)
    unit = jnp.concatenate([k / jnp.linalg.norm(k, axis=-1, keepdims=True) for k in layers], -1)
    points = len(unit)
    grid = round(points**0.5)
    cell = jnp.stack(jnp.divmod(jnp.arange(points, dtype=jnp.float32), grid), axis=-1)

    def product(vectors: jax.Array) -> jax.Array:
        def rows(part: tuple[jax.Array, jax.Array]) -> jax.Array:
            own, at = part
            cosine = jnp.matmul(own, unit.T, precision="highest") / LAYERS
            exponent = (cosine - 1.0) / TEMPERATURE
            apart = ((at[:, None] - cell) ** 2).sum(axis=-1)
            exponent -= apart / (2.0 * DISTANCE_SIGMA**2)
            similarity = jnp.exp(jnp.minimum(exponent, 0.0))
            return jnp.matmul(similarity, vectors, precision="highest")

        count = math.gcd(points, ROWS_AT_A_TIME)
        parts = (x.reshape(points // count, count, -1) for x in (unit, cell))
        return jax.lax.map(rows, tuple(parts)).reshape(points, -1)

    # T = diag(left) A diag(right), A symmetric: columns to 1, then rows, as `transition_matrix`.
    left = right = jnp.ones((points, 1))
    for _ in range(SINKHORN):
        right = 1.0 / product(left)
        left = 1.0 / product(right)
    for _ in range(HOPS):
        forth, back = jnp.split(product(jnp.hstack([right * seeds, left * seeds])), 2, axis=-1)
        seeds = (left * forth + right * back) / 2.0
    return seeds
