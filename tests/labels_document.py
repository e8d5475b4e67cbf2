"""A small label document, for the tests of the formats."""

import dataclasses

import numpy as np
from PIL import Image

from exits_jax.annotations.masks import encode_rle
from exits_jax.annotations.records import ImageRecord

HEIGHT, WIDTH = 40, 60
IMAGES = {
    1: ImageRecord(1, "set/a.jpg", WIDTH, HEIGHT, None),
    2: ImageRecord(2, "set/a.png", WIDTH, HEIGHT, None),
    3: ImageRecord(3, "b.jpg", WIDTH, HEIGHT, None),
}


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


RING = rectangle(5, 5, 25, 25) & ~rectangle(10, 10, 20, 20)
PAIR = rectangle(2, 2, 12, 9) | rectangle(30, 20, 55, 38)


def entry(number, mask, image_id=1, category_id=30, **more):
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
        "segmentation": encode_rle(mask),
        "area": int(mask.sum()),
        "iscrowd": 0,
        "exits": {"score": 0.5, "flags": []},
    } | more


def document(*annotations):
    categories = [{"id": 30, "name": "cat"}, {"id": 7, "name": "toy\ncar"}]
    return {"info": 1, "images": [], "categories": categories, "annotations": list(annotations)}


def with_photographs(folder, images=None):
    """The images with files of their names in a folder."""
    written = {}
    for key, image in (images or IMAGES).items():
        path = folder / image.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (image.width, image.height)).save(path)
        written[key] = dataclasses.replace(image, path=path)
    return written
