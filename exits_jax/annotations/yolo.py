"""YOLO's text files (Ultralytics: boxes and polygons) -> a COCO-style document.

One text file per image, one object per line, in shares of the image: `class x y width height`
around the centre, or `class x1 y1 x2 y2 x3 y3 ...`; predictions have a confidence at the end, and
then the number of a track. Keypoints after a box (pose) are counted. Four corners that form a
rectangle are a rotated box (OBB).
"""

import pathlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.box_forms import BoxTable, refuse_mixup, to_xywh
from exits_jax.annotations.coco import Report
from exits_jax.annotations.draft import Draft
from exits_jax.annotations.folder_files import IMAGE_ENDINGS, read_text
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.shapes import box_entry, outline_entry
from exits_jax.annotations.summary import counted
from exits_jax.annotations.xml_files import number_in
from exits_jax.annotations.yolo_columns import (
    SLACK,
    Columns,
    Numbers,
    are_rectangles,
    columns_of,
)
from exits_jax.annotations.yolo_layout import layout_of

OWN_FORM = "cxcywh_shares"
NAMELESS = "objects are called by the number of their class: no data.yaml or classes.txt is near"


class _Row(NamedTuple):
    """What a line of a label file holds (`parse_line`), or why it cannot be read; and its place."""

    image: dict[str, Any]
    parsed: tuple[int, Numbers] | BadItem
    place: str


def yolo_document(
    file: pathlib.Path, images: ImageFolder | None, report: Report, box_form: str = "auto"
) -> dict[str, Any]:
    """Reads a YOLO data set into a document; categories are numbered from 1 in `names`' order.

    Args:
      file: a data.yaml, a data set's folder, a folder of text files, or one text file.
      images: the image folder; without it the images are looked for in the data set's own folder.
      report: takes the mistakes; what is wrong is left out.
      box_form: how boxes are written, a key of `box_forms.FORMS`; "auto" is YOLO's own, and refuses
        a data set whose boxes as a whole say otherwise.

    Raises:
      BadItem: there are no label files, or the boxes are of another form.
    """
    draft = Draft(report)
    rows: list[_Row] = []
    layout = layout_of(file, images, draft.passed)
    if layout.without_images():
        first, folder = layout.where(layout.labels[0]), layout.folder
        text = f"{counted(len(layout.labels), 'label file')}, and no image of the same name"
        raise BadItem("images_missing", f"{text}; the first, {first}, is not {folder.alike(first)}")
    exif = layout.folder.exif
    for path in layout.labels:
        where = layout.where(path)
        try:
            lines = read_text(path).splitlines()
            name = layout.image_of(path)
            if name is None:
                if not is_image_list(lines):
                    draft.passed.add("label files have no image", where)
                continue
            image = draft.add_measured(name, layout.folder.path / name, exif, where)
        except BadItem as bad:
            draft.refuse(bad, where)
            continue
        rows += [
            _Row(image, _parsed(line, layout.names), f"{where}: line {number}")
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
    for path in layout.labels if not rows else ():
        draft.passed.add("label files hold no object", layout.where(path))
    read = [row for row in rows if not isinstance(row.parsed, BadItem)]
    sizes = [(row.image["width"], row.image["height"]) for row in read]
    lines = [row.parsed[1] for row in read]
    columns = columns_of(lines, sizes, layout.keypoints)
    if box_form == "auto":
        refuse_other_form(lines, sizes, columns)
    for row in rows:
        _add_line(draft, row, layout.names, columns, OWN_FORM if box_form == "auto" else box_form)
    for name in layout.without_labels():
        try:
            draft.add_measured(name, layout.folder.path / name, exif, name)
            draft.passed.add("images have no label file, so no object", name)
        except BadItem as bad:
            draft.refuse(bad, name)
    layout.say(report)
    return draft.document(layout.names.values())


def _parsed(line: str, names: dict[int, str]) -> tuple[int, Numbers] | BadItem:
    """What `parse_line` returns, or the mistake that it raises."""
    try:
        return parse_line(line, names)
    except BadItem as bad:
        return bad


def refuse_other_form(lines: list[Numbers], sizes: list[tuple[int, int]], columns: Columns) -> None:
    """Refuses lines whose boxes as a whole are of another form than YOLO's own.

    Args:
      lines: what follows the class in each.
      sizes: width and height of each line's image.
      columns: of all lines.

    Raises:
      BadItem: they are.
    """
    table = BoxTable()
    for numbers, size in zip(lines, sizes, strict=True):
        if _is_box(numbers, columns):
            table.add(numbers[:4], size, None)
    refuse_mixup(table, OWN_FORM)


def _add_line(draft: Draft, row: _Row, names: dict[int, str], columns: Columns, form: str) -> None:
    """The object of a line."""
    image, parsed, place = row
    try:
        if isinstance(parsed, BadItem):
            raise parsed
        index, numbers = parsed
        category = category_name(index, names)
        size = image["width"], image["height"]
        entry = entry_of(numbers, size, columns, form)
    except BadItem as bad:
        draft.refuse(bad, place, image)
        return
    nameless = [] if names else [NAMELESS]
    for what in entry.pop("passed") + nameless:
        draft.passed.add(what, place)
    draft.add(image, category, entry)


def parse_line(line: str, names: dict[int, str]) -> tuple[int, Numbers]:
    """The class and the other numbers of a line, separated by spaces or by commas.

    Args:
      line: it begins with the number of a class, or with one of the names.
      names: of the classes by number, empty where none are known.

    Raises:
      BadItem: it is not a line of numbers, or the class is neither a whole number nor a name.
    """
    cells = [cell.strip() for cell in line.split(",")] if "," in line else line.split()
    first = next((k for k, cell in enumerate(cells) if number_in(cell) is not None), 0) or 1
    numbers = [number_in(cell) for cell in cells[first:]]
    named, index = " ".join(cells[:first]), number_in(cells[0])
    if index is None:
        index = next((k for k, name in names.items() if name == named), None)
    if None in numbers or len(numbers) < 4 or (index is not None and (index % 1 or index < 0)):
        text = f"found {shown(line)}; expected a class and four or more numbers"
        raise BadItem("bad_number", text)
    if index is None:
        text = f"class {shown(named)} is a name that no data.yaml or classes.txt lists"
        raise BadItem("absent_category", text)
    return int(index), np.array(numbers, np.float64)


def is_image_list(lines: list[str]) -> bool:
    """Whether a text names images, as CVAT's train.txt does, and is not a label file."""
    return bool(lines) and lines[0].strip().lower().endswith(IMAGE_ENDINGS)


def category_name(index: int, names: dict[int, str]) -> str:
    """The name of a class; its number if no names are known.

    Raises:
      BadItem: names are known, but not this one's.
    """
    if names and index not in names:
        text = f"class {index} is not among the {len(names)} names of the data set"
        raise BadItem("absent_category", text)
    return names.get(index, str(index))


def entry_of(
    numbers: Numbers, size: tuple[int, int], columns: Columns, form: str = OWN_FORM
) -> dict[str, Any]:
    """An annotation without its ids, of what follows the class in a line.

    Args:
      numbers: in the file's order.
      size: width and height of the image.
      columns: of all lines of the data set.
      form: of a box, a key of `box_forms.FORMS`.

    Returns:
      the annotation, with what was passed over in "passed".

    Raises:
      BadItem: they are not shares of an image, or there is no area.
    """
    passed: list[str] = []
    pose = _is_pose(numbers, columns.keypoints)
    if pose:
        behind = 4 + (columns.keypoints or len(numbers))
        numbers = np.concatenate([numbers[:4], numbers[behind:]])
        passed.append("objects have keypoints, which are not read; their boxes are")
    if columns.outlines and len(numbers) >= 10:
        numbers = numbers[4:]
        passed.append("boxes before outlines are not read; the outlines are")
    if len(numbers) > 4 and len(numbers) % 2 == 0 and (pose or columns.tracks):
        numbers = numbers[:-1]
        passed.append("track numbers after the confidences are not read")
    more: dict[str, Any] = {"passed": passed}
    if len(numbers) % 2:  # a prediction: its confidence is at the end
        more["score"] = float(numbers[-1])
        numbers = numbers[:-1]
    if len(numbers) == 4 and form != OWN_FORM:
        x, y, width, height = to_xywh(form, numbers, size)
        return box_entry(np.array([[x, y], [x + width, y + height]])) | more
    if not -SLACK <= more.get("score", 0.0) <= 1 + SLACK:
        text = f"found {more['score']:g} at the end; expected a confidence from 0 to 1"
        raise BadItem("bad_number", text)
    if numbers.min() < -SLACK or numbers.max() > 1 + SLACK:
        text = f"found {shown(numbers.tolist())}; expected shares of the image, from 0 to 1"
        raise BadItem("bad_number", text + _other_unit(numbers.reshape(-1, 2), size))
    pairs = numbers.reshape(-1, 2) * np.array(size, np.float64)
    if len(pairs) == 2:
        half = pairs[1] / 2
        return box_entry(np.stack([pairs[0] - half, pairs[0] + half])) | more
    if len(pairs) == 4 and are_rectangles(pairs[None])[0]:
        passed.append("rectangles by four corners (OBB) are read as the upright boxes around them")
        return box_entry(pairs) | more
    passed += [columns.doubt] * bool(columns.doubt)
    return outline_entry([pairs]) | more


def _is_box(numbers: Numbers, columns: Columns) -> bool:
    """Whether what follows the class begins with a box: polygons have three corners or more."""
    count = len(numbers) - columns.tracks
    return count < 6 or _is_pose(numbers, columns.keypoints)


def _other_unit(pairs: Float[np.ndarray, "n 2"], size: tuple[int, int]) -> str:
    """In which other units numbers fit an image, as the end of a message."""
    fits = {
        f"pixels of {size[0]} x {size[1]}, to be divided by these": (pairs <= size).all(),
        "per cent, to be divided by 100": pairs.max() <= 100,
    }
    units = [unit for unit, fit in fits.items() if fit and pairs.min() >= 0]
    return f" (they fit as {' or as '.join(units)})" * bool(units)


def _is_pose(numbers: Numbers, keypoints: int) -> bool:
    """Whether keypoints follow a box: as the data set states, or by their visibility 0, 1, 2."""
    rest = numbers[4:]
    if keypoints:
        return 0 <= len(rest) - keypoints <= 2  # a confidence and a track may follow
    visible = rest[2::3]
    if len(rest) < 3 or len(rest) % 3 or not np.isin(visible, (0, 1, 2)).all():
        return False
    # 2 is not a share of an image; with as many numbers as a polygon has, only that makes it
    # certain.
    return len(numbers) % 2 == 1 or bool((visible == 2).any())
