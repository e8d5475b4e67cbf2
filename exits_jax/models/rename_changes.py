"""What has to be done to an array of published weights to make it one of ours.

Each takes and returns an array; a ValueError means the array does not have the shape for it.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Change = Callable[[np.ndarray], np.ndarray]


def keep(array: np.ndarray) -> np.ndarray:
    """The array as it is."""
    return array


def transpose(weight: Float[np.ndarray, "out in"]) -> Float[np.ndarray, "in out"]:
    """PyTorch's dense layers keep [out, in], Flax's [in, out]."""
    return weight.T


def convolution(weight: Float[np.ndarray, "out in h w"]) -> Float[np.ndarray, "h w in out"]:
    """PyTorch's OIHW to Flax's HWIO."""
    return weight.transpose(2, 3, 1, 0)


def part(index: int) -> Change:
    """Query, key or value (0, 1, 2) out of a fused PyTorch weight [3 D, D] or bias [3 D]."""
    return lambda fused: np.split(fused, 3)[index].T


def last_axis(array: np.ndarray) -> np.ndarray:
    """A class token [1, 1, D] -> [1, D]."""
    return array.reshape(-1, array.shape[-1])


def joined(array: np.ndarray) -> np.ndarray:
    """A Flax bias [heads, d] -> [D]."""
    return array.reshape(-1)


def joined_in(array: Float[np.ndarray, "D heads d"]) -> Float[np.ndarray, "D D"]:
    """A Flax kernel that splits its output into heads -> [D, D]."""
    return array.reshape(array.shape[0], -1)


def joined_out(array: Float[np.ndarray, "heads d D"]) -> Float[np.ndarray, "D D"]:
    """A Flax kernel that reads its input by heads -> [D, D]."""
    return array.reshape(-1, array.shape[-1])


def class_row(positions: Float[np.ndarray, "1 n D"]) -> Float[np.ndarray, "1 D"]:
    """The class token's position: the first row of a list that has one row more than a square."""
    if math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]:
        raise ValueError("the list has no row for a class token")
    return positions[0, :1]


def grid_rows(positions: Float[np.ndarray, "1 n D"]) -> Float[np.ndarray, "g g D"]:
    """The patch tokens' positions as a square table, with or without a class row before them."""
    side = math.isqrt(positions.shape[1])
    if positions.shape[1] - side * side > 1:
        raise ValueError("neither a square nor one row more")
    return positions[0, positions.shape[1] - side * side :].reshape(side, side, -1)


def zeros(token: Float[np.ndarray, "1 1 D"]) -> Float[np.ndarray, "1 D"]:
    """A class position for families that add none."""
    return np.zeros_like(token[0])
