"""Small annotation files with masks, for the tests of stage 2's data."""

import copy
import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from exits_jax.annotations import encode_rle, tight_box

CATEGORIES = [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}]  # holes, and not in order
SIZES = [(40, 30), (30, 40), (64, 20), (21, 50), (33, 32)]


def ellipse(width: int, height: int, box: tuple[float, ...]) -> np.ndarray:
    """The ellipse inscribed in a box as bool[height, width]."""
    x0, y0, x1, y1 = box
    rows, columns = np.mgrid[:height, :width] + 0.5
    across, along = (columns - (x0 + x1) / 2) / (x1 - x0), (rows - (y0 + y1) / 2) / (y1 - y0)
    return across**2 + along**2 <= 0.25


def annotation(number: int, image: int, mask: np.ndarray, **more: Any) -> dict[str, Any]:
    """A row of a COCO file; its mask as compressed run lengths."""
    x0, y0, x1, y1 = tight_box(mask).tolist()
    return {
        "id": number,
        "image_id": image,
        "category_id": (90, 3)[number % 2],
        "segmentation": encode_rle(mask),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(mask.sum()),
        "iscrowd": 0,
    } | more


def document(images: int = 5, objects: int = 3, seed: int = 0) -> dict[str, Any]:
    """Images of several shapes, each with `objects` ellipses that overlap."""
    rng = np.random.default_rng(seed)
    records, rows = [], []
    for image in range(images):
        width, height = SIZES[image % len(SIZES)]
        name = f"{image}.png"
        records.append({"id": 10 + image, "file_name": name, "width": width, "height": height})
        for _ in range(objects):
            low = rng.uniform(0, [width - 14, height - 14])
            high = low + rng.uniform(8, 14, 2)
            mask = ellipse(width, height, (*low, *high))
            rows.append(annotation(100 + len(rows), 10 + image, mask))
    return {"images": records, "categories": copy.deepcopy(CATEGORIES), "annotations": rows}


def save(folder: pathlib.Path, content: dict[str, Any]) -> pathlib.Path:
    """The document as a file in `folder`, and its images, noise, beside it."""
    for record in content["images"]:
        rng = np.random.default_rng(record["id"])
        pixels = rng.integers(0, 256, (record["height"], record["width"], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / record["file_name"])
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path
