"""What stage 2's timed rows work on, made alike on both sides from a few numbers; NumPy only."""

from typing import NamedTuple

import numpy as np

from exits_jax.segmentation.settings import SegmentationSettings

ROWS = {
    "train_step": "targets, SOLOv2 on ResNet-50 with frozen statistics, both losses, their "
    "gradients, clipping, SGD; from arrays on the host",
    "prediction": "images on the host to detections: peaks, masks, matrix NMS",
}
CLASSES = 80
SLOTS = 100  # of instances, whether filled or not: the package's default
RATE = 1e-6  # so small that the timed steps leave the network what it is


class Scene(NamedTuple):
    """A batch of square canvases full of ellipses, and a network for them.

    Attributes:
      settings: of the network; ResNet-50 with frozen statistics.
      batch: as `segmentation.plan.ImagePlan` gives it.
      weights: a file of parameters under mmdetection's names.
    """

    settings: SegmentationSettings
    batch: dict[str, np.ndarray]
    weights: str


def make_scene(side: int, count: int, instances: int, weights: str, seed: int = 0) -> Scene:
    """A scene.

    Args:
      side: of the canvases, pixels; a multiple of 32.
      count: canvases.
      instances: ellipses on each.
      weights: the file.
      seed: of the places and the pixels.
    """
    rng = np.random.default_rng(seed)
    rows = [_row(side, instances, rng) for _ in range(count)]
    settings = SegmentationSettings(canvases=((side, side),), batch_size=count)
    return Scene(
        settings, {name: np.stack([row[name] for row in rows]) for name in rows[0]}, weights
    )


def _row(side: int, instances: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One canvas; diameters from a tenth to six tenths of its side."""
    rows, columns = np.indices((side, side)) + 0.5
    diameter = rng.uniform(0.1, 0.6, (instances, 2)) * side
    centre = diameter / 2 + rng.uniform(0, 1, (instances, 2)) * (side - diameter)
    found = {
        "image": rng.integers(0, 256, (side, side, 3)).astype(np.uint8),
        "extent": np.full(2, side, np.int32),
        "masks": np.zeros((SLOTS, side // 4, side // 4), np.uint8),
        "classes": np.zeros(SLOTS, np.int32),
        "centre_xy": np.zeros((SLOTS, 2), np.float32),
        "size_wh": np.zeros((SLOTS, 2), np.float32),
        "area": np.zeros(SLOTS, np.float32),
        "weight": np.zeros(SLOTS, np.float32),
        "draw": np.uint32(0),
        "valid": np.True_,
    }
    for slot, ((x, y), (width, height)) in enumerate(zip(centre, diameter, strict=True)):
        mask = ((columns - x) / width) ** 2 + ((rows - y) / height) ** 2 < 0.25
        middle = mask.reshape(side // 4, 4, side // 4, 4)[:, 1:3, :, 1:3]
        found["masks"][slot] = middle.mean(axis=(1, 3)) >= 0.5
        found["classes"][slot] = rng.integers(CLASSES)
        found["centre_xy"][slot], found["size_wh"][slot] = (x, y), (width, height)
        found["area"][slot], found["weight"][slot] = mask.sum(), 1.0
    return found
