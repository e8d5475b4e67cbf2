"""Decoding: any image file an annotation points to -> uint8[h,w,3], or an error naming it."""

import io
import os
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from exits_jax.annotations import ImageRecord
from exits_jax.annotations.frames import (
    Sizes,
    check_frame,
    comes_turned,
    frame_sizes,
    in_frame,
    orientation_of,
)
from exits_jax.annotations.image_files import refuse_misread
from exits_jax.annotations.pixel_values import Values, black_and_white, full_value, load
from exits_jax.system.errors import UserError, one_line

# What is behind transparent pixels: the white page on which most tools display them.
BACKGROUND_RGB = (255, 255, 255)

RGBImage = UInt8[np.ndarray, "h w 3"]


def decode_image(
    source: str | os.PathLike | bytes, *, exif: bool = True, name: str | None = None
) -> RGBImage:
    """Decodes an image file (a path, or its bytes) to RGB through Pillow.

    The EXIF orientation is applied (unless `exif` is False). Grey, 1-bit and palette images become
    RGB; CMYK by Pillow's plain conversion; transparency is composited on BACKGROUND_RGB. Values
    wider than 8 bits are scaled by the range of the smallest usual number of bits that holds them,
    and stretched where they use next to nothing of it (see `black_and_white`). Of several frames or
    pages the first is read.

    Args:
      source: path of the file, or the encoded bytes.
      exif: whether to turn the image as its EXIF orientation says.
      name: what errors call the image when `source` is bytes.

    Raises:
      UserError: missing, empty, truncated, not an image, or larger than Pillow's limit against
        decompression bombs; the message names the file.
    """
    if not isinstance(source, bytes):
        name = name or os.fspath(source)
        source = read_bytes(source)
    name = name or f"image of {len(source)} bytes"
    return _decode(source, name, lambda sizes: "displayed" if exif else "stored")


def rgb_of(image: np.ndarray | Image.Image) -> RGBImage:
    """An image in memory as RGB.

    A Pillow image is turned as its EXIF orientation says. Values wider than 8 bits, and
    floats (0 to 1 or 0 to 255), are scaled as those of a file.

    Args:
      image: [h,w], or [h,w,c] with 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels; or a
        Pillow image.

    Raises:
      UserError: it is none of these.
    """
    if isinstance(image, Image.Image):
        turn = orientation_of(image)
        return _to_rgb(in_frame(image, turn, "displayed", comes_turned(image)))
    found = f"{image.dtype}{list(image.shape)}"
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or not image.size:
        first = " (are the channels first?)" if image.ndim == 3 and len(image) in (1, 3) else ""
        raise UserError(f"image is {found}, expected [h,w] or [h,w,c] with 1 to 4 channels{first}")
    if image.dtype.kind not in "uif":
        raise UserError(f"image is {found}, expected whole numbers or floats")
    values = image[..., 0] if image.ndim == 3 and channels == 1 else image
    if values.dtype == np.uint8:
        return _to_rgb(Image.fromarray(np.ascontiguousarray(values)))
    if channels == 2:
        raise UserError(f"image is {found}: grey with alpha is only taken as uint8")
    return _to_rgb(_narrow(values))


def _decode(content: bytes, name: str, frame_of: Callable[[Sizes], str]) -> RGBImage:
    """Decodes an image into the frame that `frame_of` chooses by the sizes of both."""
    if not content:
        raise UserError(f"{name}: the file is empty, expected an image; copy it again")
    try:
        with Image.open(io.BytesIO(content)) as image:
            refuse_misread(image)
            orientation, values = load(image, io.BytesIO(content))
            frame = frame_of(frame_sizes(image, orientation))
            pixels = image if values is None else _narrow(values)
            return _to_rgb(in_frame(pixels, orientation, frame, comes_turned(image)))
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"{2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
        raise UserError(
            f"{name}: larger than {limit}, Pillow's limit; make the image smaller"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{name}: not an image that Pillow can read; convert it") from error
    except Exception as error:  # Pillow's decoders may raise anything on a damaged file
        raise UserError(
            f"{name}: the image cannot be decoded ({one_line(error)}): truncated, damaged or of a "
            "kind that Pillow does not convert; copy it again or convert it"
        ) from error


def read_bytes(path: str | os.PathLike) -> bytes:
    """The file's bytes; UserError naming the file when it is missing or cannot be read."""
    try:
        return pathlib.Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            f"{os.fspath(path)}: no such image; check the image folder against the annotations"
        ) from error
    except OSError as error:
        raise UserError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}") from error


def read_record(record: ImageRecord) -> bytes:
    """The encoded bytes of the image file of `record`; UserError when there is none."""
    if record.path is None:
        raise UserError(
            f"image {record.id} ({record.file_name}): its file is not known; give the image folder"
        )
    return read_bytes(record.path)


def load_image(record: ImageRecord) -> RGBImage:
    """Reads and decodes the image of `record`; see `decode_record`."""
    return decode_record(read_record(record), record)


def decode_record(content: bytes, record: ImageRecord) -> RGBImage:
    """Decodes `content` in the frame on which it was annotated (see `fitting_frame`).

    Raises:
      UserError: not decodable, or that frame has another size than the annotation file states.
    """
    name = str(record.path or record.file_name)
    return _decode(content, name, lambda sizes: check_frame(sizes, record))


def _to_rgb(image: Image.Image) -> RGBImage:
    if image.has_transparency_data:
        front = image.convert("RGBA")
        back = Image.new("RGBA", front.size, (*BACKGROUND_RGB, 255))
        image = Image.alpha_composite(back, front)
    return np.array(image.convert("RGB"))


def _narrow(values: Values) -> Image.Image:
    """Values wider than 8 bits as an 8-bit image; a fourth channel, alpha, by its own range."""
    if values.ndim == 3 and values.shape[2] == 4:
        alpha = _wide_to_bytes(values[..., 3:], 0.0, full_value(values[..., 3:]))
        colour = values[..., :3]
        return Image.fromarray(np.dstack([_wide_to_bytes(colour, *black_and_white(colour)), alpha]))
    return Image.fromarray(_wide_to_bytes(values, *black_and_white(values)))


def _wide_to_bytes(values: Values, black: float, white: float) -> UInt8[np.ndarray, "h w *c"]:
    """Values -> 0..255; NaN and what is below black become 0."""
    values = np.nan_to_num(values.astype(np.float64), nan=black, posinf=black, neginf=black)
    return np.rint(np.clip((values - black) / (white - black or 1.0), 0, 1) * 255).astype(np.uint8)
