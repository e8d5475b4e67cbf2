"""Panels side by side on one white sheet: heading, picture, and a key or a scale below it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from exits_jax.report import drawing
from exits_jax.report.drawing import INK, PAPER, Colour

TITLE_PX, FOOTER_PX, GAP_PX = 28, 24, 12
TITLE_FONT_PX, FOOTER_FONT_PX = 16, 13


class Panel(NamedTuple):
    """One picture of a strip, its heading, and what explains its colours: a key or a scale."""

    title: str
    picture: UInt8[np.ndarray, "fine fine 3"]
    key: Sequence[tuple[Colour | None, str]] = ()
    scale: float | None = None


def lay_out(
    panels: Sequence[Panel], side_px: int, columns: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The panels in rows of `columns`, each picture `side_px` wide and high, in reading order."""
    tiles = [_tile(panel, side_px) for panel in panels]
    height, width, _ = tiles[0].shape
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full(
        (rows * (height + GAP_PX) + GAP_PX, columns * (width + GAP_PX) + GAP_PX, 3), PAPER, np.uint8
    )
    for index, tile in enumerate(tiles):
        y = GAP_PX + index // columns * (height + GAP_PX)
        x = GAP_PX + index % columns * (width + GAP_PX)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def _tile(panel: Panel, side_px: int) -> UInt8[np.ndarray, "height width 3"]:
    """Heading, picture at its final size, and the key or scale below it."""
    tile = Image.new("RGB", (side_px, TITLE_PX + side_px + FOOTER_PX), PAPER)
    tile.paste(
        Image.fromarray(panel.picture).resize((side_px, side_px), Image.Resampling.BOX),
        (0, TITLE_PX),
    )
    draw = ImageDraw.Draw(tile)
    letters = drawing.font(TITLE_FONT_PX, bold=True)
    title = drawing.fit_text(panel.title, letters, side_px)
    draw.text((0, TITLE_PX / 2), title, fill=INK, font=letters, anchor="lm")
    middle = TITLE_PX + side_px + FOOTER_PX / 2 + 1
    if panel.scale is None:
        _draw_key(draw, panel.key, middle)
    else:
        _draw_scale(tile, panel.scale, middle)
    return np.asarray(tile)


def _draw_key(
    draw: ImageDraw.ImageDraw, key: Sequence[tuple[Colour | None, str]], middle: float
) -> None:
    """Coloured squares with what they mean, on one line around the height `middle`."""
    letters, x = drawing.font(FOOTER_FONT_PX), 0.0
    for colour, text in key:
        if colour is not None:
            draw.rectangle((x, middle - 6, x + 11, middle + 5), fill=colour, outline=INK)
            x += 17
        draw.text((x, middle), text, fill=INK, font=letters, anchor="lm")
        x += letters.getlength(text) + 14


def _draw_scale(tile: Image.Image, limit: float, middle: float) -> None:
    """The bar of heat colours from -limit to +limit with its numbers."""
    letters, draw = drawing.font(FOOTER_FONT_PX), ImageDraw.Draw(tile)
    low, high = f"−{limit:.2g}", f"+{limit:.2g}"
    left = round(letters.getlength(low)) + 6
    right = tile.width - round(letters.getlength(high)) - 6
    ramp = drawing.heat_colours(np.linspace(-1, 1, max(1, right - left))[None, :], 1.0)
    bar = Image.fromarray(np.repeat(ramp, 11, axis=0))
    tile.paste(bar, (left, round(middle) - 6))
    draw.text((0, middle), low, fill=INK, font=letters, anchor="lm")
    draw.text((tile.width, middle), high, fill=INK, font=letters, anchor="rm")
