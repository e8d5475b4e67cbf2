"""Several sets of masks of one image beside each other: what was found, the label, the truth."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image, ImageDraw

from exits_jax.annotations import decode_segmentation
from exits_jax.report import drawing
from exits_jax.report.drawing import INK, PAPER
from exits_jax.report.overview import image_overlay
from exits_jax.report.sheet import GAP_PX, TITLE_FONT_PX, TITLE_PX

SIDE_PX = 480  # of each picture, its longer side


class MaskSet(NamedTuple):
    """Masks of an image, and what each is called."""

    masks: Bool[np.ndarray, "k h w"]
    names: Sequence[str]


def mask_set(
    rles: Sequence[Mapping[str, Any]], names: Sequence[str], size: tuple[int, int]
) -> MaskSet:
    """Masks from run lengths of an image of that height and width."""
    masks = np.zeros((len(rles), *size), bool)
    for mask, rle in zip(masks, rles, strict=True):
        mask[:] = decode_segmentation(rle, *size)
    return MaskSet(masks, names)


def side_by_side(
    image: UInt8[np.ndarray, "h w 3"], sets: Mapping[str, MaskSet]
) -> UInt8[np.ndarray, "height width 3"]:
    """The image once for each set of masks, under the set's title and how many masks it has.

    A small image is enlarged by a whole number, so that names have room.

    Args:
      image: of all sets.
      sets: by title, at least one; a set may be empty.
    """
    times = max(SIDE_PX // max(image.shape[:2]), 1)
    large = {
        title: MaskSet(_enlarged(one.masks, times, 1), one.names) for title, one in sets.items()
    }
    image = _enlarged(image, times, 0)
    tiles = [_tile(image, title, one) for title, one in large.items()]
    gap = np.full((len(tiles[0]), GAP_PX, 3), PAPER, np.uint8)
    row = [piece for tile in tiles for piece in (gap, tile)]
    return np.concatenate([*row, gap], axis=1)


def _enlarged(
    pixels: Shaped[np.ndarray, "..."], times: int, axis: int
) -> Shaped[np.ndarray, "..."]:
    """Every pixel of rows and columns (this axis and the next) so many times."""
    return pixels.repeat(times, axis=axis).repeat(times, axis=axis + 1)


def _tile(
    image: UInt8[np.ndarray, "h w 3"], title: str, one: MaskSet
) -> UInt8[np.ndarray, "height width 3"]:
    picture = image_overlay(image, one.masks, one.names, max_side_px=SIDE_PX)
    height, width = picture.shape[:2]
    tile = Image.new("RGB", (width, TITLE_PX + height + GAP_PX), PAPER)
    tile.paste(Image.fromarray(picture), (0, TITLE_PX))
    letters = drawing.font(TITLE_FONT_PX, bold=True)
    text = drawing.fit_text(f"{title} ({len(one.masks)})", letters, width)
    ImageDraw.Draw(tile).text((0, TITLE_PX / 2), text, fill=INK, font=letters, anchor="lm")
    return np.asarray(tile)
