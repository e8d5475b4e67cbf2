"""Stage 2's evidence: what the arms differ in, what is compared, what the page says."""

import json

import numpy as np
import pytest

from exits_jax.annotations import ImageRecord, Instance, decode_segmentation, read_annotations
from exits_jax.evaluation.coco_ap import detection_eval
from exits_jax.evaluation.iou import read_ground_truth
from exits_jax.system.errors import UserError
from experiments.shape_scenes import write_split
from experiments.stage2.arms import (
    ARMS,
    BOXES,
    DRAWN,
    ELLIPSES,
    MADE,
    OURS,
    TRUE,
    ellipse,
    label_file,
)
from experiments.stage2.command import run_mode
from experiments.stage2.compare import compared, mean_over_seeds, ratio, seed_deviation, value_of
from experiments.stage2.data_sets import data_sets
from experiments.stage2.detections import Found, found_by
from experiments.stage2.page import Section, page_of, text_of, verdict
from experiments.stage2.study import network_settings


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    for split in ("train", "val"):
        write_split(folder, split, 5, seed=0)
    return data_sets(folder, folder, folder)["scenes"]


def _instance(x0, y0, x1, y1):
    image = ImageRecord(1, "a.png", 40, 30, None)
    box = np.array([x0, y0, x1, y1], np.float64)
    return Instance(1, 0, image, 1, "thing", box, None, "box", 1.0)


def test_an_ellipse_touches_the_sides_of_its_box():
    mask = decode_segmentation(ellipse(_instance(5, 4, 25, 14)), 30, 40).astype(bool)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (4, 13, 5, 24)
    assert mask.sum() == pytest.approx(np.pi / 4 * 20 * 10, rel=0.02)
    assert (mask[4:14] == mask[4:14][::-1]).all()
    y, x = np.argwhere(mask).T + 0.5
    assert (((x - 15) / 10) ** 2 + ((y - 9) / 5) ** 2).max() <= 1


def test_an_ellipse_without_a_pixel_centre_stands_for_its_box():
    mask = decode_segmentation(ellipse(_instance(5.6, 4.6, 6.4, 5.4)), 30, 40)
    assert mask.sum() == 1


@pytest.mark.parametrize("labels", [BOXES, ELLIPSES])
def test_only_the_masks_of_an_arm_are_other_ones(labels, scenes, tmp_path):
    path = label_file(tmp_path, scenes, labels)
    true, ours = (json.loads(file.read_text()) for file in (scenes.train, path))
    assert ours["images"] == true["images"]
    assert ours["categories"] == true["categories"]
    for row, before in zip(ours["annotations"], true["annotations"], strict=True):
        same = ("id", "image_id", "category_id", "bbox", "iscrowd", "extreme_points")
        assert {key: row[key] for key in same} == {key: before[key] for key in same}
        mask = decode_segmentation(row["segmentation"], 160, 160)
        truth = decode_segmentation(before["segmentation"], 160, 160)
        assert row["area"] == mask.sum()
        share = mask.sum() / (before["bbox"][2] * before["bbox"][3])
        assert share == pytest.approx(1 if labels == BOXES else np.pi / 4, abs=0.06)
        assert (labels != BOXES) or (mask >= truth).all()


def test_every_arm_has_labels_that_are_made_somehow(scenes, tmp_path):
    assert {arm.labels for arm in ARMS.values()} == {TRUE, *MADE, *DRAWN}
    assert label_file(tmp_path, scenes, TRUE) == scenes.train


def test_other_settings_are_other_runs():
    plain, person = (
        network_settings(f"configs/solov2_mini.py{variant}") for variant in ("", ":person")
    )
    assert plain["classes"] == ("*",)
    assert person["classes"] == ("person", "*")
    assert plain | {"classes": ()} == person | {"classes": ()}


def test_a_mode_that_fails_says_where_and_what(tmp_path):
    said = r"run\.log: --mode=label ended with status 2: error: .*no_such"
    with pytest.raises(UserError, match=said):
        run_mode("label", tmp_path / "run", {"label.no_such": 1}, config="configs/own.py")


def test_perfect_detections_have_ap_one_in_every_set(scenes):
    annotations = read_annotations(scenes.val, scenes.val_images)
    truth = read_ground_truth(annotations)
    found = [
        {"image_id": i.image.id, "category_id": i.category_id, "score": 0.5, "segmentation": rle}
        for i, rle in zip(truth.instances, truth.rles, strict=True)
    ]
    measured = found_by(detection_eval(truth, annotations.images, found), 20)
    np.testing.assert_allclose(measured.ap, 1)
    assert measured.sizes["small"] == pytest.approx(1)
    assert np.isnan(measured.sizes["large"])
    half = found_by(detection_eval(truth, annotations.images, found[::2]), 20)
    assert half.ap[0] < 0.9
    category = truth.instances[0].category_id
    one = [row for row in found if row["category_id"] == category]
    measured = detection_eval(truth, annotations.images, one)
    assert found_by(measured, 5, category).ap[0] == pytest.approx(1)
    assert found_by(measured, 5).ap[0] < 0.5


def _arm(*seeds):
    """Networks whose AP in each of some sets of images is this."""
    return {n: Found(np.tile(np.array(ap)[:, None], (1, 10)), {}) for n, ap in enumerate(seeds)}


def test_arms_are_compared_on_the_same_sets_and_seeds():
    true, ours = _arm([0.5, 0.4, 0.6], [0.7, 0.6, 0.8]), _arm([0.3, 0.2, 0.4])
    assert mean_over_seeds(true).tolist() == pytest.approx([0.6, 0.5, 0.7])
    assert seed_deviation(true) == pytest.approx(0.1 * 2**0.5)
    less = compared(ours, true, np.subtract, "ap")  # of seed 0 alone, which both have
    assert less == pytest.approx((-0.2, -0.2, -0.2))
    assert less.is_outside()
    share = compared(ours, true, ratio, "ap50")
    assert share.value == pytest.approx(0.6)
    assert share.low == pytest.approx(0.5 + 0.025 * (0.4 / 0.6 - 0.5))
    assert compared(ours, {7: true[0]}, np.subtract, "ap") is None
    assert not value_of(np.array([0.1, -0.1, 0.2])).is_outside()


@pytest.mark.parametrize(("ours", "place"), [(0.5, "below"), (0.97, "around"), (0.995, "above")])
def test_the_page_says_whether_the_goal_is_met(ours, place):
    rng = np.random.default_rng(0)
    true = 0.6 + 0.01 * rng.normal(size=(2, 200))
    arms = {TRUE: _arm(*true), OURS: _arm(*(true * ours + 0.001 * rng.normal(size=(2, 200))))}
    arms[BOXES] = _arm(*(true * 0.4))
    said = verdict(arms)
    assert f"the interval lies {place} the goal of 0.97" in said
    assert "over filled boxes is beyond chance: AP +" in said


def test_an_arm_like_boxes_is_not_said_to_beat_them():
    rng = np.random.default_rng(0)
    arms = {OURS: _arm(0.5 + 0.01 * rng.normal(size=200)), BOXES: _arm(np.full(200, 0.5))}
    assert "is not beyond chance" in verdict(arms)


def test_nothing_is_claimed_where_nothing_is_found():
    nothing = _arm(np.zeros(20))
    assert str(compared(nothing, nothing, ratio, "ap")) == "n/a"
    assert verdict({TRUE: nothing, OURS: nothing}) == ""


def test_the_page_has_a_row_for_every_arm():
    sizes = {"small": 0.1, "medium": 0.2, "large": float("nan")}
    arms = {
        arm: {seed: Found(np.full((4, 10), ap), sizes) for seed in (0, 1)}
        for arm, ap in ((TRUE, 0.8), (OURS, 0.6), (BOXES, 0.4))
    }
    labels = {OURS: {"miou": "0.91"}, BOXES: {"miou": "0.52"}}
    section = Section("scenes", "Scenes", arms, labels, 3.0)
    text = text_of(section)
    row = next(line for line in text.splitlines() if line.startswith("| ours, not trained |"))
    assert "| 0.910 | 0.600 (0.600 to 0.600) | 0.000 |" in row
    assert "| 0.100 | 0.200 | n/a | -0.200 (-0.200 to -0.200) | 0.750 (0.750 to 0.750) |" in row
    assert "| ours, not trained minus filled boxes | +0.200 (+0.200 to +0.200) |" in text
    page = page_of([section], command="python", samples=3, machines="a machine")
    assert "the same seeds (0, 1)" in page
    assert "3 minutes" in page
