"""Which category a detector's box is of: by id, by name, or by position.

Ultralytics counts a model's classes from 0 or 1 in the order of its training file, whatever the ids
in an annotation file are. As some of these numbers may be ids of other categories, a file is read
as a whole or not at all.
"""

from collections import Counter
from collections.abc import Callable, Container
from typing import Any

from exits_jax.annotations.coco import Report
from exits_jax.annotations.identities import folded, ids_by_name
from exits_jax.annotations.numbers import id_key, shown
from exits_jax.annotations.records import BadItem, Detection, Problem
from exits_jax.annotations.summary import counted

CategoryId = int | str  # text ids are numbered later, by `identities`
Reading = Callable[[Detection], CategoryId]  # raises BadItem


def read_categories(categories: Any, found: list[Detection], report: Report) -> Reading:
    """How the categories of a file's boxes are found; a note says if it is not by id.

    Args:
      categories: the list of a COCO-style document, still unchecked.
      found: the `Detection`s of the file.
      report: takes notes.

    Raises:
      BadItem: ids are not the document's, and what they mean is not certain.
    """
    known = _known(categories)
    numbers = Counter(number for d in found if (number := _number(d, known)) is not None)
    named = _by_name(known, found)
    if named is not None and (
        not numbers.keys() <= known.keys() or any(_differs(d, known, named) for d in found)
    ):
        _note_names(found, known, named, report)
        return lambda d: _looked_up(d, named.get(folded(_name(d, known))))
    table = {number: number for number in numbers}
    if known and not numbers.keys() <= known.keys():
        table = by_position([*numbers], [*known])
        if table is None:
            raise BadItem("absent_category", _absent(numbers, known))
        note_position(table, known, report)
    return lambda d: _looked_up(d, table.get(_number(d, known)))


def by_position(found: list[Any], known: list[Any]) -> dict[int, int] | None:
    """Category ids by the numbers of a detector that counts them from 0 or 1; None if uncertain.

    It certainly counts from 0 if 0 is used and is not an id, and from 1 if the last number is used.
    Number k is the k-th id in order. Where ids have holes, numbers may also be ids less a constant;
    if that fits, too, and means something else, nothing is certain.

    Args:
      found: the numbers used, some of which are not ids.
      known: the ids; where they are text they have no order.
    """
    if any(isinstance(number, str) for number in (*found, *known)):
        return None
    ordered = sorted(known)
    low, high = min(found), max(found)
    if low == 0 and high < len(ordered) and (0 not in known or high == len(ordered) - 1):
        base = 0
    elif low >= 1 and high == len(ordered):
        base = 1
    else:
        return None
    position = {number: ordered[number - base] for number in found}
    shift = {number: number - base + ordered[0] for number in found}
    if shift != position and set(shift.values()) <= set(known):
        return None
    return position


def categories_of_boxes(
    found: list[Detection], report: Report
) -> tuple[list[dict[str, Any]], Reading]:
    """Categories taken from the boxes, for a file that lists none, and how each box's is found.

    They are told apart by their ids, or by their names where no box has an id.

    Raises:
      BadItem: one id has two names.
    """
    given = [_name(d) for d in found]
    if all(given) and all(_number(d) is None for d in found):
        ids = {name: n for n, name in enumerate(sorted({*given}), start=1)}
        names = {number: name for name, number in ids.items()}
    else:
        ids, names = {}, _numbered(found)
    text = f"the file lists none: {counted(len(names), 'category', 'categories')} of the boxes"
    report(Problem("categories_of_boxes", text, note=True))
    return [{"id": number, "name": name} for number, name in sorted(names.items())], (
        lambda d: ids[_name(d)] if ids else _looked_up(d, _number(d))
    )


def _numbered(found: list[Detection]) -> dict[int, str]:
    """Name by category id of the boxes; "category 7" where they give none."""
    names: dict[int, str] = {}
    for detection in found:
        number, name = _number(detection), detection.category
        if number is not None and name and names.setdefault(number, name) != name:
            raise BadItem(
                "bad_category",
                f"category_id {number} is called both {shown(names[number])} and {shown(name)}",
            )
    numbers = {number for d in found if (number := _number(d)) is not None}
    return {number: names.get(number, f"category {number}") for number in numbers}


def _known(categories: Any) -> dict[CategoryId, Any]:
    """Name by category id of the entries that have an id."""
    entries = categories if isinstance(categories, list) else []
    return {
        key: entry.get("name")
        for entry in entries
        if isinstance(entry, dict) and (key := id_key(entry.get("id"))) is not None
    }


def _by_name(known: dict[CategoryId, Any], found: list[Detection]) -> dict[str, CategoryId] | None:
    """Category id by name, where every box has a name and some are the document's."""
    table = ids_by_name(known)
    names = {_name(d, known) for d in found}
    usable = None not in names and any(folded(name) in table for name in names)
    return table if usable else None


def _number(detection: Detection, known: Container[CategoryId] = ()) -> CategoryId | None:
    """The id that a box states: a number, or text that is an id of the file."""
    key = id_key(detection.row.get("category_id"))
    return None if isinstance(key, str) and key not in known else key


def _name(detection: Detection, known: Container[CategoryId] = ()) -> str | None:
    """The name that a box states, even in place of an id."""
    key = id_key(detection.row.get("category_id"))
    in_place = key if isinstance(key, str) and key not in known else None
    return detection.category or in_place


def _differs(
    detection: Detection, known: Container[CategoryId], named: dict[str, CategoryId]
) -> bool:
    """Whether a box's name is that of another category than its id."""
    number = named.get(folded(_name(detection, known)))
    return number is not None and number != _number(detection, known)


def _looked_up(detection: Detection, category_id: CategoryId | None) -> CategoryId:
    if category_id is None:
        value = shown(detection.row.get("category_id"))
        name = f" ({shown(detection.category)})" if detection.category else ""
        raise BadItem("absent_category", f"category_id {value}{name} is none of the file's")
    return category_id


def _absent(numbers: Counter[CategoryId], known: dict[CategoryId, Any]) -> str:
    odd = sorted(numbers.keys() - known.keys())
    boxes = sum(numbers[number] for number in odd)
    return (
        f"category_id {_list(odd)} ({counted(boxes, 'box', 'boxes')}) is not among the file's"
        f" ({_list(sorted(known, key=_order))}), and may or may not be a position in that list: "
        "write the file's ids, or a category_name with each box"
    )


def _order(key: CategoryId) -> tuple[bool, CategoryId]:
    """Numbers before text."""
    return isinstance(key, str), key


def _list(numbers: list[CategoryId]) -> str:
    if len(numbers) <= 6:
        return ", ".join(map(shown, numbers))
    return f"{', '.join(map(shown, numbers[:4]))}, ..., {shown(numbers[-1])}"


def note_position(table: dict[int, int], known: dict[CategoryId, Any], report: Report) -> None:
    """Notes that categories are found by their position: id by number, name by id."""
    ends = dict.fromkeys((min(table), max(table)))
    examples = ", ".join(f"{n} is {shown(known[table[n]])} (id {table[n]})" for n in ends)
    text = f"category ids are positions among the file's {len(known)} categories: {examples}"
    report(Problem("category_by_position", text, note=True))


def _note_names(
    found: list[Detection],
    known: Container[CategoryId],
    named: dict[str, CategoryId],
    report: Report,
) -> None:
    first = next((d for d in found if _differs(d, known, named)), None)
    if first is None:
        return
    name, given = _name(first, known), first.row.get("category_id")
    stated = f" (category_id {shown(given)})" if given not in (None, name) else ""
    text = f"categories are found by their names: {shown(name)}{stated} is id {named[folded(name)]}"
    report(Problem("category_by_name", text, note=True))
