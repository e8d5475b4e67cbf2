"""The one entrance: an annotation file of any kind -> `Annotations`."""

import dataclasses
import math
import os
import pathlib
from typing import Any, NamedTuple

from exits_jax.annotations import coco
from exits_jax.annotations.detections import boxes_document
from exits_jax.annotations.documents import HELD, forms_told, load_json, read_document
from exits_jax.annotations.extra_keys import heed_extra_keys
from exits_jax.annotations.fields import is_marked
from exits_jax.annotations.folder_files import IMAGE_ENDINGS
from exits_jax.annotations.image_files import ambiguous_frames
from exits_jax.annotations.image_folder import ImageFolder, image_folder
from exits_jax.annotations.images import image_records
from exits_jax.annotations.instances import PointRule, read_instances
from exits_jax.annotations.key_names import plain_keys
from exits_jax.annotations.kinds import detect_kind
from exits_jax.annotations.plain import plain_document
from exits_jax.annotations.recognise import refuse_results
from exits_jax.annotations.records import (
    Annotations,
    BadItem,
    ImageRecord,
    NoAnnotations,
    Problem,
    problem_line,
)
from exits_jax.annotations.results import results_in
from exits_jax.annotations.settings import DataSettings
from exits_jax.annotations.summary import Notes, counted, sum_by_code
from exits_jax.annotations.yolo_results import is_text, yolo_results
from exits_jax.system.errors import UserError


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
    boxes_by: str = "auto",
    box_form: str = "auto",
    crowds: str = "pass",
    exif: str = "auto",
    masks: bool = False,
) -> Annotations:
    """Reads an annotation file.

    Args:
      file: COCO or LVIS JSON (also .gz, or a .zip with that file alone), a PASCAL VOC XML file or
        folder, an Open Images box CSV, a YOLO data.yaml, folder or text file, labelme or SA-1B JSON
        or a folder of it, a CVAT XML, a Label Studio JSON, or for `boxes` a folder of images.
      images: the folder with the images; with or without the folders in the file's names. Needed if
        the annotation file does not state the images' sizes.
      kind: one of `KINDS`; "auto" recognises it from the content.
      points: rule for extracting extreme points where a file has only masks, "exact" or
        "extremenet".
      on_error: "stop" raises if there is a mistake in any item, "skip" leaves the item out and
        lists it in `problems`. A mistake in the file as a whole always stops.
      seed: of the click noise.
      click_noise: standard deviation in pixels of noise added to all points; 0 for none.
      boxes: a detector's boxes, in COCO's results form or as YOLO's text files with confidences:
        they are the instances, and the file gives images and categories alone, or images alone.
      boxes_by: how these name their images, "id", "name" (of the file, or its stem), or "auto" to
        tell from all of them.
      box_form: how `bbox` is written, a key of `box_forms.FORMS`; "auto" is that of the
        kind of file, COCO's [x, y, width, height], and refuses a file whose boxes as a whole say
        otherwise.
      crowds: "pass" hands annotations with iscrowd 1 on, "label" reads them as objects.
      exif: the frame of photographs with an EXIF orientation that was annotated: "displayed",
        "stored" (the pixels as they are in the file), or "auto": the one that has the stated size,
        displayed where both have.
      masks: the masks are what the file is read for, to train on them: one that cannot be read is a
        mistake even if points or a box say where the object is, and one that fills a box is a mask
        like any other. False: such masks are left out, but not the objects.

    Raises:
      NoAnnotations: the file has no annotations, and there are no `boxes`.
      UserError: the file, or with on_error="stop" an item in it, cannot be used; one line that
        names the file, the annotation, what was found and what was expected.
    """
    DataSettings(points=points, on_error=on_error, crowds=crowds)  # checks them
    if not (math.isfinite(click_noise) and click_noise >= 0):
        raise UserError(f"click_noise is {click_noise}; expected pixels, 0 or more")
    file = pathlib.Path(file)
    problems: list[Problem] = []
    notes = Notes()

    def report(problem: Problem) -> None:
        (notes.add if problem.note else problems.append)(problem)

    try:
        found = find_document(
            *(file, images, report),
            kind=kind,
            boxes=boxes,
            boxes_by=boxes_by,
            box_form=box_form,
            exif=exif,
        )
        if boxes and problems and found.is_empty:
            raise UserError(_nothing_left(file, len(problems), problems))
        refuse_results(results_in(found.document))
        opened = open_document(found, report, crowds)
    except BadItem as bad:
        # If no object is left, what went wrong before is the reason, or everything was passed over.
        text = "; ".join([bad.text, *(note.text for note in notes.said())])
        first = problems[0] if problems and on_error == "stop" else Problem(bad.code, text)
        refusal = NoAnnotations if first.code == "no_annotations" else UserError
        raise refusal(problem_line(file, first)) from bad
    try:
        rule = PointRule(points, click_noise, seed)
        instances = read_instances(
            *(*opened, rule, found.judge),
            box_form=found.box_form,
            held=found.held,
            masks=masks,
        )
    except BadItem as bad:
        raise UserError(problem_line(file, Problem(bad.code, bad.text))) from bad
    total = len(opened.document["annotations"])
    if problems and on_error == "stop":
        raise UserError(_stopped(file, total, problems))
    if not instances:
        raise UserError(_nothing_left(file, total, problems))
    if unclear := ambiguous_frames({x.image.id: x.image for x in instances}.values()):
        notes.add(unclear)
    return Annotations(file, *opened, instances, problems, notes.said())


def read_images(
    file: str | os.PathLike,
    images: str | os.PathLike | None = None,
    *,
    kind: str = "auto",
    on_error: str = "stop",
    exif: str = "auto",
) -> Annotations:
    """The images that a file lists or a folder holds; what is annotated on them is not looked at.

    Args:
      file: as `read_annotations` takes; or a folder of images, or a single one.
      images, kind, exif: as for `read_annotations`.
      on_error: "stop" raises for an image that cannot be told, "skip" leaves it out and lists it.

    Returns:
      Annotations without instances.

    Raises:
      UserError: there is no image, or with on_error="stop" one cannot be told.
    """
    DataSettings(kind=kind, on_error=on_error, exif=exif)  # checks them
    file = pathlib.Path(file)
    problems: list[Problem] = []
    notes = Notes()

    def report(problem: Problem) -> None:
        (notes.add if problem.note else problems.append)(problem)

    try:
        document, folder = _images_document(file, images, kind, exif, report)
        records = image_records(document, folder, report)
        if not records and not problems:
            raise BadItem("no_image", "it lists no image")
    except BadItem as bad:
        raise UserError(problem_line(file, Problem(bad.code, bad.text))) from bad
    if problems and (on_error == "stop" or not records):
        raise UserError(problem_line(file, problems[0]))
    return Annotations(file, document, records, {}, [], problems, notes.said())


def _images_document(
    file: pathlib.Path,
    images: str | os.PathLike | None,
    kind: str,
    exif: str,
    report: coco.Report,
) -> tuple[dict[str, Any], ImageFolder | None]:
    """A document of images alone, and their folder."""
    if file.suffix.lower() in IMAGE_ENDINGS:
        rows = [{"id": 1, "file_name": file.name}]
        return {"images": rows, "annotations": []}, ImageFolder(file.parent, exif)
    folder = ImageFolder(file, exif) if kind == "images" else image_folder(images, exif)
    # What is wrong with objects does not matter; a file that is no image does.
    said = report if kind == "images" else lambda problem: None
    document, _ = read_document(file, folder, kind, said)
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise BadItem("bad_document", "it has no list of images")
    return {"images": document["images"], "annotations": []}, folder


class Found(NamedTuple):
    """What a file holds, as a COCO-style document that is not checked yet.

    Attributes:
      document: with a detector's boxes as its annotations, where they are given.
      folder: of the images.
      judge: takes problems of its annotations: those of a detector's boxes name their file.
      box_form: of its boxes.
      held: what the boxes of its kind of file are, if there is no form to choose.
    """

    document: Any
    folder: ImageFolder | None
    judge: coco.Report
    box_form: str
    held: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of a detector's boxes."""
        return isinstance(self.document, dict) and not self.document["annotations"]


def find_document(
    file: pathlib.Path,
    images: str | os.PathLike | None,
    report: coco.Report,
    *,
    kind: str,
    boxes: str | os.PathLike | None,
    boxes_by: str,
    box_form: str,
    exif: str,
) -> Found:
    """What labelling and the checker both read; arguments as `read_annotations`.

    Raises:
      UserError: the file, the boxes or the image folder cannot be read.
    """
    DataSettings(kind=kind, boxes_by=boxes_by, box_form=box_form, exif=exif)  # checks them
    folder = image_folder(images, exif)
    kind = detect_kind(file) if kind == "auto" else kind
    own_form, box_form = forms_told(kind, bool(boxes), box_form)
    document, kind = read_document(file, folder, kind, report, own_form)
    if not boxes:
        return Found(document, folder, report, box_form, HELD.get(kind, ""))
    refuse_results(results_in(document))
    judge = _in_file(boxes, report)
    boxes, asked = pathlib.Path(boxes), box_form
    if is_text(boxes):
        asked, box_form = forms_told("yolo", False, box_form)
    document = _with_boxes(document, boxes, folder, judge, boxes_by, asked)
    return Found(document, folder, judge, box_form)


class Opened(NamedTuple):
    """A document that is ready to be read: its images and categories are known."""

    document: dict[str, Any]
    images: dict[int, ImageRecord]
    categories: dict[int, str]


def open_document(found: Found, report: coco.Report, crowds: str = "pass") -> Opened:
    """What labelling and the checker both start from; arguments as `read_annotations`.

    Raises:
      UserError: the file as a whole cannot be used.
    """
    document, folder, _, box_form, held = found
    coco.check_structure(document)
    for note in (*plain_keys(document), *plain_document(document, crowds == "label")):
        report(note)
    coco.number_annotations(document["annotations"], report)
    _judge_crowds(document["annotations"], crowds, report)
    for note in heed_extra_keys(document["annotations"], box_form):
        report(note)
    categories = coco.category_names(document, report)
    written = "xywh" if held else box_form  # what was converted is certainly COCO's
    return Opened(document, image_records(document, folder, report, written), categories)


def _in_file(file: str | os.PathLike, report: coco.Report) -> coco.Report:
    """Makes problems of another file say so: they are listed with the annotation file's own."""
    return lambda problem: report(dataclasses.replace(problem, text=f"in {file}: {problem.text}"))


def _with_boxes(
    document: Any,
    boxes: pathlib.Path,
    folder: ImageFolder | None,
    report: coco.Report,
    boxes_by: str,
    box_form: str,
) -> Any:
    """The document with a detector's boxes as its annotations; mistakes in them name their file.

    `box_form` is as it was asked for, "auto" for that of the kind of file.

    Raises:
      UserError: the file of boxes cannot be used.
    """
    if not isinstance(document, dict):
        return document  # refused later, for the same reason as any such file
    try:
        if is_text(boxes):
            results = yolo_results(boxes, document, folder, report, box_form)
            if not results:  # the reason was reported
                return {**document, "annotations": []}
        else:
            results = load_json(boxes, report)
        return boxes_document(document, results, report, boxes_by, box_form)
    except BadItem as bad:
        raise UserError(problem_line(boxes, Problem(bad.code, bad.text))) from bad


def _judge_crowds(annotations: list[Any], crowds: str, report: coco.Report) -> None:
    """Notes how many annotations are crowds; makes objects of them if that is asked for."""
    marked = [entry for entry in annotations if isinstance(entry, dict) and is_marked(entry)]
    if not marked:
        return
    count = f"{len(marked):,} of {counted(len(annotations), 'annotation')} with iscrowd 1"
    if crowds == "label":
        for entry in marked:
            entry["iscrowd"] = 0
        text = f"{count} read as objects (data.crowds=label)"
    else:
        text = (
            f"{count} passed through and not labelled; if each is one object,"
            " --config.data.crowds=label labels them"
        )
    report(Problem("crowds", text, note=True))


def _stopped(file: pathlib.Path, count: int, problems: list[Problem]) -> str:
    """The first mistake and the total of all."""
    line = problem_line(file, problems[0])
    if len(problems) == 1:
        return line
    return (
        f"{line}; {len(problems):,} problems in all with {count:,} annotations:"
        f" {sum_by_code(problems)} (--mode=check lists them, data.on_error=skip leaves them out)"
    )


def nothing_left(count: int) -> str:
    """The text about a file that holds only crowds."""
    return (
        f"nothing to label: all {counted(count, 'annotation')} are crowd regions (iscrowd 1); if"
        " each is one object, --config.data.crowds=label labels them"
    )


def _nothing_left(file: pathlib.Path, count: int, problems: list[Problem]) -> str:
    if not problems:
        return f"{file}: {nothing_left(count)}"
    return (
        f"{file}: nothing to label: none of the {count} annotations can be used:"
        f" {sum_by_code(problems)}; the first: {problem_line(file, problems[0])}"
    )
