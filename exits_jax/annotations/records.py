"""What the readers return: a record per image, an instance per object, a problem per mistake."""

import pathlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.system.errors import UserError


@dataclass(frozen=True)
class ImageRecord:
    """One image of an annotation file.

    Attributes:
      id: the file's image id.
      file_name: relative to the image folder; for LVIS the folder and name of `coco_url`.
      width: pixels, as the annotation file says.
      height: pixels, as the annotation file says.
      path: the file on disk, which may not exist; None if no image folder was given.
      exif: the frame of a photograph with an EXIF orientation that was annotated: "displayed",
        "stored", or "auto" if the size is to tell.
      unclear: the size cannot tell, because it is the file's own and no other is stated.
    """

    id: int
    file_name: str
    width: int
    height: int
    path: pathlib.Path | None
    exif: str = "auto"
    unclear: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Instance:
    """One object to label, in continuous pixel coordinates of its image.

    Attributes:
      id: annotation id, unique in the file and within int32; made from the order if missing.
      index: position in `Annotations.document["annotations"]`.
      image: the image it is on.
      category_id: the file's category id.
      category: the category's name.
      box_xyxy: the box, clipped to the image.
      points_xy: extreme points, rows top, left, bottom, right; None if only a box is known.
      points_source: "given" (in the file), "mask" (extracted from it) or "box" (no points).
      area: square pixels, as the annotation says; the box's area if it says nothing.
    """

    id: int
    index: int
    image: ImageRecord
    category_id: int
    category: str
    box_xyxy: Float[np.ndarray, "4"]
    points_xy: Float[np.ndarray, "4 2"] | None
    points_source: str
    area: float

    @property
    def box_area(self) -> float:
        """Square pixels of the box."""
        x0, y0, x1, y1 = self.box_xyxy
        return float((x1 - x0) * (y1 - y0))


@dataclass(frozen=True, eq=False, slots=True)
class Detection:
    """One entry of a file of a detector's boxes.

    Attributes:
      number: in the file, from 1.
      row: as written.
      file_name: of its image, if the file gives one.
      category: its name, if the file gives one.
    """

    number: int
    row: dict[str, Any]
    file_name: str | None
    category: str | None


@dataclass(frozen=True)
class Problem:
    """Something wrong in a file: a short code for programs, a sentence for people.

    Attributes:
      note: nothing is refused or left out for it; it is printed, and is not a finding.
    """

    code: str
    text: str
    annotation_id: int | None = None
    image_id: int | None = None
    note: bool = False


@dataclass(frozen=True, eq=False)
class Annotations:
    """A whole annotation file.

    Attributes:
      file: where it was read from.
      document: the COCO-style dict as read (of other kinds: converted to one), with missing ids
        filled in, and everything in COCO's form, as the notes say.
      images: by image id.
      categories: name by category id.
      instances: the non-crowd annotations in document order.
      problems: what `on_error="skip"` left out.
      notes: what was read otherwise than it is written, or passed over; each once.
    """

    file: pathlib.Path
    document: dict[str, Any]
    images: dict[int, ImageRecord]
    categories: dict[int, str]
    instances: list[Instance]
    problems: list[Problem]
    notes: list[Problem] = field(default_factory=list)


class BadItem(UserError):
    """One mistake in one item of a file, raised by the parsers that do not know the file's name.

    `read_annotations` and `check_file` catch it and add the file and the annotation's id.
    """

    def __init__(self, code: str, text: str):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class NoAnnotations(UserError):
    """A file that lists images without annotations."""


def problem_line(file: str | pathlib.Path, problem: Problem) -> str:
    """`FILE: annotation ID: code: text`; `image ID` or nothing if no annotation is meant."""
    where = ""
    if problem.annotation_id is not None:
        where = f" annotation {problem.annotation_id}:"
    elif problem.image_id is not None:
        where = f" image {problem.image_id}:"
    return f"{file}:{where} {problem.code}: {problem.text}"
