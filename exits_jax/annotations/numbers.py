"""Numbers from files that may hold anything: the one place where they are read.

Files write numbers in many ways: 1 as 1.0 (pandas, MATLAB) or "1" (CSV, XML), a missing value as
NaN. `whole_number` and `plain_number` read what can have one meaning only.
"""

import math
import re
import reprlib
from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.records import BadItem

INT32_MAX = 2**31 - 1
LONGEST_SHOWN = 120  # letters of a value in a message
LONGEST = 40  # letters of a number; nobody means a longer one
MISSING = ("", "nan", "null", "none")  # text in place of a value
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def shown(value: Any) -> str:
    """A value from a file as it appears in a message: one line and short."""
    text = reprlib.repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def whole_number(value: Any) -> int | None:
    """A whole number, written as such (1) or otherwise (1.0, "1", "1.0"); None for all else."""
    if type(value) is int:
        return value
    number = plain_number(value)
    if number is None or number != int(number):
        return None
    # Text of more digits than a float holds keeps all of them.
    digits = isinstance(value, str) and value.strip().lstrip("+-").isdecimal()
    return int(value) if digits else int(number)


def id_key(value: Any) -> int | str | None:
    """An id for comparison: the whole number it means, or the text it is; None for neither."""
    number = whole_number(value)
    if number is not None or not isinstance(value, str) or is_missing(value):
        return number
    return value


def plain_number(value: Any) -> int | float | None:
    """A finite number, even if written as text in decimal digits; None for all else."""
    if type(value) in (int, float):
        return value if finite_number(value) is not None else None
    if not isinstance(value, str) or len(value) > LONGEST:
        return None
    text = value.strip()
    return finite_number(float(text)) if DECIMAL.fullmatch(text) else None


def is_missing(value: Any) -> bool:
    """Whether a value is what programs write for a missing one: NaN, or such text."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    return is_nan(value)


def is_nan(value: Any) -> bool:
    """Whether a value is NaN, which pandas writes for a missing one."""
    return type(value) is float and math.isnan(value)


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
    """A JSON list of numbers as float64; None if anything in it is not a finite number."""
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
