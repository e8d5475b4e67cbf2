"""Crops for training and labelling as PyTorch makes them: `Dataset`s, and `DataLoader`s of workers.

The work of `exits_jax.data` without colour changes: decode, cut a window about the box, shrink with
antialiasing; for training the window is random, and mirrored with box and points. Windows are
rounded to whole pixels, which Pillow's crop asks for; everything else is the same.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset, RandomSampler

MARGIN_SCALE, FLIP_PROBABILITY, MIN_BOX_SIDE, LABEL_MARGIN = 1.2, 0.5, 4.0, 0.3
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


class LabelCrops(Dataset):
    """All crops of one photograph at a time, which is decoded once for them.

    Args:
      instances: dicts of "path" and "box", those of a photograph together.
      crop: side of the crops in pixels.
    """

    def __init__(self, instances: Sequence[dict[str, Any]], crop: int) -> None:
        self._crop = crop
        self._images = [
            (path, [np.array(instance["box"]) for instance in group])
            for path, group in itertools.groupby(instances, lambda instance: instance["path"])
        ]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> list[dict[str, Any]]:
        path, boxes = self._images[index]
        image = Image.open(path).convert("RGB")
        return [self._cut(image, box) for box in boxes]

    def _cut(self, image: Image.Image, box: np.ndarray) -> dict[str, Any]:
        window = label_window(box)
        cut = image.crop(window).resize((self._crop, self._crop), Image.Resampling.BILINEAR)
        size = (image.height, image.width)
        return {"image": np.array(cut), "window": np.array(window), "box": box, "size": size}


def label_loader(instances: Sequence[dict[str, Any]], crop: int) -> DataLoader:
    """Lists of crops as tensors, a list a photograph, in order; workers live on between passes."""
    crops = LabelCrops(instances, crop)
    return DataLoader(crops, batch_size=None, num_workers=WORKERS, persistent_workers=True)


def label_window(box: np.ndarray) -> tuple[int, int, int, int]:
    """The box, each side widened by `LABEL_MARGIN` of its half-size: whole pixels."""
    margin = LABEL_MARGIN * np.maximum(box[2:] - box[:2], MIN_BOX_SIDE) / 2
    low, high = np.floor(box[:2] - margin).astype(int), np.ceil(box[2:] + margin).astype(int)
    return (*low.tolist(), *high.tolist())


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
