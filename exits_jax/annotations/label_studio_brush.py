"""The brush masks of Label Studio: RGBA values in the bit stream of thi.ng's rle-pack.

A header of 32 bits for the number of values, 5 for the bits of a value less 1, and four times 4 for
the bits of a block's length less 1. Then blocks: a bit that says whether the block is one value
repeated, two bits that choose the length's bits, the length less 1, and the value or the values.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool

from exits_jax.annotations.masks import encode_rle
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.shapes import mask_entry

CHANNELS = 4  # red, green, blue, alpha: painted is where alpha is more than 0


def brush_entry(value: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """An annotation without its ids of a brush region.

    Raises:
      BadItem: the mask is malformed, of another size, or empty.
    """
    return mask_entry([encode_rle(brush_mask(value.get("rle"), height, width))], height, width)


def brush_mask(stream: Any, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The pixels that a brush painted.

    Args:
      stream: the list of bytes.
      height, width: of the image, in pixels.

    Raises:
      BadItem: it is not such a stream, or not of an image of this size.
    """
    try:
        bits = _Bits(bytes(stream) if isinstance(stream, list) else b"")
        count, word = bits.read(32), bits.read(5) + 1
        lengths = [bits.read(4) + 1 for _ in range(4)]
    except (ValueError, TypeError, EOFError) as error:
        raise BadItem("bad_rle", f"rle {shown(stream)} is not a brush mask") from error
    if count != height * width * CHANNELS or word != 8:
        text = f"{count} values of {word} bits; the image is {width} x {height} pixels"
        raise BadItem("rle_size", f"the brush's mask has {text}, of 4 values each")
    painted, start = np.zeros(height * width, bool), 0
    try:
        while start < count:
            repeated = bits.read(1)
            end = start + 1 + bits.read(lengths[bits.read(2)])
            # Alpha is every fourth value; these are the pixels whose alpha is in this block.
            alpha = bits.read(8) if repeated else bits.values(end - start)[3 - start % 4 :: 4]
            painted[start // 4 : end // 4] = np.asarray(alpha) > 0
            start = end
    except (ValueError, EOFError) as error:
        raise BadItem("bad_rle", f"rle {shown(stream)} ends before the image does") from error
    return painted.reshape(height, width)


class _Bits:
    """A stream of bits, highest first."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def read(self, size: int) -> int:
        """The next `size` bits as a number; EOFError if there are fewer."""
        start, end = self._place, self._place + size
        if end > 8 * len(self._content):
            raise EOFError
        self._place = end
        whole = int.from_bytes(self._content[start // 8 : -(-end // 8)], "big")
        return whole >> (-end % 8) & (1 << size) - 1

    def values(self, count: int) -> np.ndarray:
        """The next `count` bytes, wherever in a byte of the stream they begin."""
        start, end = self._place, self._place + 8 * count
        if end > 8 * len(self._content):
            raise EOFError
        self._place = end
        raw = np.frombuffer(self._content[start // 8 : -(-end // 8)], np.uint8)
        bits = np.unpackbits(raw)[start % 8 :][: 8 * count]
        return np.packbits(bits)
