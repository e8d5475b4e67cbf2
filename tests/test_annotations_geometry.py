"""Geometry nobody can mean: found by the check, refused or left out by reading, from one code."""

import json
import re

import numpy as np
import pytest
from annotations_samples import save

from exits_jax.annotations import check_file, read_annotations
from exits_jax.annotations.geometry import box_iou, points_fit
from exits_jax.system.errors import UserError

WIDTH, HEIGHT = 640, 480
RNG = np.random.default_rng(5)
LOW = RNG.uniform(0, [400, 300], (16, 2)).round()
SIZE = RNG.uniform([40, 40], [240, 180], (16, 2)).round()
BOXES = np.concatenate([LOW, SIZE], axis=1)  # true [x, y, width, height]
# Larger ones, all over the image, as those of photographs are.
LOW = RNG.uniform(0, [400, 240], (24, 2)).round()
WIDE = np.concatenate([LOW, (([WIDTH, HEIGHT] - LOW) * RNG.uniform(0.5, 1, (24, 2))).round()], 1)


def star(box) -> list[float]:
    """A polygon of eight corners that touches the four sides of a box."""
    x, y, width, height = box
    angle = np.arange(8) * np.pi / 4
    radius = np.array([1, 0.4] * 4)
    middle, half = np.array([x + width / 2, y + height / 2]), np.array([width, height]) / 2
    rays = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    return (middle + rays * half).ravel().tolist()


def rectangle(box) -> list[list[float]]:
    x, y, width, height = box.tolist()
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def points(box) -> list[list[float]]:
    x, y, width, height = box
    return [
        [x + width * 0.4, y], [x, y + height * 0.7], [x + width * 0.6, y + height],
        [x + width, y + height * 0.3],
    ]  # fmt: skip


def content_of(boxes, **extra) -> dict:
    """A file of `boxes`; `extra` gives a value by annotation from the true box."""
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": k + 1, "image_id": 1, "category_id": 1, "bbox": list(map(float, box))}
            | {key: make(BOXES[k]) for key, make in extra.items()}
            for k, box in enumerate(boxes)
        ],
    }


def forms(boxes=BOXES) -> dict[str, np.ndarray]:
    x, y, width, height = boxes.T
    right, below = x + width, y + height
    pixels = {  # columns by name, and which axis each is of
        "xyxy": ([x, y, right, below], "xyxy"),
        "cxcywh": ([x + width / 2, y + height / 2, width, height], "xyxy"),
        "xywh_from_below": ([x, HEIGHT - below, width, height], "xyxy"),
        "yxyx": ([y, x, below, right], "yxyx"),
        "yxhw": ([y, x, height, width], "yxyx"),
        "xxyy": ([x, right, y, below], "xxyy"),
        "xywh": (boxes.T, "xyxy"),
    }
    units = {"": 0, "_shares": 1, "_percent": 100, "_thousandths": 1000}
    sides = {"x": WIDTH, "y": HEIGHT}
    found = {}
    for name, (columns, axes) in pixels.items():
        size = np.array([sides[axis] for axis in axes])
        for suffix, side in units.items():
            found[name + suffix] = np.stack(columns, axis=1) * (side / size if side else 1)
    del found["xywh"]
    return found


EVIDENCE = {"segmentation": lambda box: [star(box)], "extreme_points": points}


@pytest.mark.parametrize("form", forms())
@pytest.mark.parametrize("beside", ["segmentation", "extreme_points"])
def test_a_file_of_boxes_in_another_form_is_refused_and_read_by_the_setting(tmp_path, form, beside):
    file = save(tmp_path, content_of(forms()[form], **{beside: EVIDENCE[beside]}))
    # These boxes fit their images either way, so their masks may be what is exchanged.
    code = "xy_exchanged" if form == "yxhw" else f"boxes_{form}"
    for on_error in ("stop", "skip"):
        with pytest.raises(UserError, match=f"{code}: ") as caught:
            read_annotations(file, on_error=on_error)
        assert f"--config.data.box_form={form}" in str(caught.value)
    assert check_file(file)[0].code == code
    found = read_annotations(file, box_form=form)
    for instance, (x, y, width, height) in zip(found.instances, BOXES, strict=True):
        np.testing.assert_allclose(instance.box_xyxy, [x, y, x + width, y + height], atol=1e-9)
        assert found.document["annotations"][instance.index]["bbox"] == pytest.approx(
            [x, y, width, height]
        )


@pytest.mark.parametrize("beside", ["segmentation", "extreme_points"])
def test_boxes_that_only_fit_exchanged_are_what_is_exchanged(tmp_path, beside):
    make = {"segmentation": lambda box: [star(box)], "extreme_points": points}[beside]
    content = content_of(forms(WIDE)["yxhw"])
    for annotation, box in zip(content["annotations"], WIDE, strict=True):
        annotation[beside] = make(box)
    file = save(tmp_path, content)
    assert check_file(file)[0].code == "boxes_yxhw"
    assert len(read_annotations(file, box_form="yxhw").instances) == 24


def test_a_rectangle_beside_a_box_of_another_form_tells_it(tmp_path):
    """Converters write the box as a polygon, too: one of the two is right."""
    for form in ("xyxy", "cxcywh"):
        file = save(tmp_path, content_of(forms()[form], segmentation=rectangle))
        assert check_file(file)[0].code == f"boxes_{form}"
    file = save(tmp_path, content_of(BOXES, segmentation=rectangle))
    assert check_file(file) == []


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ([600, 100, 100, 50], "box_outside_image"),
        ([-70, 100, 100, 50], "box_outside_image"),
        ([580, 400, 100, 130], "box_outside_image"),  # a corner of it is inside
        ([560, 100, 100, 50], "box_over_border"),
        ([-30, -10, 100, 50], "box_over_border"),
    ],
    ids=str,
)
def test_a_box_mostly_outside_is_not_labelled(tmp_path, box, code):
    content = content_of(BOXES)
    content["annotations"][3]["bbox"] = box
    file = save(tmp_path, content)
    assert [(p.code, p.annotation_id) for p in check_file(file)] == [(code, 4)]
    left = read_annotations(file, on_error="skip")
    assert len(left.instances) == (15 if code == "box_outside_image" else 16)
    if code == "box_outside_image":
        assert "lies beyond the border" in read_refused(file)


@pytest.mark.parametrize("form", [name for name in forms() if "from_below" not in name])
def test_boxes_alone_are_judged_by_their_images(tmp_path, form):
    """Several forms may fit the images: all are named."""
    file = save(tmp_path, content_of(forms(WIDE)[form]))
    problem = check_file(file)[0]
    alike = {form, form.replace("yxyx", "xyxy").replace("yxhw", "xywh")}
    assert problem.code in {f"boxes_{name}" for name in alike}
    assert re.search(rf"box_form=[^)]*\b{form}\b", problem.text)
    with pytest.raises(UserError, match=problem.code):
        read_annotations(file, on_error="skip")
    assert len(read_annotations(file, box_form=form).instances) == 24


def test_boxes_of_larger_images_may_be_that_and_no_thousandths(tmp_path):
    content = content_of(1.6 * WIDE)
    text = check_file(save(tmp_path, content))[0].text
    assert "images of another size" in text


def test_thousandths_on_large_images_may_be_that_and_no_corners(tmp_path):
    low, high = WIDE[:, :2], WIDE[:, :2] + WIDE[:, 2:]
    corners = np.concatenate([low, high], axis=1) / ([WIDTH, HEIGHT] * 2) * 1000
    content = content_of(corners)
    content["images"][0].update(width=1280, height=1024)
    text = check_file(save(tmp_path, content))[0].text
    assert "--config.data.box_form=xyxy (" in text
    assert "box_form=xyxy_thousandths" in text


def test_exchanged_sizes_of_images_look_like_exchanged_boxes(tmp_path):
    content = content_of(forms(WIDE)["yxhw"])
    assert "or the widths and heights of the images are exchanged: compare them" in read_refused(
        save(tmp_path, content)
    )
    for image in content["images"]:
        image["width"], image["height"] = image["height"], image["width"]
    content["annotations"] = content_of(WIDE)["annotations"]
    assert "or the widths and heights of the images are exchanged: compare them" in read_refused(
        save(tmp_path, content)
    )


@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0, 4.0])
def test_boxes_of_a_resized_image_are_refused(tmp_path, scale):
    file = save(tmp_path, content_of(BOXES / scale, segmentation=lambda box: [star(box)]))
    with pytest.raises(UserError, match=rf"boxes_scaled: .*multiplied by {scale:g}"):
        read_annotations(file, on_error="skip")


def test_right_boxes_are_right_in_every_company(tmp_path):
    for extra in ({}, {"segmentation": lambda box: [star(box)]}, {"extreme_points": points}):
        file = save(tmp_path, content_of(BOXES, **extra))
        assert check_file(file) == []
        assert len(read_annotations(file).instances) == 16


def test_a_single_box_off_its_mask_is_refused_or_left_out(tmp_path):
    boxes = BOXES.copy()
    boxes[3, :2] += boxes[3, 2:] * 0.8
    file = save(tmp_path, content_of(boxes, segmentation=lambda box: [star(box)]))
    assert [(p.code, p.annotation_id) for p in check_file(file)] == [("box_off_mask", 4)]
    with pytest.raises(UserError, match=r"annotation 4: box_off_mask: .*IoU"):
        read_annotations(file)
    found = read_annotations(file, on_error="skip")
    assert [instance.id for instance in found.instances] == [k for k in range(1, 17) if k != 4]


def test_a_mask_beside_points_is_seen_by_the_check_alone(tmp_path):
    """It is the truth to measure against: what is labelled must not depend on it."""
    content = content_of(BOXES, extreme_points=points, segmentation=lambda box: [star(box)])
    clean = read_annotations(save(tmp_path, content)).instances
    content["annotations"][3]["segmentation"] = [star([500, 400, 60, 60])]
    file = save(tmp_path, content)
    found = read_annotations(file)
    assert found.notes == []
    for one, other in zip(found.instances, clean, strict=True):
        np.testing.assert_array_equal(one.points_xy, other.points_xy)
    assert [(p.code, p.annotation_id) for p in check_file(file)] == [("box_off_mask", 4)]


def test_a_box_a_little_off_its_mask_is_said_and_labelled(tmp_path):
    boxes = BOXES.copy()
    boxes[3] += [0, 0, 0.2 * boxes[3, 2], 0]
    file = save(tmp_path, content_of(boxes, segmentation=lambda box: [star(box)]))
    assert [(p.code, p.annotation_id) for p in check_file(file)] == [("box_off_mask", 4)]
    found = read_annotations(file)
    assert len(found.instances) == 16
    assert [note.code for note in found.notes] == ["box_off_mask"]


@pytest.mark.parametrize(("off", "severe"), [(0.0, None), (0.12, False), (0.4, True)])
def test_points_off_their_box(tmp_path, off, severe):
    content = content_of(BOXES, extreme_points=points)
    content["annotations"][2]["extreme_points"][3][0] -= off * BOXES[2, 2]
    file = save(tmp_path, content)
    assert [p.code for p in check_file(file)] == ([] if severe is None else ["point_off_box"])
    left = read_annotations(file, on_error="skip").instances
    assert len(left) == (15 if severe else 16)


def test_points_with_x_and_y_exchanged_are_refused(tmp_path):
    content = content_of(BOXES, extreme_points=lambda box: [p[::-1] for p in points(box)])
    file = save(tmp_path, content)
    line = read_refused(file)
    assert line.startswith(f"{file}: xy_exchanged: ")
    assert line.endswith("or x and y are exchanged in the masks or points: correct those")
    assert check_file(file)[0].code == "xy_exchanged"


@pytest.mark.parametrize("count", [16, 5])
def test_points_in_shares_beside_boxes_in_pixels_are_said_once(tmp_path, count):
    content = content_of(BOXES)
    for annotation, box in list(zip(content["annotations"], BOXES, strict=True))[:count]:
        annotation["extreme_points"] = (np.array(points(box)) / [WIDTH, HEIGHT]).tolist()
    file = save(tmp_path, content)
    line = read_refused(file)
    assert line.startswith(f"{file}: shares_for_pixels: the masks or points beside {count} boxes")
    assert line.endswith("they are read as pixels, not as shares; multiply them")
    assert check_file(file)[0].code == "shares_for_pixels"
    # Where one is not, each is judged by itself.
    content["annotations"][2]["extreme_points"] = points(BOXES[2])
    assert {p.code for p in check_file(save(tmp_path, content))} == {"point_off_box"}


def read_refused(file) -> str:
    with pytest.raises(UserError) as caught:
        read_annotations(file)
    return str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [
        {"extreme_points": lambda box: (np.array(points(box)) / [WIDTH, HEIGHT]).tolist()},
        {"segmentation": lambda box: [(np.array(star(box)) / ([WIDTH, HEIGHT] * 8)).tolist()]},
    ],
    ids=["points", "polygons"],
)
def test_shares_for_pixels_without_boxes(tmp_path, extra):
    content = content_of(BOXES, **extra)
    for annotation in content["annotations"]:
        annotation["bbox"] = None
    file = save(tmp_path, content)
    if "extreme_points" in extra:
        assert "shares_for_pixels" in read_refused(file)
        assert check_file(file)[0].code == "shares_for_pixels"
    else:
        assert "shares of the image" in read_refused(file)  # such polygons cover no pixel
        for annotation, box in zip(content["annotations"], BOXES.tolist(), strict=True):
            annotation["bbox"] = box
        found = read_annotations(save(tmp_path, content))
        assert {instance.points_source for instance in found.instances} == {"box"}
        assert found.notes[0].text.endswith("15 more")


def test_the_refusal_sums_up_in_one_line(tmp_path):
    content = content_of(BOXES)
    for annotation in content["annotations"][:5]:
        annotation["bbox"][0] += 1000
    content["annotations"][9]["category_id"] = 8
    line = read_refused(save(tmp_path, content))
    assert "\n" not in line
    assert "annotation 1: box_outside_image" in line
    assert "6 problems in all with 16 annotations: 5 box_outside_image, 1 absent_category" in line
    assert "data.on_error=skip" in line


@pytest.mark.parametrize(("move", "found"), [(1.5, True), (0.0, True), (40.0, False)])
def test_one_object_annotated_twice(tmp_path, move, found):
    moved = BOXES[:4] + np.array([move, move / 2, 0, 0])
    twice = np.concatenate([BOXES[:4], moved])
    content = content_of(BOXES[:4])
    content["annotations"] = [
        {"id": k + 1, "image_id": 1, "category_id": 1, "bbox": box.tolist()}
        for k, box in enumerate(twice)
    ]
    file = save(tmp_path, content)
    problems = check_file(file)
    assert [p.code for p in problems] == ["near_duplicate"] * 4 * found
    if found:
        assert problems[0].annotation_id == 5
        assert "annotation 1," in problems[0].text
    for annotation in content["annotations"][4:]:
        annotation["category_id"] = 2
    content["categories"].append({"id": 2, "name": "b"})
    assert check_file(save(tmp_path, content)) == []
    assert len(read_annotations(file).instances) == 8


@pytest.mark.parametrize(("shift", "found"), [(0.05, True), (0.12, False)])
def test_neighbours_of_one_size_are_no_duplicates(tmp_path, shift, found):
    """Side by side at .79 of IoU they are two; nearer ones are, unless their masks tell."""
    moved = BOXES[:4] + np.concatenate([BOXES[:4, 2:] * [shift, 0], np.zeros((4, 2))], axis=1)
    content = content_of(np.concatenate([BOXES[:4], moved]))
    assert [p.code for p in check_file(save(tmp_path, content))] == ["near_duplicate"] * 4 * found
    for half, boxes in enumerate((BOXES[:4], moved)):  # triangles above and below a diagonal
        for k, (x, y, width, height) in enumerate(boxes.tolist()):
            third = [x, y + height] if half else [x + width, y]
            polygon = [x, y, x + width, y + height, *third]
            content["annotations"][4 * half + k]["segmentation"] = [polygon]
    assert check_file(save(tmp_path, content)) == []


def test_box_iou_by_definition():
    first = np.array([[0.0, 0, 10, 10], [0, 0, 1, 1], [2, 2, 2, 2]])
    second = np.array([[5.0, 0, 15, 10], [5, 5, 6, 6], [2, 2, 2, 2]])
    np.testing.assert_allclose(box_iou(first, second), [1 / 3, 0, 0])


@pytest.mark.parametrize("scale", [0.1, 1, 4])
def test_keypoints_that_are_the_extreme_points_of_a_box(scale):
    box = np.array([100.0, 100, 200, 300]) * scale
    right = np.array([[150.0, 100], [100, 200], [150, 300], [200, 200]]) * scale
    allowed = min(max(10 * scale, 1), 5) * 0.99
    assert points_fit(right, box)
    assert points_fit(right + allowed, box)
    assert not points_fit(right + np.array([0, allowed * 2.1]), box)
    slanted = np.array([[199.0, 100], [100, 101], [101, 300], [200, 299]]) * scale
    assert not points_fit(slanted, box)  # the corners of a plate
    turned = np.array([[170.0, 100], [100, 160], [130, 300], [200, 240]]) * scale
    assert points_fit(turned, box)


def test_nothing_is_said_of_real_photographs(coco_mini):
    file = coco_mini / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        annotation.pop("segmentation")
        annotation["iscrowd"] = 0
    assert check_file(file) == []


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize("beside", [{}, {"segmentation": lambda box: [star(box)]}])
def test_numbers_at_the_end_of_floats_are_no_warning(tmp_path, side, beside):
    content = content_of(BOXES, **beside)
    content["annotations"][0]["bbox"][side] = 1e308
    content["annotations"][1]["bbox"][side] = -1e308
    left = read_annotations(save(tmp_path, content), on_error="skip").instances
    assert {instance.id for instance in left} >= set(range(3, 17))
    assert {problem.annotation_id for problem in check_file(save(tmp_path, content))} == {1, 2}
