"""COCO average precision by pycocotools: of labels whose boxes are given, and of detections."""

import collections
import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask
from jaxtyping import Float
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from exits_jax.annotations.records import ImageRecord
from exits_jax.evaluation.iou import GroundTruth, ScoredMask, checked_rle

DETECTION_FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
EVERY_AREA = [0.0, 1e10]  # COCO's own bounds of "all"


class AveragePrecision(NamedTuple):
    """Means over categories, fractions 0..1: over IoU .50:.05:.95, at .50 and at .75."""

    ap: float
    ap50: float
    ap75: float


def box_conditioned_ap(truth: GroundTruth, labels: Mapping[int, ScoredMask]) -> AveragePrecision:
    """COCO mask AP of labels whose boxes were given.

    Every instance has one mask, so recall is bounded by quality alone and the numbers are not
    detection results; they say whether the scores rank good masks first. The standard limit of 100
    masks per image is lifted, as there are no surplus detections here. Crowd regions count as in
    COCO: an otherwise unmatched mask inside one is not a mistake. Labels of annotations without a
    ground-truth mask are left out.

    One small COCOeval per category: the mean over categories is the same number, and the time does
    not grow with images times categories (LVIS).

    Raises:
      UserError: a label's run lengths are malformed or of another image size.
    """
    found, expected = _by_category(truth, labels)
    curves = [
        _precision(truths, found.get(category_id, []))
        for category_id, truths in expected.items()
        if not all(item["iscrowd"] for item in truths)
    ]
    precision = np.mean(curves, axis=0)  # [thresholds, recalls]
    return AveragePrecision(
        float(precision.mean()), float(precision[0].mean()), float(precision[5].mean())
    )


def detection_ap(
    truth: GroundTruth | None,
    images: Mapping[int, ImageRecord],
    found: Sequence[Mapping[str, Any]],
    iou_type: str = "segm",
) -> dict[str, float | None]:
    """COCO's detection figures of results, by plain COCOeval: at most 100 per image, every area.

    Boxes of the ground truth are those that its file states; a crowd's is that of its mask.

    Args:
      truth: the ground truth; None where there is none.
      images: by id, all that were searched; a detection in one without objects is wrong.
      found: {image_id, category_id, score} and `segmentation` (run lengths) or `bbox` each.
      iou_type: "segm" or "bbox".

    Returns:
      ap, ap50, ap75, ap_small, ap_medium, ap_large: fractions 0..1, None where there is nothing.
    """
    if truth is None:
        return dict.fromkeys(DETECTION_FIGURES)
    return _figures(detection_eval(truth, images, found, iou_type))


def detection_record(
    truth: GroundTruth | None,
    images: Mapping[int, ImageRecord],
    found: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
) -> dict[str, Any]:
    """The figures of `detection_ap` for masks, and `per_category`, the AP of each by its name.

    Args:
      truth, images, found: as for `detection_ap`; their categories are those of `names`.
      names: of the categories by id; one that stands for several gets its id behind it.
    """
    if truth is None:
        return {**detection_ap(None, images, found), "per_category": {}}
    coco_eval = detection_eval(truth, images, found)
    twice = [name for name, count in collections.Counter(names.values()).items() if count > 1]
    shown = {key: f"{name} ({key})" if name in twice else name for key, name in names.items()}
    # [thresholds, recalls, categories, areas, most detections]
    precision = coco_eval.eval["precision"][:, :, :, 0, -1]
    means = {key: precision[:, :, k].mean() for k, key in enumerate(coco_eval.params.catIds)}
    per_category = {shown[key]: _share(means.get(key, -1.0)) for key in names}
    return {**_figures(coco_eval), "per_category": per_category}


def detection_eval(
    truth: GroundTruth,
    images: Mapping[int, ImageRecord],
    found: Sequence[Mapping[str, Any]],
    iou_type: str = "segm",
) -> COCOeval:
    """COCOeval, carried out: matches in `evalImgs`, figures in `stats`.

    Args:
      truth, images, found, iou_type: as for `detection_ap`.
    """
    _, expected = _by_category(truth, {})
    truths = [entry for entries in expected.values() for entry in entries]
    if iou_type == "segm":  # beside a box, pycocotools takes the box's area for the mask's
        found = [{k: v for k, v in item.items() if k != "bbox"} for item in found]
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = _coco(truths)
        ground_truth.dataset["images"] = [
            {"id": image.id, "height": image.height, "width": image.width}
            for image in images.values()
        ]
        ground_truth.createIndex()
        # `loadRes` fails on an empty list, and changes the dicts of any other.
        detections = ground_truth.loadRes([dict(item) for item in found]) if found else _coco([])
        coco_eval = COCOeval(ground_truth, detections, iou_type)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return coco_eval


def _figures(coco_eval: COCOeval) -> dict[str, float | None]:
    figures = zip(DETECTION_FIGURES, coco_eval.stats, strict=False)
    return {name: _share(value) for name, value in figures}


def _share(value: float) -> float | None:
    """A figure of COCOeval's, which says -1 where there is nothing to measure."""
    return float(value) if value >= 0 else None


def _by_category(
    truth: GroundTruth, labels: Mapping[int, ScoredMask]
) -> tuple[dict[int, list[dict[str, Any]]], dict[int, list[dict[str, Any]]]]:
    """(labels, ground truth) as pycocotools wants them, by category id."""
    found: dict[int, list[dict[str, Any]]] = {}
    expected: dict[int, list[dict[str, Any]]] = {}
    for instance, rle in zip(truth.instances, truth.rles, strict=True):
        place = (instance.image.id, instance.category_id)
        x0, y0, x1, y1 = instance.box_xyxy.tolist()
        entry = _entry(*place, rle, instance.area) | {"bbox": [x0, y0, x1 - x0, y1 - y0]}
        expected.setdefault(instance.category_id, []).append(entry)
        if instance.id in labels:
            label = labels[instance.id]
            rle = checked_rle(label, instance)
            entry = _entry(*place, rle, float(pycocotools.mask.area(rle)))
            found.setdefault(instance.category_id, []).append(entry | {"score": label.score})
    for image_id, category_id, rle in truth.crowds:
        area = float(pycocotools.mask.area(rle))
        crowd = _entry(image_id, category_id, rle, area) | {"iscrowd": 1}
        expected.setdefault(category_id, []).append(crowd)
    return found, expected


def _entry(image_id: int, category_id: int, rle: dict[str, Any], area: float) -> dict[str, Any]:
    """One annotation in COCO's form; the id is given later."""
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": rle,
        "bbox": pycocotools.mask.toBbox(rle).tolist(),
        "area": area,
        "iscrowd": 0,
    }


def _precision(
    truths: list[dict[str, Any]], found: list[dict[str, Any]]
) -> Float[np.ndarray, "thresholds recalls"]:
    """Precision over IoU thresholds and recalls for the masks of one category."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco_eval = COCOeval(_coco(truths), _coco(found), "segm")
        coco_eval.params.catIds = [truths[0]["category_id"]]
        coco_eval.params.imgIds = sorted({item["image_id"] for item in truths})
        coco_eval.params.maxDets = [max(len(found), 1)]
        coco_eval.params.areaRng, coco_eval.params.areaRngLbl = [EVERY_AREA], ["all"]
        coco_eval.evaluate()
        coco_eval.accumulate()
    return coco_eval.eval["precision"][:, :, 0, 0, 0]


def _coco(entries: list[dict[str, Any]]) -> COCO:
    """A COCO object made in memory; ids from 1, because pycocotools takes 0 for "unmatched"."""
    sizes = {entry["image_id"]: entry["segmentation"]["size"] for entry in entries}
    coco = COCO()
    coco.dataset = {
        "images": [{"id": key, "height": h, "width": w} for key, (h, w) in sizes.items()],
        "categories": [{"id": key} for key in {entry["category_id"] for entry in entries}],
        "annotations": [entry | {"id": number} for number, entry in enumerate(entries, start=1)],
    }
    coco.createIndex()
    return coco
