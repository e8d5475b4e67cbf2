"""Decoding: any image file an annotation points to -> uint8[h,w,3], or an error naming it."""

import io
import os
import pathlib

import numpy as np
from jaxtyping import Num, UInt8
from PIL import ExifTags, Image, ImageOps

from exits_jax.annotations import ImageRecord
from exits_jax.annotations.image_files import refuse_program
from exits_jax.errors import UserError, one_line

# What transparent pixels are shown on: the white page on which most tools display them.
BACKGROUND_RGB = (255, 255, 255)

RGBImage = UInt8[np.ndarray, "h w 3"]


def decode_image(
    source: str | os.PathLike | bytes, *, exif: bool = True, name: str | None = None
) -> RGBImage:
    """Decodes an image file (a path, or its bytes) to RGB through Pillow.

    The EXIF orientation is applied (unless `exif` is False). Grey, 1-bit and palette images become
    RGB; CMYK by Pillow's plain conversion; transparency is composited on BACKGROUND_RGB. 16-bit
    values are scaled by 255/65535 (see `_wide_to_bytes` for 32-bit and float images). Of several
    frames or pages the first is read.

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
    if not source:
        raise UserError(f"{name}: the file is empty, expected an image; copy it again")
    try:
        with Image.open(io.BytesIO(source)) as image:
            refuse_program(image)
            image.load()
            return _to_rgb(_turned(image) if exif else image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"{Image.MAX_IMAGE_PIXELS or 0:,} pixels"
        raise UserError(
            f"{name}: larger than {limit}, Pillow's limit; make the image smaller"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{name}: not an image that Pillow can read; convert it") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file provokes
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
            f"{os.fspath(path)}: no such image; check the images folder against the annotations"
        ) from error
    except OSError as error:
        raise UserError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}") from error


def read_record(record: ImageRecord) -> bytes:
    """The encoded bytes of the image file of `record`; UserError when there is none."""
    if record.path is None:
        raise UserError(
            f"image {record.id} ({record.file_name}): its file is not known; give the images folder"
        )
    return read_bytes(record.path)


def load_image(record: ImageRecord) -> RGBImage:
    """Reads and decodes the image of `record`; see `decode_record`."""
    return decode_record(read_record(record), record)


def decode_record(content: bytes, record: ImageRecord) -> RGBImage:
    """Decodes `content` so that it has the size the annotation file states for it.

    Points and boxes of a turned photograph may have been drawn on the image as displayed (EXIF
    orientation applied) or on the pixels as stored. The stated size tells which; where both fit
    (half turns, mirror images, square images) the displayed one is taken.

    Raises:
      UserError: not decodable, or neither orientation has the stated size.
    """
    name = str(record.path or record.file_name)
    image = decode_image(content, name=name)
    if _has_size(image, record):
        return image
    stored = decode_image(content, name=name, exif=False)
    if _has_size(stored, record):
        return stored
    height, width = image.shape[:2]
    raise UserError(
        f"{name}: the image is {width} x {height} pixels, image {record.id} of the annotation file "
        f"says {record.width} x {record.height}; boxes and points would be misplaced: use the "
        "images that were annotated"
    )


def _has_size(image: RGBImage, record: ImageRecord) -> bool:
    return image.shape[:2] == (record.height, record.width)


def _turned(image: Image.Image) -> Image.Image:
    """The image as displayed. A damaged EXIF block is no reason to refuse the pixels."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return image
    return ImageOps.exif_transpose(image) if orientation in range(2, 9) else image


def _to_rgb(image: Image.Image) -> RGBImage:
    if image.mode.startswith("I") or image.mode == "F":
        grey = _wide_to_bytes(np.asarray(image))
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.has_transparency_data:
        front = image.convert("RGBA")
        back = Image.new("RGBA", front.size, (*BACKGROUND_RGB, 255))
        image = Image.alpha_composite(back, front)
    return np.array(image.convert("RGB"))


def _wide_to_bytes(values: Num[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Grey values wider than 8 bits -> 0..255, scaled by the range of their kind, not clipped.

    Integers up to 65535 are 16-bit. Floats up to 1 are fractions, up to 255 bytes, up to 65535
    16-bit. Anything larger is scaled by its own maximum. Negative values and NaN become 0.
    """
    kinds = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(values.max())
    full = next((kind for kind in kinds if largest <= kind), largest)
    return np.rint(np.clip(values / full, 0.0, 1.0) * 255.0).astype(np.uint8)
