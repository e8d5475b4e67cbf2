"""Tiny pictures with any number of annotations: what the program's endurance is measured on.

python -m experiments.synthetic --out=data/synthetic --annotations=100000
"""

import io
import json
import pathlib

import numpy as np
from absl import app, flags
from PIL import Image

from exits_jax.system.files import write_bytes

OUT = flags.DEFINE_string("out", "data/synthetic", "folder to write")
ANNOTATIONS = flags.DEFINE_integer("annotations", 1000, "how many")

SIZE = 48  # side of a picture, pixels
PER_IMAGE = 20


def write_synthetic(folder: pathlib.Path, annotations: int, seed: int = 0) -> pathlib.Path:
    """Draws ellipses on noise, with boxes and extreme points.

    Args:
      folder: gets annotations.json and the pictures.
      annotations: how many, `PER_IMAGE` to a picture.
      seed: of everything that is drawn.

    Returns:
      The annotation file.
    """
    rng = np.random.default_rng(seed)
    rows, images = [], []
    grid_y, grid_x = np.mgrid[:SIZE, :SIZE] + 0.5
    for first in range(0, annotations, PER_IMAGE):
        number = len(images) + 1
        pixels = rng.integers(90, 130, (SIZE, SIZE, 3)).astype(np.uint8)
        for _ in range(min(PER_IMAGE, annotations - first)):
            a, b = rng.uniform(5, 14, 2).round(1).tolist()
            x, y = (round(float(rng.uniform(half, SIZE - half)), 1) for half in (a, b))
            pixels[((grid_x - x) / a) ** 2 + ((grid_y - y) / b) ** 2 < 1] = rng.integers(0, 255, 3)
            rows.append(_annotation(len(rows) + 1, number, x, y, a, b))
        name = f"{number:06d}.png"
        images.append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        write_bytes(folder / name, file.getvalue())
    categories = [{"id": 1, "name": "ellipse"}]
    document = {"images": images, "categories": categories, "annotations": rows}
    path = folder / "annotations.json"
    write_bytes(path, json.dumps(document).encode())
    return path


def _annotation(number: int, image: int, x: float, y: float, a: float, b: float) -> dict:
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [x - a, y - b, 2 * a, 2 * b],
        "extreme_points": [[x, y - b], [x - a, y], [x, y + b], [x + a, y]],
        "iscrowd": 0,
    }


def main(argv: list[str]) -> None:
    """Writes the folder."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    print(write_synthetic(pathlib.Path(OUT.value), ANNOTATIONS.value))


if __name__ == "__main__":
    app.run(main)
