"""A COCO-style document's numbers made plain: 1.0 and "1" are 1, NaN and "" are missing values.

This is done once, before anything is looked up, so that no reader after it has to deal with it.
What is not certain is left as it is, and refused where it is needed.
"""

import collections
import math
from collections.abc import Iterable, Iterator
from typing import Any

from exits_jax.annotations.identities import plain_references, without_repeats
from exits_jax.annotations.numbers import is_missing, plain_number, shown, whole_number
from exits_jax.annotations.records import Problem

CROWD_WORDS = {"true": 1, "false": 0}
LISTS = {"images": "image", "annotations": "annotation", "categories": "category"}
# What is read of an annotation, and how: everything else is passed on.
IDS = ("id", "image_id", "category_id")
COORDINATES = ("bbox", "extreme_points", "keypoints", "segmentation")
READ = (*IDS, *COORDINATES, "iscrowd", "area")


class Changes:
    """Counts what was changed in the entries of a document, with the first example of each kind."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._examples: dict[str, str] = {}
        self._at: tuple[str, int, Any] = ("", 0, None)

    def entries(self, name: str, values: list[Any]) -> Iterator[dict[str, Any]]:
        """The objects in a list of the document; changes counted meanwhile are theirs."""
        for position, value in enumerate(values):
            if isinstance(value, dict):
                self._at = (name, position, value)
                yield value

    def count(self, what: str, found: Any, key: str = "") -> None:
        """Counts that `found` was written for `what`."""
        self._counts[what] += 1
        if what not in self._examples:
            name, position, entry = self._at
            by_id = isinstance(entry, dict) and entry.get("id") is not None
            noun = LISTS.get(name, name)
            where = f"{noun} {entry['id']}" if by_id else f"{noun} number {position + 1}"
            self._examples[what] = f"{shown(found)} in {where}{f', {key}' * bool(key)}"

    def notes(self, code: str, text: str) -> Iterator[Problem]:
        """One note for all of them; none if there was nothing."""
        rows = [f"{n} x {what} ({self._examples[what]})" for what, n in self._counts.items()]
        if rows:
            yield Problem(code, f"{text}: {', '.join(rows)}", note=True)


def plain_document(document: dict[str, Any], crowds: bool = False) -> Iterator[Problem]:
    """Makes the ids and coordinates of a document plain numbers, and rows unique, in place.

    Args:
      document: with the lists images, annotations and categories, whatever these hold.
      crowds: whether crowds are read as objects: then their ids must fit, too.

    Yields:
      notes, with counts and examples, of what was written otherwise.

    Raises:
      BadItem: a category's id is another one's name.
    """
    yield from plain_references(document, crowds)
    changes = Changes()
    for name in LISTS:
        for entry in changes.entries(name, document[name]):
            _plain_ids(entry, IDS if name == "annotations" else ("id",), changes)
            if name == "annotations":
                _plain_values(entry, changes)
    yield from changes.notes("plain_numbers", "read as the numbers they mean")
    yield from without_repeats(document)


def without_nan(document: dict[str, Any]) -> Iterator[Problem]:
    """Replaces NaN and infinity by null in what is passed on unread, in place.

    JSON allows neither, so no file with them could be written. It visits every value, so it is only
    used for a document whose text has them.
    """
    changes = Changes()
    for name in LISTS:
        values = document.get(name)
        for entry in changes.entries(name, values if isinstance(values, list) else []):
            _nulled(entry, changes, READ if name == "annotations" else ())
    for _ in changes.entries("the file", [document]):
        _nulled(document, changes, LISTS)
    yield from changes.notes("not_json", "NaN and infinity, which JSON does not allow, become null")


def _plain_ids(entry: dict[str, Any], keys: Iterable[str], changes: Changes) -> None:
    """Replaces what means whole numbers by them."""
    for key in keys:
        found = entry.get(key)
        if type(found) is not int and found is not None:
            number = None if is_missing(found) else whole_number(found)
            _replace(entry, key, number, changes)


def _plain_values(entry: dict[str, Any], changes: Changes) -> None:
    """The crowd mark, the area and the coordinates of an annotation."""
    crowd, area = entry.get("iscrowd"), entry.get("area")
    if type(crowd) not in (int, bool, type(None)):
        word = CROWD_WORDS.get(crowd.lower()) if isinstance(crowd, str) else None
        _replace(entry, "iscrowd", whole_number(crowd) if word is None else word, changes)
    if isinstance(area, str) or is_missing(area):
        _replace(entry, "area", plain_number(area), changes)
    for key in COORDINATES:
        value = entry.get(key)
        if is_missing(value):
            _replace(entry, key, None, changes)
        elif isinstance(value, list) and _begins_with_text(value):
            _replace(entry, key, _plain_list(value), changes)


def _replace(entry: dict[str, Any], key: str, value: Any, changes: Changes) -> None:
    """Replaces a value by another; None only for a missing one."""
    if value is None and not is_missing(entry[key]):
        return
    what = key if value is not None else f"missing {key}"
    changes.count(what, entry[key])
    entry[key] = value


def _begins_with_text(values: list[Any]) -> bool:
    """Whether coordinates, in one list or lists in it, begin with text.

    Only the beginning is examined: a program that writes text writes all of them so.
    """
    first = values[0] if values else None
    while isinstance(first, list) and first:
        first = first[0]
    return isinstance(first, str)


def _plain_list(values: list[Any], depth: int = 3) -> list[Any] | None:
    """Lists of lists of text as numbers; None if anything in them is not a number."""
    rows = []
    for value in values:
        if isinstance(value, list):
            row = _plain_list(value, depth - 1) if depth else None
        else:
            row = plain_number(value)
        if row is None:
            return None
        rows.append(row)
    return rows


def _nulled(top: dict[str, Any], changes: Changes, kept: Iterable[str]) -> None:
    """Replaces NaN and infinity by null in an object, except in its keys in `kept`."""
    waiting: list[tuple[Any, str]] = [(top, "")]
    while waiting:
        node, path = waiting.pop()
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, inner in list(pairs):
            if node is top and key in kept:
                continue
            place = f"{path}.{key}" if path else str(key)
            if type(inner) is float and not math.isfinite(inner):
                node[key] = None
                changes.count("values", inner, place)
            elif isinstance(inner, dict | list):
                waiting.append((inner, place))
