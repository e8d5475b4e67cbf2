"""What a trained network found in the test images, matched with the truth."""

import json
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from pycocotools.cocoeval import COCOeval

from exits_jax.annotations import read_annotations
from exits_jax.app.predictions import in_classes
from exits_jax.evaluation.coco_ap import detection_eval
from exits_jax.evaluation.iou import read_ground_truth
from exits_jax.models.params_io import read_made_with
from exits_jax.segmentation.classes import classes_from
from experiments.stage2.data_sets import DataSet
from experiments.stage2.resampled_ap import average_precision, drawn_counts, matches_of

SIZES = ("small", "medium", "large")


class Found(NamedTuple):
    """How good a network's detections are.

    Fields:
      drawn: AP by set of images and IoU threshold; the first set has every image once.
      sizes: AP of `SIZES`, of all images; nan where there are none.
    """

    drawn: Float[np.ndarray, "r t"]
    sizes: Mapping[str, float]

    @property
    def ap(self) -> Float[np.ndarray, " r"]:
        """Mean over IoU .50:.05:.95, by set."""
        return self.drawn.mean(axis=1)

    @property
    def ap50(self) -> Float[np.ndarray, " r"]:
        """At IoU .50, by set."""
        return self.drawn[:, 0]

    @property
    def ap75(self) -> Float[np.ndarray, " r"]:
        """At IoU .75, by set."""
        return self.drawn[:, 5]


def matched(data: DataSet, workdir: pathlib.Path) -> COCOeval:
    """The predictions of a workdir against the ground truth of the test images."""
    facts = read_made_with(workdir / "params" / "segmentation.safetensors")
    annotations = read_annotations(data.val, data.val_images)
    truth = in_classes(read_ground_truth(annotations), classes_from(facts["classes"]))
    found = json.loads((workdir / "predictions.json").read_text())
    return detection_eval(truth, annotations.images, found)


def found_by(evaluated: COCOeval, samples: int, category_id: int | None = None) -> Found:
    """AP of all images and of drawn sets of them.

    Args:
      evaluated: of `matched`.
      samples: how many sets are drawn, the same for every network.
      category_id: of the only class to look at; None: the mean over all.
    """
    images = len(evaluated.params.imgIds)
    once = np.ones((1, images), int)
    counts = np.concatenate([once, drawn_counts(images, samples)])

    def ap(area: str, counts: Int[np.ndarray, "r images"]) -> Float[np.ndarray, "r t"]:
        found = matches_of(evaluated, area)
        if category_id is not None:
            found = {key: one for key, one in found.items() if key == category_id}
        if not found:
            return np.full((len(counts), len(evaluated.params.iouThrs)), np.nan)
        return average_precision([*found.values()], counts, evaluated.params.recThrs)

    return Found(ap("all", counts), {size: float(ap(size, once).mean()) for size in SIZES})
