"""Labelling of `exits_jax.pseudo_labels`, in PyTorch: logits of a crop -> run lengths in the image.

The package encodes the part of the image that the crop covers by a routine of its own; here
pycocotools encodes the whole mask, which is what PyTorch code around COCO does.
"""

import math
from collections.abc import Sequence

import numpy as np
import pycocotools.mask
import torch
from torch import Tensor

Vector = np.ndarray | Tensor


def run_lengths(
    logits: Tensor, window_xyxy: Vector, box_xyxy: Vector, size: Sequence[int]
) -> bytes:
    """Logits [m,m] on a window -> the mask in its image, cut at probability 0.5 and to the box."""
    height, width = (int(side) for side in size)
    x0, y0, x1, y1 = window_xyxy.tolist()
    (left, right), (top, bottom) = _touched(x0, x1, width), _touched(y0, y1, height)
    rows = _resampling(y0, y1, len(logits), top, bottom, logits.device)
    columns = _resampling(x0, x1, len(logits), left, right, logits.device)
    patch = rows @ logits @ columns.T
    x0, y0, x1, y1 = box_xyxy.tolist()
    (x0, x1), (y0, y1) = _pixel_range(x0, x1, width), _pixel_range(y0, y1, height)
    box_mask = torch.zeros_like(patch, dtype=torch.bool)
    box_mask[y0 - top : y1 - top, x0 - left : x1 - left] = True
    mask = (patch.sigmoid() > 0.5) & box_mask
    full = np.zeros((height, width), np.uint8, order="F")
    full[top:bottom, left:right] = (mask if mask.any() else box_mask).cpu().numpy()
    return pycocotools.mask.encode(full)["counts"]


def _touched(low: float, high: float, size: int) -> tuple[int, int]:
    """First and one past the last of the pixels 0..size-1 that [low, high] touches."""
    first = min(max(math.floor(low), 0), size)
    return first, max(min(math.ceil(high), size), first)


def _pixel_range(low: float, high: float, size: int) -> tuple[int, int]:
    """First and one past the last of the pixels (at least one) with their centre in [low, high]."""
    first, last = math.ceil(low - 0.5), math.floor(high + 0.5)
    if last <= first:
        first = math.floor((low + high) / 2)
        last = first + 1
    first = min(max(first, 0), size - 1)
    return first, min(max(last, first + 1), size)


def _resampling(
    low: float, high: float, cells: int, first: int, last: int, device: torch.device
) -> Tensor:
    """Weights [pixel, cell] for the pixels first..last-1: a triangle, widened to shrink."""
    scale = cells / (high - low)
    # float64 for the places alone: a photograph's coordinates are in the thousands.
    place = (torch.arange(first, last, dtype=torch.float64, device=device) + 0.5 - low) * scale
    centre = torch.arange(cells, device=device) + 0.5
    distance = (place.clamp(0.0, cells)[:, None] - centre).abs() / max(scale, 1.0)
    weights = (1.0 - distance).clamp(min=0.0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()
