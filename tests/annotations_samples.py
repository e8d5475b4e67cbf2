"""Small annotation files that the tests of the annotations room start from."""

import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30


def disc(x: float = 12.0, y: float = 14.0, radius: float = 7.0) -> np.ndarray:
    """A filled disc as bool[30, 40]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def document() -> dict[str, Any]:
    """Two images, two categories, three instances: polygon, points, box."""
    return {
        "info": {"kept": True},
        "images": [
            {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 2, "file_name": "sub/b.png", "width": WIDTH, "height": HEIGHT},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {
                "id": 11,
                "image_id": 1,
                "category_id": 3,
                "segmentation": [[5, 5, 15, 5.2, 25, 5, 25, 15, 5, 15]],
                "bbox": [5, 5, 20, 10],
                "area": 200,
                "iscrowd": 0,
            },
            {
                "id": 12,
                "image_id": 2,
                "category_id": 7,
                "extreme_points": [[30, 12], [10, 10], [20, 4], [22, 20]],
                "bbox": [10, 4, 20, 16],
                "iscrowd": 0,
            },
            {"id": 13, "image_id": 2, "category_id": 7, "bbox": [1, 2, 8, 9], "iscrowd": 0},
        ],
    }


def save(folder: pathlib.Path, content: Any, name: str = "annotations.json") -> pathlib.Path:
    """Writes `content` as JSON, NaN included, and returns where."""
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def save_images(folder: pathlib.Path) -> pathlib.Path:
    """The images of `document()` as files under `folder`."""
    for name in ("a.png", "sub/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 30)).save(folder / name)
    return folder
