"""Resizing a table of position embeddings to the token grid in use.

Pretrained tables have the grid of their training images (14x14, 37x37); crops of another size need
another grid. The kernel matters: a table trained with one kernel and resized with another moves
features by far more than rounding, so each family of weights names its own. All of them are
separable: a matrix for the rows and the same one for the columns.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Matrix = Float[np.ndarray, "{size_out} {size_in}"]

# The cubic kernel's free parameter. PyTorch uses the second one whenever it antialiases, even when
# it enlarges, where this and the edges are all that the antialiasing changes.
CUBIC_PYTORCH, CUBIC_ANTIALIAS = -0.75, -0.5


def resize_positions(
    table: Float[Array, "g g D"], grid: int, kernel: str = "pytorch"
) -> Float[Array, "N N D"]:
    """Resizes a square table of position embeddings to `grid` x `grid` cells.

    Args:
      table: embeddings at the grid they were trained on.
      grid: cells per side wanted. The table itself is returned when it has that side already.
      kernel: one of `KERNELS`. "pytorch": bicubic without antialiasing, what MAE, DeiT, DINO and
        DINOv2 were written with. "antialias": bicubic with it, DINOv2 with registers. "zoom":
        linear, from corner to corner, AugReg in Flax.

    Raises:
      ValueError: a kernel that is not known.

    Source: not given in the paper, which trains at one crop size; each family's own code.
    """
    native = table.shape[0]
    if native == grid:
        return table
    if kernel not in KERNELS:
        raise ValueError(f"position_resize: found {kernel!r}, expected one of {[*KERNELS]}")
    matrix = KERNELS[kernel](native, grid)
    rows = jnp.einsum("ij,jkd->ikd", matrix, table, precision="highest")
    return jnp.einsum("ij,kjd->kid", matrix, rows, precision="highest")


def cubic_matrix(size_in: int, size_out: int, a: float = CUBIC_PYTORCH) -> Matrix:
    """The matrix of one-dimensional cubic resizing: half-pixel centres, edges repeated.

    Row i holds the weights of the four input cells around output cell i's centre; cells outside
    are counted as the nearest cell inside. No antialiasing. Every row sums to 1.
    """
    centres = _half_pixel_centres(size_in, size_out)
    first = np.floor(centres).astype(int) - 1
    matrix = np.zeros((size_out, size_in))
    for tap in range(4):
        cell = first + tap
        weight = _cubic(np.abs(centres - cell), a)
        np.add.at(matrix, (np.arange(size_out), np.clip(cell, 0, size_in - 1)), weight)
    return matrix.astype(np.float32)


def antialiased_matrix(size_in: int, size_out: int) -> Matrix:
    """The same with a = -0.5, a kernel as wide as an output cell when shrinking, edges left out.

    Cells outside have no weight, and every row is divided by what is left of its sum.
    """
    centres = _half_pixel_centres(size_in, size_out)
    cell = max(size_in / size_out, 1.0)
    distance = np.abs(centres[:, None] - np.arange(size_in)) / cell
    weight = _cubic(distance, CUBIC_ANTIALIAS)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def linear_matrix(size_in: int, size_out: int) -> Matrix:
    """The matrix of linear resizing that keeps the first and the last cell where they are.

    `scipy.ndimage.zoom(..., order=1)`. Every row sums to 1; a single output cell is the first.
    """
    places = np.arange(size_out) * (size_in - 1) / max(size_out - 1, 1)
    columns = [np.interp(places, np.arange(size_in), one) for one in np.eye(size_in)]
    return np.stack(columns, axis=1).astype(np.float32)


# How a table is resized -> the matrix of one dimension.
KERNELS: dict[str, Callable[[int, int], Matrix]] = {
    "pytorch": cubic_matrix,
    "antialias": antialiased_matrix,
    "zoom": linear_matrix,
}


def _half_pixel_centres(size_in: int, size_out: int) -> Float[np.ndarray, " n"]:
    """Centres of the output cells in input cells, the first input cell's at 0."""
    return (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5


def _cubic(distance: Float[np.ndarray, "*n"], a: float) -> Float[np.ndarray, "*n"]:
    """Keys' cubic convolution kernel at distances of 0 or more (zero from 2 on)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
