"""All labels of an image at once, as a picture: masks in colours of their own, with their names."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from exits_jax.report import drawing
from exits_jax.report.drawing import CASING, INK, PAPER

LABEL_FONT_PX = 14
NAME_PX = 160  # a longer name is cut
SMALL_PX = 20  # an object this thin gets a line of one pixel, around it
MAX_HIDDEN = 0.1  # a name may cover this share of an object

Rectangle = tuple[float, float, float, float]
Masks = Sequence[Bool[np.ndarray, "h w"]]


def image_overlay(
    image: UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "k h w"],
    names: Sequence[str],
    *,
    max_side_px: int = 1024,
) -> UInt8[np.ndarray, "height width 3"]:
    """All masks of an image in distinct colours with cased outlines and their category names.

    Large masks are drawn first, so small ones on top of them stay visible. A name stands on a mask
    that is large enough, or beside it, where it covers no other name and hides no object; one that
    finds no such place is left out.

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
        if shown[index].any():
            line = 2 if min(_extent(shown[index])) > SMALL_PX else 1
            colour = drawing.distinct_colour(index)
            picture = drawing.paint_mask(picture, shown[index], colour, alpha=0.3, thickness=line)
    canvas = Image.fromarray(picture)
    _write_names(canvas, [shown[i] for i in by_size], [names[i] for i in by_size], by_size)
    return np.asarray(canvas)


def _write_names(
    canvas: Image.Image, masks: Masks, names: Sequence[str], colours: Sequence[int]
) -> None:
    """Puts each mask's name on or beside it, largest mask first, where there is room."""
    draw, letters = ImageDraw.Draw(canvas), drawing.font(LABEL_FONT_PX)
    taken: list[Rectangle] = []
    for mask, name, number in zip(masks, names, colours, strict=True):
        text = drawing.fit_text(name, letters, NAME_PX)
        size = letters.getlength(text) + 8.0, LABEL_FONT_PX + 6.0
        free = (r for r in _places(mask, size) if not _covers(r, taken) and not _hides(r, masks))
        place = next(free, None)
        if place is None:
            continue
        taken.append(place)
        colour = drawing.distinct_colour(number)
        draw.rounded_rectangle(place, radius=3, fill=colour, outline=CASING)
        dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 140
        middle = (place[1] + place[3]) / 2
        draw.text((place[0] + 4, middle), text, PAPER if dark else INK, letters, anchor="lm")


def _places(mask: Bool[np.ndarray, "h w"], size: tuple[float, float]) -> Iterator[Rectangle]:
    """Where a name of this size may stand: in the middle of a large mask, else around its box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    height, width = mask.shape
    y, x = np.median(rows), np.median(np.flatnonzero(mask[int(np.median(rows))]))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    gap = 3  # past the outline
    wanted = [(x - size[0] / 2, y - size[1] / 2)]
    wanted += [
        (x, y)
        for y in (top - size[1] - gap, bottom + gap)
        for x in (left, (left + right - size[0]) / 2, right - size[0])
    ]
    middle = (top + bottom - size[1]) / 2
    wanted += [(x, y) for y in (middle, top) for x in (right + gap, left - size[0] - gap)]
    for x, y in wanted:
        x = float(np.clip(x, 0, max(0, width - size[0] - 1)))
        y = float(np.clip(y, 0, max(0, height - size[1] - 1)))
        yield x, y, x + size[0], y + size[1]


def _extent(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """Height and width of what the mask covers."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def _hides(place: Rectangle, masks: Masks) -> bool:
    """Whether a name there would cover much of any object."""
    x0, y0, x1, y1 = (int(value) for value in place)
    return any(mask[y0 : y1 + 1, x0 : x1 + 1].sum() > MAX_HIDDEN * mask.sum() for mask in masks)


def _covers(place: Rectangle, taken: Sequence[Rectangle]) -> bool:
    """Whether the rectangle meets one that is taken."""
    return any(
        place[0] < right and left < place[2] and place[1] < bottom and top < place[3]
        for left, top, right, bottom in taken
    )
