"""Random training crops as PyTorch makes them: a `Dataset`, and a `DataLoader` of workers.

The work of `exits_jax.data.pipeline` without colour changes: decode, cut a random window about the
box, shrink with antialiasing, mirror, carry box and points along. Windows are rounded to whole
pixels, which Pillow's crop asks for; everything else is the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset, RandomSampler

MARGIN_SCALE, FLIP_PROBABILITY, MIN_BOX_SIDE = 1.2, 0.5, 4.0
WORKERS = 2


class RandomCrops(Dataset):
    """A random crop of an instance each time it is asked for.

    Args:
      instances: dicts of "path", "box" (xyxy) and "points" ([4][2] top, left, bottom, right, or
        None) in image coordinates.
      crop: side of the crops in pixels.
    """

    def __init__(self, instances: Sequence[dict[str, Any]], crop: int) -> None:
        self._instances, self._crop = instances, crop

    def __len__(self) -> int:
        return len(self._instances)

    def __getitem__(self, index: int) -> dict[str, Any]:
        instance = self._instances[index]
        image = Image.open(instance["path"]).convert("RGB")
        window = random_window(np.array(instance["box"]))
        flip = bool(torch.rand(()) < FLIP_PROBABILITY)
        cut = image.crop(window).resize((self._crop, self._crop), Image.Resampling.BILINEAR)
        points = instance["points"]
        corners = to_crop(np.array(instance["box"]).reshape(2, 2), window, flip)
        inside = np.zeros((4, 2)) if points is None else to_crop(np.array(points), window, flip)
        valid = to_crop(np.array([[0.0, 0.0], image.size]), window, flip)
        return {
            "image": np.array(ImageOps.mirror(cut) if flip else cut),
            "points_xy": inside[[0, 3, 2, 1]] if flip else inside,
            "has_points": points is not None,
            "box_xyxy": _box(corners),
            "valid_xyxy": _box(valid),
            "flip": flip,
        }


def train_loader(instances: Sequence[dict[str, Any]], crop: int, batch_size: int) -> DataLoader:
    """Endless (as good as) batches made by worker processes."""
    crops = RandomCrops(instances, crop)
    sampler = RandomSampler(crops, replacement=True, num_samples=10**7)
    return DataLoader(crops, batch_size, sampler=sampler, num_workers=WORKERS, prefetch_factor=2)


def random_window(box: np.ndarray) -> tuple[int, int, int, int]:
    """The box, each side widened by up to `MARGIN_SCALE` of its half-size: whole pixels."""
    centre, half = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], MIN_BOX_SIDE) / 2
    amount, share = torch.rand(2, 2, dtype=torch.float64).numpy()
    low = centre - half * (1 + amount * MARGIN_SCALE * share)
    high = centre + half * (1 + amount * MARGIN_SCALE * (1 - share))
    return (*np.floor(low).astype(int).tolist(), *np.ceil(high).astype(int).tolist())


def to_crop(points: np.ndarray, window: tuple[int, int, int, int], flip: bool) -> np.ndarray:
    """Image coordinates -> crop coordinates, clipped to [0, 1]: float32."""
    low, high = np.array(window[:2]), np.array(window[2:])
    inside = np.clip((points - low) / (high - low), 0.0, 1.0)
    if flip:
        inside[:, 0] = 1.0 - inside[:, 0]
    return inside.astype(np.float32)


def _box(corners: np.ndarray) -> np.ndarray:
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])
