"""The rows of a file of boxes, from the structures in which detectors write them.

COCO's results are a list of {image_id, category_id, bbox, score}. torchvision's outputs have lists
side by side, one object per image; others group objects by file name, or name fields differently.
"""

from collections.abc import Iterator
from typing import Any

from exits_jax.annotations.box_writing import NAMED
from exits_jax.annotations.folder_files import IMAGE_ENDINGS
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem

WRAPPERS = ("predictions", "detections", "results")  # that results are in
LISTS = ("annotations", *WRAPPERS)  # that boxes are in
INNER = (*LISTS, "instances", "objects", "boxes", "bboxes")  # that the boxes of one image are in
SIDE_BY_SIDE = ("boxes", "bboxes")  # beside labels and scores: torchvision's, MMDetection's
EXPECTED = "expected COCO results: [{image_id or file_name, category_id, bbox, score}, ...]"
# Other names of fields, where those of COCO's results are missing.
FIELDS = {
    "file_name": ("filename", "image_name", "image_path", "image", "path", "file"),
    "score": ("confidence", "conf"),
    "bbox": ("box",),
}
CORNERS = ("x0", "y0", "x1", "y1")  # torchvision's boxes, as they are named here
XYXY, XYWH = 0, 1  # Detectron2's bbox_mode, in pixels
# Sides as fields of a row: corners first, as width and height may be those of the image.
FLAT = sorted(
    (names.split() for _, names in NAMED), key=lambda names: (names[2][0] == "w", "width" in names)
)
ROBOFLOW = {"class_id", "detection_id"}  # beside class and confidence; its x and y are the centre
IMAGE = ("image_id", "file_name", *FIELDS["file_name"])

Row = dict[str, Any]


def box_rows(content: Any, box_form: str = "auto") -> list[Any]:
    """The rows in a file of boxes, each with COCO's names of its fields.

    Args:
      content: a list of rows, or an object with one of the lists `LISTS`, or with rows or
        torchvision's {boxes, labels, scores} by file name. A list may hold the latter, too, if each
        says its image.
      box_form: of boxes in lists side by side; "auto" is torchvision's, two corners.

    Raises:
      BadItem: it holds none of these; the text says what it looks like, and what is expected.
    """
    rows = _listed(content)
    if isinstance(rows, dict):
        rows = [rows] if _side_key(rows) else _by_file(rows)
    if not isinstance(rows, list):
        raise BadItem("bad_document", f"found {shown(content)}; {EXPECTED}")
    if not rows:
        raise BadItem("no_annotations", "the list of boxes is empty: nothing to label")
    if not isinstance(rows[0], dict) or all(map(_is_plain, rows)):
        return rows
    found = [box for row in rows for one in _unwrapped(row) for box in _boxes(one, box_form)]
    if found and all(isinstance(row, dict) and row.get("bbox") is None for row in found):
        text = f"no row has a bbox: the first is {shown(found[0])}"
        raise BadItem("bad_document", f"{text}; {EXPECTED}")
    return found


def _is_plain(row: Any) -> bool:
    """Whether a row is as COCO has it."""
    keys = {*row} if isinstance(row, dict) else set()
    return {"image_id", "bbox", "score"} <= keys and "bbox_mode" not in keys


def _listed(content: Any) -> Any:
    """The list in an object that wraps one; else the content."""
    lists = [content.get(key) for key in LISTS] if isinstance(content, dict) else []
    return next((value for value in lists if isinstance(value, list)), content)


def _by_file(content: Row) -> list[Any] | None:
    """The rows of an object whose keys are file names; None if they are not.

    Raises:
      BadItem: a file has numbers without names.
    """
    images = all(map(is_image_name, content))
    if not content or not (images or all(map(_side_key, content.values()))):
        return None
    rows = []
    for name, held in content.items():
        value = _listed(held)
        image = {"file_name" if images else "image_id": name}
        for row in value if isinstance(value, list) else [value]:
            rows.append(image | _described(row, f"boxes by file name, and those of {shown(name)}"))
    return rows


def _described(row: Any, whose: str) -> Row:
    """A row, checked to be an object, which says what its numbers are.

    Raises:
      BadItem: it is not one.
    """
    if isinstance(row, dict):
        return row
    text = f"found {whose} as {shown(row)}, which does not say its form; {EXPECTED}"
    raise BadItem("bad_document", text)


def _unwrapped(row: Any) -> Iterator[Any]:
    """The objects in an image's list, with their image; a row without a list is returned itself.

    Raises:
      BadItem: they are numbers without names.
    """
    whole = not isinstance(row, dict) or row.keys() & {"bbox", "box"} or _side_key(row)
    lists = [] if whole else [row[key] for key in INNER if isinstance(row.get(key), list)]
    held = next(iter(lists), None)
    if held is None:
        yield row
        return
    image = _image_of(row)
    for one in held:
        yield image | _described(one, f"boxes of {shown(image)}")


def _side_key(row: Any) -> str | None:
    """The key of a list of boxes that are lists themselves, beside lists of labels or scores."""
    if not isinstance(row, dict) or "bbox" in row:
        return None
    held = {key: row[key] for key in SIDE_BY_SIDE if isinstance(row.get(key), list)}
    return next((key for key, boxes in held.items() if not _objects(boxes)), None)


def _objects(values: list[Any]) -> bool:
    return bool(values) and isinstance(values[0], dict)


def _image_of(row: Row) -> Row:
    return {key: row[key] for key in IMAGE if key in row}


def is_image_name(name: str) -> bool:
    """Whether a text has the extension of an image file."""
    return name.lower().endswith(IMAGE_ENDINGS)


def _boxes(row: Any, box_form: str) -> Iterator[Any]:
    """The boxes in a row, usually one.

    Raises:
      BadItem: its image or its box is not known.
    """
    if not isinstance(row, dict):
        yield row
        return
    if "bounding_box" in row and "bbox" not in row:
        raise _foreign("FiftyOne's detections (label, bounding_box in shares of the image)")
    several = _side_key(row)
    if not any(key in row for key in IMAGE):
        if several:
            raise _foreign("torchvision's outputs (boxes, labels, scores) without their images")
        if "box" in row:
            raise _foreign("Ultralytics' to_json (name, class, confidence, box) without its image")
    for box in _side_by_side(row, several, box_form) if several else [row]:
        yield _one_box(_renamed(box), box_form)


def _side_by_side(row: Row, key: str, box_form: str) -> Iterator[Row]:
    """The boxes of an image that has lists of boxes, labels and scores.

    Raises:
      BadItem: the lists differ in length.
    """
    image = _image_of(row)
    lists = [row[key], row.get("labels"), row.get("scores")]
    if len({len(values) if isinstance(values, list) else -1 for values in lists}) != 1:
        text = f"{key}, labels and scores of {shown(image)} are not lists of one length"
        raise BadItem("bad_document", f"{text}; {EXPECTED}")
    for box, label, score in zip(*lists, strict=True):
        corners = box
        if box_form == "auto" and isinstance(box, list) and len(box) == 4:
            corners = dict(zip(CORNERS, box, strict=True))
        yield image | {"bbox": corners, "category_id": label, "score": score}


def _one_box(row: Row, box_form: str) -> Row:
    """A row with its box in `bbox`, even if the sides are fields of the row.

    Raises:
      BadItem: they may mean two things, or the form that the row names is not supported.
    """
    mode, box = row.get("bbox_mode"), row.get("bbox")
    if mode is not None and isinstance(box, list) and box_form == "auto":
        if mode not in (XYXY, XYWH):
            raise _foreign(f"Detectron2's, with boxes of bbox_mode {shown(mode)}")
        return row  # the mode is obeyed when the box is read
    if box is not None:
        return row
    keys = {key.replace("_", "").lower(): key for key in row}
    sides = next((names for names in FLAT if keys.keys() >= {*names}), None)
    if sides is None:
        return row
    numbers = [row[keys[side]] for side in sides]
    if sides[:2] == ["x", "y"]:
        if box_form != "auto":
            return row | {"bbox": numbers}
        if not row.keys() >= {"class", "confidence"} or not row.keys() & ROBOFLOW:
            text = "x and y beside width and height may be the corner of a box or its centre"
            form = "say which with --config.data.box_form=xywh or cxcywh"
            raise BadItem("bad_document", f"{text}; {form}; {EXPECTED}")
        sides = ["cx", "cy", "w", "h"]
    return row | {"bbox": dict(zip(sides, numbers, strict=True))}


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
