"""Index PNGs: the numbers of the objects as pixels, in colours one can look at."""

import io
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from exits_jax.annotations.records import ImageRecord
from exits_jax.export.formats.limits import MOST_OBJECTS
from exits_jax.export.formats.names import unique_stems
from exits_jax.export.formats.rows import (
    Row,
    crowd_masks,
    is_label,
    numbered_pixels,
    rows_by_image,
)
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_bytes, write_json

INDEX_NOTE = (
    "Pixel value k of an image is the k-th annotation id of its list; 0 is background; the highest"
    " value (255, or 65535 in 16-bit images) is a crowd region."
)


def write_index_pngs(
    directory: pathlib.Path, document: Mapping[str, Any], images: Mapping[int, ImageRecord]
) -> str:
    """One PNG per annotated image, its pixels the numbers of the objects, and `index.json`.

    Pixel value k is the image's k-th annotation in the document's order, not counting crowds; 0 is
    background; the highest value is a crowd. 8-bit with a palette up to 254 objects in the image,
    else 16-bit grey. Where masks overlap the smaller one is on top. `index.json` maps each PNG to
    its annotation ids.

    Args:
      directory: PNGs get the images' names, folders included, inside it.
      document: from `export.pseudo_labels`.
      images: `Annotations.images`.

    Returns:
      What was written, in words.

    Raises:
      UserError: a file cannot be written, or an image has too many objects.
    """
    groups = rows_by_image(document, images)
    stems = unique_stems([images[key] for key in groups])
    index, hidden = {}, 0
    for image_id, rows in groups.items():
        labels = [row for row in rows if is_label(row)]
        pixels = _index_pixels(labels, rows, images[image_id])
        hidden += len(labels) - len(np.setdiff1d(pixels, [0, np.iinfo(pixels.dtype).max]))
        write_bytes(directory / f"{stems[image_id]}.png", png_bytes(pixels))
        index[f"{stems[image_id]}.png"] = [row["id"] for row in labels]
    write_json(directory / "index.json", {"about": INDEX_NOTE, "images": index}, indent=1)
    return f"{len(groups)} images{hidden_text(hidden)}"


def hidden_text(hidden: int) -> str:
    """How many objects are wholly under others, as a clause; empty for none."""
    return f"; {hidden} objects lie wholly under smaller ones and are missing" if hidden else ""


def png_bytes(pixels: Shaped[np.ndarray, "h w"]) -> bytes:
    """A PNG of numbers: 8-bit with VOC's palette, which leaves the numbers as they are, or grey."""
    image = Image.fromarray(pixels)
    if pixels.dtype == np.uint8:
        image.putpalette(voc_palette().tobytes())
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def voc_palette() -> UInt8[np.ndarray, "256 3"]:
    """The colours of PASCAL VOC's index images, made from the bits of a number, lowest first.

    Bits 0, 3, 6 are red's, from its highest bit down, bits 1, 4, 7 green's and 2, 5 blue's.
    """
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    channels = [np.packbits(bits[:, channel::3], axis=1)[:, 0] for channel in range(3)]
    return np.stack(channels, axis=1)


def _index_pixels(
    labels: list[Row], rows: list[Row], image: ImageRecord
) -> Shaped[np.ndarray, "h w"]:
    """The pixels of an image's index PNG."""
    if len(labels) > MOST_OBJECTS["png"]:
        raise UserError(
            f"{image.file_name}: {len(labels)} objects; index PNGs hold {MOST_OBJECTS['png']}"
        )
    dtype = np.uint8 if len(labels) < 255 else np.uint16
    crowds = [*crowd_masks(rows, image)]
    return numbered_pixels(labels, crowds, image, range(1, len(labels) + 1), dtype)
