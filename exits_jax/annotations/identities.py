"""Ids of a COCO-style document that outputs cannot hold, names in place of ids, rows twice.

COCO's tools count on whole numbers, and batches carry them in 32 bits. Text ids (file names, UUIDs)
and larger numbers are renumbered, together with whatever refers to them.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from exits_jax.annotations.fields import is_marked
from exits_jax.annotations.numbers import INT32_MAX, id_key, shown
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.annotations.summary import counted

REFERENCES = {"images": "image_id", "categories": "category_id", "annotations": ""}
NOUNS = {"images": "image", "categories": "category", "annotations": "annotation"}
CATEGORY_KEYS = ("category_id", "category", "category_name")  # that may hold a category's name
ORIGINAL = "original_id"  # where the id of the file is kept

Row = dict[str, Any]


def plain_references(document: Row, crowds: bool = False) -> Iterator[Problem]:
    """Makes ids and what refers to them whole numbers of 32 bits, in place.

    Args:
      document: with the three lists.
      crowds: whether ids of crowds count, too. COCO's own are large numbers, and pass through.

    Yields:
      notes of changed ids, and of names in place of ids.

    Raises:
      BadItem: text is the id of one category and the name of another, or a number that is not an id
        would come to mean a renumbered one.
    """
    rows = {name: [r for r in document[name] if isinstance(r, dict)] for name in REFERENCES}
    yield from _category_ids(rows["categories"], rows["annotations"])
    said = []
    for name, reference in REFERENCES.items():
        judged = [r for r in rows[name] if crowds or type(r.get("id")) is str or not is_marked(r)]
        table = _new_numbers(judged, rows[name])
        if not table:
            continue
        for row in rows[name]:
            if (key := id_key(row.get("id"))) in table:
                row.setdefault(ORIGINAL, row["id"])
                row["id"] = table[key]
        numbers = {*table.values()}
        for row in rows["annotations"] if reference else ():
            key = id_key(row.get(reference))
            if key in numbers:
                text = f"{reference} {shown(row[reference])} is none of the ids of the {name}"
                text += f", which are like {shown(next(iter(table)))}"
                raise BadItem(f"absent_{NOUNS[name]}", text)
            if key in table:
                row[reference] = table[key]
        key, number = next(iter(table.items()))
        said.append(f"{len(table):,} x {NOUNS[name]} ({shown(key)} is {number})")
    if said:
        text = f"{', '.join(said)}: renumbered, because COCO's tools need whole numbers of 32 bits"
        text += f"; the file's own ids are kept as {ORIGINAL}"
        yield Problem("ids_numbered", text, note=True)


def without_repeats(document: Row) -> Iterator[Problem]:
    """Leaves out rows that repeat another exactly; the same id with other content is a mistake."""
    lost = {}
    for name in REFERENCES:
        first: dict[int, Row] = {}
        kept = [
            row
            for row in document[name]
            if not isinstance(row, dict)
            or type(row.get("id")) is not int
            or (same := first.setdefault(row["id"], row)) is row
            or same != row
        ]
        if len(kept) < len(document[name]):
            lost[name] = len(document[name]) - len(kept)
            document[name] = kept
    if lost:
        rows = ", ".join(f"{count:,} of {name}" for name, count in lost.items())
        text = f"rows left out that have the id and the content of another: {rows}"
        yield Problem("repeated_rows", text, note=True)


def ids_by_name(names: Mapping[Any, Any]) -> dict[str, Any]:
    """Category id by folded name, of the names that only one id has."""
    table: dict[str, list[Any]] = {}
    for number, name in names.items():
        if isinstance(name, str):
            table.setdefault(folded(name), []).append(number)
    return {name: numbers[0] for name, numbers in table.items() if len(numbers) == 1}


def folded(name: str) -> str:
    """A category's name as it is compared."""
    return name.strip().casefold()


def _new_numbers(judged: list[Row], rows: list[Row]) -> dict[int | str, int]:
    """New numbers for ids that are too large, or are text if all of them are; none used in `rows`.

    They depend on these ids alone: the same file read again, for its ground truth, has the same.
    """
    ids = [row.get("id") for row in judged]
    if all(type(value) is int and abs(value) <= INT32_MAX for value in ids):
        return {}
    texts = all(isinstance(value, str) for value in ids if value is not None)
    keys = dict.fromkeys(map(id_key, ids))
    taken = {id_key(row.get("id")) for row in rows}
    free = (number for number in itertools.count(1) if number not in taken)
    return {
        key: next(free)
        for key in keys
        if (isinstance(key, int) and abs(key) > INT32_MAX) or (isinstance(key, str) and texts)
    }


def _category_ids(categories: list[Row], annotations: list[Row]) -> Iterator[Problem]:
    """Replaces names of categories by their ids."""
    texts = [row for row in annotations if type(row.get("category_id")) is not int]
    if not texts:
        return
    known = {id_key(row.get("id")): row.get("name") for row in categories}
    table = ids_by_name(known)
    count, example = 0, ""
    for row in texts:
        by_id = id_key(row.get("category_id"))
        key = next((k for k in CATEGORY_KEYS if id_key(row.get(k)) is not None), "")
        name = row[key] if key and isinstance(row[key], str) else None
        number = None if name is None else table.get(folded(name))
        if number is None or number == by_id:
            continue
        if by_id is not None and by_id in known:
            raise BadItem(
                "ambiguous_category",
                f"category_id {shown(name)} is the id of {shown(known[by_id])} and the name of"
                f" category {shown(number)}; write ids as numbers",
            )
        row["category_id"] = number
        count += 1
        example = example or f"{shown(name)} is {shown(number)}"
    if count:
        text = f"{counted(count, 'annotation')} with a category's name in place of its id"
        yield Problem("category_by_name", f"{text}: {example}", note=True)
