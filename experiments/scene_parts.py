"""What synthetic scenes are made of: pieces of photographs, and the files they are written to."""

import io
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import skimage.data
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from exits_jax.annotations import encode_rle, extreme_points, tight_box
from exits_jax.system.files import write_bytes, write_json

Mask = Bool[np.ndarray, "h w"]
JPEG_QUALITY = 95


def photograph(name: str) -> UInt8[np.ndarray, "h w 3"]:
    """A photograph that ships with scikit-image, RGB."""
    pixels = getattr(skimage.data, name)()
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def patch(
    picture: UInt8[np.ndarray, "h w 3"],
    size: int,
    rng: np.random.Generator,
    sides: tuple[int, int] = (80, 200),
) -> Float[np.ndarray, "size size 3"]:
    """A square piece of a photograph, enlarged to `size`, its colours moved; values 0..255.

    Args:
      picture: the photograph.
      size: of the result, pixels.
      rng: source of place, side and colours.
      sides: the piece's least side in the photograph and the first that is too long, pixels.
    """
    side = int(rng.integers(*sides))
    y, x = (int(rng.integers(0, extent - side)) for extent in picture.shape[:2])
    piece = Image.fromarray(picture[y : y + side, x : x + side])
    values = np.array(piece.resize((size, size), Image.Resampling.BILINEAR), np.float64)
    return np.clip(values * rng.uniform(0.6, 1.3, 3) + rng.uniform(-25, 25), 0, 255)


def with_noise(
    scene: Float[np.ndarray, "h w 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture a camera would make of it."""
    return np.clip(scene + rng.normal(0, 4, scene.shape), 0, 255).astype(np.uint8)


class SceneFile:
    """Scenes on their way to disk: pictures at once, annotations (COCO) at the end.

    Fields:
      folder: of the pictures.
      categories: names; ids count from 1.
    """

    def __init__(self, folder: pathlib.Path, categories: Sequence[str]) -> None:
        self._folder, self._categories = folder, categories
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        pixels: UInt8[np.ndarray, "h w 3"],
        objects: Iterable[tuple[str, Mask]],
    ) -> None:
        """Writes a picture, and keeps what is in it: category and visible mask of each object."""
        height, width = pixels.shape[:2]
        image_id = len(self._images) + 1
        row = {"id": image_id, "file_name": name, "width": width, "height": height}
        self._images.append(row)
        for category, mask in objects:
            entry = {"id": len(self._annotations) + 1, "image_id": image_id}
            entry["category_id"] = self._categories.index(category) + 1
            self._annotations.append(entry | _shape(mask))
        file = io.BytesIO()
        kind = {".png": "PNG", ".jpg": "JPEG"}[pathlib.Path(name).suffix]
        Image.fromarray(pixels).save(file, kind, quality=JPEG_QUALITY)
        write_bytes(self._folder / name, file.getvalue())

    def write(self, path: pathlib.Path) -> None:
        """Writes the annotation file, and says what is in it."""
        categories = [{"id": n, "name": name} for n, name in enumerate(self._categories, start=1)]
        document = {"images": self._images, "categories": categories}
        write_json(path, document | {"annotations": self._annotations})
        print(f"{len(self._annotations)} instances on {len(self._images)} images: {path}")


def _shape(mask: Mask) -> dict[str, Any]:
    """What an annotation says of a mask."""
    x0, y0, x1, y1 = tight_box(mask).tolist()
    return {
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": encode_rle(mask),
        "extreme_points": extreme_points(mask).tolist(),
    }
