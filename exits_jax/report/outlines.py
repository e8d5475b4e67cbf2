"""Masks as lines: SVG paths that a page draws over a photograph, sharp at every zoom."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from exits_jax.annotations.outlines import mask_rings
from exits_jax.report import drawing

CONTEXT = 0.2  # of the box's longer side, shown around it on each side
MIN_WINDOW_PX = 32.0  # a smaller object is shown within this much of its image
MAX_EDGE_PX = 6000  # of one outline; a longer one is drawn from a coarser mask

Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Marks:
    """What is drawn over a picture; coordinates are the picture's pixels.

    Attributes:
      size: width and height of the picture.
      label: SVG path of the label's mask, to be filled by the even-odd rule; "" without pixels.
      area: pixels of that mask in the picture.
      truth: of the ground-truth mask; None if there is none.
      points_xy: extreme points.
    """

    size: tuple[int, int]
    label: str
    area: int = 0
    truth: str | None = None
    points_xy: Sequence[tuple[float, float]] = ()


def window_around(box_xyxy: Float[np.ndarray, "4"], height: int, width: int) -> Window:
    """Whole pixels around a box: a square inside the image, where the image allows it."""
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    side = max(max(x1 - x0, y1 - y0) * (1 + 2 * CONTEXT), MIN_WINDOW_PX)
    left, right = _span((x0 + x1) / 2, side, width)
    top, bottom = _span((y0 + y1) / 2, side, height)
    return left, top, right, bottom


def cut_out(
    image: UInt8[np.ndarray, "h w 3"], window: Window, max_side_px: int
) -> UInt8[np.ndarray, "height width 3"]:
    """A window of an image at the photograph's own resolution, or shrunk if it is too large."""
    x0, y0, x1, y1 = window
    width, height = _size(window, max_side_px)
    return drawing.resize_picture(image[y0:y1, x0:x1], width, height)


def marks_in(
    window: Window,
    max_side_px: int,
    label: Bool[np.ndarray, "h w"],
    truth: Bool[np.ndarray, "h w"] | None = None,
    points_xy: Float[np.ndarray, "4 2"] | None = None,
) -> Marks:
    """The marks for the picture that `cut_out` makes of the same window; all in image pixels."""
    x0, y0, x1, y1 = window
    size = _size(window, max_side_px)

    def seen(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "height width"]:
        return drawing.resize_mask(mask[y0:y1, x0:x1], *size)

    scale = size[0] / (x1 - x0), size[1] / (y1 - y0)
    drawn = seen(label)
    points = [] if points_xy is None else (points_xy - (x0, y0)) * scale
    return Marks(
        size,
        outline_path(drawn),
        int(drawn.sum()),
        None if truth is None else outline_path(seen(truth)),
        [(round(float(x), 1), round(float(y), 1)) for x, y in points],
    )


def outline_path(mask: Bool[np.ndarray, "h w"]) -> str:
    """The mask's edge as SVG path data, along the edges of its pixels; "" for an empty mask.

    A mask of very many specks is halved in size until its edge is at most MAX_EDGE_PX long, so that
    a page stays small and quick whatever the mask is.
    """
    scale = 1
    while _edge_px(mask) > MAX_EDGE_PX:
        even = np.pad(mask, [(0, side % 2) for side in mask.shape])
        mask = drawing.resize_mask(even, even.shape[1] // 2, even.shape[0] // 2)
        scale *= 2
    return "".join(_closed_line(ring * scale) for ring in mask_rings(mask))


def _size(window: Window, max_side_px: int) -> tuple[int, int]:
    """Width and height of the picture of a window."""
    width, height = window[2] - window[0], window[3] - window[1]
    scale = min(1.0, max_side_px / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _span(centre: float, length: float, limit: int) -> tuple[int, int]:
    """An interval of about `length` around `centre`, moved and shortened to fit into [0, limit]."""
    size = min(max(1, round(length)), limit)
    start = min(max(round(centre - size / 2), 0), limit - size)
    return start, start + size


def _edge_px(mask: Bool[np.ndarray, "h w"]) -> int:
    """How many pixel sides lie on the mask's edge."""
    rim = np.pad(mask, 1)
    return int((rim[1:] != rim[:-1]).sum() + (rim[:, 1:] != rim[:, :-1]).sum())


def _closed_line(corners: Int[np.ndarray, "corners 2"]) -> str:
    """Path data of one ring whose sides are horizontal and vertical in turn."""
    steps = np.diff(corners, axis=0).tolist()
    moves = "".join(f"h{dx}" if dx else f"v{dy}" for dx, dy in steps)
    return f"M{corners[0][0]} {corners[0][1]}{moves}z"
