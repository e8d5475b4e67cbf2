"""Crop geometry: the window around a box, image <-> crop coordinates, cutting the pixels.

Everything here is a function of arrays. A window is `xyxy` in continuous image coordinates (pixel
(0,0) covers [0,1) x [0,1)) and may reach outside the image. Crop coordinates are [0,1] over the
window; the centre of crop pixel (row i, column j) is ((j + 0.5) / s, (i + 0.5) / s). A flipped crop
is the mirrored unflipped crop: same window, x becomes 1 - x.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

# Fills the crop outside the image: the mean colour the encoders were normalised with (ImageNet), so
# it is about zero to the network. Not given in the paper.
PAD_RGB = (124, 116, 104)

# A box narrower than this many image pixels is widened to it, about its centre, before margins are
# added: a one-pixel (or zero-width) box would give a window without content. Not given in the
# paper.
MIN_BOX_SIDE = 4.0


def fixed_window(box_xyxy: Float[np.ndarray, "4"], margin: float) -> Float[np.ndarray, "4"]:
    """The labelling window: the box widened by `margin` * half-size on each side.

    Relatives of the method use margin 0.3; not given in the paper. Sides under MIN_BOX_SIDE are
    widened first, so the window always contains the box and has a positive area.
    """
    centre, half = _centre_and_half(box_xyxy)
    return np.concatenate([centre - half * (1 + margin), centre + half * (1 + margin)])


def random_window(
    box_xyxy: Float[np.ndarray, "4"], scale: float, rng: np.random.Generator
) -> Float[np.ndarray, "4"]:
    """A training window: each side widened by u * scale * g of the box's half-size.

    Per axis u and g are uniform in [0,1), and the opposite side has 1 - g: the object moves about
    in the crop. Relatives use scale 1.2; not given in the paper.
    """
    centre, half = _centre_and_half(box_xyxy)
    amount, share = rng.uniform(size=2), rng.uniform(size=2)
    low = centre - half * (1 + amount * scale * share)
    high = centre + half * (1 + amount * scale * (1 - share))
    return np.concatenate([low, high])


def to_crop(
    points_xy: Float[np.ndarray, "*n 2"], window_xyxy: Float[np.ndarray, "4"], flip: bool
) -> Float[np.ndarray, "*n 2"]:
    """Image coordinates -> crop coordinates ([0,1] inside the window, mirrored under `flip`).

    Only coordinates are mirrored; `swap_sides` exchanges the roles of extreme points.
    """
    low, side = _low_and_side(window_xyxy)
    inside = (np.asarray(points_xy, np.float64) - low) / side
    return _mirror(inside) if flip else inside


def to_image(
    points_xy: Float[np.ndarray, "*n 2"], window_xyxy: Float[np.ndarray, "4"], flip: bool
) -> Float[np.ndarray, "*n 2"]:
    """Crop coordinates -> image coordinates: the exact inverse of `to_crop` (to rounding)."""
    low, side = _low_and_side(window_xyxy)
    inside = np.asarray(points_xy, np.float64)
    return (_mirror(inside) if flip else inside) * side + low


def swap_sides(points_xy: Float[np.ndarray, "4 2"]) -> Float[np.ndarray, "4 2"]:
    """Extreme points (top, left, bottom, right) in the order they have once mirrored.

    The leftmost point becomes the rightmost one in a flipped crop.
    """
    return points_xy[[0, 3, 2, 1]]


def box_to_crop(
    box_xyxy: Float[np.ndarray, "4"], window_xyxy: Float[np.ndarray, "4"], flip: bool
) -> Float[np.ndarray, "4"]:
    """A box in image coordinates -> the box in crop coordinates, low corner first, not clipped."""
    corners = to_crop(np.asarray(box_xyxy, np.float64).reshape(2, 2), window_xyxy, flip)
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def valid_in_crop(
    width: int, height: int, window_xyxy: Float[np.ndarray, "4"], flip: bool
) -> Float[np.ndarray, "4"]:
    """The image's area in crop coordinates, clipped to [0,1]; no area if the window misses it.

    Outside it the crop shows PAD_RGB, which is evidence of nothing.
    """
    image_box = np.array([0.0, 0.0, width, height])
    return np.clip(box_to_crop(image_box, window_xyxy, flip), 0.0, 1.0)


def crop_image(
    image: UInt8[np.ndarray, "h w 3"],
    window_xyxy: Float[np.ndarray, "4"],
    size: int,
    flip: bool = False,
) -> UInt8[np.ndarray, "s s 3"]:
    """The window's pixels, resized to size x size without keeping the aspect ratio.

    Pillow's bilinear filter, antialiased when shrinking, at sub-pixel window positions. A crop
    pixel whose centre is outside the image is PAD_RGB; the others never mix with that colour (the
    image's edge pixels are repeated under the filter). The window may be larger than the image, or
    partly or wholly outside it.
    """
    rows = _span(float(window_xyxy[1]), float(window_xyxy[3]), size, image.shape[0])
    columns = _span(float(window_xyxy[0]), float(window_xyxy[2]), size, image.shape[1])
    if rows is None or columns is None:
        return np.full((size, size, 3), PAD_RGB, np.uint8)
    crop = _resize(image, rows, columns)
    if crop.shape[:2] != (size, size):
        padded = np.full((size, size, 3), PAD_RGB, np.uint8)
        padded[rows.first : rows.last, columns.first : columns.last] = crop
        crop = padded
    return np.ascontiguousarray(crop[:, ::-1]) if flip else crop


class _Span(NamedTuple):
    """One axis of a crop: which crop pixels show the image, and where they read it."""

    first: int  # crop pixels [first, last) have their centre inside the image
    last: int
    low: int  # they read image pixels [low, high) ...
    high: int
    before: int  # ... extended by this many copies of the edge pixel
    after: int
    start: float  # the part of the window they cover, counted from `low - before`
    stop: float


def _span(start: float, stop: float, size: int, extent: int) -> _Span | None:
    """The `_Span` of a window's axis; None when no crop pixel shows the image.

    A crop pixel larger than the whole image shows nothing either, which bounds the memory that a
    wrong annotation can ask for.
    """
    scale = (stop - start) / size
    centres = start + (np.arange(size) + 0.5) * scale
    inside = np.flatnonzero((centres > 0) & (centres < extent))
    if inside.size == 0 or scale > extent:
        return None
    first, last = int(inside[0]), int(inside[-1]) + 1
    box_low, box_high = start + first * scale, start + last * scale
    reach = math.ceil(max(scale, 1.0))  # half-width of the bilinear filter in image pixels
    low = max(math.floor(box_low) - reach, 0)
    high = min(math.ceil(box_high) + reach, extent)
    before, after = max(low - math.floor(box_low), 0), max(math.ceil(box_high) - high, 0)
    origin = low - before
    return _Span(first, last, low, high, before, after, box_low - origin, box_high - origin)


def _resize(
    image: UInt8[np.ndarray, "h w 3"], rows: _Span, columns: _Span
) -> UInt8[np.ndarray, "r c 3"]:
    part = image[rows.low : rows.high, columns.low : columns.high]
    edges = ((rows.before, rows.after), (columns.before, columns.after), (0, 0))
    if any(map(any, edges)):
        part = np.pad(part, edges, mode="edge")
    resized = Image.fromarray(part).resize(
        (columns.last - columns.first, rows.last - rows.first),
        Image.Resampling.BILINEAR,
        box=(columns.start, rows.start, columns.stop, rows.stop),
    )
    return np.array(resized)


def _centre_and_half(
    box_xyxy: Float[np.ndarray, "4"],
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Centre and half-size of a box, at least MIN_BOX_SIDE wide and high."""
    low, side = _low_and_side(box_xyxy)
    return low + side / 2, np.maximum(side, MIN_BOX_SIDE) / 2


def _low_and_side(
    box_xyxy: Float[np.ndarray, "4"],
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    box_xyxy = np.asarray(box_xyxy, np.float64)
    return box_xyxy[:2], box_xyxy[2:] - box_xyxy[:2]


def _mirror(points_xy: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    return np.stack([1.0 - points_xy[..., 0], points_xy[..., 1]], axis=-1)
