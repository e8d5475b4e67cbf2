"""The one entrance: an annotation file of any kind -> `Annotations`."""

import dataclasses
import math
import os
import pathlib
from typing import Any

from exits_jax.annotations import coco
from exits_jax.annotations.documents import load_json, read_document
from exits_jax.annotations.image_folder import image_folder
from exits_jax.annotations.image_list import with_categories
from exits_jax.annotations.kinds import KINDS
from exits_jax.annotations.recognise import refuse_results
from exits_jax.annotations.records import Annotations, BadItem, Problem, problem_line
from exits_jax.annotations.results import boxes_document
from exits_jax.annotations.yolo_results import yolo_results
from exits_jax.errors import UserError


def read_annotations(
    file: str | os.PathLike,
    images: str | os.PathLike | None = None,
    *,
    kind: str = "auto",
    points: str = "exact",
    on_error: str = "stop",
    seed: int = 0,
    click_noise: float = 0.0,
    boxes: str | os.PathLike | None = None,
) -> Annotations:
    """Reads an annotation file.

    Args:
      file: COCO or LVIS JSON (also .gz, or a .zip with that file alone), a PASCAL VOC XML file or
        folder, an Open Images box CSV, a YOLO data.yaml, folder or text file, labelme or SA-1B JSON
        or a folder of it, a CVAT XML, a Label Studio JSON, or for `boxes` a folder of images.
      images: the folder with the images; a layout with or without the folders in the file's names
        works. Needed where the annotation file does not state the images' sizes.
      kind: one of `KINDS`; "auto" tells from the content.
      points: rule for extracting extreme points where a file has only masks, "exact" or
        "extremenet".
      on_error: "stop" raises on the first mistake in an item, "skip" leaves the item out and lists
        it in `problems`. A mistake in the file as a whole always stops.
      seed: of the click noise.
      click_noise: standard deviation in pixels of noise added to all points; 0 for none.
      boxes: a detector's boxes, in COCO's results form or as YOLO's text files with confidences:
        they are the instances, and the file gives images and categories alone.

    Raises:
      UserError: the file, or with on_error="stop" an item in it, cannot be used; one line that
        names the file, the annotation, what was found and what was expected.
    """
    _check_options(kind, points, on_error, click_noise)
    file = pathlib.Path(file)
    folder = image_folder(images)
    problems: list[Problem] = []
    notes: list[Problem] = []

    def report(problem: Problem) -> None:
        if problem.note:
            notes.append(problem)
        elif on_error == "stop":
            raise UserError(problem_line(file, problem))
        else:
            problems.append(problem)

    try:
        document = read_document(file, folder, kind, report)
        if boxes:
            document = _with_boxes(document, pathlib.Path(boxes), on_error, problems)
        refuse_results(document)
        coco.check_structure(document)
    except BadItem as bad:
        # A file of nothing but what is passed over would else seem to be empty.
        text = "; ".join([bad.text, *(note.text for note in notes)])
        raise UserError(problem_line(file, Problem(bad.code, text))) from bad
    coco.number_annotations(document["annotations"])
    categories = coco.category_names(document, report)
    records = coco.image_records(document, folder, report)
    rule = coco.PointRule(points, click_noise, seed)
    instances = coco.read_instances(document, records, categories, rule, report)
    if not instances:
        raise UserError(_nothing_left(file, len(document["annotations"]), problems))
    return Annotations(file, document, records, categories, instances, problems, notes)


def _with_boxes(document: Any, boxes: pathlib.Path, on_error: str, problems: list[Problem]) -> Any:
    """The document with a detector's boxes as its annotations; what is wrong with them names them.

    Raises:
      UserError: the file of boxes, or with on_error="stop" one of them, cannot be used.
    """
    if not isinstance(document, dict):
        return document  # refused with the reason that any such file is refused with

    def report(problem: Problem) -> None:
        if on_error == "stop":
            raise UserError(problem_line(boxes, problem))
        # Listed with the annotation file's own problems, so it has to say where it is.
        problems.append(dataclasses.replace(problem, text=f"in {boxes}: {problem.text}"))

    try:
        if boxes.is_dir() or boxes.suffix.lower() == ".txt":
            results = yolo_results(boxes, document, report)
        else:
            results = load_json(boxes)
        return boxes_document(with_categories(document, results), results, report)
    except BadItem as bad:
        raise UserError(problem_line(boxes, Problem(bad.code, bad.text))) from bad


def _check_options(kind: str, points: str, on_error: str, click_noise: float) -> None:
    for name, value, allowed in (
        ("kind", kind, KINDS),
        ("points", points, ("exact", "extremenet")),
        ("on_error", on_error, ("stop", "skip")),
    ):
        if value not in allowed:
            raise UserError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")
    if not (math.isfinite(click_noise) and click_noise >= 0):
        raise UserError(f"click_noise is {click_noise}; expected pixels, 0 or more")


def _nothing_left(file: pathlib.Path, count: int, problems: list[Problem]) -> str:
    if not problems:
        return f"{file}: nothing to label: all {count} annotations are crowd regions"
    return (
        f"{file}: nothing to label: none of the {count} annotations can be used;"
        f" the first of {len(problems)} problems: {problem_line(file, problems[0])}"
    )
