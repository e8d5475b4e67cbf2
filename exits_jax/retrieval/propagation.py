"""Random walk over the similarity of points (EXITS supplement, C).

The kernel forms hold the whole p x p matrix of the walk, for reading and testing. The
applied forms give the same numbers on a few seed columns for a fraction of the work.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def transition_matrix(
    similarity: Float[ArrayLike, "b p p"], *, iterations: int = 3, symmetric: bool = True
) -> Float[Array, "b p p"]:
    """Transition matrix of the walk, by Sinkhorn normalisation of the similarity.

    One iteration scales every column to sum 1 and then every row to sum 1. Rows sum to 1 exactly,
    columns nearly. The number of iterations and the symmetric mean are not given in the paper.

    Args:
      similarity: non-negative.
      iterations: how often; 0 leaves the similarity as it is.
      symmetric: return (T + T^t) / 2; its rows sum to 1 as nearly as T's columns do.

    Returns:
      float32 [b, p, p]; a row or column of zeros stays zero.
    """
    transition = jnp.asarray(similarity, jnp.float32)
    for _ in range(iterations):
        transition = _to_one(_to_one(transition, axis=-2), axis=-1)
    if symmetric:
        transition = (transition + jnp.swapaxes(transition, -1, -2)) / 2.0
    return transition


def power_kernel(transition: Float[ArrayLike, "b p p"], hops: int) -> Float[Array, "b p p"]:
    """T^hops, the walk of `hops` steps (alpha in the paper, table a2).

    Raises:
      ValueError: negative hops.
    """
    _check_hops(hops)
    with jax.default_matmul_precision("highest"):
        return jnp.linalg.matrix_power(jnp.asarray(transition, jnp.float32), hops)


def propagate(
    transition: Float[ArrayLike, "b p p"], seeds: Float[ArrayLike, "b p k"], hops: int
) -> Float[Array, "b p k"]:
    """T(T(...T seeds)): `power_kernel` applied to seed columns, by matrix-vector products only.

    Raises:
      ValueError: negative hops.
    """
    _check_hops(hops)
    transition = jnp.asarray(transition, jnp.float32)
    reached = jnp.asarray(seeds, jnp.float32)
    for _ in range(hops):
        reached = jnp.matmul(transition, reached, precision="highest")
    return reached


def absorbing_kernel(
    transition: Float[ArrayLike, "b p p"], beta: float | int
) -> Float[Array, "b p p"]:
    """(1 - beta)(I - beta T)^-1, the walk without end (EXITS supplement, equation a2).

    Args:
      transition: rows sum to at most 1.
      beta: share of propagated against initial scores; 0.25 is the paper's best.

    Raises:
      ValueError: beta outside [0, 1).
    """
    identity = jnp.broadcast_to(jnp.eye(jnp.shape(transition)[-1]), jnp.shape(transition))
    return propagate_absorbing(transition, identity, beta)


def propagate_absorbing(
    transition: Float[ArrayLike, "b p p"], seeds: Float[ArrayLike, "b p k"], beta: float | int
) -> Float[Array, "b p k"]:
    """`absorbing_kernel` applied to seed columns: one solve, no inverse (equation a2).

    Raises:
      ValueError: beta outside [0, 1), where the system is singular or the series diverges.
    """
    if not 0.0 <= beta < 1.0:
        raise ValueError(f"beta is {beta}, expected 0 <= beta < 1")
    transition = jnp.asarray(transition, jnp.float32)
    system = jnp.eye(transition.shape[-1], dtype=jnp.float32) - beta * transition
    with jax.default_matmul_precision("highest"):
        return (1.0 - beta) * jnp.linalg.solve(system, jnp.asarray(seeds, jnp.float32))


def _to_one(matrix: Float[Array, "b p p"], axis: int) -> Float[Array, "b p p"]:
    """Scales the sums along `axis` to 1; a sum of zero stays zero."""
    total = jnp.sum(matrix, axis=axis, keepdims=True)
    return jnp.where(total > 0.0, matrix / jnp.where(total > 0.0, total, 1.0), 0.0)


def _check_hops(hops: int) -> None:
    """Refuses negative powers, which would quietly become inverses."""
    if hops < 0:
        raise ValueError(f"hops is {hops}, expected 0 or more")
