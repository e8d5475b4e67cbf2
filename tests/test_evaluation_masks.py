"""Evaluation against masks made by hand, whose IoU, groups and AP are known."""

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from exits_jax.annotations import ImageRecord
from exits_jax.annotations.masks import encode_rle
from exits_jax.annotations.outlines import mask_to_polygons
from exits_jax.annotations.read import read_annotations
from exits_jax.evaluation.coco_ap import (
    DETECTION_FIGURES,
    box_conditioned_ap,
    detection_ap,
    detection_record,
)
from exits_jax.evaluation.iou import (
    Prediction,
    filled_box_labels,
    is_separated,
    label_ious,
    read_ground_truth,
)
from exits_jax.evaluation.summary import METRICS, evaluate, evaluation_record
from exits_jax.system.errors import UserError

HEIGHT, WIDTH = 120, 160
IMAGES = {key: ImageRecord(key, f"{key}.jpg", WIDTH, HEIGHT, None) for key in (1, 2)}


BEND = 0.02  # pixels: no other pixel is covered


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def outlines(mask):
    """The mask's polygons with a first side that is not quite straight: no boxes."""
    polygons = mask_to_polygons(mask)[0]
    return [[*p[:2], (p[0] + p[2]) / 2 + BEND, (p[1] + p[3]) / 2 + BEND, *p[2:]] for p in polygons]


def annotation(number, mask, image_id=1, category_id=1, **more):
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    box = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": outlines(mask),
        "area": float(mask.sum()),
        "bbox": box,
        "iscrowd": 0,
    } | more


def read(tmp_path, annotations):
    images = [
        {"id": key, "file_name": f"{key}.jpg", "height": HEIGHT, "width": WIDTH} for key in (1, 2)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "coin"}]
    document = {"images": images, "categories": categories, "annotations": annotations}
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(document))
    return read_annotations(file)


def truth_of(tmp_path, annotations):
    return read_ground_truth(read(tmp_path, annotations))


def predict(mask, score=1.0):
    return Prediction(encode_rle(mask), score)


def test_known_ious_by_size_and_the_missing_label(tmp_path):
    truth = truth_of(
        tmp_path,
        [
            annotation(0, rectangle(0, 0, 20, 10)),  # small; id 0 is an id like any other
            annotation(7, rectangle(30, 0, 62, 32)),  # exactly 32^2: medium
            annotation(8, rectangle(50, 20, 146, 116), image_id=2),  # exactly 96^2: large
            annotation(9, rectangle(0, 60, 40, 100)),
        ],
    )
    labels = {
        0: predict(rectangle(10, 0, 30, 10)),  # 100 of 300
        7: predict(rectangle(30, 0, 62, 16)),  # a half
        8: predict(rectangle(50, 20, 146, 116)),
        12345: predict(rectangle(0, 0, 3, 3)),
    }
    np.testing.assert_allclose(label_ious(truth, labels), [1 / 3, 0.5, 1.0, 0.0])
    figures = evaluate(truth, labels)
    assert tuple(figures) == METRICS
    assert figures["n"] == 4
    assert figures["miou"] == pytest.approx(11 / 24, abs=1e-6)
    assert figures["miou_small"] == pytest.approx(1 / 3, abs=1e-6)
    assert figures["miou_medium"] == 0.25
    assert figures["miou_large"] == 1.0
    assert (figures["miou_area_1024"], figures["n_area_1024"]) == (0.5, 3)
    assert figures["share_iou_75"] == 0.25
    assert (figures["miou_separated"], figures["n_separated"]) == (None, 0)
    assert (figures["miou_same_class"], figures["n_same_class"]) == (None, 0)
    record = evaluation_record(truth, labels)
    assert (record["n_missing"], record["n_without_mask"]) == (1, 0)
    assert set(record["baselines"]) == {"filled_box", "propagation_only"}
    assert record["baselines"]["filled_box"]["miou"] == 1.0
    assert record["baselines"]["propagation_only"] == dict.fromkeys(METRICS)
    assert "NaN" not in json.dumps(record)


def test_size_is_what_the_annotation_says_and_not_the_pixels(tmp_path):
    truth = truth_of(tmp_path, [annotation(1, rectangle(0, 0, 40, 40), area=900.0)])
    figures = evaluate(truth, {1: predict(rectangle(0, 0, 40, 40))})
    assert (figures["miou_small"], figures["miou_medium"]) == (1.0, None)
    assert figures["n_area_1024"] == 0


def test_separated_needs_two_parts_of_two_percent_each():
    body = rectangle(0, 0, 40, 10)
    assert not is_separated(encode_rle(body))
    assert not is_separated(encode_rle(body | rectangle(50, 0, 57, 1)))  # 7 of 407: 1.7 %
    assert is_separated(encode_rle(body | rectangle(50, 0, 59, 1)))  # 9 of 409: 2.2 %
    assert not is_separated(encode_rle(body | rectangle(40, 10, 60, 20)))  # corner to corner


def test_same_class_neighbour_covers_a_tenth_of_itself_inside_my_box(tmp_path):
    truth = truth_of(
        tmp_path,
        [
            annotation(1, rectangle(0, 0, 60, 60)),
            annotation(2, rectangle(54, 0, 114, 60)),  # 6 of its 60 columns lie in box 1
            annotation(3, rectangle(109, 0, 159, 60)),  # 5 of 50 in box 2; 2 has 5 of 60 in box 3
            annotation(4, rectangle(0, 0, 30, 30), category_id=2),  # another category
            annotation(5, rectangle(0, 0, 60, 60), image_id=2),  # another image
            annotation(6, rectangle(20, 0, 40, 20), iscrowd=1),
        ],
    )
    assert truth.same_class.tolist() == [True, True, False, False, False]


def test_perfect_labels_have_ap_one_and_crowds_do_not_count(tmp_path):
    truth = truth_of(
        tmp_path,
        [
            annotation(0, rectangle(0, 0, 20, 10)),
            annotation(1, rectangle(30, 0, 62, 32), category_id=2),
            annotation(2, rectangle(50, 20, 146, 116), image_id=2),
            annotation(3, rectangle(90, 0, 150, 100), iscrowd=1),
        ],
    )
    labels = {
        instance.id: Prediction(rle, 0.5)
        for instance, rle in zip(truth.instances, truth.rles, strict=True)
    }
    assert len(labels) == 3
    assert box_conditioned_ap(truth, labels) == pytest.approx((1.0, 1.0, 1.0))


def test_a_bad_mask_with_the_best_score_costs_ap(tmp_path):
    truth = truth_of(
        tmp_path,
        [annotation(1, rectangle(0, 0, 40, 40)), annotation(2, rectangle(80, 0, 120, 40))],
    )
    wrong, right = rectangle(0, 0, 40, 15), rectangle(80, 0, 120, 40)
    good = box_conditioned_ap(truth, {1: predict(wrong, 0.1), 2: predict(right, 0.9)})
    bad = box_conditioned_ap(truth, {1: predict(wrong, 0.9), 2: predict(right, 0.1)})
    # One of two found: recall up to .5, 51 of 101 points; behind a mistake precision is a half.
    assert good.ap50 == pytest.approx(51 / 101)
    assert bad.ap50 == pytest.approx(51 / 202)


def test_more_than_a_hundred_masks_in_an_image_all_count(tmp_path):
    cells = [(x, y) for x in range(0, 160, 10) for y in range(0, 80, 8)]
    masks = [rectangle(x, y, x + 6, y + 5) for x, y in cells]
    truth = truth_of(tmp_path, [annotation(n, mask) for n, mask in enumerate(masks)])
    labels = {number: predict(mask, 0.5) for number, mask in enumerate(masks)}
    assert len(labels) == 160
    assert box_conditioned_ap(truth, labels).ap == pytest.approx(1.0)


def test_annotations_without_a_mask_are_counted_and_only_then_an_error(tmp_path):
    points = [[10, 0], [0, 10], [10, 20], [20, 10]]
    given = {"id": 5, "image_id": 1, "category_id": 1, "extreme_points": points}
    box = {"id": 6, "image_id": 1, "category_id": 1, "bbox": [4, 4, 10, 10]}
    truth = truth_of(tmp_path, [given, annotation(7, rectangle(0, 0, 9, 9)), box])
    assert [instance.id for instance in truth.instances] == [7]
    assert truth.without_mask == {5: "no segmentation", 6: "no segmentation"}
    labels = {number: predict(rectangle(0, 0, 9, 9)) for number in (5, 6, 7)}
    assert evaluation_record(truth, labels)["n_without_mask"] == 2
    assert evaluate(truth, labels)["ap"] == 1.0
    with pytest.raises(UserError, match=r"instances\.json: none of its 2 annotations has"):
        truth_of(tmp_path, [given, box])


def test_filled_boxes_are_the_points_tight_boxes_or_the_annotated_ones(tmp_path):
    ring = rectangle(20, 30, 50, 61) & ~rectangle(25, 35, 45, 55)
    loose = annotation(1, ring, bbox=[18, 28, 40, 40])
    box = {"id": 6, "image_id": 1, "category_id": 1, "bbox": [4.4, 4.6, 10, 10]}
    labels = filled_box_labels(read(tmp_path, [loose, box]).instances)
    assert labels[1].rle == encode_rle(rectangle(20, 30, 50, 61))
    assert labels[6].rle == encode_rle(rectangle(4, 5, 14, 15))


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [HEIGHT, WIDTH], "counts": "!!"},
        {"size": [WIDTH, HEIGHT], "counts": encode_rle(rectangle(0, 0, 9, 9).T)["counts"]},
        {"size": [HEIGHT, WIDTH], "counts": [5, 5]},
    ],
)
def test_a_label_that_does_not_fit_is_named(tmp_path, rle):
    truth = truth_of(tmp_path, [annotation(41, rectangle(0, 0, 9, 9))])
    with pytest.raises(UserError, match=r"label of annotation 41 \(1\.jpg\)"):
        evaluate(truth, {41: Prediction(rle, 1.0)})


def reference_ap(annotations, labels):
    """One COCOeval over the whole file, as anybody would call it."""
    document = json.loads(json.dumps(annotations.document))
    found = [
        {
            "image_id": instance.image.id,
            "category_id": instance.category_id,
            "segmentation": labels[instance.id].rle,
            "score": labels[instance.id].score,
        }
        for instance in annotations.instances
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = document
        coco.createIndex()
        coco_eval = COCOeval(coco, coco.loadRes(found), "segm")
        coco_eval.params.maxDets = [1, 10, 1000]
        coco_eval.evaluate()
        coco_eval.accumulate()
    precision = coco_eval.eval["precision"][:, :, :, 0, -1]  # [thresholds, recalls, categories]
    known = precision[:, :, (precision > -1).all(axis=(0, 1))]
    return known.mean(), known[0].mean(), known[5].mean()


@pytest.fixture(scope="module")
def photographs(coco_mini):
    """The annotations of real photographs, and their ground truth."""
    annotations = read_annotations(coco_mini / "annotations" / "instances_val2017.json")
    return annotations, read_ground_truth(annotations)


def test_real_photographs_filled_boxes_score_what_is_known(photographs):
    annotations, truth = photographs
    rng = np.random.default_rng(0)
    labels = {
        key: box._replace(score=float(rng.random()))
        for key, box in filled_box_labels(truth.instances).items()
    }
    figures = evaluate(truth, labels)
    assert (figures["n"], figures["n_area_1024"]) == (1161, 649)
    assert figures["miou_area_1024"] == pytest.approx(0.588, abs=0.002)
    assert (figures["n_separated"], figures["n_same_class"]) == (80, 292)
    expected = reference_ap(annotations, labels)
    assert (figures["ap"], figures["ap50"], figures["ap75"]) == pytest.approx(expected, abs=1e-6)


def test_real_photographs_perfect_labels_have_ap_one(photographs):
    _, truth = photographs
    labels = {
        instance.id: Prediction(rle, 0.5)
        for instance, rle in zip(truth.instances, truth.rles, strict=True)
    }
    figures = evaluate(truth, labels)
    assert (figures["miou"], figures["ap"], figures["share_iou_75"]) == (1.0, 1.0, 1.0)


def detection(mask, image_id=1, score=0.5, category_id=1):
    entry = annotation(1, mask, image_id, category_id, segmentation=encode_rle(mask), score=score)
    return {key: entry[key] for key in ("image_id", "category_id", "segmentation", "score")}


def test_detections_on_an_image_without_objects_are_mistakes(tmp_path):
    mask = rectangle(10, 10, 60, 60)
    truth = truth_of(tmp_path, [annotation(1, mask)])
    right, wrong = detection(mask), detection(mask, image_id=2, score=0.9)
    assert detection_ap(truth, IMAGES, [right])["ap"] == pytest.approx(1.0)
    assert detection_ap(truth, IMAGES, [right, wrong])["ap"] == pytest.approx(0.5)
    late = wrong | {"score": 0.1}
    assert detection_ap(truth, IMAGES, [right, late])["ap"] == pytest.approx(1.0)
    assert detection_ap(None, IMAGES, [right]) == dict.fromkeys(DETECTION_FIGURES)


def test_nothing_found_is_ap_zero(tmp_path):
    truth = truth_of(tmp_path, [annotation(1, rectangle(10, 10, 60, 60))])
    nothing = detection_ap(truth, IMAGES, [])
    sizes = {"ap_small": None, "ap_medium": 0.0, "ap_large": None}
    assert nothing == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0} | sizes
    names = {1: "a", 2: "b"}
    assert detection_record(truth, IMAGES, [], names)["per_category"] == {"a": 0.0, "b": None}


def test_each_category_has_its_own_ap_and_boxes_beside_masks_change_nothing(tmp_path):
    """Against COCOeval restricted to a category; a box would make the mask's area another."""
    masks = [rectangle(10, 10, 60, 60), rectangle(70, 10, 90, 30), rectangle(10, 70, 100, 85)]
    rows = [annotation(k, mask, 1, 1 + k % 2) for k, mask in enumerate(masks, start=1)]
    truth = truth_of(tmp_path, rows)
    found = [
        detection(masks[0], score=0.9, category_id=2),
        detection(rectangle(72, 10, 92, 30), score=0.8, category_id=1),
        detection(rectangle(0, 0, 30, 30), score=0.7, category_id=2),
    ]
    record = detection_record(truth, IMAGES, found, {1: "a", 2: "a"})
    each = [
        detection_ap(_only(truth, k), IMAGES, [f for f in found if f["category_id"] == k])
        for k in (1, 2)
    ]
    assert record["per_category"] == {"a (1)": each[0]["ap"], "a (2)": each[1]["ap"]}
    assert 0 < each[0]["ap"] < 1
    assert record["ap"] == pytest.approx((each[0]["ap"] + each[1]["ap"]) / 2)
    boxed = [row | {"bbox": [0, 0, 100, 100]} for row in found]
    assert detection_record(truth, IMAGES, boxed, {1: "a", 2: "a"}) == record


def _only(truth, category_id):
    chosen = [k for k, i in enumerate(truth.instances) if i.category_id == category_id]
    return dataclasses.replace(
        truth,
        instances=[truth.instances[k] for k in chosen],
        rles=[truth.rles[k] for k in chosen],
    )


def test_boxes_are_measured_as_boxes(tmp_path):
    mask = rectangle(10, 10, 60, 60)
    truth = truth_of(tmp_path, [annotation(1, mask)])
    box = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 40], "score": 1.0}  # IoU 0.8
    figures = detection_ap(truth, IMAGES, [box], "bbox")
    assert figures["ap50"] == pytest.approx(1.0)
    assert figures["ap"] == pytest.approx(0.7)  # thresholds .5 to .8 of ten
    assert figures["ap_large"] is None
