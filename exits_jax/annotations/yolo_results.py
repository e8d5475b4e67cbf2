"""A detector's boxes in YOLO's text files -> COCO's results form."""

import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from exits_jax.annotations.coco import Report
from exits_jax.annotations.detection_categories import note_position
from exits_jax.annotations.draft import PassedOver
from exits_jax.annotations.folder_files import read_text
from exits_jax.annotations.image_files import FRAME_UNCLEAR, measured, stated_size
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.annotations.yolo import (
    OWN_FORM,
    category_name,
    entry_of,
    parse_line,
    refuse_other_form,
)
from exits_jax.annotations.yolo_columns import Numbers, columns_of
from exits_jax.annotations.yolo_layout import label_files
from exits_jax.annotations.yolo_yaml import names_near


class _Row(NamedTuple):
    """A line of a text file: its class and numbers, and the image that it is of."""

    place: str
    index: int
    numbers: Numbers
    image: dict[str, Any]
    size: tuple[int, int]


def is_text(boxes: pathlib.Path) -> bool:
    """Whether a detector's boxes are YOLO's text files."""
    return boxes.is_dir() or boxes.suffix.lower() == ".txt"


def yolo_results(
    place: pathlib.Path,
    document: dict[str, Any],
    folder: ImageFolder | None,
    report: Report,
    box_form: str = "auto",
) -> list[dict[str, Any]]:
    """The lines of text files (`class x y width height confidence`) as results.

    A file belongs to the image of its name without the extension. Classes are categories by name,
    where a data.yaml or classes.txt beside the files gives names; else class 0 is the category with
    the smallest id, and so on.

    Args:
      place: a text file or a folder of them, as `yolo predict save_txt=True save_conf=True` writes.
      document: its images give sizes and ids, its categories ids.
      folder: the image folder, for sizes that are not stated.
      report: takes the mistakes; what is wrong is left out.
      box_form: how boxes are written, a key of `box_forms.FORMS`; "auto" is YOLO's own, and refuses
        files whose boxes as a whole contradict it.

    Raises:
      BadItem: there are no text files, or the boxes are of another form.
    """
    around = place if place.is_dir() else place.parent
    files = label_files(around) if place.is_dir() else [place]
    if not files:
        raise BadItem("no_annotations", f"no text file in {place}")
    names = names_near(around)
    images = _by_stem(document.get("images"))
    ids = dict(sorted(_ids(document.get("categories")).items(), key=lambda pair: pair[1]))
    positions = [*ids.values()]
    spelled = names or dict(enumerate(ids))
    rows = [*_rows(files, images, folder, spelled, report)]
    results, passed = [], PassedOver()
    form = OWN_FORM if box_form == "auto" else box_form
    lines, sizes = [row.numbers for row in rows], [row.size for row in rows]
    columns = columns_of(lines, sizes)
    if box_form == "auto":
        refuse_other_form(lines, sizes, columns)
    for place, index, numbers, image, size in rows:
        try:
            entry = entry_of(numbers, size, columns, form)
            category = _category(index, names, ids, positions)
        except BadItem as bad:
            report(Problem(bad.code, f"{place}: {bad.text}"))
            continue
        for what in entry["passed"]:
            passed.add(what, place)
        found = {"image_id": image["id"], "bbox": entry["bbox"]}
        if "score" in entry:
            found["score"] = min(max(entry["score"], 0.0), 1.0)
        results.append(found | category)
    passed.say(report)
    used = {int(result["category_name"]) for result in results} if ids and not names else {}
    table = {index: positions[index] for index in used}
    if any(index != number for index, number in table.items()):
        note_position(table, {number: name for name, number in ids.items()}, report)
    return results


def _rows(
    files: list[pathlib.Path],
    images: dict[str, list[dict[str, Any]]],
    folder: ImageFolder | None,
    names: dict[int, str],
    report: Report,
) -> Iterator[_Row]:
    """The lines of text files that are not empty; what cannot be read is reported."""
    for path in files:
        try:
            lines = read_text(path).splitlines()
        except BadItem as bad:
            report(Problem(bad.code, f"{path.name}: {bad.text}"))
            continue
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{path.name}: line {number}"
            try:
                image = _image(images, path)
                yield _Row(place, *parse_line(line, names), image, _size(image, folder))
            except BadItem as bad:
                report(Problem(bad.code, f"{place}: {bad.text}"))


def _category(
    index: int, names: dict[int, str], ids: dict[str, int], positions: list[int]
) -> dict[str, Any]:
    """Id and name of the category that a class is: by its name, else by its position.

    Raises:
      BadItem: it is none of the file's.
    """
    name = category_name(index, names)
    if names and ids and name not in ids:
        raise BadItem("absent_category", f"class {shown(name)} is not a category of the file")
    if ids and not names and index >= len(positions):
        raise BadItem("absent_category", f"class {index}; the file has {len(positions)} categories")
    number = ids[name] if names and ids else positions[index] if ids else index + 1
    return {"category_id": number, "category_name": name}


def _image(images: dict[str, list[dict[str, Any]]], path: pathlib.Path) -> dict[str, Any]:
    """The image that a text file is of."""
    found = images.get(path.stem, [])
    if len(found) != 1:
        held = f"{len(found)} images are" if found else "no image is"
        raise BadItem("absent_image", f"{held} called {shown(path.stem)}")
    return found[0]


def _by_stem(images: Any) -> dict[str, list[dict[str, Any]]]:
    """The images of a document by their names without folder and extension."""
    found: dict[str, list[dict[str, Any]]] = {}
    for image in images if isinstance(images, list) else []:
        name = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(name, str):
            found.setdefault(pathlib.PurePath(name).stem, []).append(image)
    return found


def _size(image: dict[str, Any], folder: ImageFolder | None) -> tuple[int, int]:
    """Width and height as the document states, or from the file; shares do not tell its frame."""
    if image.get("width") is None and folder is not None:
        image.update(measured(folder.find([image["file_name"]]), folder.exif))
    if FRAME_UNCLEAR in image:
        image[FRAME_UNCLEAR] = bool(image[FRAME_UNCLEAR])
    return stated_size(image)


def _ids(categories: Any) -> dict[str, int]:
    """Category id by name."""
    rows = categories if isinstance(categories, list) else []
    return {
        str(row.get("name")): row["id"]
        for row in rows
        if isinstance(row, dict) and type(row.get("id")) is int
    }
