"""Boxes on the pixel grid, and masks known only on a region of their image.

An object covers a small part of a large photograph. Everything that labelling and evaluation do
with its mask happens on that part, a *region* (x0, y0, x1, y1) of whole pixels, so that the cost is
the object's and not the photograph's.
"""

import math

import numpy as np
import pycocotools.mask
from jaxtyping import Bool, Float

Region = tuple[int, int, int, int]


def box_pixels(box_xyxy: Float[np.ndarray, "4"], height: int, width: int) -> Region:
    """The pixels of an image that belong to a box: those whose centre lies in it.

    On a line that is the same as "covered by at least a half", so a mask keeps every pixel when it
    is cropped to its own tight box, whose sides run between pixels. A box too thin to hold a centre
    stands for the pixel its middle lies in, one outside the image for the nearest pixel: every box
    has a pixel. Not given in the paper.

    Args:
      box_xyxy: continuous pixel coordinates; may reach over the image's border.
      height, width: of the image.

    Returns:
      (x0, y0, x1, y1), half-open, inside the image, at least one pixel.

    Raises:
      ValueError: a coordinate is not finite, or the image has no pixel.
    """
    if not np.isfinite(box_xyxy).all() or height < 1 or width < 1:
        raise ValueError(f"no pixels for box {box_xyxy.tolist()} in an image {width} x {height}")
    x0, x1 = _pixel_range(float(box_xyxy[0]), float(box_xyxy[2]), width)
    y0, y1 = _pixel_range(float(box_xyxy[1]), float(box_xyxy[3]), height)
    return x0, y0, x1, y1


def encode_in_image(mask: Bool[np.ndarray, "h w"], region: Region, height: int, width: int) -> dict:
    """The compressed RLE of a mask that is given on a region and empty in the rest of the image.

    The same bytes as pycocotools makes of the full-size mask, without making one.

    Args:
      mask: on the region.
      region: (x0, y0, x1, y1) in the image.
      height, width: of the image.

    Returns:
      `{"size": [height, width], "counts": str}`, column-major as in COCO.

    Raises:
      ValueError: the mask is not of the region's size, or the region not inside the image.
    """
    x0, y0, x1, y1 = region
    inside = 0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height
    if mask.shape != (y1 - y0, x1 - x0) or not inside:
        raise ValueError(f"mask {mask.shape} on region {region} of an image {width} x {height}")
    column_ends = np.zeros((x1 - x0, 1), np.int8)
    columns = np.concatenate([column_ends, mask.T.astype(np.int8), column_ends], axis=1)
    steps = np.diff(columns, axis=1)
    column, row = np.nonzero(steps)
    edges = (column + x0) * height + row + y0
    # A run that reaches the image's lower border goes on at the top of the next column: the two
    # edges there are one place and both vanish.
    joined = np.zeros(len(edges) + 1, bool)
    joined[1:-1] = np.diff(edges) == 0
    edges = edges[~(joined[1:] | joined[:-1]) & (edges < height * width)]
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    rle = {"size": [height, width], "counts": counts.tolist()}
    compressed = pycocotools.mask.frPyObjects(rle, height, width)
    return {"size": [height, width], "counts": compressed["counts"].decode("ascii")}


def filled_box(box_xyxy: Float[np.ndarray, "4"], height: int, width: int) -> dict:
    """The compressed RLE of a whole box (see `box_pixels`), the weakest of all labels."""
    region = box_pixels(box_xyxy, height, width)
    x0, y0, x1, y1 = region
    return encode_in_image(np.ones((y1 - y0, x1 - x0), bool), region, height, width)


def _pixel_range(low: float, high: float, size: int) -> tuple[int, int]:
    """First and one past the last pixel of 0..size-1 whose centre lies in [low, high]."""
    first, last = math.ceil(low - 0.5), math.floor(high + 0.5)
    if last <= first:
        first = math.floor((low + high) / 2)
        last = first + 1
    first = min(max(first, 0), size - 1)
    return first, min(max(last, first + 1), size)
