"""The index beside the records of a prepared data set, which makes them instances.

prepared.json has the images, categories, problems and notes, and a digest of what was packed;
instances.npz has the instances by column. No TensorFlow Datasets here.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from exits_jax.annotations import Annotations, ImageRecord, Instance
from exits_jax.data.source import Source
from exits_jax.system.errors import UserError

FORMAT = 1


def make_index(annotations: Annotations, source: Source, document: bytes) -> dict[str, Any]:
    """The content of prepared.json; its digest tells whether a folder holds the same data set."""
    index = {
        "format": FORMAT,
        "images": [_image_row(record) for record in annotations.images.values()],
        "categories": annotations.categories,
        "problems": [dataclasses.asdict(problem) for problem in annotations.problems],
    }
    digest = hashlib.sha256(json.dumps(index).encode())
    digest.update(document)
    for name in ("annotation_id", "image_index", "box_xyxy", "points_xy", "has_points"):
        digest.update(getattr(source, name).tobytes())
    sizes = [r.path.stat().st_size if r.path and r.path.exists() else -1 for r in source.images]
    digest.update(json.dumps(sizes).encode())
    # Notes do not count: the data set is the same if they differ.
    notes = [dataclasses.asdict(note) for note in annotations.notes]
    return index | {"notes": notes, "digest": digest.hexdigest()}


def read_index(folder: pathlib.Path) -> dict[str, Any] | None:
    """prepared.json of a complete folder of this format, or None."""
    try:
        state = json.loads((folder / "prepared.json").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'prepared.json'}: cannot be read: {error}") from error
    if state.get("format") != FORMAT:
        raise UserError(f"{folder}: prepared by another version; delete it and prepare it again")
    return state


def instance_columns(instances: list[Instance], source: Source) -> bytes:
    """The instances by column, as the bytes of an .npz file."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        id=np.array([x.id for x in instances], np.int64),
        index=np.array([x.index for x in instances], np.int64),
        image=source.image_index,
        image_id=np.array([x.image.id for x in instances], np.int64),
        category_id=np.array([x.category_id for x in instances], np.int64),
        box_xyxy=source.box_xyxy,
        points_xy=source.points_xy,
        has_points=source.has_points,
        points_source=np.array([x.points_source for x in instances]),
        area=np.array([x.area for x in instances], np.float64),
    )
    return buffer.getvalue()


def _image_row(record: ImageRecord) -> list[Any]:
    """An image in prepared.json; `exif` only where it is set, as folders without it are valid."""
    row = [record.id, record.file_name, record.width, record.height]
    return row if record.exif == "auto" else [*row, record.exif]


def image_record(row: list[Any], paths: Mapping[int, pathlib.Path | None]) -> ImageRecord:
    """An image of prepared.json, with its file from those by image id."""
    key = int(row[0])
    return ImageRecord(key, row[1], int(row[2]), int(row[3]), paths.get(key), *row[4:])


def instances_from(
    columns: dict[str, np.ndarray], records: dict[int, ImageRecord], categories: dict[int, str]
) -> list[Instance]:
    """The inverse of `instance_columns`."""
    names = ("id", "index", "image_id", "category_id", "has_points", "points_source", "area")
    rows = zip(*(columns[name].tolist() for name in names), strict=True)
    boxes, points = columns["box_xyxy"], columns["points_xy"]
    return [
        Instance(
            id=key,
            index=index,
            image=records[image],
            category_id=category,
            category=categories[category],
            box_xyxy=boxes[row],
            points_xy=points[row] if has_points else None,
            points_source=origin,
            area=area,
        )
        for row, (key, index, image, category, has_points, origin, area) in enumerate(rows)
    ]
