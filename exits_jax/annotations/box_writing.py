"""Boxes that are not written as a list of four numbers."""

import json
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.box_forms import FORMS
from exits_jax.annotations.numbers import plain_number

# What a box's sides are called where it is an object, in lower case and without underscores.
NAMED = (
    ("xywh", "x y width height"),
    ("xywh", "x y w h"),
    ("xywh", "left top width height"),
    ("xywh", "xmin ymin width height"),
    ("xyxy", "xmin ymin xmax ymax"),
    ("xyxy", "x1 y1 x2 y2"),
    ("xyxy", "x0 y0 x1 y1"),
    ("xyxy", "left top right bottom"),
    ("xyxy", "xtl ytl xbr ybr"),
    ("cxcywh", "cx cy w h"),
    ("cxcywh", "cx cy width height"),
    ("cxcywh", "xcenter ycenter width height"),
)
LONGEST_TEXT = 300  # letters of a box


def combined_form(named: str | None, setting: str) -> str:
    """The form that the names of sides give, in the unit that a setting gives."""
    return setting if named is None else named + FORMS[setting].unit


class WrittenBox(NamedTuple):
    """A box's four numbers, and the form of `FORMS` that they are written in; None: any."""

    numbers: Float[np.ndarray, "4"]
    form: str | None


def written_box(value: Any) -> WrittenBox | None:
    """A box that is text, an object with named sides, a list in a list or two corners.

    None if it is none of these, or its names contradict each other.
    """
    if isinstance(value, str):
        value = _from_text(value)
    if isinstance(value, dict):
        return _named_box(value)
    form = None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list) and [_length(part) for part in value] == [2, 2]:
        value, form = [*value[0], *value[1]], "xyxy"
    numbers = [plain_number(side) for side in value] if _length(value) == 4 else [None]
    return None if None in numbers else WrittenBox(np.array(numbers, np.float64), form)


def _from_text(text: str) -> Any:
    """The value of a text: JSON, or numbers with spaces or commas between them."""
    if len(text) > LONGEST_TEXT:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text.strip(" []()").replace(",", " ").split()


def _named_box(sides: dict[str, Any]) -> WrittenBox | None:
    by_name = {name.replace("_", "").lower(): plain_number(sides[name]) for name in sides}
    found = []
    for form, names in NAMED:
        numbers = [by_name.get(name) for name in names.split()]
        if None not in numbers:
            found.append(WrittenBox(np.array(numbers, np.float64), form))
    corners = [FORMS[box.form].to_xyxy(box.numbers[None], np.ones((1, 2))) for box in found]
    if not found or any(np.abs(one - corners[0]).max() > 0.01 * one.max() for one in corners):
        return None
    return found[0]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else -1
