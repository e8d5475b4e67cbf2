"""From an image with masks to a row of a batch: placed on a canvas, everything in its pixels.

A *canvas* is a fixed (rows, columns). An image is resized with kept ratio so that it fits, and put
at the top left; what lies beyond its *extent* (rows, columns) is padding. The keys of a batch, b
canvases of H x W pixels with G places for instances, all numpy arrays:

  image      uint8[b,H,W,3]        the image; 0 beyond its extent
  extent     int32[b,2]            rows and columns of the canvas that the image covers
  flip       bool[b]               whether the image is mirrored left to right within them
  masks      uint8[b,G,H/s,W/s]    0 or 1: the instances' masks at stride s
  classes    int32[b,G]            0 where there is no instance
  centre_xy  float32[b,G,2]        centre of mass on the canvas, continuous pixels
  size_wh    float32[b,G,2]        of the tight box on the canvas, pixels
  area       float32[b,G]          pixels of the canvas
  weight     float32[b,G]          of the instance in the loss; 0 where there is none
  draw       uint32[b]             of (seed, epoch, image), for whatever is drawn at random
  id         int64[b]              of the image
  index      int64[b]              position in the source
  valid      bool[b]               False for rows that only fill the batch
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from pycocotools import mask as coco_masks

from exits_jax.annotations import decode_segmentation
from exits_jax.data.images import RGBImage
from exits_jax.data.rows import Row

MASK_STRIDE = 4  # pixels of the canvas between two of a mask
# A mask as Pillow resizes it: an even number, so that half of it is one, too, and pixels that are
# half covered do not depend on the last bit of the filter.
FULL = 254

CanvasSize = tuple[int, int]
Mask = UInt8[np.ndarray, "h w"]  # 0 or 1


def choose_canvas(height: int, width: int, canvases: Sequence[CanvasSize]) -> int:
    """The position of the canvas that shows an image largest; of equal ones the first."""
    scales = [_fit(height, width, canvas) for canvas in canvases]
    return scales.index(max(scales))


def placed_size(height: int, width: int, canvas: CanvasSize, scale: float = 1.0) -> tuple[int, int]:
    """Rows and columns that an image covers at a share `scale` of what fits the canvas."""
    factor = _fit(height, width, canvas) * scale
    rows, columns = (max(math.floor(side * factor + 0.5), 1) for side in (height, width))
    return min(rows, canvas[0]), min(columns, canvas[1])


def place(
    image: RGBImage, size: tuple[int, int], canvas: CanvasSize, flip: bool = False
) -> UInt8[np.ndarray, "H W 3"]:
    """An image at the top left of a canvas, 0 beyond it.

    Pillow's bilinear filter, antialiased when shrinking; cv2's, which the released code uses, is
    not. Pixel centres stay aligned: an image of that size already is copied.

    Args:
      image: in its own size.
      size: rows and columns that it covers, see `placed_size`.
      canvas: rows and columns of the canvas.
      flip: mirrors the image within its extent, not the padding to the left.
    """
    rows, columns = size
    resized = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))
    placed = np.zeros((*canvas, 3), np.uint8)
    placed[:rows, :columns] = resized[:, ::-1] if flip else resized
    return placed


class PlacedMask(NamedTuple):
    """A mask on a canvas, and where it is.

    Attributes:
      mask: 0 or 1, the whole canvas.
      centre_xy: centre of mass, continuous pixels.
      size_wh: of the tight box, pixels.
      area: pixels.
    """

    mask: Mask
    centre_xy: Float[np.ndarray, "2"]
    size_wh: Float[np.ndarray, "2"]
    area: float


def place_mask(
    rle: dict[str, Any], size: tuple[int, int], canvas: CanvasSize, flip: bool = False
) -> PlacedMask | None:
    """A mask placed as its image is; None where no pixel is left.

    A pixel of the canvas is the object's if at least half of what the image's filter sees there is.

    Args:
      rle: compressed run lengths in the image's own size.
      size, canvas, flip: as in `place`.
    """
    (top, left), part = _resized(rle, size)
    if not part.any():
        return None
    rows, columns = part.any(axis=1).nonzero()[0], part.any(axis=0).nonzero()[0]
    part = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = top + int(rows[0]), left + int(columns[0])
    high, wide = part.shape
    if flip:
        part, left = part[:, ::-1], size[1] - left - wide
    mask = np.zeros(canvas, np.uint8)
    mask[top : top + high, left : left + wide] = part
    by_column, by_row = part.sum(axis=0, dtype=np.int64), part.sum(axis=1, dtype=np.int64)
    area = by_row.sum()
    x = left + by_column @ (np.arange(wide) + 0.5) / area
    y = top + by_row @ (np.arange(high) + 0.5) / area
    return PlacedMask(mask, np.array([x, y]), np.array([wide, high], float), float(area))


def at_stride(mask: Mask, stride: int) -> UInt8[np.ndarray, "r c"]:
    """A mask at a coarser stride: bilinear without antialiasing, a half rounded up.

    So each of its pixels is the mean of the middle 2 x 2 of stride x stride, or the middle pixel
    where the stride is odd.
    """
    middle = range((stride - 1) // 2, stride // 2 + 1)
    total = sum(mask[i::stride, j::stride] for i in middle for j in middle)
    return (2 * total >= len(middle) ** 2).astype(np.uint8)


def image_row(
    example: dict[str, Any],
    canvas: CanvasSize,
    *,
    size: tuple[int, int],
    flip: bool,
    max_instances: int,
    mask_stride: int = MASK_STRIDE,
) -> Row:
    """One row of a batch, without its `draw` and `valid`.

    Masks are decoded one by one. Of more than `max_instances` the largest are kept; those of which
    no pixel is left on the canvas are dropped.

    Args:
      example: of an `ImageSource`.
      canvas: rows and columns, multiples of `mask_stride`.
      size: rows and columns that the image covers.
      flip: whether it is mirrored.
      max_instances: G.
      mask_stride: s.
    """
    row = _no_instances(canvas, max_instances, mask_stride)
    place_in_row = 0
    for k in _largest(example["masks"], max_instances):
        placed = place_mask(example["masks"][k], size, canvas, flip)
        if placed is None:
            continue
        row["masks"][place_in_row] = at_stride(placed.mask, mask_stride)
        row["classes"][place_in_row] = example["classes"][k]
        row["centre_xy"][place_in_row] = placed.centre_xy
        row["size_wh"][place_in_row] = placed.size_wh
        row["area"][place_in_row] = placed.area
        row["weight"][place_in_row] = example["weights"][k]
        place_in_row += 1
    return {
        "image": place(example["image"], size, canvas, flip),
        "extent": np.array(size, np.int32),
        "flip": np.bool_(flip),
        **row,
        "id": np.int64(example["id"]),
        "index": np.int64(example["index"]),
    }


def _fit(height: int, width: int, canvas: CanvasSize) -> float:
    """The largest factor by which an image still fits."""
    return min(canvas[0] / height, canvas[1] / width)


def _largest(masks: Sequence[dict[str, Any]], most: int) -> Int[np.ndarray, " k"]:
    """The positions of the largest masks, in their own order; of equal ones the first."""
    if len(masks) <= most:
        return np.arange(len(masks))
    areas = coco_masks.area(list(masks)).astype(np.int64)
    return np.sort(np.argsort(-areas, kind="stable")[:most])


def _resized(rle: dict[str, Any], size: tuple[int, int]) -> tuple[tuple[int, int], Mask]:
    """A mask resized within its box alone: its top left pixel (row, column), and 0 or 1 there."""
    height, width = rle["size"]
    rows, columns = size
    x, y, wide, high = coco_masks.toBbox(rle).tolist()
    # Further out no pixel has half of what its filter sees in the box.
    top, bottom = _span(y, y + high, rows / height, rows)
    left, right = _span(x, x + wide, columns / width, columns)
    # Column-major, as it is decoded, a mask is Pillow's image of the transposed one, uncopied.
    pixels = Image.fromarray(decode_segmentation(rle, height, width).T * np.uint8(FULL))
    box = (top * height / rows, left * width / columns)
    box += (bottom * height / rows, right * width / columns)
    part = pixels.resize((bottom - top, right - left), Image.Resampling.BILINEAR, box=box)
    return (top, left), (np.asarray(part).T >= FULL // 2).astype(np.uint8)


def _span(low: float, high: float, factor: float, size: int) -> tuple[int, int]:
    """First and one past the last pixel of an axis of the canvas that a part reaches: >= 1."""
    first = min(max(math.floor(low * factor) - 1, 0), size - 1)
    return first, max(min(math.ceil(high * factor) + 1, size), first + 1)


def _no_instances(canvas: CanvasSize, places: int, stride: int) -> Row:
    """What a row says of its instances where there are none."""
    return {
        "masks": np.zeros((places, canvas[0] // stride, canvas[1] // stride), np.uint8),
        "classes": np.zeros(places, np.int32),
        "centre_xy": np.zeros((places, 2), np.float32),
        "size_wh": np.zeros((places, 2), np.float32),
        "area": np.zeros(places, np.float32),
        "weight": np.zeros(places, np.float32),
    }
