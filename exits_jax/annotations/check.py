"""The checker: what is wrong with an annotation file or a label file, all of it at once."""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

from exits_jax.annotations import coco
from exits_jax.annotations.documents import read_document
from exits_jax.annotations.findings import annotation_findings
from exits_jax.annotations.image_files import check_decodes, size_on_disk
from exits_jax.annotations.image_folder import image_folder
from exits_jax.annotations.records import BadItem, ImageRecord, Problem
from exits_jax.annotations.results import result_problems


def check_file(file: str | os.PathLike, images: str | os.PathLike | None = None) -> list[Problem]:
    """Everything wrong with an annotation file or label file; notes at most for a clean one.

    Beyond what `read_annotations` refuses it finds what would go wrong later: masks on every
    annotation, areas that are not the mask's, points off their box, labels marked as crowds, images
    that do not open or have another size. Results files (a list with scores) are checked, too.

    Args:
      file: of any kind that `read_annotations` takes, or a COCO results list.
      images: the image folder; without it nothing is said about image files.

    Raises:
      UserError: the file or the image folder cannot be read at all.
    """
    file = pathlib.Path(file)
    folder = image_folder(images)
    problems: list[Problem] = []
    try:
        document = read_document(file, folder, "auto", problems.append)
        if isinstance(document, list):
            return list(result_problems(document))
        coco.check_structure(document)
    except BadItem as bad:
        return [*problems, Problem(bad.code, bad.text)]
    problems.extend(_absent_ids(document["annotations"]))
    coco.number_annotations(document["annotations"])
    categories = coco.category_names(document, problems.append)
    records = coco.image_records(document, folder, problems.append)
    crowded = _mostly_crowds(document["annotations"])
    for _, annotation in coco.identified_annotations(document, problems.append):
        for bad in annotation_findings(annotation, records, categories, crowded):
            problems.append(coco.annotation_problem(bad, annotation, records))
    problems.extend(image_problems(records))
    return problems


def image_problems(records: dict[int, ImageRecord]) -> Iterator[Problem]:
    """Image files that are missing, do not decode or have another size than stated."""
    for record in records.values():
        if record.path is None:
            continue
        try:
            size = size_on_disk(record.path)
            check_decodes(record.path)
            if size != (record.width, record.height):
                raise BadItem(
                    "image_size",
                    f"{record.path} is {size[0]} x {size[1]} pixels (EXIF orientation applied);"
                    f" the annotation file says {record.width} x {record.height}",
                )
        except BadItem as bad:
            yield Problem(bad.code, bad.text, image_id=record.id)


def _absent_ids(annotations: list[Any]) -> list[Problem]:
    """One finding for all annotations without an id."""
    count = sum(isinstance(entry, dict) and entry.get("id") is None for entry in annotations)
    if not count:
        return []
    text = f"{count} annotations have no id; they are read as numbered in the file's order"
    return [Problem("absent_id", text)]


def _mostly_crowds(annotations: list[Any]) -> bool:
    """Whether more annotations are marked as crowds than not: no data set is like that."""
    marks = [bool(entry.get("iscrowd")) for entry in annotations if isinstance(entry, dict)]
    return sum(marks) > len(marks) / 2
