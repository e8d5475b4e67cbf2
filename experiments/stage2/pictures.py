"""Pictures of what networks found, beside the truth."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from exits_jax.annotations import ImageRecord, decode_segmentation, read_annotations
from exits_jax.data.images import decode_image
from exits_jax.report import drawing
from experiments.stage2.data_sets import DataSet

SHOWN_SCORE = 0.3
SIDE = 320  # pixels of a panel's longer side
LEAST = 3  # objects in an image that is shown


def found_figure(data: DataSet, workdirs: Mapping[str, pathlib.Path], images: int = 5) -> Figure:
    """A row an image: truth, then what each network found, a colour a class.

    Args:
      data: whose test images are shown, the first that have several objects.
      workdirs: of trained networks, by what to call them.
      images: how many.
    """
    annotations = read_annotations(data.val, data.val_images)
    truth = _by_image(annotations.document["annotations"])
    found = {name: _found(workdir) for name, workdir in workdirs.items()}
    chosen = [record for key, record in annotations.images.items() if len(truth[key]) >= LEAST]
    columns = {"truth": truth, **found}
    figure = Figure(figsize=(2.2 * len(columns), 2.2 * images), layout="constrained")
    grid = figure.subplots(images, len(columns), squeeze=False)
    for record, row in zip(chosen[:images], grid, strict=False):
        for axes, (name, rows) in zip(row, columns.items(), strict=True):
            axes.imshow(_painted(record, rows.get(record.id, [])))
            axes.set(xticks=[], yticks=[])
            if row is grid[0]:
                axes.set_title(name, fontsize=9)
    return figure


def _found(workdir: pathlib.Path) -> dict[int, list[dict[str, Any]]]:
    rows = json.loads((workdir / "predictions.json").read_text())
    return _by_image([row for row in rows if row["score"] >= SHOWN_SCORE])


def _by_image(rows: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["image_id"], []).append(row)
    return found


def _painted(record: ImageRecord, rows: Sequence[dict[str, Any]]) -> UInt8[np.ndarray, "h w 3"]:
    pixels = decode_image(record.path)
    scale = SIDE / max(record.width, record.height)
    width, height = round(record.width * scale), round(record.height * scale)
    pixels = drawing.resize_picture(pixels, width, height)
    for row in rows:
        mask = decode_segmentation(row["segmentation"], record.height, record.width)
        mask = drawing.resize_mask(mask.astype(bool), width, height)
        pixels = drawing.paint_mask(pixels, mask, drawing.distinct_colour(row["category_id"]))
    return pixels
