"""COCO polygons in place of run lengths."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from exits_jax.annotations.outlines import mask_to_polygons
from exits_jax.evaluation.tables import shown
from exits_jax.export.formats.rows import Row, is_label, label_mask
from exits_jax.system.files import write_json_rows


class PolygonLoss:
    """What polygons could not express: objects, objects with holes, and IoUs with the masks."""

    def __init__(self) -> None:
        self.with_holes = 0
        self.ious: list[float] = []

    def __str__(self) -> str:
        mean = float(np.mean(self.ious)) if self.ious else None
        lowest = min(self.ious, default=None)
        return (
            f"{len(self.ious)}, {self.with_holes} with holes that polygons cannot show,"
            f" IoU with the masks {shown(mean)}, lowest {shown(lowest)}"
        )


def write_polygons(path: pathlib.Path, document: Mapping[str, Any], simplify: float = 0.0) -> str:
    """Writes the document with polygons; returns in words what they lose.

    Args:
      path: of the file.
      document: from `export.pseudo_labels`.
      simplify: tolerance in pixels, see `mask_to_polygons`.

    Raises:
      UserError: the file cannot be written.
    """
    loss = PolygonLoss()
    write_json_rows(path, polygon_rows(document, loss, simplify), document)
    return f"{loss}" + (f" (corners within {simplify:g} pixels)" if simplify else "")


def polygon_rows(
    document: Mapping[str, Any], loss: PolygonLoss, simplify: float = 0.0
) -> Iterator[Row]:
    """The annotations of a label document with polygons in place of run lengths.

    Every component of a mask becomes a polygon; holes cannot be expressed and are filled, which is
    reported for each annotation under `exits` (`polygon_holes`, `polygon_iou`) and in total. `area`
    stays the mask's.

    Args:
      document: from `export.pseudo_labels`; it is not changed.
      loss: takes the totals.
      simplify: tolerance in pixels.
    """
    for row in document["annotations"]:
        if is_label(row):
            polygons, holes, iou = mask_to_polygons(label_mask(row), simplify)
            loss.with_holes += holes > 0
            loss.ious.append(iou)
            exits = row["exits"] | {"polygon_holes": holes, "polygon_iou": round(iou, 4)}
            row = {**row, "segmentation": polygons, "exits": exits}
        yield row
