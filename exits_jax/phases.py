"""The modes of the command line, one short function each."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from rich.console import Console

from exits_jax import fitting, networks
from exits_jax.annotations import Annotations, ImageRecord
from exits_jax.config_check import check_config
from exits_jax.dry_run import describe
from exits_jax.errors import UserError
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
from exits_jax.files import write_json
from exits_jax.gallery import shown, write_gallery
from exits_jax.labelling.export import labels_of, results
from exits_jax.labelling.quality import Label
from exits_jax.labels import make_labels, write_labels
from exits_jax.models import save_params
from exits_jax.progress import track
from exits_jax.run import DataSet, Run, data_to_label, prepared_folder, read_files, usable
from exits_jax.workdir import Workdir

# label.source -> what its labels are called in tables; propagation is one of the baselines, too.
LABEL_NAMES = {"generator": "generator", "propagation": "propagation only"}
MAX_PHOTO_ROWS = 20  # with more photographs the second table is by category


def execute(mode: str, config: ConfigDict, folder: str, dry_run: bool) -> None:
    """Runs a mode in a workdir, or says what it would do."""
    check_config(config)
    run = Run(config, Workdir(folder))
    if dry_run:
        return describe(run, pending(run) if mode == "run" else [mode])
    with run.workdir.locked():
        run.workdir.adopt(config.to_dict())
        MODES[mode](run)


def run_all(run: Run) -> None:
    """Every phase that is not done yet, in order."""
    for name in pending(run):
        MODES[name](run)


def pending(run: Run) -> list[str]:
    """The phases of mode `run` whose result the workdir does not hold yet."""
    config, workdir = run.config, run.workdir
    needs_training = config.label.source == "generator" and not config.generator.params
    needs_warmup = config.warmup.epochs and not config.extractor.params
    if config.label.source == "generator" and config.generator.params:
        needs_warmup = False  # nothing is trained, and labelling never opens the training set
    results = {
        "warmup": workdir.extractor if needs_warmup else None,
        "train": workdir.generator if needs_training else None,
        "label": workdir.labels,
        "evaluate": workdir.report,
    }
    return [name for name, path in results.items() if path and not path.exists()]


def warmup(run: Run) -> None:
    """Warms up the similarity extractor."""
    save_params(run.workdir.extractor, fitting.warm_up(run))


def train(run: Run) -> None:
    """Trains the mask generator."""
    config, warmed_up = run.config, run.workdir.extractor
    if config.warmup.epochs and not (config.extractor.params or warmed_up.exists()):
        raise UserError(f"{warmed_up}: not there yet; run --mode=warmup first")
    extractor = networks.extractor_params(config, run.workdir)
    params = fitting.train(run, extractor)
    save_params(run.workdir.generator, params, networks.made_with(config, extractor))


def label(run: Run) -> None:
    """Writes the masks."""
    data = data_to_label(run)
    check_writable(data.annotations)
    labels = make_labels(run, data, run.config.label.source)
    write_labels(run, data.annotations, labels)
    print(f"labels: {run.workdir.labels}")


def evaluate(run: Run) -> None:
    """Measures the labels where there is ground truth, draws, reports, prints the tables."""
    if not run.workdir.labels.exists():
        raise UserError(f"{run.workdir.labels}: not there yet; run --mode=label first")
    everything = data_to_label(run)
    labels = labels_of(json.loads(run.workdir.labels.read_text()))
    source = run.config.label.source
    data = labelled(run, everything, labels)
    annotations = data.annotations
    facts = {"config": run.config.name, "labels from": source, "instances": len(labels)}
    if run.config.data.boxes:
        return evaluate_detections(run, data, labels, facts)
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
        write_json(run.workdir.evaluation, record, indent=2)
    ious = measured[LABEL_NAMES[source]] if measured else None
    write_gallery(run, shown(data, labels, truth, ious), record, LABEL_NAMES[source], facts)
    if record:
        print_tables(truth, record, measured, LABEL_NAMES[source], run.config.report.apart)
    else:
        print("no ground-truth masks in the annotation file: nothing to measure the labels against")
    print(f"report: {run.workdir.report}")


def evaluate_detections(
    run: Run, data: DataSet, labels: Mapping[int, Label], facts: Mapping[str, object]
) -> None:
    """Average precision of a detector's boxes with masks, end to end; draws and reports.

    Beside it the boxes themselves: as boxes, and filled as masks.
    """
    write_gallery(run, shown(data, labels, None, None), None, "", facts)
    annotations = read_files(run, "truth", report=False)
    if any_mask(annotations):
        truth = read_ground_truth(annotations)
        figures = detection_figures(run, data, truth, annotations.images)
        write_json(run.workdir.evaluation, figures, indent=2)
        rows = [["", *DETECTION_FIGURES]]
        rows += [[name, *map(figure, row.values())] for name, row in figures.items()]
        Console().print(rich_table(rows, "detection, COCO's average precision"))
    print(f"report: {run.workdir.report}")


def detection_figures(
    run: Run, data: DataSet, truth: GroundTruth, images: Mapping[int, ImageRecord]
) -> dict[str, dict[str, float | None]]:
    """What `evaluation.json` holds for a detector's boxes: boxes, filled boxes and masks."""
    boxes = data.annotations.document["annotations"]
    boxes = [boxes[i.index] for i in data.instances]
    scores = {i.id: box["score"] for i, box in zip(data.instances, boxes, strict=True)}
    filled = results(filled_box_labels(data.instances), data.instances, scores)
    masks = json.loads(run.workdir.results.read_text())
    return {
        "boxes, as boxes": detection_ap(truth, images, boxes, "bbox"),
        "filled box": detection_ap(truth, images, filled),
        LABEL_NAMES[run.config.label.source]: detection_ap(truth, images, masks),
    }


def labelled(run: Run, data: DataSet, labels: Mapping[int, Label]) -> DataSet:
    """The instances that have a label: all of them, but for those below `label.min_score`."""
    missing = [i.id for i in data.instances if i.id not in labels]
    if not missing:
        return data
    path = run.workdir.review
    known = {row["annotation_id"] for row in json.loads(path.read_text())} if path.exists() else {}
    unknown = [i for i in missing if i not in known]
    if unknown:
        raise UserError(
            f"{run.workdir.labels}: has no label for annotation {unknown[0]} of "
            f"{data.annotations.file}: made for other annotations? run --mode=label again"
        )
    print(f"{len(missing)} of {len(data.instances)} are below label.min_score: not measured")
    if len(missing) == len(data.instances):
        raise UserError("no label reaches label.min_score: nothing to measure; lower it")
    kept = data.take([n for n, i in enumerate(data.instances) if i.id in labels])
    instances = [i for i in data.annotations.instances if i.id in labels]
    annotations = dataclasses.replace(data.annotations, instances=instances)
    return dataclasses.replace(kept, annotations=annotations)


def any_mask(annotations: Annotations) -> bool:
    """Whether any instance has a mask to measure against."""
    rows = annotations.document["annotations"]
    return any(rows[instance.index].get("segmentation") for instance in annotations.instances)


def check_writable(annotations: Annotations) -> None:
    """Refuses, before the work, a document that is not JSON (NaN) and so could not be written."""
    try:
        json.dumps(annotations.document, allow_nan=False)
    except ValueError as error:
        raise UserError(
            f"{annotations.file}: holds NaN or infinity, which JSON has not: {error}"
        ) from error


def print_tables(
    truth: GroundTruth,
    record: Mapping[str, Any],
    measured: Mapping[str, Float[np.ndarray, " n"]],
    name: str,
    apart: str,
) -> None:
    """Filled box, propagation only and the labels (`name`): overall, then by photo or category.

    A category named in `apart` is also shown against the rest.
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


def prepare(run: Run) -> None:
    """Packs annotations and images into ArrayRecord files, for `data.source=tfds`."""
    from exits_jax.data.tfds_builder import prepare as pack  # heavy, and only needed here

    if run.config.data.boxes:
        raise UserError("--mode=prepare packs annotations; leave data.boxes out")

    for role in ("label", "train"):
        annotations = read_files(run, role)
        annotations = dataclasses.replace(
            annotations, instances=usable(run, role, annotations.instances)
        )
        images = len({i.image.id for i in annotations.instances})
        with track(f"prepare ({role})", images) as progress:
            print(f"prepared: {pack(annotations, prepared_folder(run, role), progress.advance)}")


MODES: dict[str, Callable[[Run], None]] = {
    "run": run_all,
    "warmup": warmup,
    "train": train,
    "label": label,
    "evaluate": evaluate,
    "prepare": prepare,
}
