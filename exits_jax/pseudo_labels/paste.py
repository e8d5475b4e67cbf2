"""From the crop back into the photograph."""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from exits_jax.annotations.regions import Region, box_pixels


def paste_probability(
    probability: Float[np.ndarray, "m m"],
    window_xyxy: Float[np.ndarray, "4"],
    height: int,
    width: int,
    *,
    flip: bool = False,
    cubic: bool = False,
) -> tuple[Float[np.ndarray, "h w"], Region]:
    """Resamples a map of a crop at the image's own pixels, over the window's part of the image.

    Pixel centres are matched exactly: cell j of the map covers an m-th of the window, its value is
    that of the cell's centre. Enlarging is bilinear; shrinking widens the triangle with the factor,
    as Pillow's BILINEAR does, so that every cell counts. With `cubic` the triangle is the
    Catmull-Rom cubic, which passes through the same values in curves and may overshoot them.
    Weights add up to one: constants stay, and values of any range may be given (scores, logits).
    Computed tap by tap instead of by a matrix product, so that the bytes do not depend on the
    number of threads. Section 7 of the method; the filter is not given in the paper.

    Args:
      probability: values at the cells of the crop, row-major from the top left.
      window_xyxy: where the crop lies, image coordinates; may reach over the image's border.
      height, width: of the image.
      flip: the crop shows its window mirrored left to right.
      cubic: curved between the cells' centres instead of straight.

    Returns:
      The values as float32 on every pixel the window touches, and the region (x0, y0, x1, y1) of
      those pixels. A window wholly outside the image gives an array without elements.

    Raises:
      ValueError: the window is empty or not finite.
    """
    x0, y0, x1, y1 = (float(side) for side in window_xyxy)
    if not (np.isfinite(window_xyxy).all() and x1 > x0 and y1 > y0):
        raise ValueError(f"the window {window_xyxy.tolist()} is empty or not finite")
    values = probability.astype(np.float32)
    if flip:
        values = values[:, ::-1]
    left, right = _touched(x0, x1, width)
    top, bottom = _touched(y0, y1, height)
    cells, weights = _taps(x0, x1, len(values), left, right, cubic)
    columns = sum(values[:, cells[:, k]] * weights[:, k] for k in range(weights.shape[1]))
    cells, weights = _taps(y0, y1, len(values), top, bottom, cubic)
    patch = sum(columns[cells[:, k]] * weights[:, k, None] for k in range(weights.shape[1]))
    return patch, (left, top, right, bottom)


def binary_mask(
    patch: Float[np.ndarray, "h w"],
    region: Region,
    box_xyxy: Float[np.ndarray, "4"],
    height: int,
    width: int,
    *,
    threshold: float = 0.5,
    clip: bool = True,
) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """Cuts a pasted map at a threshold and to the box.

    Pixels belong to the box by their centres (`annotations.regions.box_pixels`), so a mask never
    loses one to its own tight box. An annotation is never left without a mask: where nothing
    exceeds the threshold the box itself is the mask. Section 7 of the method.

    Args:
      patch: as `paste_probability` returns it.
      region: where the patch lies; it has to cover the box's pixels.
      box_xyxy: the tight box, image coordinates.
      height, width: of the image.
      threshold: the mask is where the map is greater.
      clip: False leaves pixels outside the box in (they are flagged `outside_box`).

    Returns:
      The mask on the region of the patch, and whether it was empty and is the box now (the flag
      `empty_mask`).

    Raises:
      ValueError: the region does not hold the box's pixels, or a value is not finite.
    """
    x0, y0, x1, y1 = region
    left, top, right, bottom = box_pixels(box_xyxy, height, width)
    if left < x0 or top < y0 or right > x1 or bottom > y1:
        raise ValueError(f"region {region} does not hold the box {box_xyxy.tolist()}")
    if not np.isfinite(patch).all():
        raise ValueError("the pasted map has values that are not finite")
    box_mask = np.zeros(patch.shape, bool)
    box_mask[top - y0 : bottom - y0, left - x0 : right - x0] = True
    mask = patch > threshold
    if clip:
        mask &= box_mask
    return (mask, False) if mask.any() else (box_mask, True)


def _touched(low: float, high: float, size: int) -> tuple[int, int]:
    """First and one past the last of the pixels 0..size-1 that [low, high] touches."""
    first = min(max(math.floor(low), 0), size)
    return first, max(min(math.ceil(high), size), first)


def _taps(
    low: float, high: float, cells: int, first: int, last: int, cubic: bool
) -> tuple[Int[np.ndarray, "o k"], Float[np.ndarray, "o k"]]:
    """For each of the pixels first..last-1 on a line: which cells of [low, high] count how much.

    Positions are in cells from here on. A pixel that the window's edge crosses may have its centre
    outside; it gets the value at the edge.
    """
    kernel, support = (_catmull_rom, 2) if cubic else (_triangle, 1)
    scale = cells / (high - low)  # cells per pixel
    place = (np.arange(first, last) + 0.5 - low) * scale
    place = np.clip(place, 0.0, float(cells))
    reach = max(scale, 1.0)
    start = np.floor(place - support * reach + 0.5).astype(np.int64)
    index = start[:, None] + np.arange(math.ceil(2 * support * reach))
    weights = kernel(np.abs(index + 0.5 - place[:, None]) / reach)
    weights[(index < 0) | (index >= cells)] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(index, 0, cells - 1), weights.astype(np.float32)


def _triangle(distance: Float[np.ndarray, "o k"]) -> Float[np.ndarray, "o k"]:
    """Straight lines between neighbours."""
    return np.maximum(0.0, 1.0 - distance)


def _catmull_rom(distance: Float[np.ndarray, "o k"]) -> Float[np.ndarray, "o k"]:
    """Cubics through neighbours, with the slope in each of the line between those beside it."""
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((2.5 - 0.5 * distance) * distance - 4.0) * distance + 2.0
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
