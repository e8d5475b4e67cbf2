"""The images of a COCO-style document: one record each, with its file and size."""

import collections
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.box_forms import reach
from exits_jax.annotations.box_writing import WrittenBox, combined_form, written_box
from exits_jax.annotations.coco import Report
from exits_jax.annotations.image_files import BY_REACH, FRAME_UNCLEAR, measured, stated_size
from exits_jax.annotations.image_folder import ImageFolder, Match
from exits_jax.annotations.image_names import is_plain, leads_out, name_parts
from exits_jax.annotations.lvis import image_file_names
from exits_jax.annotations.numbers import (
    finite_numbers,
    is_missing,
    shown,
    whole_id,
    whole_number,
)
from exits_jax.annotations.records import BadItem, ImageRecord, Problem
from exits_jax.annotations.summary import counted

# Keys that may name the image where `file_name` is not text.
NAME_KEYS = (
    *("path", "image", "image_path", "img_path", "filename", "fileName", "image_name", "name"),
    *("file", "coco_url", "url", "flickr_url"),
)


@dataclasses.dataclass
class _Entry:
    """An entry of `images` on its way to a record.

    Fields:
      image: the entry.
      names: what its file may be called, likeliest first.
      match: its file.
      near: the file was only found by a similar name.
    """

    image: dict[str, Any]
    names: list[str]
    match: Match | None = None
    near: bool = False

    @property
    def name(self) -> str:
        """Its first name, as a relative path: outputs are named after it."""
        return self.names[0] if is_plain(self.names[0]) else "/".join(name_parts(self.names[0]))

    def problem(self, bad: BadItem) -> Problem:
        return Problem(bad.code, bad.text, image_id=self.image["id"])


def image_records(
    document: dict[str, Any], folder: ImageFolder | None, report: Report, box_form: str = "auto"
) -> dict[int, ImageRecord]:
    """The images by id, each with its file looked up in the image folder.

    Sizes that are not stated are those of the files, and are put into the document. A second image
    of an id, and one whose file may be another's, are left out and reported. One note each tells
    what was found otherwise than by its name, and what was not found.

    `box_form` is that of the annotations' boxes, which tells the frames of turned photographs where
    no size is stated; "auto" if it is not set.
    """
    problems: list[Problem] = []
    records = _records(document, folder, problems.append, box_form)
    counts = collections.Counter(
        entry["image_id"]
        for entry in document["annotations"]
        if isinstance(entry, dict) and type(entry.get("image_id")) is int
    )
    for problem in problems:
        lost = 0 if problem.note or problem.image_id in records else counts[problem.image_id]
        text = f"{problem.text}; left out together with its {counted(lost, 'annotation')}"
        report(dataclasses.replace(problem, text=text) if lost else problem)
    return records


def _records(
    document: dict[str, Any], folder: ImageFolder | None, report: Report, box_form: str
) -> dict[int, ImageRecord]:
    entries = [*_entries(document, folder, report)]
    if folder is not None:
        entries = _with_files(entries, folder, report)
    exif = folder.exif if folder else "auto"
    corners = _reach(document, entries, box_form)
    records: dict[int, ImageRecord] = {}
    otherwise = 0
    for entry in entries:
        stated = entry.image.get("width"), entry.image.get("height")
        try:
            width, height = _size(entry, exif, corners)
        except BadItem as bad:
            report(entry.problem(bad))
            continue
        otherwise += stated != (width, height)
        entry.image.update(width=width, height=height)
        path = entry.match.path if entry.match else None
        if path is None and folder is not None:
            path = folder.path.joinpath(*name_parts(entry.names[0]))
        number = entry.image["id"]
        unclear = entry.image.pop(FRAME_UNCLEAR, False) is True
        records[number] = ImageRecord(number, entry.name, width, height, path, exif, unclear)
    if otherwise:
        text = (
            f"the sizes of {counted(otherwise, 'image')} are read from the files or as the numbers"
        )
        report(Problem("sizes", f"{text} they mean", note=True))
    return records


def _entries(
    document: dict[str, Any], folder: ImageFolder | None, report: Report
) -> Iterator[_Entry]:
    """The entries of `images` that have an id of their own and a name."""
    seen: set[int] = set()
    for position, image in enumerate(document["images"]):
        image_id = None
        try:
            if not isinstance(image, dict):
                raise BadItem("bad_image", f"image {position} is {shown(image)}")
            image_id = whole_id(image.get("id"), f"the id of image {position}")
            if image_id in seen:
                raise BadItem("duplicate_id", f"image id {image_id} appears twice")
            seen.add(image_id)
            names = image_file_names(image)
            if "file_name" in image and not isinstance(image["file_name"], str):
                names = _by_other_keys(image, names, folder, report)
            if not names:
                raise BadItem("no_file_name", f"file_name is {shown(image.get('file_name'))}")
            for name in names:
                name_parts(name)  # refuses what is not a file name
        except BadItem as bad:
            report(Problem(bad.code, bad.text, image_id=image_id))
        else:
            yield _Entry(image, names)


def _by_other_keys(
    image: dict[str, Any], names: list[str], folder: ImageFolder | None, report: Report
) -> list[str]:
    """The name of an image without a `file_name`, from another key, with a note.

    Without a folder, where no image is opened, the first of them.

    Raises:
      BadItem: the keys lead to several images, or to none.
    """
    found = {key: image[key] for key in NAME_KEYS if isinstance(image.get(key), str) and image[key]}
    if folder is None:
        meant = {name: name for name in names or [*found.values()][:1]}
    else:
        number = [str(image["file_name"])] if type(image["file_name"]) is int else []
        meant = {}  # name by picture
        for name in [*found.values(), *number]:
            with contextlib.suppress(BadItem):  # it is not a name, or means several images
                if match := folder.exact([name]) or folder.near([name]):
                    meant.setdefault(match.path, name)
    if len(meant) > 1 or (found and not meant and not names):
        texts = ", ".join(f"{key} {shown(name)}" for key, name in found.items())
        said = f"several images in {folder.path}" if meant else f"no image in {folder.path}"
        text = f"file_name is {shown(image['file_name'])}, and beside it {texts}: {said}"
        raise BadItem("no_file_name", text)
    for name in meant.values():
        text = f"file_name is {shown(image['file_name'])}: {shown(name)} beside it is used instead"
        report(Problem("other_file_name", text, image_id=image["id"], note=True))
        image["file_name"] = name
    return [*meant.values()] or names


def _with_files(entries: list[_Entry], folder: ImageFolder, report: Report) -> list[_Entry]:
    """The entries with their files, without those whose file may be another's."""
    for entry in entries:
        entry.match = folder.exact(entry.names)
    # Where some images are in exactly the folders that the file gives, the others are not looked
    # for in other folders, unless their names are from another machine.
    placed = any(entry.match and len(name_parts(entry.names[0])) > 1 for entry in entries)
    kept = []
    for entry in entries:
        try:
            if entry.match is None:
                here = placed and not leads_out(entry.names[0])
                entry.match = _near(entry, folder, here)
                entry.near = entry.match is not None
            if entry.match is None:
                folder.absent(entry.names[0])  # refuses what leads out of the folder
        except BadItem as bad:
            report(entry.problem(bad))
            continue
        kept.append(entry)
    kept = [*_without_shared(kept, report)]
    _tell(kept, folder, report)
    return kept


def _near(entry: _Entry, folder: ImageFolder, same_folder: bool) -> Match | None:
    """The only file that an entry can mean; last by the name that Roboflow keeps in `extra`.

    All copies of an image have that same name: it is never exact.
    """
    match = folder.near(entry.names, same_folder)
    extra = entry.image.get("extra")
    former = extra.get("name") if isinstance(extra, dict) else None
    if match or not isinstance(former, str) or not former:
        return match
    match = folder.near([former], same_folder)
    return match and match._replace(way="the names that Roboflow keeps in extra")


def _without_shared(entries: list[_Entry], report: Report) -> Iterator[_Entry]:
    """The entries, except those whose file was found by a similar name and is another one's."""
    claims: dict[Any, list[_Entry]] = {}
    for entry in entries:
        if entry.match:
            claims.setdefault(entry.match.path, []).append(entry)
    for entry in entries:
        others = claims.get(entry.match.path, []) if entry.match else []
        if len(others) < 2:
            yield entry
            continue
        other = next(
            (one for one in others if one is not entry and not one.near),
            next(one for one in others if one is not entry),
        )
        text = f"image {other.image['id']} ({shown(other.names[0])})"
        if entry.near:
            bad = BadItem(
                "image_taken",
                f"{shown(entry.names[0])} is missing, and {entry.match.path}, which has a "
                f"similar name, may be that of {text}",
            )
            report(entry.problem(bad))
            continue
        if others[0] is not entry:
            bad = BadItem("image_twice", f"its file is also that of {text}: {entry.match.path}")
            report(dataclasses.replace(entry.problem(bad), note=True))
        yield entry


def _tell(entries: list[_Entry], folder: ImageFolder, report: Report) -> None:
    """Notes how many images were found in each way, and which were not found."""
    ways: dict[str, list[_Entry]] = {}
    for entry in entries:
        way = "missing" if entry.match is None else entry.match.way
        ways.setdefault(way, []).append(entry)
    missing = ways.pop("missing", [])
    ways.pop("", None)
    if ways:
        found = (
            f"{counted(len(found), 'image')} found by {way}: {shown(found[0].names[0])} is"
            f" {found[0].match.path.relative_to(folder.path)}"
            for way, found in ways.items()
        )
        report(Problem("found_otherwise", "; ".join(found), note=True))
    if missing:
        name = missing[0].names[0]
        report(
            Problem(
                "images_missing",
                f"{len(missing):,} of {counted(len(entries), 'image')} not found; the first,"
                f" {shown(name)}, is not {folder.alike(name)}",
                note=True,
            )
        )


def _reach(
    document: dict[str, Any], entries: list[_Entry], box_form: str
) -> dict[Any, list[Float[np.ndarray, "forms 2"]]]:
    """The lower right corners of the boxes on each image whose size they may tell.

    Each in the form that was asked for, or that its own names give. If there is neither, and all
    boxes may be [x0, y0, x1, y1], both that and COCO's form are tried.
    """
    images = {entry.image["id"]: entry.image for entry in entries}
    told = [k for k, e in images.items() if _is_unsized(e) or e.get(FRAME_UNCLEAR) == BY_REACH]
    corners = {image_id: [] for image_id in told}
    boxes, masked = [], set()
    for annotation in document["annotations"] if corners else ():
        image_id = annotation.get("image_id") if isinstance(annotation, dict) else None
        if type(image_id) is not int or image_id not in corners:
            continue
        bbox = annotation.get("bbox")
        box = WrittenBox(finite_numbers(bbox), None)
        box = written_box(bbox) if box.numbers is None and bbox else box
        if box is not None and box.numbers is not None and box.numbers.size == 4:
            boxes.append((image_id, box))
        if isinstance(annotation.get("segmentation"), dict):
            masked.add(image_id)
    forms = [box_form]
    if box_form == "auto":
        plain = [box.numbers for _, box in boxes if box.form is None and box.numbers.any()]
        forms = ["xywh", "xyxy"] if all((n[2:] > n[:2]).all() for n in plain) else ["xywh"]
    for image_id, box in boxes:
        mine = [reach(combined_form(box.form, form), box.numbers) for form in forms]
        corners[image_id].append(np.array(mine))
    for image_id in masked:
        if images[image_id].get(FRAME_UNCLEAR) == BY_REACH:
            corners[image_id] = []  # its run lengths were made for what is displayed
    return corners


def _size(entry: _Entry, exif: str, corners: dict[Any, list[Any]]) -> tuple[int, int]:
    """Width and height: as stated, or from the file.

    Raises:
      BadItem: neither gives them, or no image can have them.
    """
    image = entry.image
    if _is_unsized(image) or (image.get(FRAME_UNCLEAR) == BY_REACH and entry.match):
        if entry.match is None:
            raise BadItem(
                "bad_size",
                "width and height are missing, and there is no image file to read them from",
            )
        reach_xy = np.array(corners[image["id"]]) if corners[image["id"]] else None
        image.update(measured(entry.match.path, exif, reach_xy))
        return image["width"], image["height"]
    return stated_size(image)


def _is_unsized(image: dict[str, Any]) -> bool:
    return _is_unknown(image.get("width")) and _is_unknown(image.get("height"))


def _is_unknown(side: Any) -> bool:
    """Whether a side is what programs write if they do not know it: nothing, 0 or -1."""
    return side is None or is_missing(side) or whole_number(side) in (0, -1)
