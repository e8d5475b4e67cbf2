"""The checker: what is wrong with an annotation file or a label file, all of it at once."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from exits_jax.annotations.findings import NOTED, annotation_findings
from exits_jax.annotations.folder_files import files_in
from exits_jax.annotations.image_files import decoded_problems
from exits_jax.annotations.instances import PointRule, annotation_problem, read_instances
from exits_jax.annotations.kinds import detect_kind
from exits_jax.annotations.read import (
    Found,
    Opened,
    find_document,
    nothing_left,
    open_document,
)
from exits_jax.annotations.records import BadItem, ImageRecord, Instance, Problem
from exits_jax.annotations.results import result_problems, results_in
from exits_jax.annotations.settings import DataSettings
from exits_jax.annotations.summary import Notes, counted
from exits_jax.system.errors import UserError

# What labelling only notes, but a person wants to know about a file.
WRONG = frozenset(
    (
        *("box_over_border", "box_off_mask", "point_off_box", "tiny_box", "near_duplicate"),
        *("bad_box", "empty_box", "box_outside_image"),
        *("bad_polygon", "bad_segmentation", "bad_rle", "rle_size", "not_json", "id_zero"),
        *("image_twice", "absent_id"),
    )
)


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the checker has to say about a file.

    Attributes:
      problems: what is wrong.
      notes: what is read otherwise than it is written, or passed over.
      read: how much was read, in words; empty if the file could not be read.
    """

    problems: list[Problem]
    notes: list[Problem]
    read: str


def checked_files(paths: Sequence[str], records: Collection[str] = ()) -> list[str]:
    """The files meant by paths: a folder that is not itself a data set stands for its JSON files.

    Args:
      paths: of files and folders.
      records: names of files in folders that hold no annotations.
    """
    files: list[str] = []
    for path in paths:
        folder = pathlib.Path(os.path.expanduser(path))
        inside = files_in(folder, ".json") if folder.is_dir() else []
        inside = [str(path) for path in inside if path.name not in records]
        files += inside if inside and not _is_data_set(folder) else [str(folder)]
    return files


def _is_data_set(folder: pathlib.Path) -> bool:
    """Whether a reader takes the folder as a whole: a labelme or YOLO folder, say."""
    try:
        detect_kind(folder)
    except UserError:
        return False
    return True


def check_file(
    file: str | os.PathLike,
    images: str | os.PathLike | None = None,
    **settings: str | os.PathLike | None,
) -> list[Problem]:
    """Everything wrong with an annotation file or label file; nothing for a clean one.

    The `problems` of `inspect_file`.
    """
    return inspect_file(file, images, **settings).problems


def inspect_file(
    file: str | os.PathLike,
    images: str | os.PathLike | None = None,
    *,
    kind: str = "auto",
    boxes: str | os.PathLike | None = None,
    boxes_by: str = "auto",
    box_form: str = "auto",
    crowds: str = "pass",
    exif: str = "auto",
) -> Checked:
    """Reads a file as labelling does, and looks at it more closely.

    Whatever `read_annotations` refuses or leaves out is a problem, as is whatever looks wrong about
    an object's geometry (`geometry`). Beyond that it finds what would go wrong later: areas that
    are not the mask's, labels marked as crowds, masks that do not fit their boxes, images that do
    not open or have another size. Results files (a list with scores) are checked, too.

    Args:
      file: of any kind that `read_annotations` takes, or a COCO results list.
      images: the image folder; without it image files are not checked.
      kind, boxes, boxes_by, box_form, crowds, exif: as for labelling, see `read_annotations`.

    Raises:
      UserError: the file or the image folder cannot be read at all.
    """
    DataSettings(crowds=crowds)  # checks it
    file = pathlib.Path(file)
    problems: list[Problem] = []
    notes = Notes()

    def report(problem: Problem) -> None:
        said = problem.note and problem.code not in WRONG
        (notes.add if said else problems.append)(problem)

    try:
        source = find_document(
            *(file, images, report),
            kind=kind,
            boxes=boxes,
            boxes_by=boxes_by,
            box_form=box_form,
            exif=exif,
        )
        results = results_in(source.document)
        if results is not None:
            for problem in result_problems(results):
                report(problem)
            return Checked(problems, notes.said(), counted(len(results), "result"))
        if boxes and problems and source.is_empty:
            return Checked(problems, notes.said(), "")
        opened = open_document(source, report, crowds)
    except BadItem as bad:
        return Checked([*problems, Problem(bad.code, bad.text)], notes.said(), "")
    _judge(opened, problems, source)
    for problem in image_problems(opened.images):
        report(problem)
    return Checked(problems, notes.said(), _counts(opened))


def _counts(opened: Opened) -> str:
    """How much a document holds, in words."""
    return ", ".join(
        (
            counted(len(opened.images), "image"),
            counted(len(opened.document["annotations"]), "annotation"),
            counted(len(opened.categories), "category", "categories"),
        )
    )


def _judge(opened: Opened, problems: list[Problem], source: Found) -> None:
    """Finds what is wrong with the annotations of a document."""
    document, records, _ = opened
    report = source.judge
    crowded = _mostly_crowds(document["annotations"])
    found: list[Instance] = []
    try:
        found = read_instances(
            *opened, PointRule(), report, box_form=source.box_form, held=source.held
        )
    except BadItem as bad:  # the boxes as a whole: more than any one of them
        problems.insert(0, Problem(bad.code, bad.text))
    known = {(problem.annotation_id, problem.code) for problem in problems}
    for annotation in document["annotations"]:
        if isinstance(annotation, dict) and type(annotation.get("id")) is int:
            for bad in annotation_findings(annotation, records, crowded):
                if (annotation["id"], bad.code) not in known:
                    noted = bad.code in NOTED
                    report(annotation_problem(bad, annotation, records, note=noted))
    if not found and not problems:  # labelling refuses it, so it is not clean
        problems.append(Problem("only_crowds", nothing_left(len(document["annotations"]))))
    _in_file_order(problems, document["annotations"])


def image_problems(records: dict[int, ImageRecord]) -> Iterator[Problem]:
    """Image files that are missing, do not decode, have another size or an unclear frame."""
    for record in records.values():
        if record.path is None:
            continue
        try:
            for problem in decoded_problems(record):
                yield dataclasses.replace(problem, image_id=record.id)
        except BadItem as bad:
            yield Problem(bad.code, bad.text, image_id=record.id)


def _in_file_order(problems: list[Problem], annotations: list[Any]) -> None:
    """Groups problems by annotation; those of no annotation come first."""
    ids = [entry.get("id") for entry in annotations if isinstance(entry, dict)]
    order = {found: place for place, found in enumerate(ids) if type(found) is int}
    problems.sort(key=lambda problem: order.get(problem.annotation_id, -1))


def _mostly_crowds(annotations: list[Any]) -> bool:
    """Whether more annotations are marked as crowds than not: no data set is like that."""
    marks = [bool(entry.get("iscrowd")) for entry in annotations if isinstance(entry, dict)]
    return sum(marks) > len(marks) / 2
