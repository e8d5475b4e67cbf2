"""Crops for training and labelling as PyTorch makes them: `Dataset`s, and `DataLoader`s of workers.

The work of `exits_jax.data` without colour changes: decode, cut a window about the box, shrink with
antialiasing; for training the window is random, and mirrored with box and points. Windows are
rounded to whole pixels, which Pillow's crop asks for; everything else is the same. Instances are
dicts of "path", "box" (xyxy) and "points" ([4][2] top, left, bottom, right, or None).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset, RandomSampler

from experiments.framework_comparison.problem import CROP

MIN_BOX_SIDE = 4.0
WORKERS = 2

Window = tuple[int, int, int, int]


class RandomCrops(Dataset):
    """A random crop, `side` pixels wide, of an instance each time it is asked for."""

    def __init__(self, instances: Sequence[dict[str, Any]], side: int) -> None:
        self._instances, self._side = instances, side

    def __len__(self) -> int:
        return len(self._instances)

    def __getitem__(self, index: int) -> dict[str, Any]:
        instance = self._instances[index]
        box, points = np.array(instance["box"]), instance["points"]
        image = Image.open(instance["path"]).convert("RGB")
        amount, share = torch.rand(2, 2, dtype=torch.float64).numpy() * [[CROP.train_margin], [1]]
        window = widened(box, amount * share, amount * (1 - share))
        flip = bool(torch.rand(()) < CROP.flip)
        inside = np.zeros((4, 2)) if points is None else to_crop(points, window, flip)
        crop = cut(image, window, self._side)
        return {
            "image": np.array(ImageOps.mirror(crop) if flip else crop),
            "points_xy": inside[[0, 3, 2, 1]] if flip else inside,
            "has_points": points is not None,
            "box_xyxy": _corners(to_crop(box.reshape(2, 2), window, flip)),
            "valid_xyxy": _corners(to_crop([[0.0, 0.0], image.size], window, flip)),
            "flip": flip,
        }


class LabelCrops(Dataset):
    """All crops of one photograph at a time, which is decoded once for them."""

    def __init__(self, instances: Sequence[dict[str, Any]], side: int) -> None:
        self._side = side
        groups = itertools.groupby(instances, lambda instance: instance["path"])
        self._images = [(path, [np.array(one["box"]) for one in group]) for path, group in groups]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> list[dict[str, Any]]:
        path, boxes = self._images[index]
        image = Image.open(path).convert("RGB")
        size, margin = (image.height, image.width), CROP.label_margin
        windows = [widened(box, margin, margin) for box in boxes]
        return [
            {"image": np.array(cut(image, w, self._side)), "window": np.array(w), "box": b}
            | {"size": size}
            for w, b in zip(windows, boxes, strict=True)
        ]


def train_loader(instances: Sequence[dict[str, Any]], side: int, batch_size: int) -> DataLoader:
    """Endless (as good as) batches made by worker processes."""
    crops = RandomCrops(instances, side)
    sampler = RandomSampler(crops, replacement=True, num_samples=10**7)
    return DataLoader(crops, batch_size, sampler=sampler, num_workers=WORKERS, prefetch_factor=2)


def label_loader(instances: Sequence[dict[str, Any]], side: int) -> DataLoader:
    """Lists of crops as tensors, a list a photograph, in order; workers live on between passes."""
    crops = LabelCrops(instances, side)
    return DataLoader(crops, batch_size=None, num_workers=WORKERS, persistent_workers=True)


def widened(box: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> Window:
    """The box with shares of its half-size added before and behind: whole pixels."""
    centre, half = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], MIN_BOX_SIDE) / 2
    first, last = np.floor(centre - half * (1 + low)), np.ceil(centre + half * (1 + high))
    return (*first.astype(int).tolist(), *last.astype(int).tolist())


def cut(image: Image.Image, window: Window, side: int) -> Image.Image:
    """A window of an image, `side` pixels wide."""
    return image.crop(window).resize((side, side), Image.Resampling.BILINEAR)


def to_crop(points: Any, window: Window, flip: bool) -> np.ndarray:
    """Image coordinates [k,2] -> crop coordinates, clipped to [0, 1]: float32."""
    low, high = np.array(window[:2]), np.array(window[2:])
    inside = np.clip((np.array(points) - low) / (high - low), 0.0, 1.0)
    if flip:
        inside[:, 0] = 1.0 - inside[:, 0]
    return inside.astype(np.float32)


def _corners(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points.min(axis=0), points.max(axis=0)])
