"""Labelling of `exits_jax.pseudo_labels`, in PyTorch: logits of a crop -> run lengths in the image.

The package encodes the part of the image that the crop covers by a routine of its own; here
pycocotools encodes the whole mask, which is what PyTorch code around COCO does.
"""

import math

import numpy as np
import pycocotools.mask
import torch
from torch import Tensor

Region = tuple[int, int, int, int]
Vector = np.ndarray | Tensor


def label_from_logits(
    logits: Tensor, window_xyxy: Vector, box_xyxy: Vector, height: int, width: int
) -> dict[str, object]:
    """Logits [m,m] on a window -> {"size", "counts"}, cut at probability 0.5 and to the box."""
    patch, (x0, y0, x1, y1) = paste(logits, window_xyxy.tolist(), height, width)
    left, top, right, bottom = box_pixels(box_xyxy.tolist(), height, width)
    box_mask = torch.zeros_like(patch, dtype=torch.bool)
    box_mask[top - y0 : bottom - y0, left - x0 : right - x0] = True
    mask = (patch.sigmoid() > 0.5) & box_mask
    full = np.zeros((height, width), np.uint8, order="F")
    full[y0:y1, x0:x1] = (mask if mask.any() else box_mask).cpu().numpy()
    return pycocotools.mask.encode(full)


def paste(
    logits: Tensor, window_xyxy: list[float], height: int, width: int
) -> tuple[Tensor, Region]:
    """Resamples a crop's map at the image's pixels: bilinear, its triangle widened to shrink."""
    x0, y0, x1, y1 = window_xyxy
    left, right = _touched(x0, x1, width)
    top, bottom = _touched(y0, y1, height)
    cells = len(logits)
    rows = _resampling(y0, y1, cells, top, bottom, logits.device)
    columns = _resampling(x0, x1, cells, left, right, logits.device)
    return rows @ logits @ columns.T, (left, top, right, bottom)


def box_pixels(box_xyxy: list[float], height: int, width: int) -> Region:
    """The pixels of the image whose centre lies in the box, at least one."""
    x0, x1 = _pixel_range(box_xyxy[0], box_xyxy[2], width)
    y0, y1 = _pixel_range(box_xyxy[1], box_xyxy[3], height)
    return x0, y0, x1, y1


def _touched(low: float, high: float, size: int) -> tuple[int, int]:
    """First and one past the last of the pixels 0..size-1 that [low, high] touches."""
    first = min(max(math.floor(low), 0), size)
    return first, max(min(math.ceil(high), size), first)


def _pixel_range(low: float, high: float, size: int) -> tuple[int, int]:
    """First and one past the last pixel of 0..size-1 whose centre lies in [low, high]."""
    first, last = math.ceil(low - 0.5), math.floor(high + 0.5)
    if last <= first:
        first = math.floor((low + high) / 2)
        last = first + 1
    first = min(max(first, 0), size - 1)
    return first, min(max(last, first + 1), size)


def _resampling(
    low: float, high: float, cells: int, first: int, last: int, device: torch.device
) -> Tensor:
    """Weights [pixel, cell] for the pixels first..last-1 of a line; places in cells."""
    scale = cells / (high - low)
    # float64 for the places alone: a photograph's coordinates are in the thousands.
    place = (torch.arange(first, last, dtype=torch.float64, device=device) + 0.5 - low) * scale
    centre = torch.arange(cells, device=device) + 0.5
    reach = max(scale, 1.0)
    distance = (place.clamp(0.0, cells)[:, None] - centre).abs() / reach
    weights = (1.0 - distance).clamp(min=0.0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()
