"""What a label's flags say, each with a mask that has the fault and one just short of it."""

import pathlib

import numpy as np
import pytest

from exits_jax.annotations.extreme import extreme_points, tight_box
from exits_jax.annotations.masks import decode_segmentation, encode_rle
from exits_jax.annotations.read import read_annotations
from exits_jax.annotations.records import ImageRecord, Instance
from exits_jax.export.quality import box_label, make_label

HEIGHT, WIDTH = 90, 110
BOX = (20, 10, 80, 70)


def instance(box=BOX, points="corners"):
    box = np.array(box, np.float64)
    x0, y0, x1, y1 = box
    if isinstance(points, str):
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        points = np.array([[x, y0 + 0.5], [x0 + 0.5, y], [x, y1 - 0.5], [x1 - 0.5, y]])
    image = ImageRecord(1, "a.jpg", WIDTH, HEIGHT, pathlib.Path("a.jpg"))
    source = "box" if points is None else "given"
    return Instance(5, 0, image, 1, "cat", box, points, source, 1.0)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def label_of(mask, probability=None, of=None, **options):
    probability = np.full(mask.shape, 0.8) if probability is None else probability
    return make_label(of or instance(), mask, probability, (0, 0, WIDTH, HEIGHT), **options)


def test_a_mask_that_fills_its_box_has_no_flag():
    label = label_of(rectangle(*BOX))
    assert label.flags == []
    assert (label.annotation_id, label.area, label.score) == (5, 3600, 0.8)
    assert np.array_equal(decode_segmentation(label.rle, HEIGHT, WIDTH), rectangle(*BOX))


def test_a_label_is_the_same_whatever_part_of_the_image_was_worked_on():
    rng = np.random.default_rng(0)
    mask = rectangle(*BOX) & (rng.random((HEIGHT, WIDTH)) < 0.7)
    probability = rng.random((HEIGHT, WIDTH))
    part = (slice(8, 75), slice(15, 99))
    label = make_label(instance(), mask[part], probability[part], (15, 8, 99, 75))
    assert label == label_of(mask, probability)
    assert label.score == round(float(probability[mask].mean()), 4)


@pytest.mark.parametrize(
    ("side", "short", "enough"),
    [
        ("top", (20, 14, 80, 70), (20, 13, 80, 70)),
        ("left", (24, 10, 80, 70), (23, 10, 80, 70)),
        ("bottom", (20, 10, 80, 66), (20, 10, 80, 67)),
        ("right", (20, 10, 76, 70), (20, 10, 77, 70)),
    ],
)
def test_misses_a_side_by_more_than_five_percent(side, short, enough):
    assert f"misses_{side}" in label_of(rectangle(*short)).flags
    assert label_of(rectangle(*enough)).flags == []
    other = {"top", "left", "bottom", "right"} - {side}
    assert not any(f"misses_{name}" in label_of(rectangle(*short)).flags for name in other)


def test_small_boxes_have_two_pixels_of_tolerance():
    small = instance((30, 30, 40, 40))
    assert label_of(rectangle(32, 30, 40, 40), of=small).flags == []
    flags = label_of(rectangle(33, 30, 40, 40), of=small).flags
    assert flags == ["misses_left", "misses_point_left"]


def test_misses_a_point_though_the_side_is_reached():
    mask = rectangle(20, 10, 80, 70)
    mask[10:30, 40:80] = False  # the box's top is reached at its left, the point is at x = 50
    label = label_of(mask)
    assert label.flags == ["misses_point_top"]


def test_what_lies_over_the_box_by_more_than_a_pixel_is_cut_away():
    over = label_of(rectangle(19, 9, 81, 71))
    assert over.flags == []
    assert over.area == 62 * 62
    for mask in (rectangle(18, 10, 80, 70), rectangle(20, 10, 80, 72)):
        label = label_of(mask)
        assert label.flags == ["repaired_outside_box"]
        assert label.rle == encode_rle(rectangle(*BOX))
        assert label.area == 60 * 60


def test_a_mask_wholly_outside_its_box_is_flagged():
    label = label_of(rectangle(0, 0, 10, 5))
    assert label.flags[0] == "outside_box"
    assert label.area == 50


def test_parts_and_holes_are_counted():
    mask = rectangle(*BOX)
    mask[:, 45:48] = False
    mask[30:33, 25:28] = False
    mask[20:22, 60:62] = False
    mask[89, 0] = False
    assert label_of(mask).flags == ["parts:2", "holes:2"]
    speck = rectangle(20, 10, 80, 60) | rectangle(50, 69, 51, 70)  # 1 pixel of 3001
    assert label_of(speck).flags == []


def test_box_only_empty_and_known_flags_come_first():
    label = label_of(
        rectangle(*BOX), of=instance(points=None), empty=True, known=["repaired_order"]
    )
    assert label.flags == ["repaired_order", "box_only", "empty_mask"]


def test_the_label_of_an_item_that_failed_is_its_box():
    label = box_label(instance((20.4, 10.6, 30.4, 20.6)))
    assert (label.area, label.score, label.flags) == (100, 0.0, ["item_error"])
    mask = decode_segmentation(label.rle, HEIGHT, WIDTH)
    assert tight_box(mask).tolist() == [20, 11, 30, 21]
    assert box_label(instance(points=None)).flags == ["item_error", "box_only"]


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1, np.inf])
def test_what_is_no_probability_is_refused(value):
    probability = np.full((HEIGHT, WIDTH), 0.5)
    probability[20, 30] = value
    with pytest.raises(ValueError, match="probabilities between 0 and 1"):
        label_of(rectangle(*BOX), probability)
    probability[20, 30], probability[0, 0] = 0.5, value  # not inside the mask: no matter
    assert label_of(rectangle(*BOX), probability).score == 0.5


def test_a_mask_without_a_pixel_is_refused():
    with pytest.raises(ValueError, match="annotation 5 has no pixel"):
        label_of(np.zeros((HEIGHT, WIDTH), bool))


def test_points_on_the_images_far_edge_are_found():
    whole = instance((0, 0, WIDTH, HEIGHT))
    points = np.array([[50.0, 0.0], [0.0, 40.0], [50.0, HEIGHT], [WIDTH, 40.0]])
    whole = instance((0, 0, WIDTH, HEIGHT), points)
    assert label_of(rectangle(0, 0, WIDTH, HEIGHT), of=whole).flags == []


def test_any_masks_own_box_and_points_raise_no_miss():
    rng = np.random.default_rng(1)
    for _ in range(30):
        mask = rectangle(*BOX) & (rng.random((HEIGHT, WIDTH)) < 0.1)
        of = instance(tight_box(mask), extreme_points(mask))
        flags = label_of(mask, of=of).flags
        assert not [flag for flag in flags if "miss" in flag or flag == "outside_box"]


def test_fewer_than_one_in_a_hundred_true_masks_is_flagged(coco_mini):
    annotations = read_annotations(coco_mini / "annotations" / "instances_val2017.json")
    missing = 0
    instances = annotations.instances[::3]
    for one in instances:
        segmentation = annotations.document["annotations"][one.index]["segmentation"]
        mask = decode_segmentation(segmentation, one.image.height, one.image.width)
        region = (0, 0, one.image.width, one.image.height)
        flags = make_label(one, mask, mask.astype(np.float32), region).flags
        missing += any("miss" in flag or flag == "outside_box" for flag in flags)
    assert missing < 0.01 * len(instances)


def test_an_empty_mask_and_one_of_less_than_a_pixel_have_score_0():
    empty = label_of(rectangle(*BOX), empty=True, score=0.97)
    assert (empty.score, empty.flags) == (0.0, ["empty_mask"])
    for box in ((20.2, 10, 21, 70), (20, 10.4, 80, 10.9), (30.1, 30.1, 30.6, 30.6)):
        tiny = instance(box, points=None)
        x, y = int(box[0]), int(box[1])
        label = label_of(rectangle(x, y, x + 1, y + 1), of=tiny, score=0.97)
        assert label.score == 0.0
        assert label.flags[:2] == ["box_only", "tiny_box"]
    assert label_of(rectangle(20, 10, 21, 11), of=instance((20, 10, 21, 11)), score=0.97).score
