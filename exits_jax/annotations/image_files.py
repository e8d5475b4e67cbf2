"""Image files: what an annotation file says of them, where they are, what is on the disk."""

import os
import pathlib
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Num
from PIL import Image

from exits_jax.annotations.numbers import shown, whole_number
from exits_jax.annotations.records import BadItem
from exits_jax.errors import one_line

MAX_SIDE = 65_535  # the largest a JPEG can say
MAX_PIXELS = 178_956_970  # where Pillow refuses an image as a decompression bomb
ORIENTATION_TAG = 0x0112
QUARTER_TURNS = (5, 6, 7, 8)
MAX_NAME_BYTES = 1024  # what every system takes as a path


def stated_size(image: dict[str, Any]) -> tuple[int, int]:
    """Width and height in pixels that an image entry states.

    Raises:
      UserError: they are missing, or no image is like that.
    """
    stated = [image.get("width"), image.get("height")]
    sides = [whole_number(side) for side in stated]
    if any(side is None or not 0 < side <= MAX_SIDE for side in sides):
        raise BadItem(
            "bad_size",
            f"width is {shown(stated[0])} and height {shown(stated[1])};"
            f" expected whole numbers of pixels from 1 to {MAX_SIDE}",
        )
    if sides[0] * sides[1] > MAX_PIXELS:
        raise BadItem("bad_size", f"{sides[0]} x {sides[1]} pixels; at most {MAX_PIXELS} work")
    return sides[0], sides[1]


def check_file_name(name: str) -> None:
    """A file name must be one that any system, message and page can show.

    Raises:
      UserError: it cannot be a name.
    """
    # Control characters, line ends and lone surrogates break messages and pages that show the name.
    odd = any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)
    if odd or not pathlib.PurePath(name).name or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise BadItem("unsafe_file_name", f"file_name {shown(name)} is no file name")


def size_on_disk(path: pathlib.Path) -> tuple[int, int]:
    """Width and height of an image file from its header, with the EXIF orientation applied.

    Raises:
      UserError: it is missing or no image.
    """
    with _opened(path) as image:
        width, height = image.size
        turned = image.getexif().get(ORIENTATION_TAG) in QUARTER_TURNS
    return (height, width) if turned else (width, height)


def check_decodes(path: pathlib.Path) -> None:
    """Decodes an image file to its last byte, a JPEG at an eighth of its size.

    Raises:
      UserError: it is missing, no image or cut short.
    """
    with _opened(path) as image:
        image.draft("L", (1, 1))
        image.load()


def index_image(path: pathlib.Path) -> Num[np.ndarray, "h w"]:
    """A palette or grey image as its numbers, without looking at the colours.

    Raises:
      UserError: it is missing, no image or has colours instead of numbers.
    """
    with _opened(path) as image:
        numbers = np.array(image)
    if numbers.ndim != 2:
        raise BadItem("unreadable_image", f"{path}: expected a palette or grey image")
    return numbers


def refuse_program(image: Image.Image) -> None:
    """EPS is a program, whatever its file is called: Pillow would hand it to Ghostscript to run.

    Raises:
      ValueError: it is one.
    """
    if image.format == "EPS":
        raise ValueError("EPS is not opened; convert it to PNG")


@contextmanager
def _opened(path: pathlib.Path) -> Iterator[Image.Image]:
    """An image file opened by Pillow, whose many kinds of failure become one."""
    if not os.path.isfile(path):  # pathlib's is_file raises for a name that is too long
        raise BadItem("missing_image", f"image file {path} does not exist")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                refuse_program(image)
                yield image
    except Exception as error:  # decoders raise whatever a broken file makes them stumble over
        raise BadItem("unreadable_image", f"image file {path}: {one_line(error)}") from error
