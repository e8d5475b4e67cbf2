"""Open Images box CSV -> a COCO-style document.

Coordinates in the CSV are shares of the image, and the CSV does not say how large the images are:
the sizes come from the files. The four clicks are in the order the annotator made them; -1 if a box
was not made by extreme clicks.
"""

import csv
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.coco import Report
from exits_jax.annotations.csv_files import csv_rows
from exits_jax.annotations.draft import PassedOver
from exits_jax.annotations.image_files import measured
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.image_names import stem
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem, Problem

BOX_COLUMNS = ("XMin", "YMin", "XMax", "YMax")
CLICK_COLUMNS = tuple(f"XClick{i}{axis}" for i in range(1, 5) for axis in "XY")
FLAG_COLUMNS = ("IsOccluded", "IsTruncated", "IsDepiction", "IsInside")


def open_images_document(
    file: pathlib.Path, images: ImageFolder | None, report: Report
) -> dict[str, Any]:
    """Reads an Open Images box file into a COCO-style document; ids are made from the order.

    A box around a group (`IsGroupOf`) becomes a crowd. Category names come from a file
    `*class-descriptions*.csv` beside the box file, if there is one.

    Args:
      file: the CSV.
      images: the image folder, with ImageID.jpg in it.
      report: takes the mistakes; what is wrong is left out.

    Raises:
      UserError: the image folder is not given, or the CSV lacks a column.
    """
    if images is None:
        raise BadItem(
            "no_image_folder", "Open Images needs the image folder, to read the sizes from"
        )
    sizes: dict[str, dict[str, Any] | None] = {}
    categories: dict[str, int] = {}
    annotations = []
    for line, row in csv_rows(file, ("ImageID", "LabelName", *BOX_COLUMNS)):
        name = row["ImageID"]
        if name not in sizes:
            sizes[name] = _image_entry(name, len(sizes) + 1, images, report)
        image = sizes[name]
        if image is None:
            continue
        try:
            entry = _entry(row, image)
        except BadItem as bad:
            report(Problem(bad.code, f"line {line}: {bad.text}", image_id=image["id"]))
            continue
        category_id = categories.setdefault(row["LabelName"], len(categories) + 1)
        annotations.append({"id": len(annotations) + 1, "category_id": category_id, **entry})
    names = _class_names(file.parent)
    passed = PassedOver()
    for label in categories if names else ():
        if label not in names:
            passed.add("labels have no class description and stay as they are", label)
    passed.say(report)
    return {
        "images": [image for image in sizes.values() if image],
        "annotations": annotations,
        "categories": [
            {"id": category_id, "name": names.get(label, label), "label": label}
            for label, category_id in categories.items()
        ],
    }


def _image_entry(
    name: str, image_id: int, images: ImageFolder, report: Report
) -> dict[str, Any] | None:
    """The `images` entry of an ImageID, its size read from the file; None if that fails."""
    file_name = name if stem(name) != name else f"{name}.jpg"
    try:
        size = measured(images.find([file_name]), images.exif)
    except BadItem as bad:
        report(Problem(bad.code, bad.text, image_id=image_id))
        return None
    return {"id": image_id, "file_name": file_name, **size}


def _entry(row: dict[str, str], image: dict[str, Any]) -> dict[str, Any]:
    """One line as an annotation in pixels, without its ids."""
    scale = np.array([image["width"], image["height"]], np.float64)
    low, high = _pairs(row, BOX_COLUMNS) * scale
    entry: dict[str, Any] = {
        "image_id": image["id"],
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "area": float(np.prod(high - low)),
        "iscrowd": int(row.get("IsGroupOf") == "1"),
        "attributes": {name: int(row.get(name) == "1") for name in FLAG_COLUMNS},
    }
    if (high <= low).any():
        raise BadItem("empty_box", f"the box {low.tolist()} to {high.tolist()} has no area")
    if _was_clicked(row):
        entry["extreme_points"] = (_pairs(row, CLICK_COLUMNS) * scale).tolist()
    return entry


def _was_clicked(row: dict[str, str]) -> bool:
    """Whether a line has extreme clicks: boxes made otherwise have -1 there, some files nothing."""
    texts = (row.get(name) or "-1" for name in CLICK_COLUMNS)
    return any(text.rstrip("0").rstrip(".") != "-1" for text in texts)


def _pairs(row: dict[str, str], columns: tuple[str, ...]) -> Float[np.ndarray, "n 2"]:
    """Named columns of a line as float64[n, 2]."""
    texts = [row.get(name) for name in columns]
    try:
        numbers = np.array([float(text or "") for text in texts])
    except ValueError:
        numbers = np.array(np.nan)
    # As polygons, at most an image's size away; NaN is neither.
    if not ((numbers >= -1) & (numbers <= 2)).all():
        raise BadItem(
            "bad_number", f"{', '.join(columns)} are {shown(texts)}; expected shares of the image"
        )
    return numbers.reshape(-1, 2)


def _class_names(folder: pathlib.Path) -> dict[str, str]:
    """Names by label from the class descriptions in a folder; empty if there are none.

    Raises:
      UserError: the file cannot be read or is not CSV.
    """
    for path in sorted(folder.glob("*class-descriptions*.csv")):
        try:
            with open(path, newline="", encoding="utf-8-sig", errors="replace") as stream:
                return {row[0]: row[1] for row in csv.reader(stream) if len(row) == 2}
        except (OSError, csv.Error) as error:
            raise BadItem("bad_csv", f"{path} is not valid CSV: {error}") from error
    return {}
