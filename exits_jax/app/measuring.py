"""Labels and predictions against ground truth: measured, drawn, reported, printed as tables."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console

from exits_jax.annotations import ImageRecord
from exits_jax.app import predictions, trust
from exits_jax.app.labels import make_labels
from exits_jax.app.outputs import file_digest
from exits_jax.app.reporting import report
from exits_jax.app.run import DataSet, Run, data_to_label
from exits_jax.app.truth import annotated_masks, any_mask
from exits_jax.data.source import file_source
from exits_jax.evaluation.coco_ap import DETECTION_FIGURES, detection_ap
from exits_jax.evaluation.iou import (
    GroundTruth,
    filled_box_labels,
    label_ious,
    read_ground_truth,
)
from exits_jax.evaluation.summary import category_names, evaluation_record, image_names
from exits_jax.evaluation.tables import breakdown, comparison, rich_table
from exits_jax.evaluation.tables import shown as figure
from exits_jax.export.decisions import decided_in, why_left_out
from exits_jax.export.export import detector_scores, labels_of, results
from exits_jax.export.quality import Label, flag_counts
from exits_jax.report.shown import shown
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_json

# label.source -> what its labels are called in tables; propagation is one of the baselines, too.
LABEL_NAMES = {"generator": "generator", "propagation": "propagation only"}
MAX_PHOTO_ROWS = 20  # with more photographs the second table is by category


def evaluate(run: Run) -> None:
    """Measures what is there, labels and predictions, against ground truth; draws and reports."""
    workdir, figures = run.workdir, {}
    predicted = predictions.measure(run) if workdir.predictions.exists() else None
    if workdir.labels.exists():
        figures |= evaluate_labels(run, predicted)
    else:
        facts = {"config": run.config.name}
        report(run, shown([], file_source([]), {}), None, "", facts, predicted)
    if predicted and predicted.figures:
        figures["segmentation"] = predicted.figures
    if figures:
        _write_evaluation(run, figures)


def evaluate_labels(run: Run, predicted: predictions.Measured | None) -> dict[str, Any]:
    """The labels' part of evaluation.json; draws, reports, prints tables.

    Args:
      run: whose labels are measured.
      predicted: what the report says of predictions.
    """
    everything = data_to_label(run)
    labels = labels_of(json.loads(run.workdir.labels.read_text()))
    source = run.config.label.source
    data = labelled(run, everything, labels)
    annotations = data.annotations
    checked = ", ".join(f"{n} {kind}" for kind, n in flag_counts(labels.values()).items())
    facts = {"config": run.config.name, "labels from": source, "checked": checked}
    facts |= trust.facts(run)
    if run.config.data.boxes:
        return evaluate_detections(run, data, labels, facts, predicted)
    truth = measured = record = None
    if any_mask(annotations):
        truth = read_ground_truth(annotations)
        propagated = labels
        if source != "propagation":
            propagated = make_labels(run, everything, "propagation")
        record = evaluation_record(truth, labels, propagated)
        methods = {"filled box": filled_box_labels(truth.instances)}
        methods |= {"propagation only": propagated, LABEL_NAMES[source]: labels}
        measured = {name: label_ious(truth, masks) for name, masks in methods.items()}
    ious = measured[LABEL_NAMES[source]] if measured else None
    what = shown(data.instances, data.source, labels, truth, ious)
    report(run, what, record, LABEL_NAMES[source], facts, predicted)
    if record:
        print_tables(truth, record, measured, LABEL_NAMES[source], run.config.report.apart)
    else:
        print("no ground-truth masks in the annotation file: nothing to measure the labels against")
    return record or {}


def evaluate_detections(
    run: Run,
    data: DataSet,
    labels: Mapping[int, Label],
    facts: Mapping[str, object],
    predicted: predictions.Measured | None = None,
) -> dict[str, Any]:
    """Average precision of a detector's boxes with masks, end to end; draws and reports.

    For comparison the boxes themselves: as boxes, and filled as masks. Without ground-truth masks,
    as in a file that lists only images, every figure is None.
    """
    report(run, shown(data.instances, data.source, labels), None, "", facts, predicted)
    annotated = annotated_masks(run, "truth", "the boxes")
    truth = read_ground_truth(annotated) if annotated else None
    figures = detection_figures(run, data, truth, data.annotations.images)
    rows = [["", *DETECTION_FIGURES]]
    rows += [[name, *map(figure, row.values())] for name, row in figures.items()]
    Console().print(rich_table(rows, "detection, COCO's average precision"))
    return figures


def _write_evaluation(run: Run, figures: Mapping[str, Any]) -> None:
    """`evaluation.json`, with the digests of the files that were measured."""
    files = {"labels": run.workdir.labels, "predictions": run.workdir.predictions}
    there = {name: file for name, file in files.items() if file.exists()}
    measured = {f"{name}_sha256": file_digest(file) for name, file in there.items()}
    write_json(run.workdir.evaluation, {**figures, **measured}, indent=2)


def detection_figures(
    run: Run, data: DataSet, truth: GroundTruth | None, images: Mapping[int, ImageRecord]
) -> dict[str, dict[str, float | None]]:
    """What `evaluation.json` holds for a detector's boxes: boxes, filled boxes and masks."""
    boxes = data.annotations.document["annotations"]
    boxes = [boxes[i.index] for i in data.instances]
    scores = detector_scores(data.annotations.document, data.instances)
    filled = [*results(filled_box_labels(data.instances), data.instances, scores)]
    masks = json.loads(run.workdir.results.read_text())
    return {
        "boxes, as boxes": detection_ap(truth, images, boxes, "bbox"),
        "filled box": detection_ap(truth, images, filled),
        LABEL_NAMES[run.config.label.source]: detection_ap(truth, images, masks),
    }


def labelled(run: Run, data: DataSet, labels: Mapping[int, Label]) -> DataSet:
    """The instances that have a label: all but those rejected or below `label.min_score`."""
    missing = [i.id for i in data.instances if i.id not in labels]
    if not missing:
        return data
    path = run.workdir.review
    queue = json.loads(path.read_text()) if path.exists() else []
    known = {row["annotation_id"] for row in queue}
    unknown = [i for i in missing if i not in known]
    if unknown:
        raise UserError(
            f"{run.workdir.labels}: has no label for annotation {unknown[0]} of "
            f"{data.annotations.file}; if it was made for other annotations, run --mode=label again"
        )
    why = why_left_out(missing, decided_in(queue), len(data.instances))
    if len(missing) == len(data.instances):
        raise UserError(f"there is no label to measure: {why}")
    print(f"{why}: not measured")
    kept = data.take([n for n, i in enumerate(data.instances) if i.id in labels])
    instances = [i for i in data.annotations.instances if i.id in labels]
    annotations = dataclasses.replace(data.annotations, instances=instances)
    return dataclasses.replace(kept, annotations=annotations)


def print_tables(
    truth: GroundTruth,
    record: Mapping[str, Any],
    measured: Mapping[str, Float[np.ndarray, " n"]],
    name: str,
    apart: str,
) -> None:
    """Filled box, propagation only and the labels (`name`): overall, then by photo or category.

    A category named in `apart` is also compared with the rest.
    """
    console = Console()
    console.print(rich_table(comparison(record, name), "all instances"))
    photos = image_names(truth)
    by_photo = len(set(photos)) <= MAX_PHOTO_ROWS
    names = photos if by_photo else category_names(truth)
    title = "photo" if by_photo else "category"
    console.print(rich_table(breakdown(names, measured, title), f"mean IoU by {title}"))
    if apart:
        groups = category_names(truth, {apart: apart}, rest="the rest")
        console.print(rich_table(breakdown(groups, measured, "group"), f"{apart} apart"))
