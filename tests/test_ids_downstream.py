"""What ids do in the tools that read our files; labels measured against themselves are perfect."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from exits_jax.annotations import encode_rle, read_annotations
from exits_jax.evaluation.coco_ap import box_conditioned_ap, detection_ap
from exits_jax.evaluation.iou import Prediction, read_ground_truth
from exits_jax.export.export import pseudo_label_rows, results
from exits_jax.export.quality import Label
from exits_jax.system.files import write_json_rows

HEIGHT, WIDTH = 40, 60


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def labelled(folder, annotation_ids, image_id=5, category_id=3, crowd_id=None):
    """Annotations with such ids, read, and their labels written; the two files."""
    rows = [
        {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": [3 + 20 * k, 5, 15, 20],
            # A side that is not quite straight: an upright rectangle would be read as a box.
            "segmentation": [
                [3 + 20 * k, 5, 9 + 20 * k, 5.02, 18 + 20 * k, 5, 18 + 20 * k, 25, 3 + 20 * k, 25]
            ],
        }
        for k, annotation_id in enumerate(annotation_ids)
    ]
    if crowd_id is not None:
        crowd = {"size": [HEIGHT, WIDTH], "counts": [0, 7, HEIGHT * WIDTH - 7]}
        rows.append({**rows[0], "id": crowd_id, "iscrowd": 1, "segmentation": crowd, "area": 7})
    given = {
        "images": [{"id": image_id, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": category_id, "name": "ball"}],
        "annotations": rows,
    }
    (folder / "given.json").write_text(json.dumps(given))
    read = read_annotations(folder / "given.json")
    labels = {}
    for instance in read.instances:
        x0, y0, x1, y1 = instance.box_xyxy.astype(int)
        mask = rectangle(x0, y0, x1, y1)
        labels[instance.id] = Label(instance.id, encode_rle(mask), int(mask.sum()), 0.9, [])
    written = pseudo_label_rows(read.document, labels, read.instances)
    write_json_rows(folder / "labels.json", written, read.document)
    write_json_rows(folder / "results.json", results(labels, read.instances))
    return read, labels


def own_ap(folder):
    """The labels' average precision against themselves, by pycocotools as anybody would call it."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "labels.json"))
        found = truth.loadRes(str(folder / "results.json"))
        coco_eval = COCOeval(truth, found, "segm")
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return coco_eval.stats[0]


@pytest.mark.parametrize(
    "ids",
    [
        {"annotation_ids": [1, 2]},
        {"annotation_ids": [-7, 2]},
        {"annotation_ids": [2**31 - 1, -(2**31) + 1]},
        {"annotation_ids": [1, 2], "image_id": 0},
        {"annotation_ids": [1, 2], "category_id": 0},
        {"annotation_ids": [1, 2], "image_id": -4, "category_id": -1},
        {"annotation_ids": [1, 2], "crowd_id": 900_100_000_004},
        {"annotation_ids": [1, 2], "crowd_id": 0},
    ],
    ids=str,
)
def test_labels_are_perfect_against_themselves(ids, tmp_path):
    labelled(tmp_path, **ids)
    assert own_ap(tmp_path) == pytest.approx(1.0)


def test_annotation_id_0_is_the_one_that_pycocotools_takes_for_no_match(tmp_path):
    """Ids are kept, so it stays; the checker says so. Our own figures do not fall for it."""
    read, labels = labelled(tmp_path, [0, 1])
    assert own_ap(tmp_path) < 0.6
    truth = read_ground_truth(read)
    scored = {key: Prediction(label.rle, label.score) for key, label in labels.items()}
    assert box_conditioned_ap(truth, scored).ap == pytest.approx(1.0)
    rows = [*results(labels, read.instances)]
    assert detection_ap(truth, read.images, rows)["ap"] == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_what_is_measured_is_not_changed(kind, tmp_path):
    """`COCO.loadRes` writes into the rows of a list that it is given."""
    read, labels = labelled(tmp_path, [1, 2], crowd_id=9)
    rows = [*results(labels, read.instances)]
    if kind == "bbox":
        rows = [{**row, "bbox": [3, 5, 15, 20]} for row in rows]
        for row in rows:
            del row["segmentation"]
    truth = read_ground_truth(read)
    before = copy.deepcopy((rows, truth.rles, truth.crowds, read.document["annotations"][:]))
    detection_ap(truth, read.images, rows, kind)
    box_conditioned_ap(truth, labels)
    assert before == (rows, truth.rles, truth.crowds, read.document["annotations"][:])
    coco = COCO()
    coco.dataset = json.loads((tmp_path / "labels.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        coco.loadRes(rows)
    assert before[0] != rows  # else there would be nothing to guard against
