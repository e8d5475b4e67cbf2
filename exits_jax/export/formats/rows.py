"""The rows of a label document as the formats take them: by image, as masks, as polygons."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from exits_jax.annotations.masks import decode_segmentation
from exits_jax.annotations.numbers import whole_id
from exits_jax.annotations.records import BadItem, ImageRecord

Row = Mapping[str, Any]


def is_label(row: Row) -> bool:
    """Whether a row is a label and not a crowd."""
    return not row.get("iscrowd")


def id_in(row: Row, key: str) -> int | None:
    """`image_id` or `category_id` of a row as reading takes it; None if it is not a number."""
    try:
        return whole_id(row.get(key), key)
    except BadItem:
        return None  # a crowd's, which reading did not check


def rows_by_image(
    document: Mapping[str, Any], images: Mapping[int, ImageRecord]
) -> dict[int, list[Row]]:
    """The rows of each known image, images in the order of their first row."""
    groups: dict[int, list[Row]] = {}
    for row in document["annotations"]:
        image_id = id_in(row, "image_id")
        if image_id in images:
            groups.setdefault(image_id, []).append(row)
    return groups


def labels_by_image(
    document: Mapping[str, Any], images: Mapping[int, ImageRecord]
) -> dict[int, list[Row]]:
    """`rows_by_image` of the images that have labels, crowds left out."""
    groups = rows_by_image(document, images)
    labels = {key: [row for row in rows if is_label(row)] for key, rows in groups.items()}
    return {key: rows for key, rows in labels.items() if rows}


def label_mask(row: Row) -> Bool[np.ndarray, "h w"]:
    """The full-size mask of a label."""
    return decode_segmentation(row["segmentation"], *row["segmentation"]["size"])


def crowd_masks(rows: Sequence[Row], image: ImageRecord) -> Iterator[Bool[np.ndarray, "h w"]]:
    """The masks of an image's crowds that can be read; `export_problems` reports the others."""
    for row in rows:
        if not is_label(row) and row.get("segmentation"):
            try:
                yield decode_segmentation(row["segmentation"], image.height, image.width)
            except BadItem:
                continue


def numbered_pixels(
    labels: Sequence[Row],
    crowds: Sequence[Bool[np.ndarray, "h w"]],
    image: ImageRecord,
    numbers: Sequence[int],
    dtype: type = np.uint8,
) -> Shaped[np.ndarray, "h w"]:
    """An image's labels as numbers: 0 where there is none, the type's maximum on crowds.

    Where masks overlap the smaller one is on top, so that none is hidden by a larger one.

    Args:
      labels: of the image.
      crowds: masks of its crowds.
      image: the image.
      numbers: of each label.
      dtype: np.uint8 or np.uint16.
    """
    pixels = np.zeros((image.height, image.width), dtype)
    for crowd in crowds:
        pixels[crowd] = np.iinfo(dtype).max
    for row, number in sorted(zip(labels, numbers, strict=True), key=lambda pair: -pair[0]["area"]):
        pixels[label_mask(row)] = number
    return pixels
