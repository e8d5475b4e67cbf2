"""Labels into files: the annotation file with masks, the results list, and the review queue.

Labels may come from a `Mapping` that reads them from disk: everything that grows with the data is
made row by row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from exits_jax.annotations.records import Instance
from exits_jax.annotations.regions import box_pixels
from exits_jax.evaluation.iou import ScoredMask
from exits_jax.export.quality import Label
from exits_jax.system.errors import UserError


def pseudo_labels(
    document: Mapping[str, Any], labels: Mapping[int, Label], instances: Sequence[Instance]
) -> dict[str, Any]:
    """The input document with a mask in place of every annotation's `segmentation`, as a whole.

    Rows: `pseudo_label_rows`.
    """
    return {**document, "annotations": [*pseudo_label_rows(document, labels, instances)]}


def pseudo_label_rows(
    document: Mapping[str, Any], labels: Mapping[int, Label], instances: Sequence[Instance]
) -> Iterator[dict[str, Any]]:
    """The annotations of the input document with a mask in place of each `segmentation`.

    Everything else stays: images, categories, info, licences, unknown keys, the order, ids and
    boxes. Per annotation `segmentation` is compressed run lengths, `area` the pixels of the mask,
    `iscrowd` 0 (run lengths with 1 are ignored by trainers; LVIS readers do not look at it), `bbox`
    the input's or, where it had none, the tight box in whole pixels; what we add is in one dict
    `exits`: extreme_points (top, left, bottom, right; null for a box), extreme_points_source, score
    and flags. Crowd annotations pass through. Annotations that reading left out (on_error="skip")
    are left out here too: their masks are not labels.

    Args:
      document: as read, with `annotations`; it is not changed.
      labels: by annotation id, one for every instance.
      instances: of the document, `Annotations.instances`.

    Raises:
      UserError: instances without a label.
    """
    _check_complete(labels, instances)
    by_index = {instance.index: instance for instance in instances}
    for index, annotation in enumerate(document["annotations"]):
        if index in by_index:
            instance = by_index[index]
            yield _labelled(annotation, labels[instance.id], instance)
        elif isinstance(annotation, dict) and annotation.get("iscrowd") == 1:
            yield annotation


def results(
    labels: Mapping[int, ScoredMask],
    instances: Sequence[Instance],
    confidence: Mapping[int, float] | None = None,
) -> Iterator[dict[str, Any]]:
    """The labels in COCO's results form, which `COCO.loadRes` and lvis-api read.

    It deliberately has no `bbox`: with one, both take the box's area for the mask's and put objects
    into the wrong size group. `id` is the annotation's (both readers renumber).

    Args:
      labels: by annotation id, one for every instance.
      instances: in document order.
      confidence: of the instances' boxes, by annotation id, where a detector found them; the score
        then is the product of both.

    Raises:
      UserError: instances without a label.
    """
    _check_complete(labels, instances)
    for instance in instances:
        label = labels[instance.id]
        yield {
            "id": instance.id,
            "image_id": instance.image.id,
            "category_id": instance.category_id,
            "segmentation": label.rle,
            "score": label.score * (confidence[instance.id] if confidence else 1),
        }


def detector_scores(document: Mapping[str, Any], instances: Sequence[Instance]) -> dict[int, float]:
    """The scores of a detector's boxes (`data.boxes`), by annotation id."""
    rows = document["annotations"]
    return {instance.id: float(rows[instance.index]["score"]) for instance in instances}


def review_queue(
    labels: Mapping[int, Label], instances: Sequence[Instance], lower: float | None = None
) -> Iterator[dict[str, Any]]:
    """Which masks a person should look at first: the lowest scores, ties in document order.

    Args:
      labels: by annotation id, one for every instance.
      instances: in document order.
      lower: where scores are predicted IoUs, how much lower the IoU is at most, in 90 % of cases
        (`predicted_iou.LOWER_90`); then `expected_gain` is the IoU that redrawing should gain, and
        `at_least` the lowest IoU in 90 % of cases.
    """
    scores = np.array([labels[instance.id].score for instance in instances])
    for position in np.argsort(scores, kind="stable"):
        instance = instances[position]
        label = labels[instance.id]
        row = {
            "annotation_id": instance.id,
            "image_id": instance.image.id,
            "file_name": instance.image.file_name,
            "category": instance.category,
            "score": label.score,
            "flags": label.flags,
        }
        if lower is not None:
            row["expected_gain"] = round(1 - label.score, 4)
            row["at_least"] = round(max(label.score - lower, 0.0), 4)
        yield row


def labels_of(document: Mapping[str, Any]) -> dict[int, Label]:
    """The labels in a document that `pseudo_labels` made, by annotation id."""
    return {
        annotation["id"]: Label(
            annotation_id=annotation["id"],
            rle=annotation["segmentation"],
            area=annotation["area"],
            score=annotation["exits"]["score"],
            flags=annotation["exits"]["flags"],
        )
        for annotation in document["annotations"]
        if "exits" in annotation and not annotation.get("iscrowd")
    }


def _labelled(annotation: Mapping[str, Any], label: Label, instance: Instance) -> dict[str, Any]:
    """One annotation with its label; keys keep their order, new ones go to the end."""
    points = instance.points_xy
    changed = {
        **annotation,
        "id": instance.id,
        "segmentation": label.rle,
        "area": label.area,
        "iscrowd": 0,
    }
    if not changed.get("bbox"):
        # Whole pixels, not the points' coordinates: those are usually pixel centres, and a reader
        # that crops masks to their boxes (FiftyOne) would lose the outermost rows.
        height, width = instance.image.height, instance.image.width
        x0, y0, x1, y1 = box_pixels(instance.box_xyxy, height, width)
        changed["bbox"] = [x0, y0, x1 - x0, y1 - y0]
    changed["exits"] = {
        "extreme_points": None if points is None else points.tolist(),
        "extreme_points_source": instance.points_source,
        "score": label.score,
        "flags": label.flags,
    }
    return changed


def _check_complete(labels: Mapping[int, ScoredMask], instances: Sequence[Instance]) -> None:
    missing = [instance.id for instance in instances if instance.id not in labels]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(instances)} annotations have no label, annotation "
            f"{missing[0]} first: labelling is not finished; run --mode=label again"
        )
