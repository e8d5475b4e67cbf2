"""Loading an image with all its bits: Pillow narrows some of them, and some values use few."""

import io
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Num
from PIL import Image

from exits_jax.annotations.frames import comes_turned, orientation_of

# The largest values of 8, 10, 12, 14 and 16 bits: sensors deliver these, in 16-bit files.
FULL_VALUES = (255, 1_023, 4_095, 16_383, 65_535)
NARROW = 16  # of 255 grey levels: fewer show nothing
DEAD = 2e-5  # of the pixels of a camera, at most
ENDS, LOOKED_AT = 0.1, 1_000_000  # per cent of the pixels at either end, of so many
# Raw modes of 16-bit colour, and those that read the same bytes in the other order. "N", the
# machine's own order, is little-endian wherever JAX runs.
OTHER_ORDER = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B"))
}

Values = Num[np.ndarray, "h w *c"]


def load(image: Image.Image, file: pathlib.Path | io.BytesIO) -> tuple[int, Values | None]:
    """Loads an opened image.

    Pillow keeps only the high byte of 16-bit colour, in which 12-bit values are all but black. Read
    in the other byte order the same file gives the low bytes.

    Args:
      image: as `Image.open` returns it, not loaded.
      file: what it was opened from.

    Returns:
      The EXIF orientation, and the values [h,w], [h,w,3] or [h,w,4] where they are wider than 8
      bits; else None, and they are the image's own.
    """
    orientation = orientation_of(image) if comes_turned(image) else None
    swapped = [_swapped(tile) for tile in image.tile]
    image.load()
    orientation = orientation or orientation_of(image)
    if image.mode.startswith("I") or image.mode == "F":
        return orientation, np.asarray(image)
    if not swapped or None in swapped:
        return orientation, None
    with Image.open(file) as again:
        again.tile = swapped
        return orientation, np.asarray(image).astype(np.uint16) << 8 | np.asarray(again)


def full_value(values: Values) -> float:
    """The value that stands for white: the largest of the fewest bits that hold all values.

    Of 8, 10, 12, 14 and 16 bits; a float image may have fractions up to 1, too. Larger values are
    scaled by the largest of them. A file of 16 bits does not say how many of them its camera
    filled, and 12-bit values scaled by 65535 are all but black. Too few bits are never taken, so
    nothing is clipped; if an image is really dark, the next one of a series may come out brighter
    by a factor of 4, as with a camera's automatic exposure. The same holds down to 8 bits: values
    up to 255 are a 256th of the range, and show nothing if they are not bytes.
    """
    kinds = (1.0, *FULL_VALUES) if values.dtype.kind == "f" else FULL_VALUES
    largest = float(np.max(values, where=np.isfinite(values), initial=0))
    return float(next((kind for kind in kinds if largest <= kind), largest))


def black_and_white(values: Values) -> tuple[float, float]:
    """The values that stand for black and white: 0 and `full_value`, except for two kinds of range.

    A thermal camera's 7,000 to 7,510 are 8 of 255 grey levels: nothing to see, and masks of nothing
    with good scores. Where so few are used, those used are black to white, as the cameras' own
    programs show them. A thousandth of the pixels at either end does not count: a dead pixel must
    not hide the image. If more than a few are far brighter, they are what is to be seen.

    Values below 0 (decibels, Hounsfield units, indices from -1 to 1) are treated likewise: where
    clipping them would cost as many grey levels, those used are black to white.
    """
    full = full_value(values)
    pixels = values.reshape(-1, values.shape[2] if values.ndim == 3 else 1)
    some = pixels[:: len(pixels) // LOOKED_AT + 1]
    some = some[np.isfinite(some)]
    if some.size:
        some = _without_filling(some)
        low, high = np.percentile(some, (ENDS, 100 - ENDS)).tolist()
        bright = np.count_nonzero(pixels > high + (high - low))
        negative = -low * 255 > NARROW * (high - low) > 0
        narrow = 0 < (high - low) * 255 < NARROW * full
        if negative or (narrow and bright <= 1 + DEAD * pixels.size):
            return low, high
    return 0.0, full


def _without_filling(some: Num[np.ndarray, "n"]) -> Num[np.ndarray, "m"]:
    """Values without what maps and scanners write for missing ones: -9999 and the like.

    It is one value below 0, further from all others than these are from each other.
    """
    rest = some[some > some.min()]
    if not rest.size or some.min() >= 0:
        return some
    least, low, high = map(float, (some.min(), rest.min(), rest.max()))
    return rest if low - least > high - low else some


def _swapped(tile: Any) -> Any | None:
    """A tile of 16-bit colour in the other byte order; None for every other tile."""
    plain = isinstance(tile.args, str)
    raw, *more = (tile.args,) if plain else tile.args or ("",)
    if raw not in OTHER_ORDER:
        return None
    return tile._replace(args=OTHER_ORDER[raw] if plain else (OTHER_ORDER[raw], *more))
