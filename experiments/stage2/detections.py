"""What a trained network found in the test images, matched with the truth."""

import dataclasses
import json
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from pycocotools.cocoeval import COCOeval

from exits_jax.annotations import read_annotations
from exits_jax.evaluation.coco_ap import detection_eval
from exits_jax.evaluation.iou import GroundTruth, read_ground_truth
from exits_jax.models.params_io import read_made_with
from exits_jax.segmentation.classes import Classes, classes_from
from experiments.stage2.data_sets import DataSet
from experiments.stage2.resampled_ap import average_precision, matches_of


class Drawn(NamedTuple):
    """AP in sets of drawn images, [sets]; the first set has every image once."""

    ap: Float[np.ndarray, " r"]
    ap50: Float[np.ndarray, " r"]


def of_classes(truth: GroundTruth, classes: Classes) -> GroundTruth:
    """The ground truth by a network's classes; what is of none of them is left out."""
    kept = [n for n, i in enumerate(truth.instances) if classes.of(i.category_id) is not None]
    instances = [truth.instances[n] for n in kept]
    crowds = [(i, classes.of(key), rle) for i, key, rle in truth.crowds]
    return dataclasses.replace(
        truth,
        instances=[
            dataclasses.replace(one, category_id=classes.ids[classes.of(one.category_id)])
            for one in instances
        ],
        rles=[truth.rles[n] for n in kept],
        separated=truth.separated[kept],
        same_class=truth.same_class[kept],
        crowds=[(i, classes.ids[key], rle) for i, key, rle in crowds if key is not None],
    )


def matched(data: DataSet, workdir: pathlib.Path) -> COCOeval:
    """The predictions of a workdir against the ground truth of the test images."""
    facts = read_made_with(workdir / "params" / "segmentation.safetensors")
    annotations = read_annotations(data.val, data.val_images)
    truth = of_classes(read_ground_truth(annotations), classes_from(facts["classes"]))
    found = json.loads((workdir / "predictions.json").read_text())
    return detection_eval(truth, annotations.images, found)


def drawn_ap(
    evaluated: COCOeval, counts: Int[np.ndarray, "r images"], category_id: int | None = None
) -> Drawn:
    """AP over sets of drawn images.

    Args:
      evaluated: of `matched`.
      counts: how often each image is in each set.
      category_id: of the only class to look at; None: the mean over all.
    """
    found = matches_of(evaluated)
    if category_id is not None:
        found = {category_id: found[category_id]}
    ap = average_precision([*found.values()], counts, evaluated.params.recThrs)
    return Drawn(ap.mean(axis=1), ap[:, 0])
