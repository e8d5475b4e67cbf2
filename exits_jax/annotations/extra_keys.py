"""Keys of a COCO annotation that are not COCO's own and change what is meant by it."""

from collections.abc import Iterator
from typing import Any

from exits_jax.annotations.numbers import finite_number, finite_numbers
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.annotations.shapes import box_entry, turned_box
from exits_jax.annotations.summary import counted


def heed_extra_keys(annotations: list[Any], box_form: str) -> Iterator[Problem]:
    """Makes rotated boxes upright, in place, and notes keys that are ignored here.

    CVAT's and Datumaro's COCO exports give a rotated box as it was before it was rotated about its
    centre, and the degrees, clockwise, in `attributes`.

    Args:
      annotations: the rows, whatever they are.
      box_form: of their boxes; other forms than COCO's are not CVAT's and are left alone.

    Yields:
      a note for each kind of key that was found.
    """
    rows = [entry for entry in annotations if isinstance(entry, dict)]
    turned = sum(map(_made_upright, rows)) if box_form in ("auto", "xywh") else 0
    if turned:
        text = f"{counted(turned, 'box', 'boxes')} with attributes.rotation: read as the upright"
        yield Problem("turned_box", f"{text} boxes around the rotated ones", note=True)
    ignored = sum(finite_number(entry.get("ignore")) == 1 for entry in rows)
    if ignored:
        text = f"{counted(ignored, 'annotation')} with ignore 1: labelled like the others"
        yield Problem(
            "ignore_mark",
            f"{text}, as pycocotools counts them; delete those that are not meant",
            note=True,
        )


def _made_upright(entry: dict[str, Any]) -> bool:
    """Whether an annotation's box is rotated; a mask beside it shows where the object is."""
    extra = entry.get("attributes")
    degrees = finite_number(extra.get("rotation")) if isinstance(extra, dict) else None
    box = finite_numbers(entry.get("bbox"))
    if not degrees or degrees % 180 == 0 or box is None or box.size != 4:
        return False
    if entry.get("segmentation") or box[2:].min() <= 0:
        return False
    try:
        upright = box_entry(turned_box(box, degrees, box[:2] + box[2:] / 2))
    except BadItem:
        return False
    entry["bbox"] = upright["bbox"]
    return True
