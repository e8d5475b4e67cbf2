"""How good masks are: IoU by size and kind, box-conditioned COCO AP, tables, intervals."""

from exits_jax.annotations.regions import Region, box_pixels, encode_in_image, filled_box
from exits_jax.evaluation.coco_ap import AveragePrecision, box_conditioned_ap
from exits_jax.evaluation.iou import (
    GroundTruth,
    Prediction,
    ScoredMask,
    filled_box_labels,
    label_ious,
    read_ground_truth,
)
from exits_jax.evaluation.summary import (
    METRICS,
    GroupMean,
    category_names,
    evaluate,
    evaluation_record,
    grouped_means,
    image_names,
    paired_bootstrap,
)

__all__ = [
    "METRICS",
    "AveragePrecision",
    "GroundTruth",
    "GroupMean",
    "Prediction",
    "Region",
    "ScoredMask",
    "box_conditioned_ap",
    "box_pixels",
    "category_names",
    "encode_in_image",
    "evaluate",
    "evaluation_record",
    "filled_box",
    "filled_box_labels",
    "grouped_means",
    "image_names",
    "label_ious",
    "paired_bootstrap",
    "read_ground_truth",
]
