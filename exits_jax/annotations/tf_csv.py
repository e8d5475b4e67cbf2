"""The box CSV of TensorFlow's tutorials, also exported by Roboflow -> a COCO-style document.

One box per line, in pixels: filename, width, height, class, xmin, ymin, xmax, ymax.
"""

import pathlib
from typing import Any

from exits_jax.annotations.coco import Report
from exits_jax.annotations.csv_files import csv_rows
from exits_jax.annotations.draft import Draft
from exits_jax.annotations.image_files import stated_size
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.numbers import shown, whole_number
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.shapes import box_entry, coordinates
from exits_jax.annotations.xml_files import number_in

SIDES = ("xmin", "ymin", "xmax", "ymax")
COLUMNS = ("filename", "width", "height", "class", *SIDES)


def tf_csv_document(
    file: pathlib.Path, images: ImageFolder | None, report: Report
) -> dict[str, Any]:
    """Reads a box CSV into a document; ids are made from its order.

    Args:
      file: the CSV.
      images: the image folder, for sizes that a line does not state.
      report: takes the mistakes; what is wrong is left out.

    Raises:
      BadItem: it is not CSV, or lacks a column.
    """
    draft = Draft(report)
    known: dict[tuple[str, ...], dict[str, Any] | None] = {}
    for line, row in csv_rows(file, COLUMNS):
        where = f"line {line}"
        stated = tuple(row[column] for column in ("filename", "width", "height"))
        if stated not in known:  # if a name has two sizes, the second is refused
            known[stated] = _image(draft, stated, images, where)
        image = known[stated]
        if image is None:
            continue
        if not any(row[side].strip() for side in SIDES):
            draft.passed.add("lines have no box", where)
            continue
        try:
            if not row["class"].strip():
                raise BadItem("absent_category", "class is empty")
            numbers = coordinates([number_in(row[side]) for side in SIDES], "box", len(SIDES))
            if (numbers[2:] <= numbers[:2]).any():
                text = f"box {shown(numbers.tolist())}: a maximum is not above its minimum"
                raise BadItem("empty_box", text)
            draft.add(image, row["class"].strip(), box_entry(numbers.reshape(2, 2)))
        except BadItem as bad:
            draft.refuse(bad, where, image)
    return draft.document()


def _image(
    draft: Draft, stated: tuple[str, ...], images: ImageFolder | None, where: str
) -> dict[str, Any] | None:
    """The image that lines name, its size from the file if they lack it; None if refused."""
    name, width, height = stated
    try:
        absent = not whole_number(width) and not whole_number(height)
        if absent:
            return draft.add_unsized(name, images, where, again=False)
        return draft.add_image(name, stated_size({"width": width, "height": height}), where)
    except BadItem as bad:
        draft.refuse(bad, where)
        return None
