"""Labels at a glance: the small picture of one instance, and all masks of an image at once."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from exits_jax.labelling import drawing
from exits_jax.labelling.drawing import INK, PAPER, Colour
from exits_jax.labelling.overlays import POINT, PREDICTION

FINE = 2  # as in the panel strip: drawn larger, then shrunk
CONTEXT = 0.2  # of the box's longer side, shown around it on each side
MIN_WINDOW_PX = 32.0  # a smaller object is shown within this much of its image
LABEL_FONT_PX = 14

Rectangle = tuple[float, float, float, float]


def thumbnail(
    image: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    box_xyxy: Float[np.ndarray, "4"],
    points_xy: Float[np.ndarray, "4 2"] | None = None,
    *,
    side_px: int = 240,
) -> UInt8[np.ndarray, "height width 3"]:
    """The surroundings of one instance with its mask and extreme points, keeping proportions.

    A square around the box, moved into the image where it would reach out, cut where the image is
    smaller. Box and points are in image coordinates. The longer side becomes `side_px`.
    """
    height, width = mask.shape
    x0, y0, x1, y1 = _window(box_xyxy, height, width)
    fine = FINE * side_px / max(x1 - x0, y1 - y0)
    size = max(2, round((x1 - x0) * fine)), max(2, round((y1 - y0) * fine))
    picture = drawing.resize_picture(image[y0:y1, x0:x1], *size)
    shown = drawing.resize_mask(mask[y0:y1, x0:x1], *size)
    picture = drawing.paint_mask(picture, shown, PREDICTION, alpha=0.35, thickness=2 * FINE)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for x, y in () if points_xy is None else points_xy:
        drawing.draw_disc(draw, ((float(x) - x0) * fine, (float(y) - y0) * fine), 3.0 * FINE, POINT)
    return np.asarray(canvas.reduce(FINE))


def image_overlay(
    image: UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "k h w"],
    names: Sequence[str],
    *,
    max_side_px: int = 1024,
) -> UInt8[np.ndarray, "height width 3"]:
    """All masks of an image in distinct colours with thin outlines and their category names.

    Large masks are drawn first, so small ones on top of them stay visible. A name stands where it
    covers no other name; one that finds no such place is left out.

    Args:
      masks, names: one name for each mask, in the same order; the order sets the colours.
      max_side_px: a larger image is shrunk to this; a smaller one keeps its size.
    """
    height, width = image.shape[:2]
    scale = min(1.0, max_side_px / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = drawing.resize_picture(image, *size)
    shown = [drawing.resize_mask(mask, *size) for mask in masks]
    by_size = sorted(range(len(shown)), key=lambda index: -int(shown[index].sum()))
    for index in by_size:
        colour = drawing.distinct_colour(index)
        picture = drawing.paint(picture, shown[index], colour, 0.4)
        picture = drawing.paint(picture, drawing.mask_outline(shown[index], 2), colour, 1.0)
    canvas = Image.fromarray(picture)
    _write_names(canvas, [(shown[i], names[i], drawing.distinct_colour(i)) for i in by_size])
    return np.asarray(canvas)


def _window(box_xyxy: Float[np.ndarray, "4"], height: int, width: int) -> tuple[int, int, int, int]:
    """Whole pixels around the box: a square inside the image, as far as the image allows."""
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    side = max(max(x1 - x0, y1 - y0) * (1 + 2 * CONTEXT), MIN_WINDOW_PX)
    left, right = _span((x0 + x1) / 2, side, width)
    top, bottom = _span((y0 + y1) / 2, side, height)
    return left, top, right, bottom


def _span(centre: float, length: float, limit: int) -> tuple[int, int]:
    """An interval of about `length` around `centre`, moved and cut to fit into [0, limit]."""
    size = min(max(1, round(length)), limit)
    start = min(max(round(centre - size / 2), 0), limit - size)
    return start, start + size


def _write_names(
    canvas: Image.Image, labelled: Sequence[tuple[Bool[np.ndarray, "h w"], str, Colour]]
) -> None:
    """Puts each mask's name on it, largest mask first, where no earlier name stands."""
    draw, letters = ImageDraw.Draw(canvas), drawing.font(LABEL_FONT_PX)
    taken: list[Rectangle] = []
    for mask, name, colour in labelled:
        text = drawing.fit_text(name, letters, 160)
        size = letters.getlength(text) + 8.0, LABEL_FONT_PX + 6.0
        place = next((r for r in _places(mask, size) if not _covers(r, taken)), None)
        if place is None or not mask.any():
            continue
        taken.append(place)
        draw.rounded_rectangle(place, radius=3, fill=colour, outline=INK)
        dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 140
        middle = (place[1] + place[3]) / 2
        draw.text((place[0] + 4, middle), text, PAPER if dark else INK, letters, anchor="lm")


def _places(mask: Bool[np.ndarray, "h w"], size: tuple[float, float]) -> Iterator[Rectangle]:
    """Where a name of this size may stand: at the mask's middle, its corners, then below it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    height, width = mask.shape
    y, x = np.median(rows), np.median(np.flatnonzero(mask[int(np.median(rows))]))
    low_x, high_x, low_y, high_y = columns[0], columns[-1] - size[0], rows[0], rows[-1] - size[1]
    wanted = [(x - size[0] / 2, y - size[1] / 2)]
    wanted += [(left, top) for top in (low_y, high_y) for left in (low_x, high_x)]
    wanted += [(low_x, low_y - size[1]), (low_x, rows[-1] + 1)]
    for left, top in wanted:
        left = float(np.clip(left, 0, max(0, width - size[0] - 1)))
        top = float(np.clip(top, 0, max(0, height - size[1] - 1)))
        yield left, top, left + size[0], top + size[1]


def _covers(place: Rectangle, taken: Sequence[Rectangle]) -> bool:
    """Whether the rectangle meets one that is taken."""
    return any(
        place[0] < right and left < place[2] and place[1] < bottom and top < place[3]
        for left, top, right, bottom in taken
    )
