"""The output documents: what stays, what changes, which readers take them."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from exits_jax.annotations import check_file
from exits_jax.annotations.masks import decode_segmentation, encode_rle
from exits_jax.annotations.read import read_annotations
from exits_jax.evaluation import box_pixels, evaluate, read_ground_truth
from exits_jax.export.export import (
    labels_of,
    pseudo_labels,
    results,
)
from exits_jax.export.quality import Label, box_label, make_label
from exits_jax.system.errors import UserError

POINTS = [[12.5, 4.5], [6.5, 10.5], [12.5, 20.5], [19.5, 9.5]]


def document():
    crowd = {"size": [40, 60], "counts": [100, 50, 2250]}
    return {
        "info": {"year": 2031, "anything": [1, None]},
        "licenses": [{"id": 3}],
        "our own key": {"kept": True},
        "images": [
            {"id": 9, "file_name": "a.jpg", "width": 60, "height": 40, "flickr_url": "kept"},
            {"id": 4, "file_name": "unused.jpg", "width": 7, "height": 7},
        ],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
        "annotations": [
            {
                "id": 77,
                "image_id": 9,
                "category_id": 18,
                "bbox": [6.1, 4.2, 13.3, 16.6],
                "extreme_points": POINTS,
                "area": 5.0,
                "segmentation": [[6, 4, 20, 4, 20, 21]],
                "note": "kept",
            },
            {"id": 5, "image_id": 9, "category_id": 18, "segmentation": crowd, "iscrowd": 1},
            {"image_id": 9, "category_id": 18, "extreme_points": POINTS},
            {"id": 6, "image_id": 9, "category_id": 18, "bbox": [1, 2, 3, 4], "iscrowd": 0},
        ],
    }


def read(tmp_path, content=None, **options):
    file = tmp_path / "in.json"
    file.write_text(json.dumps(document() if content is None else content))
    return read_annotations(file, **options)


def labels_for(annotations):
    mask = np.zeros((40, 60), bool)
    mask[5:20, 7:19] = True
    labels = {one.id: box_label(one) for one in annotations.instances}
    labels[77] = Label(77, encode_rle(mask), 180, 0.8125, ["parts:2"])
    return labels


def test_everything_but_the_mask_stays(tmp_path):
    annotations = read(tmp_path)
    before = copy.deepcopy(annotations.document)
    output = pseudo_labels(annotations.document, labels_for(annotations), annotations.instances)
    assert annotations.document == before
    assert list(output) == list(before)
    for key in ("info", "licenses", "our own key", "images", "categories"):
        assert output[key] == document()[key]
    first, crowd, third, box = output["annotations"]
    assert first == document()["annotations"][0] | {
        "segmentation": labels_for(annotations)[77].rle,
        "area": 180,
        "iscrowd": 0,
        "exits": {
            "extreme_points": POINTS,
            "extreme_points_source": "given",
            "score": 0.8125,
            "flags": ["parts:2"],
        },
    }
    assert isinstance(first["segmentation"]["counts"], str)
    assert crowd == document()["annotations"][1]
    assert third["id"] == annotations.instances[1].id
    # The pixels that the points are on, the outermost ones included.
    assert third["bbox"] == [6, 4, 14, 17]
    assert box["bbox"] == [1, 2, 3, 4]
    assert box["area"] == 12
    assert box["exits"] == {
        "extreme_points": None,
        "extreme_points_source": "box",
        "score": 0.0,
        "flags": ["item_error", "box_only"],
    }
    json.dumps(output, allow_nan=False)


def test_reading_the_output_again_gives_the_labels_and_the_same_pixels_of_boxes(tmp_path):
    annotations = read(tmp_path)
    labels = labels_for(annotations)
    output = pseudo_labels(annotations.document, labels, annotations.instances)
    assert labels_of(json.loads(json.dumps(output))) == labels
    again = read(tmp_path, output)
    for one, other in zip(annotations.instances, again.instances, strict=True):
        assert one.id == other.id
        assert box_pixels(one.box_xyxy, 40, 60) == box_pixels(other.box_xyxy, 40, 60)
        if document()["annotations"][one.index].get("bbox"):
            np.testing.assert_array_equal(one.box_xyxy, other.box_xyxy)


def test_what_reading_left_out_is_no_label(tmp_path):
    content = document()
    content["annotations"] += [
        {"id": 8, "image_id": 9, "category_id": 18, "bbox": [1, 2, -3, 4]},
        "not an annotation",
    ]
    annotations = read(tmp_path, content, on_error="skip")
    output = pseudo_labels(annotations.document, labels_for(annotations), annotations.instances)
    assert len(annotations.problems) == 2
    assert len(output["annotations"]) == 4


def test_an_instance_without_a_label_is_named(tmp_path):
    annotations = read(tmp_path)
    labels = labels_for(annotations)
    del labels[77]
    for write in (
        lambda: pseudo_labels(annotations.document, labels, annotations.instances),
        lambda: list(results(labels, annotations.instances)),
    ):
        with pytest.raises(UserError, match="1 of 3 annotations have no label, annotation 77"):
            write()


def test_pycocotools_reads_both_files(tmp_path):
    annotations = read(tmp_path)
    labels = labels_for(annotations)
    output = pseudo_labels(annotations.document, labels, annotations.instances)
    (tmp_path / "out.json").write_text(json.dumps(output))
    found = list(results(labels, annotations.instances))
    (tmp_path / "out.results.json").write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "out.json"))
        loaded = coco.loadRes(str(tmp_path / "out.results.json"))
    assert coco.annToRLE(coco.anns[77])["counts"] == labels[77].rle["counts"]
    assert [entry["score"] for entry in loaded.dataset["annotations"]] == [0.8125, 0.0, 0.0]
    # The mask's area, not the box's: that is why there is no bbox in the list.
    assert loaded.dataset["annotations"][0]["area"] == 180
    mask = decode_segmentation(found[0]["segmentation"], 40, 60)
    assert mask.sum() == 180


def test_lvis_keys_are_kept(tmp_path):
    content = document()
    for image in content["images"]:
        image |= {"neg_category_ids": [2, 3], "not_exhaustive_category_ids": [18]}
        image["coco_url"] = "http://images.cocodataset.org/train2017/" + image.pop("file_name")
    content["annotations"] = content["annotations"][:1]
    annotations = read(tmp_path, content)
    output = pseudo_labels(annotations.document, labels_for(annotations), annotations.instances)
    assert output["images"] == content["images"]
    assert output["annotations"][0]["iscrowd"] == 0


def test_labels_are_what_evaluation_takes(tmp_path):
    annotations = read(tmp_path)
    truth = read_ground_truth(annotations)
    figures = evaluate(truth, labels_for(annotations))
    assert figures["n"] == 1
    assert len(truth.crowds) == 1
    true = decode_segmentation(document()["annotations"][0]["segmentation"], 40, 60)
    found = decode_segmentation(labels_for(annotations)[77].rle, 40, 60)
    expected = (true & found).sum() / (true | found).sum()
    assert figures["miou"] == pytest.approx(expected, abs=1e-6)


def test_the_checker_agrees_with_the_flags_of_a_box_that_points_gave(tmp_path):
    """Written `bbox`es are whole pixels, points are not: both judge against the same box."""
    row = {"id": 1, "image_id": 9, "category_id": 18}
    points = {"extreme_points": [[30, 10.5], [10.5, 30], [30, 33.5], [50.5, 30]]}
    for top in (12, 13, 14):
        annotations = read(tmp_path, {**document(), "annotations": [row | points]})
        mask = np.zeros((40, 60), bool)
        mask[top:34, 10:51] = True
        label = make_label(annotations.instances[0], mask, mask.astype(float), (0, 0, 60, 40))
        output = pseudo_labels(annotations.document, {1: label}, annotations.instances)
        file = tmp_path / "labels.json"
        file.write_text(json.dumps(output))
        assert check_file(file) == []
        del output["annotations"][0]["exits"]["flags"]
        file.write_text(json.dumps(output))
        assert sorted(problem.code for problem in check_file(file)) == sorted(label.flags)
