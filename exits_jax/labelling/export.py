"""Labels into files: the annotation file with masks, the results list, and finished shards."""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from exits_jax.annotations.records import Instance
from exits_jax.errors import UserError
from exits_jax.evaluation.iou import ScoredMask
from exits_jax.files import write_json
from exits_jax.labelling.quality import Label

PART_NAME = "part-{:05d}.json"
PART_PATTERN = "part-[0-9]*.json"


def pseudo_labels(
    document: Mapping[str, Any], labels: Mapping[int, Label], instances: Sequence[Instance]
) -> dict[str, Any]:
    """The input document with a mask in place of every annotation's `segmentation`.

    Everything else stays: images, categories, info, licences, keys nobody here knows, the order,
    ids and boxes. Per annotation `segmentation` is compressed run lengths, `area` the pixels of the
    mask, `iscrowd` 0 (run lengths with 1 are ignored by trainers; LVIS readers do not look at it),
    `bbox` the input's or, where it had none, the tight box; what is ours goes into one dict
    `exits`: extreme_points (top, left, bottom, right; null for a box), extreme_points_source, score
    and flags. Crowd annotations pass through. Annotations that reading left out (on_error="skip")
    are left out here too: no mask of theirs is a label.

    Args:
      document: as read, with `annotations`; it is not changed.
      labels: by annotation id, one for every instance.
      instances: of the document, `Annotations.instances`.

    Raises:
      UserError: instances without a label.
    """
    _check_complete(labels, instances)
    by_index = {instance.index: instance for instance in instances}
    annotations = []
    for index, annotation in enumerate(document["annotations"]):
        if index in by_index:
            instance = by_index[index]
            annotations.append(_labelled(annotation, labels[instance.id], instance))
        elif isinstance(annotation, dict) and annotation.get("iscrowd") == 1:
            annotations.append(annotation)
    return {**document, "annotations": annotations}


def results(
    labels: Mapping[int, ScoredMask],
    instances: Sequence[Instance],
    confidence: Mapping[int, float] | None = None,
) -> list[dict[str, Any]]:
    """The labels in COCO's results form, which `COCO.loadRes` and lvis-api read.

    There is no `bbox` in it on purpose: with one, both take the box's area for the mask's and put
    objects into the wrong size group. `id` is the annotation's (both readers count anew).

    Args:
      labels: by annotation id, one for every instance.
      instances: in document order.
      confidence: of the instances' boxes, by annotation id, where a detector found them; the score
        then is the product of both.

    Raises:
      UserError: instances without a label.
    """
    _check_complete(labels, instances)
    return [
        {
            "id": instance.id,
            "image_id": instance.image.id,
            "category_id": instance.category_id,
            "segmentation": labels[instance.id].rle,
            "score": labels[instance.id].score * (confidence[instance.id] if confidence else 1),
        }
        for instance in instances
    ]


def detector_scores(document: Mapping[str, Any], instances: Sequence[Instance]) -> dict[int, float]:
    """The scores of a detector's boxes (`data.boxes`), by annotation id."""
    rows = document["annotations"]
    return {instance.id: float(rows[instance.index]["score"]) for instance in instances}


def review_queue(
    labels: Mapping[int, Label], instances: Sequence[Instance], lower: float | None = None
) -> list[dict[str, Any]]:
    """Which masks a person should look at first: the lowest scores, ties in document order.

    Args:
      labels: by annotation id, one for every instance.
      instances: in document order.
      lower: where scores are predicted IoUs, how much lower the IoU is at most, as a rule
        (`predicted_iou.LOWER_90`); then `expected_gain` is what redrawing should bring, and
        `at_least` what its IoU is at least in 90 % of cases.
    """
    queue = [
        {
            "annotation_id": instance.id,
            "image_id": instance.image.id,
            "file_name": instance.image.file_name,
            "category": instance.category,
            "score": labels[instance.id].score,
            "flags": labels[instance.id].flags,
        }
        for instance in sorted(instances, key=lambda instance: labels[instance.id].score)
    ]
    if lower is not None:
        for row in queue:
            row["expected_gain"] = round(1 - row["score"], 4)
            row["at_least"] = round(max(row["score"] - lower, 0.0), 4)
    return queue


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


def write_part(directory: pathlib.Path, index: int, labels: Sequence[Label]) -> None:
    """Writes one finished shard; a kill leaves the whole file or none.

    Args:
      directory: `label_parts` of the workdir.
      index: of the shard, the same whatever process made it.
      labels: of the shard, in document order.

    Raises:
      UserError: the file cannot be written.
    """
    entries = [asdict(label) for label in labels]
    part = {"index": index, "sha256": _digest(entries), "labels": entries}
    write_json(directory / PART_NAME.format(index), part)


def read_parts(directory: pathlib.Path) -> dict[int, list[Label]]:
    """The finished shards by index.

    A file that is cut short or altered in any byte that matters is not there: its shard has to be
    made again.
    """
    found = {}
    for path in sorted(directory.glob(PART_PATTERN)):
        part = _read_part(path)
        if part is not None and path.name == PART_NAME.format(part["index"]):
            found[part["index"]] = [Label(**entry) for entry in part["labels"]]
    return found


def merge(parts: Mapping[int, Sequence[Label]]) -> dict[int, Label]:
    """All shards' labels by annotation id, in the order of the shards.

    Raises:
      UserError: two shards label the same annotation: they were not cut from one list.
    """
    merged: dict[int, Label] = {}
    for index in sorted(parts):
        for label in parts[index]:
            if label.annotation_id in merged:
                raise UserError(
                    f"annotation {label.annotation_id} is in two label parts, {index} the second:"
                    " the parts come from different runs; delete label_parts and label again"
                )
            merged[label.annotation_id] = label
    return merged


def _labelled(annotation: Mapping[str, Any], label: Label, instance: Instance) -> dict[str, Any]:
    """One annotation with its label; keys keep their places, new ones go to the end."""
    points = instance.points_xy
    changed = {
        **annotation,
        "id": instance.id,
        "segmentation": label.rle,
        "area": label.area,
        "iscrowd": 0,
    }
    if not changed.get("bbox"):
        x0, y0, x1, y1 = instance.box_xyxy.tolist()
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
            f"{len(missing)} of {len(instances)} annotations have no label, annotation {missing[0]}"
            " first: the labelling is not finished; run --mode=label again"
        )


def _read_part(path: pathlib.Path) -> dict[str, Any] | None:
    """The content of a shard's file if it is whole, else None."""
    try:
        part = json.loads(path.read_bytes())
        whole = part["sha256"] == _digest(part["labels"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return part if whole and type(part.get("index")) is int else None


def _digest(entries: list[dict[str, Any]]) -> str:
    """A checksum of labels that does not depend on how their JSON is spaced."""
    text = json.dumps(entries, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
