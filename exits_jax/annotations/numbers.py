"""Numbers out of files that may hold anything."""

import math
import reprlib
from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.records import BadItem

INT32_MAX = 2**31 - 1


def shown(value: Any) -> str:
    """A value from a file as it appears in a message: one line and short."""
    return reprlib.repr(value)


def finite_number(value: Any) -> float | None:
    """A JSON number as a float; None for NaN, infinity, true, text and numbers beyond a float."""
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def finite_numbers(values: Any) -> Float[np.ndarray, "n"] | None:
    """A JSON list of numbers as float64; None where anything in it is not a finite number."""
    if not isinstance(values, list | tuple):
        return None
    numbers = [finite_number(value) for value in values]
    if any(number is None for number in numbers):
        return None
    return np.array(numbers, np.float64)


def whole_id(value: Any, what: str) -> int:
    """An id: a whole number.

    Raises:
      UserError: it is something else.
    """
    if type(value) is not int:
        raise BadItem("bad_id", f"{what} is {shown(value)}; expected a whole number")
    return value


def small_id(value: int, what: str) -> None:
    """An id that batches can carry fits into int32.

    Raises:
      UserError: it does not.
    """
    if abs(value) > INT32_MAX:
        raise BadItem("id_range", f"{what} {shown(value)} does not fit into 32 bits; renumber")
