"""Files in, instances out: COCO, LVIS, PASCAL VOC, Open Images; points, masks and mistakes."""

from exits_jax.annotations.check import check_file
from exits_jax.annotations.extreme import (
    extreme_points,
    jitter_points,
    order_points,
    tight_box,
)
from exits_jax.annotations.masks import (
    decode_segmentation,
    encode_rle,
    parts_and_holes,
)
from exits_jax.annotations.outlines import mask_to_polygons
from exits_jax.annotations.read import read_annotations, read_images
from exits_jax.annotations.records import (
    Annotations,
    ImageRecord,
    Instance,
    Problem,
    problem_line,
)

__all__ = [
    "Annotations",
    "ImageRecord",
    "Instance",
    "Problem",
    "check_file",
    "decode_segmentation",
    "encode_rle",
    "extreme_points",
    "jitter_points",
    "mask_to_polygons",
    "order_points",
    "parts_and_holes",
    "problem_line",
    "read_annotations",
    "read_images",
    "tight_box",
]
