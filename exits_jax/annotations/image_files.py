"""Image files: what an annotation file says about them, where they are, what is on the disk."""

import contextlib
import os
import pathlib
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from PIL import Image, TiffImagePlugin

from exits_jax.annotations.frames import (
    FRAMES,
    Size,
    Sizes,
    ambiguity,
    check_frame,
    frame_sizes,
    is_ambiguous,
    orientation_of,
)
from exits_jax.annotations.geometry import BORDER_PX
from exits_jax.annotations.numbers import shown, whole_number
from exits_jax.annotations.pixel_values import (
    FULL_VALUES,
    Values,
    black_and_white,
    full_value,
    load,
)
from exits_jax.annotations.records import BadItem, ImageRecord, Problem
from exits_jax.system.errors import one_line

MAX_SIDE = 65_535  # the largest a JPEG can say
MAX_PIXELS = 178_956_970  # where Pillow refuses an image as a decompression bomb
LOOKED_AT = 1_000  # images whose headers are read before labelling
NEARLY_BLACK = 16  # of 255: an image without a brighter value is worth a note, ...
MOSTLY = 0.95  # ... and so is one of wider values if this share of them is not brighter
FRAME_UNCLEAR = "frame_unclear"  # of an image entry, on its way to `ImageRecord.unclear`: True, ...
BY_REACH = "by reach"  # ... or that the boxes, which are in pixels, may tell
MAX_NAME_BYTES = 1024  # what every system takes as a path

# Warnings of Pillow's decoders go to standard error with a line of Pillow's own source. Images
# between its two limits work here, and what does not decode is an error. Said once for all threads:
# `catch_warnings` around each image would not be safe among several.
warnings.filterwarnings("ignore", module=r"PIL\.")


def stated_size(image: dict[str, Any]) -> tuple[int, int]:
    """Width and height in pixels that an image entry states.

    Raises:
      UserError: they are missing, or no image can have them.
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
    """Checks that a file name is one that any system, message and page can show.

    Raises:
      UserError: it is not.
    """
    # Control characters, line ends and lone surrogates break messages and pages that show the name.
    odd = any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)
    if odd or not pathlib.PurePath(name).name or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise BadItem("unsafe_file_name", f"file_name {shown(name)} is not a file name")


def size_on_disk(path: pathlib.Path, exif: str = "auto") -> Size:
    """Width and height of an image file from its header.

    Args:
      path: the file.
      exif: "stored" gives the size of the pixels as stored, else the EXIF orientation is applied.

    Raises:
      UserError: it is missing or not an image.
    """
    sizes, _ = frames_on_disk(path)
    return sizes["stored" if exif == "stored" else "displayed"]


def measured(
    path: pathlib.Path, exif: str = "auto", reach_xy: Float[np.ndarray, "n forms 2"] | None = None
) -> dict[str, Any]:
    """Width and height of an image entry that states none, from the file; with `FRAME_UNCLEAR`.

    Args:
      path: the file.
      exif: as `size_on_disk`.
      reach_xy: the lower right corners of what was annotated on it, in pixels, in each form that
        it may be written in; NaN where that does not tell. If they are inside the image in only one
        of its frames, the same in all forms, that is the one.

    Raises:
      UserError: it is missing or not an image.
    """
    sizes, orientation = frames_on_disk(path)
    frame = "stored" if exif == "stored" else "displayed"
    unclear = exif == "auto" and orientation != 1
    if unclear and reach_xy is not None and len(reach_xy):
        reach = reach_xy.max(axis=0)
        fits = {f: (reach <= np.add(sizes[f], BORDER_PX)).all(axis=1) for f in FRAMES}
        alone = [f for f in FRAMES if fits[f].all() and sum(map(np.any, fits.values())) == 1]
        if alone and sizes["displayed"] != sizes["stored"]:
            frame, unclear = alone[0], False
    width, height = sizes[frame]
    return {"width": width, "height": height, FRAME_UNCLEAR: unclear}


def frames_on_disk(path: pathlib.Path) -> tuple[Sizes, int]:
    """The sizes of an image file in both its frames, and its EXIF orientation, from the header.

    Raises:
      UserError: it is missing or not an image.
    """
    with _opened(path) as image:
        orientation = orientation_of(image)
        return frame_sizes(image, orientation), orientation


def ambiguous_frames(records: Iterable[ImageRecord]) -> Problem | None:
    """A note on photographs whose size does not tell their frame, from `LOOKED_AT` headers at most.

    A data set may have more images than can be opened before the work begins: those examined are
    spread over it. Images that cannot be opened are ignored here.
    """
    known = [record for record in records if record.path is not None and record.exif == "auto"]
    looked_at = known[:: -(-len(known) // LOOKED_AT) or 1]
    found = []
    for record in looked_at:
        with contextlib.suppress(BadItem):
            sizes, orientation = frames_on_disk(record.path)
            if is_ambiguous(sizes, orientation, record):
                found.append(ambiguity(record.path, orientation))
    if not found:
        return None
    count = f"{len(found):,} of {len(looked_at):,} images examined are like this"
    text = f"{found[0]}; {count}"
    return Problem("ambiguous_orientation", text, note=True)


def decoded_problems(record: ImageRecord) -> Iterator[Problem]:
    """What is wrong with an image file, decoded to its last byte; a JPEG at an eighth of its size.

    Args:
      record: of an image whose path is known.

    Raises:
      UserError: it is missing, not an image, truncated or of another size than stated.
    """
    with _opened(record.path) as image:
        size = image.size
        image.draft("L", (1, 1))
        orientation, values = load(image, record.path)
        sizes = frame_sizes(image, orientation, size)
        remarks = [*_range_notes(image, values)]
    check_frame(sizes, record)
    if is_ambiguous(sizes, orientation, record):
        yield Problem("ambiguous_orientation", ambiguity(record.path, orientation))
    for code, text in remarks:
        yield Problem(code, f"{record.path}: {text}", note=True)


def _range_notes(image: Image.Image, values: Values | None) -> Iterator[tuple[str, str]]:
    """Codes and texts of notes on the range of values that an image uses."""
    if values is not None:
        colour = values if values.ndim == 2 else values[..., :3]
        full = full_value(colour)
        black, white = black_and_white(colour)
        used = f"its values from {black:g} to {white:g}"
        if black < 0:
            yield "negative_values", f"{used} are black to white"
        elif (black, white) != (0.0, full):
            text = f"{used} are {(white - black) * 255 / full:.1f} of 255 grey levels"
            yield "narrow_range", f"{text}: they are stretched to all"
        elif full in FULL_VALUES[:-1] and (full > 255 or values.dtype.kind != "f"):
            bits = int(full).bit_length()
            yield "part_of_range", f"its values need {bits} bits of 16: {full:,.0f} is white"
        # Not a number is black, too.
        dark = 1 - np.mean(colour >= black + (white - black) * NEARLY_BLACK / 255)
        if dark >= MOSTLY:
            text = f"nearly black: {dark:.1%} of its values are below {NEARLY_BLACK} of 255, as"
            text = f"{text} {black:g} is black and {white:g} is white; if the objects are among"
            yield "dark_image", f"{text} them, save it with the contrast that was annotated"
    elif not image.has_transparency_data:  # that is drawn on white
        brightest = max(high for _, high in image.convert("RGB").getextrema())
        if brightest < NEARLY_BLACK:
            yield "dark_image", f"nearly black: its brightest value is {brightest} of 255"


def index_image(path: pathlib.Path) -> Num[np.ndarray, "h w"]:
    """A palette or grey image as its numbers, ignoring the colours.

    Raises:
      UserError: it is missing, not an image, or has colours instead of numbers.
    """
    with _opened(path) as image:
        numbers = np.array(image)
    if numbers.ndim != 2:
        raise BadItem("unreadable_image", f"{path}: expected a palette or grey image")
    return numbers


def refuse_misread(image: Image.Image) -> None:
    """Refuses what Pillow would run or misread, whatever the file is called.

    EPS is a program, which Pillow would hand to Ghostscript to run. In a 16-bit TIFF with colours
    in separate planes it takes each half of a value for a pixel.

    Raises:
      ValueError: it is one of these.
    """
    if image.format == "EPS":
        raise ValueError("EPS is not opened; convert it to PNG")
    tags = getattr(image, "tag_v2", {})
    planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
    if planes and max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (8,))) > 8:
        raise ValueError("a TIFF with more than 8 bits in separate planes; save it interleaved")


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Image.Image]:
    """An image file opened by Pillow, whose many kinds of failure become one."""
    if not os.path.isfile(path):  # pathlib's is_file raises for a name that is too long
        raise BadItem("missing_image", f"image file {path} does not exist")
    try:
        with Image.open(path) as image:
            refuse_misread(image)
            yield image
    except Exception as error:  # decoders may raise anything on a broken file
        raise BadItem("unreadable_image", f"image file {path}: {one_line(error)}") from error
