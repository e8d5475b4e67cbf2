"""A detector's boxes in place of a document's annotations (`data.boxes`).

What detectors write differs: images by id or by file name, categories by id or counted from 0,
scores as shares or per cent. What is certain over the whole file is read, with a note.
"""

from collections.abc import Callable, Iterator
from typing import Any

from exits_jax.annotations.box_forms import BoxTable, refuse_mixup
from exits_jax.annotations.coco import Report
from exits_jax.annotations.detection_categories import categories_of_boxes, read_categories
from exits_jax.annotations.detection_images import read_image_ids
from exits_jax.annotations.detection_rows import CORNERS, box_rows, is_image_name
from exits_jax.annotations.fields import is_marked
from exits_jax.annotations.numbers import (
    finite_numbers,
    id_key,
    is_missing,
    plain_number,
    shown,
    whole_number,
)
from exits_jax.annotations.records import BadItem, Detection, Problem
from exits_jax.annotations.summary import counted

NAMES = ("category_name", "class_name", "category", "class", "label", "name")
ROUNDING = 1e-4  # a softmax in half precision may end so much above 1


def boxes_document(
    document: dict[str, Any],
    content: Any,
    report: Report,
    images_by: str = "auto",
    box_form: str = "auto",
) -> dict[str, Any]:
    """The document with a detector's boxes in place of its annotations.

    Each keeps its own `score` and `extreme_points`; ids are numbers in the list, from
    1, as `COCO.loadRes` gives them. A segmentation is dropped: the box is what is labelled.

    Args:
      document: images and categories are taken from it; one that has neither
        categories nor annotations gets the categories of the boxes.
      content: what the file of boxes holds, see `detection_rows.box_rows`. A whole COCO document's
        own images and categories are told by their names.
      report: called for each box that cannot be used, which is left out, and for what was read
        otherwise than it is written.
      images_by: "id", "name" or "auto", see `read_image_ids`.
      box_form: as it was asked for, see `detection_rows.box_rows`.

    Raises:
      BadItem: it holds no list of boxes, or it is unclear which image, category or score is meant.
    """
    rows = box_rows(content, box_form)
    found = [*_detections(rows, content)]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            report(Problem("bad_annotation", f"found {shown(row)}; expected an object", number))
    image_id = read_image_ids(document.get("images"), found, report, images_by)
    document = {**document}
    if document.get("categories") or document.get("annotations"):
        category_id = read_categories(document.get("categories"), found, report)
    else:
        document["categories"], category_id = categories_of_boxes(found, report)
    score = _read_scores(found, report)
    _note_masks(found, report)
    lost = [detection.number for detection in found if _no_score(detection)]
    if lost:
        text = f"{counted(len(lost), 'box', 'boxes')} with NaN for a score left out"
        report(Problem("passed_over", f"{text}, the first is number {lost[0]}", note=True))
        found = [detection for detection in found if not _no_score(detection)]
    annotations = []
    for detection in found:
        row = detection.row
        try:
            if row.get("bbox") is None:
                raise BadItem("nothing_given", "found no bbox")
            read = {"image_id": image_id(detection), "category_id": category_id(detection)}
            read |= {"score": score(detection), "id": detection.number}
        except BadItem as bad:
            report(Problem(bad.code, bad.text, detection.number))
            continue
        kept = {key: value for key, value in row.items() if key != "segmentation"}
        annotations.append(kept | read | {"iscrowd": int(is_marked(row))})
    if box_form == "auto":
        _refuse_other_form(annotations, document.get("images"))
    return document | {"annotations": annotations}


def _refuse_other_form(annotations: list[dict[str, Any]], images: Any) -> None:
    """Refuses lists side by side whose boxes as a whole are not two corners in pixels.

    The form that is asked for is then that of the lists, not of the corners made from them.

    Raises:
      BadItem: they are of another form.
    """
    sizes = {
        id_key(image.get("id")): (width, height)
        for image in (images if isinstance(images, list) else [])
        if isinstance(image, dict)
        if (width := whole_number(image.get("width")))
        if (height := whole_number(image.get("height")))
    }
    table = BoxTable()
    for row in annotations:
        size, sides = sizes.get(row["image_id"]), row["bbox"]
        if size and isinstance(sides, dict) and (*sides,) == CORNERS:
            numbers = finite_numbers([*sides.values()])
            if numbers is not None:
                table.add(numbers, size, None)
    refuse_mixup(table, "xyxy")


def _detections(rows: list[Any], content: Any) -> Iterator[Detection]:
    """The entries that are objects, with the names that they or the file's own lists give them."""
    files = _names(content, "images", "file_name")
    categories = _names(content, "categories", "name")
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            file_name = text_of(row, ("file_name",)) or files.get(id_key(row.get("image_id")))
            named = category_in(row) or categories.get(id_key(row.get("category_id")))
            yield Detection(number, row, file_name, named)


def _names(content: Any, key: str, name: str) -> dict[int | str | None, str]:
    """Names by id in one of the other lists of a file of boxes."""
    entries = content.get(key) if isinstance(content, dict) else None
    return {
        number: entry[name]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get(name), str)
        if (number := id_key(entry.get("id"))) is not None
    }


def category_in(row: dict[str, Any]) -> str | None:
    """The name that a row has for its category; an image file in "name" does not count."""
    return text_of(row, tuple(key for key in NAMES if not is_image_name(str(row.get(key)))))


def text_of(row: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """The first of the keys that holds text."""
    texts = (row[key] for key in keys if isinstance(row.get(key), str) and row[key].strip())
    return next(texts, None)


def _read_scores(found: list[Detection], report: Report) -> Callable[[Detection], float]:
    """How scores are read: from 0 to 1, as text too, or all of them per cent.

    If the whole file has none, they are 1.

    Raises:
      BadItem: most of them, but not all, are above 1.
    """
    given = [detection.row.get("score") for detection in found if not _no_score(detection)]
    if given and all(value is None for value in given):
        text = "no box has a score: each is taken as 1, so average precision cannot rank them"
        report(Problem("no_scores", text, note=True))
        return lambda detection: 1.0
    numbers = [number for value in given if (number := _plain_score(value)) is not None]
    large = sum(number > 1 + ROUNDING for number in numbers)
    percent = large > 0 and large == len(numbers) and max(numbers) <= 100
    if percent:
        text = f"all scores are above 1, up to {max(numbers):g}: read as per cent"
        report(Problem("score_percent", text, note=True))
    elif large > len(numbers) / 2:
        raise BadItem(
            "bad_score",
            f"scores go from {min(numbers):g} to {max(numbers):g}; expected 0 to 1 (or all of them"
            " per cent, above 1)",
        )
    if any(isinstance(value, str) for value in given):
        report(Problem("score_text", "scores written as text are read as numbers", note=True))
    return lambda detection: _score(detection, 100 if percent else 1)


def _score(detection: Detection, whole: int) -> float:
    value = detection.row.get("score")
    number = _plain_score(value)
    if isinstance(value, str) and value.strip().endswith("%"):
        whole = 1  # says itself what it is of
    if number is None or not 0 <= number <= whole * (1 + ROUNDING):
        raise BadItem("bad_score", f"score is {shown(value)}; expected 0 to {whole}")
    return min(number / whole, 1.0)


def _plain_score(value: Any) -> int | float | None:
    """A number; text with a per cent sign becomes a share of 1."""
    if isinstance(value, str) and (text := value.strip()).endswith("%"):
        number = plain_number(text[:-1])
        return None if number is None else number / 100
    return plain_number(value)


def _no_score(detection: Detection) -> bool:
    """Whether the score is NaN: a network that went wrong, and nothing to rank by."""
    value = detection.row.get("score")
    return value is not None and is_missing(value)


def _note_masks(found: list[Detection], report: Report) -> None:
    """Notes how many masks are ignored."""
    count = sum(bool(detection.row.get("segmentation")) for detection in found)
    if count:
        text = (
            f"{count:,} of {counted(len(found), 'box', 'boxes')} come with a segmentation, which is"
            " dropped: the box is what is labelled"
        )
        report(Problem("mask_dropped", text, note=True))
