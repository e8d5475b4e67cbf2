"""Instances -> batches: decoding, crop geometry, sources, the resumable iterator.

`exits_jax.data.iterator` (grain) and `exits_jax.data.tfds_builder` (TensorFlow Datasets) are heavy
to import and are imported by name, by those who need them.
"""

from exits_jax.data.images import decode_image, load_image
from exits_jax.data.source import Source, by_image, file_source, usable_instances

__all__ = [
    "Source",
    "by_image",
    "decode_image",
    "file_source",
    "load_image",
    "usable_instances",
]
