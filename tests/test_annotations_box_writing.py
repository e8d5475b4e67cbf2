"""Boxes written otherwise than [x, y, width, height], and bad ones beside good masks."""

import math

import pytest
from annotations_samples import document, save

from exits_jax.annotations import read_annotations
from exits_jax.annotations.box_writing import written_box
from exits_jax.annotations.check import inspect_file
from exits_jax.system.errors import UserError

NAN = math.nan
BOX = [5, 5, 20, 10]
WRITTEN = [
    "[5, 5, 20, 10]",
    "5 5 20 10",
    "5,5,20,10",
    "(5.0, 5, 2e1, 10)",
    '{"x": 5, "y": "5", "w": 20, "h": 10}',
    {"x": 5, "y": 5, "width": 20, "height": 10},
    {"x": "5", "y": "5", "w": "20", "h": "10"},
    {"Left": 5, "Top": 5, "Width": 20, "Height": 10},
    {"xmin": 5, "ymin": 5, "xmax": 25, "ymax": 15},
    {"x_min": 5, "y_min": 5, "x_max": 25, "y_max": 15, "width": 20, "height": 10},
    {"x1": 5, "y1": 5, "x2": 25, "y2": 15},
    {"x0": 5, "y0": 5, "x1": 25, "y1": 15},
    {"left": 5, "top": 5, "right": 25, "bottom": 15},
    {"cx": 15, "cy": 10, "w": 20, "h": 10},
    [[5, 5, 20, 10]],
    [[5, 5], [25, 15]],
]


def one(**change) -> dict:
    """A file of one annotation, with a polygon in [5, 5, 20, 10]."""
    content = document()
    content["annotations"] = [content["annotations"][0] | change]
    return content


@pytest.mark.parametrize("bbox", WRITTEN, ids=str)
@pytest.mark.parametrize("with_mask", [True, False])
def test_one_box_in_every_writing(tmp_path, bbox, with_mask):
    change = {"bbox": bbox} | ({} if with_mask else {"segmentation": None})
    file = save(tmp_path, one(**change))
    found = read_annotations(file)
    assert found.instances[0].box_xyxy.tolist() == [5, 5, 25, 15]
    assert found.instances[0].points_source == ("mask" if with_mask else "box")
    assert found.document["annotations"][0]["bbox"] == BOX
    assert [note.code for note in found.notes] == ["other_box_form"]
    checked = inspect_file(file)
    assert checked.problems == []
    assert [note.code for note in checked.notes] == ["other_box_form"]


@pytest.mark.parametrize("form", ["xyxy", "xywh_percent", "xyxy_shares"])
def test_names_say_the_form_and_the_setting_the_unit(tmp_path, form):
    corners = {"xyxy": [5, 5, 25, 15], "xyxy_shares": [0.125, 1 / 6, 0.625, 0.5]}
    sides = {"xywh_percent": dict(zip("xywh", [12.5, 100 / 6, 50, 100 / 3], strict=True))}
    named = {k: dict(zip(("x1", "y1", "x2", "y2"), v, strict=True)) for k, v in corners.items()}
    content = one(bbox=(named | sides)[form], segmentation=None)
    found = read_annotations(save(tmp_path, content), box_form=form).instances[0]
    assert found.box_xyxy.tolist() == pytest.approx([5, 5, 25, 15])
    if form == "xyxy":  # without names, text and lists are in the setting's form
        content = one(bbox="5 5 25 15", segmentation=None)
        found = read_annotations(save(tmp_path, content), box_form=form).instances[0]
        assert found.box_xyxy.tolist() == [5, 5, 25, 15]


@pytest.mark.parametrize(
    "bbox",
    [
        "5 5 20",
        "5;5;20;10",
        "a b c d",
        "5,5 20,5 10,1 3,3",
        "[" * 200,
        "1 " * 200,
        {"x": 5, "y": 5},
        {"x": 15, "y": 10, "width": 20, "height": 10, "x1": 5, "y1": 5, "x2": 25, "y2": 15},
        {"x": True, "y": 5, "w": 20, "h": 10},
        [[5, 5], [25, 15], [1, 1]],
        [[5, 5, 20]],
        [[[5, 5, 20, 10]]],
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_box(tmp_path, bbox):
    assert written_box(bbox) is None
    with pytest.raises(UserError, match="annotation 11: bad_box: "):
        read_annotations(save(tmp_path, one(bbox=bbox, segmentation=None)))


def test_corners_that_may_be_corner_and_size_are_refused(tmp_path):
    with pytest.raises(UserError, match="empty_box"):
        read_annotations(save(tmp_path, one(bbox=[[15, 12], [10, 9]], segmentation=None)))


@pytest.mark.parametrize(
    ("bbox", "code"),
    [
        ([5, 5, 0, 10], "empty_box"),
        ([5, 5, 3, -1], "empty_box"),
        ([5, NAN, 3, 3], "bad_box"),
        ([None] * 4, "bad_box"),
        ("here", "bad_box"),
        ({}, "bad_box"),
        ([500, 5, 3, 3], "box_outside_image"),
    ],
    ids=str,
)
def test_a_bad_box_beside_a_good_mask_or_points_costs_the_box(tmp_path, bbox, code):
    points = [[20, 4], [10, 10], [22, 20], [30, 12]]
    for change, box in (({}, [5, 5, 25, 15]), ({"extreme_points": points}, [10, 4, 30, 20])):
        file = save(tmp_path, one(bbox=bbox, **change))
        found = read_annotations(file)
        assert found.instances[0].box_xyxy.tolist() == box
        assert found.document["annotations"][0]["bbox"] is None  # the output computes it
        assert [note.code for note in found.notes] == [code]
        assert [problem.code for problem in inspect_file(file).problems] == [code]
    for nothing in (None, [[1, 2, 3]], [[90, 90, 95, 90, 95, 95]]):
        with pytest.raises(UserError, match=f"annotation 11: {code}: "):
            read_annotations(save(tmp_path, one(bbox=bbox, segmentation=nothing)))


def test_many_bad_boxes_are_one_note(tmp_path):
    content = document()
    row = content["annotations"][0]
    content["annotations"] = [
        row | {"id": k, "image_id": 1 + k % 2, "category_id": (3, 7)[k // 2], "bbox": [0, 0, 0, k]}
        for k in range(1, 4)
    ]
    (note,) = read_annotations(save(tmp_path, content)).notes
    assert note.text.endswith("; 2 more")


@pytest.mark.parametrize("value", ["", "NaN", "null", None, NAN], ids=str)
@pytest.mark.parametrize("key", ["area", "bbox", "iscrowd"])
def test_a_missing_value_in_every_writing(tmp_path, key, value):
    file = save(tmp_path, one(**{key: value}))
    found = read_annotations(file)
    assert found.instances[0].box_xyxy.tolist() == [5, 5, 25, 15]
    assert found.instances[0].area == 200
    assert [n.code for n in found.notes] == ["plain_numbers"] * (value is not None)
    assert inspect_file(file).problems == []


@pytest.mark.parametrize("bbox", ["0 0 0 0", "[0, 0, 0, 0]", {"x": 0, "y": 0, "w": 0, "h": 0}])
def test_a_box_of_zeros_is_absent_in_any_writing(tmp_path, bbox):
    found = read_annotations(save(tmp_path, one(bbox=bbox)))
    assert found.instances[0].points_source == "mask"
    assert "zero_box" in {note.code for note in found.notes}


@pytest.mark.parametrize("bbox", [[50, 5, 20, 10], None])
def test_a_rectangle_outside_the_image_is_no_object(tmp_path, bbox):
    outside = [[50, 5, 70, 5, 70, 15, 50, 15]]
    file = save(tmp_path, one(bbox=bbox, segmentation=outside))
    with pytest.raises(UserError, match=r"annotation \d+: box_outside_image|outside the image"):
        read_annotations(file)
