"""Small pictures with known masks, and their COCO file: what the tests of whole runs work on."""

import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from exits_jax.annotations import encode_rle, extreme_points

SIZE = 96
ELLIPSES = ((30, 34, 18, 12), (66, 60, 14, 22))  # x, y, half-width, half-height


def write_pictures(folder: pathlib.Path, count: int = 4, points: bool = False) -> dict[str, Any]:
    """Writes `count` pictures of two ellipses each and returns their COCO document.

    Args:
      folder: gets 0.png, 1.png, ... and annotations.json.
      count: of pictures.
      points: give extreme points in place of masks.
    """
    rng = np.random.default_rng(7)
    document: dict[str, Any] = {
        "info": {"description": "ellipses", "kept": [1, 2]},
        "licenses": [{"id": 1, "name": "none"}],
        "categories": [{"id": 3, "name": "ellipse"}, {"id": 5, "name": "blob"}],
        "images": [],
        "annotations": [],
    }
    for number in range(count):
        pixels = rng.integers(90, 130, (SIZE, SIZE, 3)).astype(np.uint8)
        for index, (x, y, a, b) in enumerate(ELLIPSES):
            mask = ellipse(x + number, y - number, a, b)
            pixels[mask] = (220, 60 + 40 * index, 40)
            document["annotations"].append(_annotation(document, number, index, mask, points))
        Image.fromarray(pixels).save(folder / f"{number}.png")
        document["images"].append(
            {"id": number + 1, "file_name": f"{number}.png", "width": SIZE, "height": SIZE, "x": 0}
        )
    write_document(folder, document)
    return document


def write_document(folder: pathlib.Path, document: dict[str, Any]) -> pathlib.Path:
    """Writes the document to annotations.json in the folder."""
    path = folder / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
    """bool[SIZE, SIZE]."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    return ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1


def _annotation(
    document: dict[str, Any], number: int, index: int, mask: np.ndarray, points: bool
) -> dict[str, Any]:
    rows, columns = np.nonzero(mask)
    low = [int(columns.min()), int(rows.min())]
    high = [int(columns.max()) + 1, int(rows.max()) + 1]
    annotation = {
        "id": len(document["annotations"]) + 1,
        "image_id": number + 1,
        "category_id": (3, 5)[index],
        "bbox": [*low, high[0] - low[0], high[1] - low[1]],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "extra": "kept",
    }
    if points:
        return annotation | {"extreme_points": extreme_points(mask).tolist()}
    return annotation | {"segmentation": encode_rle(mask)}
