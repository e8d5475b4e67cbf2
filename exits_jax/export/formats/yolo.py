"""A YOLO segmentation data set as Ultralytics' loader takes it."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from exits_jax.annotations.outlines import mask_to_polygons
from exits_jax.annotations.records import ImageRecord
from exits_jax.export.formats.names import (
    class_names,
    place_photograph,
    unique_stems,
)
from exits_jax.export.formats.rows import Row, id_in, label_mask, labels_by_image
from exits_jax.system.files import write_bytes

HEAD = """\
# A data set for Ultralytics: yolo segment train data=data.yaml model=yolo11n-seg.pt
# `val` names the training images, too: put images with labels you trust elsewhere, and name them.
"""


def write_yolo(
    directory: pathlib.Path,
    document: Mapping[str, Any],
    images: Mapping[int, ImageRecord],
    simplify: float = 0.0,
) -> str:
    """`images/`, `labels/`, `data.yaml` and `classes.txt`: one text file per labelled image.

    One line per object: `class x y x y ...`, coordinates as shares of the image's width and
    height. The class is the category's position among those that can be used, from 0; `data.yaml`
    and `classes.txt` have the names in this order. The format has one polygon per object:
    components are joined by seams without width, holes are filled. The photographs are linked, not
    copied, and all in one folder, where every loader looks. Images without a label are left out: a
    loader would take them for images without objects, and nobody knows whether they are.

    Args:
      directory: of the data set.
      document: from `export.pseudo_labels`.
      images: `Annotations.images`.
      simplify: tolerance of the polygons in pixels, see `mask_to_polygons`.

    Returns:
      What was written, in words.

    Raises:
      UserError: a file cannot be written.
    """
    names = class_names(document)
    classes = {category_id: k for k, category_id in enumerate(names)}
    groups = labels_by_image(document, images)
    stems = unique_stems([images[key] for key in groups], flat=True)
    placed = 0
    for image_id, rows in groups.items():
        image, stem = images[image_id], stems[image_id]
        lines = [
            yolo_line(row, classes[id_in(row, "category_id")], image, simplify) for row in rows
        ]
        write_bytes(directory / "labels" / f"{stem}.txt", "".join(lines).encode())
        placed += place_photograph(image, directory / "images" / f"{stem}{_ending(image)}")
    _write_names(directory, [*names.values()])
    text = f"{len(groups)} label files, {placed} photographs; data.yaml names them"
    missing = len(groups) - placed
    return text + (f"; {missing} photographs are missing: put them into images/" if missing else "")


def yolo_line(row: Row, number: int, image: ImageRecord, simplify: float = 0.0) -> str:
    """An object's line in a label file."""
    polygons = mask_to_polygons(label_mask(row), simplify)[0]
    shares = np.array(join_parts(polygons)).reshape(-1, 2) / [image.width, image.height]
    return " ".join([str(number), *(f"{share:.6g}" for share in shares.ravel())]) + "\n"


def join_parts(polygons: Sequence[Sequence[float]]) -> list[float]:
    """Several polygons as one: seams without width lead to each further polygon and back.

    Each seam connects the nearest pair of corners, so the area is the sum of their areas.

    Args:
      polygons: [x, y, x, y, ...] each, at least one, none inside another.
    """
    joined = np.array(polygons[0]).reshape(-1, 2)
    for polygon in polygons[1:]:
        part = np.array(polygon).reshape(-1, 2)
        distance = np.square(joined[:, None] - part[None]).sum(axis=2)
        here, there = np.unravel_index(int(distance.argmin()), distance.shape)
        around = np.roll(part, -int(there), axis=0)
        joined = np.concatenate([joined[: here + 1], around, around[:1], joined[here:]])
    return joined.ravel().tolist()


def _ending(image: ImageRecord) -> str:
    """The file's own extension, whatever the annotations call it: loaders go by it."""
    return (image.path or pathlib.PurePath(image.file_name)).suffix


def _write_names(directory: pathlib.Path, names: list[str]) -> None:
    """Writes `data.yaml`, whose folders are relative to its own, and `classes.txt`."""
    facts = {"train": "images", "val": "images", "names": dict(enumerate(names))}
    text = yaml.safe_dump(facts, allow_unicode=True, sort_keys=False, width=10_000)
    write_bytes(directory / "data.yaml", (HEAD + text).encode())
    write_bytes(directory / "classes.txt", "".join(f"{name}\n" for name in names).encode())
