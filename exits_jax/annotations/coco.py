"""A COCO-style document: its lists, ids, categories and images. Every kind of file becomes one."""

from collections.abc import Callable, Iterator
from typing import Any

from exits_jax.annotations.fields import is_crowd
from exits_jax.annotations.numbers import shown, whole_id, whole_number
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.annotations.summary import counted
from exits_jax.system.progress import track

LONG = 20_000  # annotations that take more than a few seconds to read ...
STRIDE = 1_000  # ... and how many the progress bar takes at a time

Report = Callable[[Problem], None]  # raises (stop) or lists (skip)


def check_structure(document: Any) -> None:
    """The lists a COCO-style document must have, and at least one annotation.

    Raises:
      BadItem: a list is missing or empty; "no_annotations" for a document that lists images alone,
        which is enough for a detector's boxes.
    """
    if not isinstance(document, dict):
        raise BadItem(
            "bad_document",
            f"the file holds {_kind_of(document)}; expected an object with the lists"
            " images, annotations and categories",
        )
    listed = bool(document.get("images")) and isinstance(document["images"], list)
    if listed and document.get("annotations") in (None, []):
        raise BadItem(
            "no_annotations",
            "it lists images and no annotations: nothing to label; give a detector's boxes with "
            "--config.data.boxes=FILE",
        )
    for name in ("images", "annotations", "categories"):
        if not isinstance(document.get(name), list):
            raise BadItem(
                "bad_document", f"{name!r} is {_kind_of(document.get(name))}; expected a list"
            )
    if not document["annotations"]:
        raise BadItem("no_annotations", "the list of annotations is empty: nothing to label")


def list_categories(document: dict[str, Any], report: Report) -> None:
    """Puts categories in another form into COCO's: names by id, ids by name, or names alone.

    Raises:
      BadItem: their ids are not certain.
    """
    given = document.get("categories")
    if isinstance(given, dict) and given:
        rows = [_id_and_name(key, value) for key, value in given.items()]
        form = "an object of names and ids"
    elif isinstance(given, list) and given and all(isinstance(name, str) for name in given):
        rows = [*enumerate(given)]
        form = "a list of names, numbered from 0 as the annotations are"
        annotations = document.get("annotations")
        entries = annotations if isinstance(annotations, list) else []
        used = {whole_number(e.get("category_id")) for e in entries if isinstance(e, dict)} - {None}
        if 0 not in used or max(used) >= len(given):
            raise BadItem(
                "bad_category",
                f"categories is a list of {len(given)} names, which may be counted from 0 or 1;"
                ' write each as {"id": 1, "name": "..."}',
            )
    else:
        return
    document["categories"] = [{"id": number, "name": name} for number, name in rows]
    report(Problem("category_form", f"categories is {form}: read as such", note=True))


def _id_and_name(key: str, value: Any) -> tuple[int, str]:
    """Id and name from an entry of an object, of which one is a number and the other is not.

    Raises:
      BadItem: it is unclear which is which.
    """
    first, second = whole_number(key), whole_number(value)
    if first is not None and second is None and isinstance(value, str):
        return first, value
    if first is None and second is not None:
        return second, key
    text = f"categories has {shown(key)}: {shown(value)}; expected a list of ids and names"
    raise BadItem("bad_category", text)


def category_names(document: dict[str, Any], report: Report) -> dict[int, str]:
    """Name by category id; a category without a name is called by its number."""
    names: dict[int, str] = {}
    for position, category in enumerate(document["categories"]):
        try:
            if not isinstance(category, dict):
                raise BadItem("bad_category", f"category {position} is {shown(category)}")
            category_id = whole_id(category.get("id"), f"the id of category {position}")
            if category_id in names:
                raise BadItem("duplicate_id", f"category id {category_id} appears twice")
            names[category_id] = _category_name(category.get("name", category_id))
        except BadItem as bad:
            report(Problem(bad.code, bad.text))
    return names


def _category_name(name: Any) -> str:
    """A name as text that any file takes; lone surrogates become question marks."""
    text = name if isinstance(name, str) else shown(name)
    return text.encode("utf-8", "replace").decode()


def number_annotations(annotations: list[Any], report: Report) -> None:
    """Fills in missing annotation ids: 1, 2, ... in document order, after the ids in use."""
    entries = [entry for entry in annotations if isinstance(entry, dict)]
    without = [entry for entry in entries if entry.get("id") is None]
    if not without:
        return
    used = {entry["id"] for entry in entries if type(entry.get("id")) is int}
    following = 1
    for entry in without:
        while following in used:
            following += 1
        entry["id"] = following
        following += 1
    text = f"{counted(len(without), 'annotation')} without an id, numbered in the file's order"
    report(Problem("absent_id", text, note=True))


def identified_annotations(
    document: dict[str, Any], report: Report
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The annotations that are objects with an id of their own, and their positions."""
    seen: set[int] = set()
    for index, annotation in enumerate(_shown(document["annotations"])):
        annotation_id = None
        try:
            if not isinstance(annotation, dict):
                raise BadItem("bad_annotation", f"annotation {index} is {shown(annotation)}")
            annotation_id = whole_id(annotation.get("id"), f"the id of annotation {index}")
            if annotation_id in seen:
                raise BadItem("duplicate_id", f"annotation id {annotation_id} appears twice")
            seen.add(annotation_id)
            is_crowd(annotation)  # refuses a malformed mark
        except BadItem as bad:
            report(Problem(bad.code, bad.text, annotation_id))
        else:
            yield index, annotation


def _shown(annotations: list[Any]) -> Iterator[Any]:
    """The annotations one after the other, with a progress bar if they take more than seconds."""
    if len(annotations) < LONG:
        yield from annotations
        return
    with track("read annotations", len(annotations)) as progress:
        for first in range(0, len(annotations), STRIDE):
            part = annotations[first : first + STRIDE]
            yield from part
            progress.advance(len(part))


def _kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "missing"
    return {dict: "an object", list: "a list", str: "text"}.get(type(value), "a single value")
