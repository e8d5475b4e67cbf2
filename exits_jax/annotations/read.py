"""The one entrance: an annotation file of any kind -> `Annotations`."""

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

from exits_jax.annotations import coco, lvis, open_images, voc
from exits_jax.annotations.image_folder import ImageFolder, image_folder
from exits_jax.annotations.records import Annotations, BadItem, Problem, problem_line
from exits_jax.annotations.results import boxes_document
from exits_jax.errors import UserError

KINDS = ("auto", "coco", "lvis", "voc", "open_images")


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
      file: COCO or LVIS JSON, a PASCAL VOC XML file or folder, or an Open Images box CSV.
      images: the folder with the images; a layout with or without the folders in the file's names
        works. Needed where the annotation file does not state the images' sizes.
      kind: "coco", "lvis", "voc", "open_images", or "auto" to tell from the content.
      points: rule for extracting extreme points where a file has only masks, "exact" or
        "extremenet".
      on_error: "stop" raises on the first mistake in an item, "skip" leaves the item out and lists
        it in `problems`. A mistake in the file as a whole always stops.
      seed: of the click noise.
      click_noise: standard deviation in pixels of noise added to all points; 0 for none.
      boxes: a detector's boxes, in COCO's results form: they are the instances, and the file gives
        images and categories alone.

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
        coco.check_structure(document)
    except BadItem as bad:
        raise UserError(problem_line(file, Problem(bad.code, bad.text))) from bad
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
        return boxes_document(document, load_json(boxes), report)
    except BadItem as bad:
        raise UserError(problem_line(boxes, Problem(bad.code, bad.text))) from bad


def read_document(
    file: pathlib.Path, images: ImageFolder | None, kind: str, report: coco.Report
) -> Any:
    """The COCO-style document in a file, converted where the file is of another kind.

    What a JSON file holds is returned as it is, still unchecked.

    Raises:
      UserError: the file is missing or is not what its kind says.
    """
    if kind == "auto":
        kind = detect_kind(file)
    if kind == "voc":
        return voc.voc_document(file, images, report)
    if kind == "open_images":
        return open_images.open_images_document(file, images, report)
    document = load_json(file)
    if kind == "lvis" and isinstance(document, dict) and not lvis.is_lvis(document):
        raise BadItem("bad_document", "its images have no neg_category_ids: this is not LVIS")
    return document


def detect_kind(file: pathlib.Path) -> str:
    """The kind of a file by what it holds: "coco" for any JSON, "voc" or "open_images".

    Raises:
      UserError: it is none of these.
    """
    if file.is_dir():
        return "voc"
    head = _read_bytes(file, 4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:1] in (b"{", b"["):
        return "coco"
    if head[:1] == b"<":
        return "voc"
    if b"ImageID" in head.split(b"\n")[0]:
        return "open_images"
    found = "is empty" if not head else f"begins with {head[:20]!r}"
    raise BadItem(
        "unknown_kind",
        f"the file {found}; expected COCO or LVIS JSON, PASCAL VOC XML or Open Images CSV",
    )


def load_json(file: pathlib.Path) -> Any:
    """What a JSON file holds.

    Raises:
      UserError: the file is missing or not JSON, for instance cut short.
    """
    text = _read_bytes(file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadItem(
            "bad_json",
            f"not valid JSON ({error}; {len(text)} bytes in all); if the file was cut short, copy"
            " it again",
        ) from error


def _read_bytes(file: pathlib.Path, limit: int = -1) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(limit)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file}: cannot be read: {reason}") from error


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
