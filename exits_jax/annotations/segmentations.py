"""A COCO `segmentation` in whatever form it is written -> polygons or run lengths, or nothing.

Forms that tools write beside [[x, y, x, y, ...]]: one flat list, lists of pairs, objects with x and
y, VIA's two lists, one list too many, any of these as text; empty lists, and polygons of one or two
corners, which have no area. Of run lengths: in a list, sizes as text, counts as Python's b'...'.
"""

import ast
import json
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.geometry import polygon_area
from exits_jax.annotations.numbers import finite_number, finite_numbers, whole_number

CORNERS = 3  # the fewest of a polygon
LONGEST_TEXT = 2_000_000  # letters of a segmentation written as text
SAME_PX = 0.01  # corners this close are one
RECTANGLE_NUMBERS = 24  # at most, of a box written as a polygon


VIA = frozenset(("all_points_x", "all_points_y"))


class Outline(NamedTuple):
    """What a segmentation says.

    Attributes:
      segmentation: polygons [x, y, ...] or run lengths, both still unchecked; None if it says
        nothing at all.
      rewritten: whether it was written in another form.
      without_area: how many polygons of fewer than three corners are left out.
    """

    segmentation: Any
    rewritten: bool = False
    without_area: int = 0


def plain_outline(segmentation: Any) -> Outline:
    """A segmentation in COCO's own form, as far as its meaning is certain; else unchanged."""
    if isinstance(segmentation, str):
        segmentation, rewritten = _from_text(segmentation), True
    else:
        rewritten = False
    if isinstance(segmentation, list) and len(segmentation) == 1 and _is_runs(segmentation[0]):
        segmentation, rewritten = segmentation[0], True
    if isinstance(segmentation, Mapping) and segmentation.keys() >= VIA:
        segmentation, rewritten = [segmentation], True
    if isinstance(segmentation, Mapping):
        runs = _plain_runs(segmentation)
        return Outline(runs, rewritten or runs is not segmentation)
    if segmentation is None or segmentation == []:
        return Outline(None)
    if not isinstance(segmentation, list):
        return Outline(segmentation)
    polygons = _polygons(segmentation)
    rewritten = rewritten or polygons is not segmentation
    whole = [polygon for polygon in polygons if not _lacks_area(polygon)]
    lost = sum(polygon != [] for polygon in polygons) - len(whole)
    if len(whole) == len(polygons):
        whole = polygons
    return Outline(whole or None, rewritten, lost)


def is_rectangle(polygons: Any) -> bool:
    """Whether polygons are one upright rectangle, as converters write a box.

    By its four corners, the first again at the end, points in the middle of its sides. Not one of
    4,534 instances of COCO, which people drew, is written like that.
    """
    if not isinstance(polygons, list) or len(polygons) != 1:
        return False
    numbers = finite_numbers(polygons[0])
    if numbers is None or numbers.size % 2 or not 8 <= numbers.size <= RECTANGLE_NUMBERS:
        return False
    return _is_upright(numbers.reshape(-1, 2))


def polygons_box(polygons: Any, width: int, height: int) -> Float[np.ndarray, "4"] | None:
    """The box around the corners of polygons, clipped to the image; None where they are malformed.

    Not drawn, so it costs next to nothing.
    """
    if not isinstance(polygons, list):
        return None
    rows = [finite_numbers(polygon) for polygon in polygons]
    if not rows or any(row is None or row.size < 2 * CORNERS or row.size % 2 for row in rows):
        return None
    corners = np.concatenate(rows).reshape(-1, 2)
    return np.clip(
        np.concatenate([corners.min(axis=0), corners.max(axis=0)]), 0, [width, height] * 2
    )


def _is_upright(corners: Float[np.ndarray, "n 2"]) -> bool:
    """Whether corners, in order around, lie on the border of the box around them and enclose it."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    sides = high - low
    if sides.min() <= SAME_PX:
        return False
    if (np.minimum(corners - low, high - corners).min(axis=1) > SAME_PX).any():
        return False
    with np.errstate(over="ignore", invalid="ignore"):  # a file may hold 1e308
        return bool(sides.prod() - polygon_area(corners) <= SAME_PX * sides.sum())


def _from_text(text: str) -> Any:
    """A segmentation written as text: JSON in a JSON string, as tables of pandas have it."""
    if not text.strip():
        return None
    try:
        return json.loads(text) if len(text) <= LONGEST_TEXT else text
    except (ValueError, RecursionError):
        return text


def _plain_runs(runs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Run lengths with whole numbers; None if they are an empty object."""
    if not runs:
        return None
    changed = {}
    for key in ("size", "counts"):
        values = runs.get(key)
        if isinstance(values, list) and any(type(value) is not int for value in values):
            numbers = [whole_number(value) for value in values]
            if None not in numbers:
                changed[key] = numbers
    if isinstance(size := runs.get("size"), str):
        numbers = [whole_number(side) for side in size.strip(" []()").replace(",", " ").split()]
        if len(numbers) == 2 and None not in numbers:
            changed["size"] = numbers
    if isinstance(counts := runs.get("counts"), str) and counts.startswith(("b'", 'b"')):
        printed = _from_repr(counts)  # run lengths never contain a quote
        changed |= {} if printed is None else {"counts": printed}
    return {**runs, **changed} if changed else runs


def _is_runs(value: Any) -> bool:
    return isinstance(value, Mapping) and {"size", "counts"} <= value.keys()


def _from_repr(text: str) -> str | None:
    """The text in bytes as Python prints them; None if it is not that."""
    try:
        value = ast.literal_eval(text) if len(text) <= LONGEST_TEXT else None
        return value.decode("ascii") if isinstance(value, bytes) else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _polygons(values: list[Any]) -> list[Any]:
    """A list of polygons [x, y, ...]: `values` itself if it is that already."""
    if _is_point(values[0]) and all(_is_point(value) for value in values):
        return [_flat(values)]  # [[x, y], [x, y], ...]: polygons of one corner mean nothing
    if finite_number(values[0]) is not None:
        return [values]  # [x, y, x, y, ...]
    parts = [inner for part in values for inner in _unwrapped(part)]
    flat = [_flat(part) if _is_pairs(part) else part for part in parts]
    same = len(flat) == len(values) and all(map(operator.is_, flat, values))
    return values if same else flat


def _unwrapped(part: Any) -> list[Any]:
    """The polygons in a part of a list of polygons: itself, or those one level deeper.

    Several lists of pairs in a part may be an outline and its holes (GeoJSON): they stay.
    """
    if isinstance(part, Mapping) and part.keys() >= VIA:
        sides = [part["all_points_x"], part["all_points_y"]]
        lists = all(isinstance(side, list) for side in sides) and len(sides[0]) == len(sides[1])
        return [[list(pair) for pair in zip(*sides, strict=True)]] if lists else [part]
    if not isinstance(part, list) or not part or not isinstance(part[0], list):
        return [part]
    flat = all(isinstance(inner, list) and len(inner) >= 2 * CORNERS for inner in part)
    if flat and all(finite_number(inner[0]) is not None for inner in part):
        return part
    return part if len(part) == 1 and _is_pairs(part[0]) else [part]


def _is_pairs(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and all(_is_point(point) for point in part)


def _is_point(value: Any) -> bool:
    """Whether a value is one corner: [x, y] or {"x": x, "y": y}."""
    if isinstance(value, Mapping):
        return {"x", "y"} <= value.keys()
    return isinstance(value, list) and len(value) == 2 and finite_number(value[0]) is not None


def _flat(points: list[Any]) -> list[Any]:
    """Corners as [x, y, x, y, ...]."""
    pairs = [[p["x"], p["y"]] if isinstance(p, Mapping) else p for p in points]
    return [coordinate for pair in pairs for coordinate in pair]


def _lacks_area(polygon: Any) -> bool:
    """Whether a polygon is empty or has one or two corners: a point or a line."""
    if not isinstance(polygon, list) or len(polygon) % 2 or len(polygon) >= 2 * CORNERS:
        return False
    return finite_numbers(polygon) is not None
