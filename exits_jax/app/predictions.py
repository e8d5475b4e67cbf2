"""Predictions against ground truth: average precision in the model's classes, and pictures."""

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from exits_jax.annotations import Annotations, Problem, problem_line
from exits_jax.annotations.masks import run_lengths
from exits_jax.annotations.records import BadItem, ImageRecord
from exits_jax.app.outputs import PREDICTIONS, Outputs
from exits_jax.app.run import ImageSet, Run, files_of, images_to_predict
from exits_jax.app.truth import annotated_masks
from exits_jax.evaluation.coco_ap import DETECTION_FIGURES, detection_record
from exits_jax.evaluation.iou import GroundTruth, read_ground_truth
from exits_jax.evaluation.tables import rich_table, shown
from exits_jax.report.overlays import encode_image, save_png
from exits_jax.report.side_by_side import MaskSet, mask_set, side_by_side
from exits_jax.segmentation.classes import Classes, classes_from, same_classes
from exits_jax.system.errors import UserError

MAX_PICTURES = 12  # images in the report
MAX_CATEGORY_ROWS = 30  # with more classes the table by category is in evaluation.json alone

ByImage = Mapping[int, list[Mapping[str, Any]]]  # rows with run lengths, by image id


class Measured(NamedTuple):
    """What evaluation says of predictions.

    Attributes:
      figures: of evaluation.json; None without ground truth.
      pictures: for the report, encoded, by caption.
    """

    figures: dict[str, Any] | None
    pictures: dict[str, bytes]


def measure(run: Run) -> Measured:
    """Measures predictions.json, which is there, and draws some images of it.

    Raises:
      UserError: predictions of other images or classes than those of the annotation file.
    """
    classes, images = _classes(run), images_to_predict(run, report=False)
    found = _read(run, images)
    truth = _truth(run, classes)
    figures = None
    if truth:
        names = dict(zip(classes.ids, classes.names, strict=True))
        known = {record.id: record for record in images.records}
        known |= {instance.image.id: instance.image for instance in truth.instances}
        figures = detection_record(truth, known, found, names)
        _print(figures, len(found))
    return Measured(figures, dict(_pictures(run, classes, images, found, truth)))


def _classes(run: Run) -> Classes:
    """The classes of the model that the predictions were made with."""
    made = Outputs(run.workdir.outputs).settings(PREDICTIONS)
    if not made:
        raise UserError(
            f"{run.workdir.predictions}: was not finished, or not written by this workdir; run "
            "--mode=predict again"
        )
    return classes_from(made["classes"])


def _read(run: Run, images: ImageSet) -> list[dict[str, Any]]:
    """The rows of predictions.json, known to be safe and of these images."""
    file = run.workdir.predictions
    records = {record.id: record for record in images.records}
    number = 0
    try:
        rows = json.loads(file.read_text())
        for row in rows:
            number += 1
            record = records.get(row["image_id"])
            if record is None:
                raise BadItem("unknown_image", f"image {row['image_id']} is none of the images")
            if not {"category_id", "score"} <= row.keys():
                raise KeyError("category_id and score")
            row["segmentation"] = run_lengths(row["segmentation"], record.height, record.width)
    except BadItem as bad:
        line = problem_line(file, Problem(bad.code, bad.text, number))
        raise UserError(f"{line}: made for other images? run --mode=predict again") from bad
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: damaged ({error!r}); run --mode=predict again") from error
    return rows


def _truth(run: Run, classes: Classes) -> GroundTruth | None:
    """The ground truth in the model's classes; None, and said, where there is no mask."""
    if not files_of(run, "predict")[0]:
        print("no annotation file: nothing to measure the predictions against")
        return None
    annotations = annotated_masks(run, "predict", "the predictions")
    if annotations is None:
        return None
    _check(annotations, classes)
    return in_classes(read_ground_truth(annotations), classes)


def _check(annotations: Annotations, classes: Classes) -> None:
    """Refuses a file whose categories are called otherwise than the model's of the same ids."""
    named = dict(zip(classes.ids, classes.names, strict=True))
    if classes.rest:
        named.pop(classes.ids[-1])
    both = tuple(key for key in named if key in annotations.categories)
    if both or not named:
        saved = Classes(both, tuple(named[key] for key in both))
        here = Classes(both, tuple(annotations.categories[key] for key in both))
    else:  # not one of them is known
        saved = Classes(tuple(named), tuple(named.values()))
        here = Classes((), ())
    same_classes(saved, here, str(annotations.file))


def in_classes(truth: GroundTruth, classes: Classes) -> GroundTruth:
    """The ground truth with a model's classes as its categories; what is of no class is left out.

    Args:
      truth: in the categories of its file.
      classes: of the model.
    """
    numbers = [classes.of(instance.category_id) for instance in truth.instances]
    kept = [k for k, number in enumerate(numbers) if number is not None]
    crowds = ((classes.of(key), image_id, rle) for image_id, key, rle in truth.crowds)
    return dataclasses.replace(
        truth,
        instances=[
            dataclasses.replace(
                truth.instances[k],
                category_id=classes.ids[numbers[k]],
                category=classes.names[numbers[k]],
            )
            for k in kept
        ],
        rles=[truth.rles[k] for k in kept],
        separated=truth.separated[kept],
        same_class=truth.same_class[kept],
        crowds=[(image, classes.ids[n], rle) for n, image, rle in crowds if n is not None],
    )


def _print(figures: Mapping[str, Any], count: int) -> None:
    """The figures as tables."""
    console = Console()
    rows = [["", *DETECTION_FIGURES]]
    rows += [[f"{count} detections", *(shown(figures[name]) for name in DETECTION_FIGURES)]]
    console.print(rich_table(rows, "predictions, COCO's average precision"))
    each = figures["per_category"]
    if 1 < len(each) <= MAX_CATEGORY_ROWS:
        rows = [["category", "ap"], *([name, shown(value)] for name, value in each.items())]
        console.print(rich_table(rows, "average precision by category"))


def _pictures(
    run: Run,
    classes: Classes,
    images: ImageSet,
    found: Sequence[Mapping[str, Any]],
    truth: GroundTruth | None,
) -> Iterator[tuple[str, bytes]]:
    """Some images with what was found, the labels and the truth side by side, by caption."""
    least = run.config.segmentation.shown_score
    names = dict(zip(classes.ids, classes.names, strict=True))
    sets: dict[str, ByImage] = {"prediction": _by_image(r for r in found if r["score"] >= least)}
    if run.workdir.labels.exists() and files_of(run, "predict") == files_of(run, "label"):
        labels = json.loads(run.workdir.labels.read_text())
        called = {row["id"]: row.get("name", "") for row in labels["categories"]}
        ours = (row for row in labels["annotations"] if "exits" in row)
        sets["label"] = _by_image({**row, "name": called[row["category_id"]]} for row in ours)
    if truth:
        true = zip(truth.instances, truth.rles, strict=True)
        rows = ({"image_id": i.image.id, "name": i.category, "segmentation": r} for i, r in true)
        sets["truth"] = _by_image(rows)
    for index in _spread(images.records, sets):
        record = images.records[index]
        try:
            image = images.decoded(index)
        except UserError:
            continue  # listed when it was predicted
        drawn = {
            title: _mask_set(rows.get(record.id, []), record, names) for title, rows in sets.items()
        }
        picture = side_by_side(image, drawn)
        save_png(run.workdir.figures / f"prediction_{record.id}.png", picture)
        yield f"{record.file_name}: detections of score {least:g} or more", encode_image(picture)


def _by_image(rows: Iterator[Mapping[str, Any]]) -> ByImage:
    groups: dict[int, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for row in rows:
        groups[row["image_id"]].append(row)
    return groups


def _spread(records: Sequence[ImageRecord], sets: Mapping[str, ByImage]) -> list[int]:
    """Positions of at most `MAX_PICTURES` images with a mask in any set, evenly spread."""
    there = {key for rows in sets.values() for key in rows}
    places = [k for k, record in enumerate(records) if record.id in there]
    chosen = np.linspace(0, len(places) - 1, min(len(places), MAX_PICTURES)).round().astype(int)
    return [places[k] for k in chosen]


def _mask_set(
    rows: Sequence[Mapping[str, Any]], record: ImageRecord, names: Mapping[int, str]
) -> MaskSet:
    """The masks of an image; a detection is called by its class and score."""
    known = (row.get("name") or names.get(row["category_id"], "") for row in rows)
    scores = (f" {row['score']:.2f}" if "score" in row else "" for row in rows)
    called = [f"{name}{score}" for name, score in zip(known, scores, strict=True)]
    rles = [row["segmentation"] for row in rows]
    return mask_set(rles, called, (record.height, record.width))
