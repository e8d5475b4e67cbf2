"""Instances -> batches: decoding, crop geometry, sources, the label crops.

`exits_jax.data.pipeline` (grain) and `exits_jax.data.tfds_builder` (TensorFlow Datasets) are heavy
to import and are imported by name, by those who need them.
"""

from exits_jax.data.images import decode_image, load_image
from exits_jax.data.labelling import label_batches
from exits_jax.data.source import Source, by_image, file_source, usable_instances

__all__ = [
    "Source",
    "by_image",
    "decode_image",
    "file_source",
    "label_batches",
    "load_image",
    "usable_instances",
]
