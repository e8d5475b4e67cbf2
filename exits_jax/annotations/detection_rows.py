"""The rows of a file of boxes, out of the shapes in which detectors write them.

COCO's results are a list of {image_id, category_id, bbox, score}. torchvision's outputs have lists
side by side, an object an image; others group objects by file name, or call fields otherwise.
"""

from collections.abc import Iterator
from typing import Any

from exits_jax.annotations.folder_files import IMAGE_ENDINGS
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem

WRAPPERS = ("predictions", "detections", "results")  # that results are in
LISTS = ("annotations", *WRAPPERS)  # that boxes are in
EXPECTED = "expected COCO results: [{image_id or file_name, category_id, bbox, score}, ...]"
# What fields are called elsewhere, where the names of COCO's results are absent.
FIELDS = {
    "file_name": ("filename", "image_name", "image_path", "image", "path", "file"),
    "score": ("confidence", "conf"),
    "bbox": ("box",),
}
CORNERS = ("x0", "y0", "x1", "y1")  # torchvision's boxes, as they are named here
IMAGE = ("image_id", "file_name", *FIELDS["file_name"])

Row = dict[str, Any]


def box_rows(content: Any, box_form: str = "auto") -> list[Any]:
    """The rows in a file of boxes, each with COCO's names of its fields.

    Args:
      content: a list of rows, or an object with one of the lists `LISTS`, or with rows or
        torchvision's {boxes, labels, scores} by file name. A list may have the latter, too, where
        each says its image.
      box_form: of boxes in lists side by side; "auto" is torchvision's, two corners.

    Raises:
      BadItem: it holds none of these; the text says what it looks like, and what is expected.
    """
    rows = _listed(content)
    if isinstance(rows, dict):
        rows = [rows] if isinstance(rows.get("boxes"), list) else _by_file(rows)
    if not isinstance(rows, list):
        raise BadItem("bad_document", f"found {shown(content)}; {EXPECTED}")
    if not rows:
        raise BadItem("no_annotations", "the list of boxes is empty: nothing to label")
    coco = {"image_id", "bbox", "score"}
    if not isinstance(rows[0], dict) or all(isinstance(r, dict) and coco <= r.keys() for r in rows):
        return rows
    return [box for row in rows for box in _boxes(row, box_form)]


def _listed(content: Any) -> Any:
    """The list in an object that wraps one; else the content."""
    lists = [content.get(key) for key in LISTS] if isinstance(content, dict) else []
    return next((value for value in lists if isinstance(value, list)), content)


def _by_file(content: Row) -> list[Any] | None:
    """The rows of an object whose keys are file names; None where it is not such a one.

    Raises:
      BadItem: what is said of a file is numbers without names.
    """
    if not content or not all(is_image_name(name) for name in content):
        return None
    rows = []
    for name, held in content.items():
        value = _listed(held)
        for row in value if isinstance(value, list) else [value]:
            if not isinstance(row, dict):
                text = f"boxes by file name, and those of {shown(name)} as {shown(row)}"
                raise BadItem(
                    "bad_document", f"found {text}, which does not say its form; {EXPECTED}"
                )
            rows.append(row if "file_name" in row else {**row, "file_name": name})
    return rows


def is_image_name(name: str) -> bool:
    """Whether a text has the ending of an image file."""
    return name.lower().endswith(IMAGE_ENDINGS)


def _boxes(row: Any, box_form: str) -> Iterator[Any]:
    """The boxes in a row, one as a rule.

    Raises:
      BadItem: nobody knows its image, or its box.
    """
    if not isinstance(row, dict):
        yield row
        return
    if "bounding_box" in row and "bbox" not in row:
        raise _foreign("FiftyOne's detections (label, bounding_box in shares of the image)")
    several = isinstance(row.get("boxes"), list) and "bbox" not in row
    if not any(key in row for key in IMAGE):
        if several:
            raise _foreign("torchvision's outputs (boxes, labels, scores) without their images")
        if "box" in row:
            raise _foreign("Ultralytics' to_json (name, class, confidence, box) without its image")
    for box in _side_by_side(row, box_form) if several else [row]:
        yield _renamed(box)


def _side_by_side(row: Row, box_form: str) -> Iterator[Row]:
    """The boxes of an image that has lists of boxes, labels and scores.

    Raises:
      BadItem: the lists differ in length.
    """
    image = {key: row[key] for key in IMAGE if key in row}
    lists = [row["boxes"], row.get("labels"), row.get("scores")]
    if len({len(values) if isinstance(values, list) else -1 for values in lists}) != 1:
        text = f"boxes, labels and scores of {shown(image)} are no lists of one length"
        raise BadItem("bad_document", f"{text}; {EXPECTED}")
    for box, label, score in zip(*lists, strict=True):
        corners = box
        if box_form == "auto" and isinstance(box, list) and len(box) == 4:
            corners = dict(zip(CORNERS, box, strict=True))
        yield image | {"bbox": corners, "category_id": label, "score": score}


def _renamed(row: Row) -> Row:
    """A row with COCO's names of its fields."""
    more = {
        name: row[other]
        for name, others in FIELDS.items()
        if row.get(name) is None
        if (other := next((key for key in others if row.get(key) is not None), ""))
    }
    return row | more if more else row


def _foreign(what: str) -> BadItem:
    return BadItem("foreign_file", f"this looks like {what}; {EXPECTED}")
