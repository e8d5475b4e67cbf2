"""A PASCAL VOC folder: masks as index PNGs by object and by class, boxes as XML."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_masks

from exits_jax.annotations.numbers import finite_numbers
from exits_jax.annotations.records import ImageRecord
from exits_jax.export.formats.limits import BACKGROUND, MOST_OBJECTS, VOID
from exits_jax.export.formats.names import (
    class_names,
    place_photograph,
    unique_stems,
)
from exits_jax.export.formats.png import hidden_text, png_bytes, voc_palette
from exits_jax.export.formats.rows import (
    Row,
    crowd_masks,
    id_in,
    labels_by_image,
    numbered_pixels,
    rows_by_image,
)
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_bytes

LISTS = ("Main", "Segmentation")  # folders of ImageSets
SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_voc(
    directory: pathlib.Path, document: Mapping[str, Any], images: Mapping[int, ImageRecord]
) -> str:
    """`Annotations`, `SegmentationObject`, `SegmentationClass`, `JPEGImages`, `ImageSets`.

    In SegmentationObject the k-th object of the XML has the number k; in SegmentationClass each has
    its category's position in `labelmap.txt`, from 1. Only crowds are 255 (void): no border is
    invented. Where masks overlap the smaller one is on top. The XML's boxes are in whole pixels,
    from 1, both ends included. Photographs are linked, not copied. Images without a label are left
    out.

    Args:
      directory: of the data set; image names lose their folders.
      document: from `export.pseudo_labels`.
      images: `Annotations.images`.

    Returns:
      What was written, in words.

    Raises:
      UserError: a file cannot be written, or the format cannot hold these labels.
    """
    names = class_names(document)
    everything = rows_by_image(document, images)
    groups = labels_by_image(document, images)
    stems = unique_stems([images[key] for key in groups], flat=True)
    placed = hidden = 0
    for image_id, rows in groups.items():
        image, stem = images[image_id], stems[image_id]
        file_name = stem + pathlib.PurePath(image.path or image.file_name).suffix
        xml = _xml(file_name, image, rows, names)
        write_bytes(directory / "Annotations" / f"{stem}.xml", xml)
        crowds = [*crowd_masks(everything[image_id], image)]
        hidden += _write_pixels(directory, stem, image, rows, crowds, [*names])
        placed += place_photograph(image, directory / "JPEGImages" / file_name)
    _write_lists(directory, [*stems.values()], [*names.values()])
    return f"{len(groups)} images, {placed} photographs{hidden_text(hidden)}"


def _write_pixels(
    directory: pathlib.Path,
    stem: str,
    image: ImageRecord,
    rows: Sequence[Row],
    crowds: Sequence[Bool[np.ndarray, "h w"]],
    category_ids: list[int],
) -> int:
    """Writes the two PNGs of an image; returns how many objects are hidden under others."""
    if len(rows) > MOST_OBJECTS["voc"]:
        raise UserError(f"{image.file_name}: {len(rows)} objects; VOC holds {MOST_OBJECTS['voc']}")
    by_object = numbered_pixels(rows, crowds, image, range(1, len(rows) + 1))
    classes = [category_ids.index(id_in(row, "category_id")) + 1 for row in rows]
    by_class = numbered_pixels(rows, crowds, image, classes)
    write_bytes(directory / "SegmentationObject" / f"{stem}.png", png_bytes(by_object))
    write_bytes(directory / "SegmentationClass" / f"{stem}.png", png_bytes(by_class))
    return len(rows) - len(np.setdiff1d(by_object, [0, 255]))


def _write_lists(directory: pathlib.Path, stems: list[str], names: list[str]) -> None:
    """Writes the lists of images (ImageSets), and the categories with their colours."""
    listed = "".join(f"{stem}\n" for stem in stems).encode()
    for folder in LISTS:
        write_bytes(directory / "ImageSets" / folder / "train.txt", listed)
    colours = voc_palette()
    coloured = [*zip([BACKGROUND, *names], colours, strict=False), (VOID, colours[255])]
    text = "".join(f"{name}:{red},{green},{blue}::\n" for name, (red, green, blue) in coloured)
    write_bytes(directory / "labelmap.txt", text.encode())


def _xml(
    file_name: str, image: ImageRecord, rows: Sequence[Row], names: Mapping[int, str]
) -> bytes:
    """The XML of an image."""
    root = ElementTree.Element("annotation")
    _add(root, "filename", file_name)
    size = ElementTree.SubElement(root, "size")
    for side, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        _add(size, side, value)
    _add(root, "segmented", 1)
    for row in rows:
        element = ElementTree.SubElement(root, "object")
        _add(element, "name", names[id_in(row, "category_id")])
        _add(element, "pose", "Unspecified")
        for flag in ("truncated", "difficult"):
            _add(element, flag, int(row.get(flag) == 1))
        box = ElementTree.SubElement(element, "bndbox")
        for side, value in zip(SIDES, _whole_box(row, image), strict=True):
            _add(box, side, value)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8") + b"\n"


def _whole_box(row: Row, image: ImageRecord) -> tuple[int, int, int, int]:
    """The box, or else the mask's, in whole pixels of the image from 1, both ends included."""
    given = finite_numbers(row.get("bbox"))
    if given is None or given.size != 4:
        given = coco_masks.toBbox(row["segmentation"])
    x, y, width, height = given.tolist()
    left, top = (max(math.floor(side), 0) for side in (x, y))
    right, bottom = math.ceil(x + width), math.ceil(y + height)
    right, bottom = min(right, image.width), min(bottom, image.height)
    return left + 1, top + 1, max(right, left + 1), max(bottom, top + 1)


def _add(parent: ElementTree.Element, tag: str, value: object) -> None:
    ElementTree.SubElement(parent, tag).text = str(value)
