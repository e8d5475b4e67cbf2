"""A detector's boxes in YOLO's text files -> COCO's results form."""

import pathlib
from typing import Any

from exits_jax.annotations.coco import Report
from exits_jax.annotations.folder_files import read_text
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.annotations.yolo import category_name, entry_of, parse_line
from exits_jax.annotations.yolo_layout import label_files
from exits_jax.annotations.yolo_yaml import names_near


def yolo_results(
    place: pathlib.Path, document: dict[str, Any], report: Report
) -> list[dict[str, Any]]:
    """The lines of text files (`class x y width height confidence`) as results.

    A file belongs to the image of its name without the ending. Classes are categories by name,
    where a data.yaml or classes.txt beside the files gives names; else class 0 is the category with
    the least id, and so on.

    Args:
      place: a text file or a folder of them, as `yolo predict save_txt=True save_conf=True` writes.
      document: its images give sizes and ids, its categories ids.
      report: takes the mistakes; what is wrong is left out.

    Raises:
      BadItem: there are no text files.
    """
    folder = place if place.is_dir() else place.parent
    files = label_files(folder) if place.is_dir() else [place]
    if not files:
        raise BadItem("no_annotations", f"no text file in {place}")
    names = names_near(folder)
    images = _by_stem(document.get("images"))
    ids = _ids(document.get("categories"))
    results = []
    for path in files:
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            try:
                if line.strip():
                    results.append(_result(line, _image(images, path), names, ids))
            except BadItem as bad:
                report(Problem(bad.code, f"{path.name}: line {number}: {bad.text}"))
    return results


def _result(
    line: str, image: dict[str, Any], names: dict[int, str], ids: dict[str, int]
) -> dict[str, Any]:
    """One line as a result; without a confidence it is certain."""
    index, numbers = parse_line(line)
    name = category_name(index, names)
    if names and ids and name not in ids:
        raise BadItem("absent_category", f"class {shown(name)} is no category of the file")
    if ids and not names and index >= len(ids):
        raise BadItem("absent_category", f"class {index}; the file has {len(ids)} categories")
    entry = entry_of(numbers, (image["width"], image["height"]), 0)
    category_id = ids[name] if names and ids else sorted(ids.values())[index] if ids else index + 1
    return {
        "image_id": image["id"],
        "category_id": category_id,
        "category_name": name,
        "bbox": entry["bbox"],
        "score": min(max(entry.get("score", 1.0), 0.0), 1.0),
    }


def _image(images: dict[str, list[dict[str, Any]]], path: pathlib.Path) -> dict[str, Any]:
    """The image that a text file is of."""
    found = images.get(path.stem, [])
    if len(found) != 1:
        held = f"{len(found)} images are" if found else "no image is"
        raise BadItem("absent_image", f"{held} called {shown(path.stem)}")
    return found[0]


def _by_stem(images: Any) -> dict[str, list[dict[str, Any]]]:
    """The usable images of a document by their names without folder and ending."""
    found: dict[str, list[dict[str, Any]]] = {}
    for image in images if isinstance(images, list) else []:
        name = image.get("file_name") if isinstance(image, dict) else None
        sized = isinstance(name, str) and all(
            type(image.get(key)) is int for key in ("id", "width", "height")
        )
        if sized:
            found.setdefault(pathlib.PurePath(name).stem, []).append(image)
    return found


def _ids(categories: Any) -> dict[str, int]:
    """Category id by name."""
    rows = categories if isinstance(categories, list) else []
    return {
        str(row.get("name")): row["id"]
        for row in rows
        if isinstance(row, dict) and type(row.get("id")) is int
    }
