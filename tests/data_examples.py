"""Synthetic instances for the tests of `exits_jax.data`."""

import numpy as np
from PIL import Image

from exits_jax.annotations import ImageRecord, Instance

SIZES = [(40, 30), (25, 50), (64, 20)]


def make_instances(folder, images=3, per_image=3, interleaved=True, seed=0):
    """Photos of noise with boxes; every third instance has a box only. Document order is by
    instance number, so that the instances of an image are not neighbours when `interleaved`."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(images):
        width, height = SIZES[number % len(SIZES)]
        path = folder / f"{number}.png"
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        records.append(ImageRecord(100 + number, path.name, width, height, path))
    instances = []
    for k in range(images * per_image):
        record = records[k % images if interleaved else k // per_image]
        low = rng.uniform(0, [record.width - 6, record.height - 6])
        high = low + rng.uniform(5, [record.width - low[0], record.height - low[1]])
        box = np.concatenate([low, high])
        middle = (low + high) / 2
        points = np.array(
            [[middle[0], low[1]], [low[0], middle[1]], [middle[0], high[1]], [high[0], middle[1]]]
        )
        given = k % 3 != 2
        instances.append(
            Instance(
                id=1000 + 7 * k,
                index=2 * k,
                image=record,
                category_id=1,
                category="thing",
                box_xyxy=box,
                points_xy=points if given else None,
                points_source="given" if given else "box",
                area=float(np.prod(high - low)),
            )
        )
    return instances


def all_rows(batches):
    """The valid rows of batches, one dict each."""
    return [
        {key: value[row] for key, value in batch.items()}
        for batch in batches
        for row in np.flatnonzero(batch["valid"])
    ]
