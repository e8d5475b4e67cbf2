"""Resizing a table of position embeddings to the token grid in use.

Pretrained tables have the grid of their training images (14x14, 37x37); crops of another size need
another grid. The kernel matters: a table trained with one cubic kernel and resized with another
moves features by far more than rounding, so each family of weights names its own.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Kernel = Literal["pytorch", "jax"]

# The cubic kernel's free parameter: PyTorch uses -0.75, `jax.image.resize` -0.5.
CUBIC_PYTORCH = -0.75


def resize_positions(
    table: Float[Array, "g g D"], grid: int, kernel: str = "pytorch"
) -> Float[Array, "N N D"]:
    """Resizes a square table of position embeddings to `grid` x `grid` cells, bicubically.

    Args:
      table: embeddings at the grid they were trained on.
      grid: cells per side wanted. The table itself is returned when it has that side already.
      kernel: "pytorch" (a = -0.75, half-pixel centres, edges repeated, no antialiasing: what MAE,
        DeiT, DINO and DINOv2 were written with) or "jax" (`jax.image.resize` with "cubic", which is
        a = -0.5, edges renormalised, antialiased when shrinking: AugReg in Flax).

    Source: not given in the paper, which trains at one crop size.
    """
    native = table.shape[0]
    if native == grid:
        return table
    if kernel == "jax":
        return jax.image.resize(table, (grid, grid, table.shape[2]), "cubic")
    if kernel != "pytorch":
        raise ValueError(f"position_resize: found {kernel!r}, expected 'pytorch' or 'jax'")
    matrix = cubic_matrix(native, grid)
    rows = jnp.einsum("ij,jkd->ikd", matrix, table, precision="highest")
    return jnp.einsum("ij,kjd->kid", matrix, rows, precision="highest")


def cubic_matrix(
    size_in: int, size_out: int, a: float = CUBIC_PYTORCH
) -> Float[np.ndarray, "{size_out} {size_in}"]:
    """The matrix of one-dimensional cubic resizing: half-pixel centres, edges repeated.

    Row i holds the weights of the four input cells around output cell i's centre; cells outside
    are counted as the nearest cell inside. No antialiasing. Every row sums to 1.
    """
    centres = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    first = np.floor(centres).astype(int) - 1
    matrix = np.zeros((size_out, size_in))
    for tap in range(4):
        cell = first + tap
        weight = _cubic(np.abs(centres - cell), a)
        np.add.at(matrix, (np.arange(size_out), np.clip(cell, 0, size_in - 1)), weight)
    return matrix.astype(np.float32)


def _cubic(distance: Float[np.ndarray, " n"], a: float) -> Float[np.ndarray, " n"]:
    """Keys' cubic convolution kernel at distances 0..2 (zero beyond)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
