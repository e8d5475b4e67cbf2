"""Keys that are not COCO's own: boxes that were turned, marks that nobody obeys."""

import json
import math

import pytest
from annotations_samples import document, save

from exits_jax.annotations import read_annotations
from exits_jax.annotations.check import inspect_file
from exits_jax.system.errors import UserError

ROOT = math.sqrt(0.5)


def one(**change) -> dict:
    content = document()
    content["annotations"] = [content["annotations"][0] | {"segmentation": None} | change]
    return content


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (90, [10, 0, 20, 20]),
        (-90, [10, 0, 20, 20]),
        (45, [15 - 15 * ROOT, 10 - 15 * ROOT, 15 + 15 * ROOT, 10 + 15 * ROOT]),
    ],
)
def test_turned_boxes_become_the_boxes_around_them(tmp_path, degrees, expected):
    content = one(bbox=[5, 5, 20, 10], attributes={"rotation": degrees, "occluded": False})
    read = read_annotations(save(tmp_path, content))
    box = read.instances[0].box_xyxy.tolist()
    assert box == pytest.approx([max(side, 0) for side in expected])
    assert [note.code for note in read.notes] == ["turned_box"]


@pytest.mark.parametrize(
    "change",
    [
        {"attributes": {"rotation": 0.0}},
        {"attributes": {"rotation": 180}},
        {"attributes": {"rotation": "much"}},
        {"attributes": ["rotation"]},
        {"attributes": {"rotation": 90}, "segmentation": [[5, 5, 25, 5, 24, 15, 5, 15]]},
    ],
)
def test_boxes_that_are_upright_stay(tmp_path, change):
    read = read_annotations(save(tmp_path, one(bbox=[5, 5, 20, 10], **change)))
    assert read.instances[0].box_xyxy.tolist() == [5, 5, 25, 15]
    assert read.notes == []


def test_a_mark_of_ignoring_is_told(tmp_path):
    read = read_annotations(save(tmp_path, one(bbox=[5, 5, 20, 10], ignore=1)))
    assert len(read.instances) == 1
    assert [note.code for note in read.notes] == ["ignore_mark"]
    assert read_annotations(save(tmp_path, one(bbox=[5, 5, 20, 10], ignore=0))).notes == []


def test_a_form_of_boxes_is_refused_for_shapes(tmp_path):
    shape = {"label": "a", "shape_type": "rectangle", "points": [[5, 5], [25, 15]], "flags": {}}
    content = {"shapes": [shape], "imagePath": "a.png", "imageWidth": 40, "imageHeight": 30}
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"version": "5.4.1", "flags": {}, "imageData": None} | content))
    assert read_annotations(file).instances[0].box_xyxy.tolist() == [5, 5, 25, 15]
    with pytest.raises(UserError, match=r"box_form is xyxy.* labelme say themselves"):
        read_annotations(file, box_form="xyxy")


@pytest.mark.parametrize(
    ("mode", "bbox"),
    [(0, [5, 5, 25, 15]), (1, [5, 5, 20, 10]), (2, [5 / 40, 5 / 30, 25 / 40, 15 / 30])],
)
def test_detectron2_says_how_its_boxes_are_written(tmp_path, mode, bbox):
    file = save(tmp_path, one(bbox=bbox, bbox_mode=mode))
    read = read_annotations(file)
    assert read.instances[0].box_xyxy.tolist() == pytest.approx([5, 5, 25, 15])
    row = read.document["annotations"][0]
    assert row["bbox"] == pytest.approx([5, 5, 20, 10])
    assert row["bbox_mode"] == 1  # labels carry the box in COCO's form, and say so
    assert [note.code for note in read.notes] == ["box_mode"] * (mode != 1)
    assert inspect_file(file).problems == []


def test_a_form_that_is_asked_for_wins_over_the_one_beside_a_box(tmp_path):
    file = save(tmp_path, one(bbox=[5, 5, 20, 10], bbox_mode=0))
    assert read_annotations(file, box_form="xywh").instances[0].box_xyxy.tolist() == [5, 5, 25, 15]
