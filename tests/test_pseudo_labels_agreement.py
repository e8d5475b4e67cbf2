"""Masks compared without ground truth: what counts, and when a set is worse."""

import dataclasses

import numpy as np
import pytest

from exits_jax.annotations import ImageRecord, Instance, encode_rle
from exits_jax.export.quality import Label
from exits_jax.pseudo_labels import agreement as module
from exits_jax.pseudo_labels.agreement import FULL, MARGIN

IMAGE = ImageRecord(1, "a.png", 20, 20, None)
POINTS = np.array([[5.0, 0.5], [0.5, 5.0], [5.0, 9.5], [9.5, 5.0]])
BOX = np.array([0.0, 0.0, 10.0, 10.0])
INSTANCE = Instance(1, 0, IMAGE, 1, "cat", BOX, POINTS, "given", 80.0)


def label(*flags, score=0.8, rows=8):
    """A mask of so many of its box's ten rows."""
    mask = np.zeros((20, 20), bool)
    mask[:rows, :10] = True
    return Label(1, encode_rle(mask), int(mask.sum()), score, list(flags))


def agreement(labels, points=POINTS):
    instance = dataclasses.replace(INSTANCE, points_xy=points)
    return module.agreement([instance] * len(labels), labels)


def compare(one, other):
    return module.compare([INSTANCE] * len(one), one, other)


def test_a_mask_without_a_flag_fits():
    found = agreement([label()])
    assert (found.points, found.sides, found.clean, found.shaped) == (1.0, 1.0, 1.0, 1.0)
    assert found.fit == 1.0
    assert found.score == 0.8


def test_what_is_missed_is_counted_by_fours():
    found = agreement([label("misses_top", "misses_point_top", "misses_point_left"), label()])
    assert found.sides == pytest.approx((3 / 4 + 1) / 2)
    assert found.points == pytest.approx((2 / 4 + 1) / 2)
    assert found.clean == 0.5
    assert found.fit == pytest.approx(((3 / 4 + 2 / 4 + 0 + 1) / 4 + 1) / 2)


def test_a_box_for_want_of_a_mask_fits_nothing():
    """It touches its points and sides, but not because anything was found."""
    found = agreement([label("empty_mask", rows=10)])
    assert (found.points, found.sides, found.clean, found.shaped) == (0.0, 0.0, 0.0, 0.0)
    assert found.fit == 0.0


def test_a_filled_box_is_no_shape():
    """Without a flag it comes near every point and reaches every side."""
    assert agreement([label(rows=10)]).fit == 3 / 4
    assert agreement([label(rows=round(10 * FULL))]).shaped == 0.0
    assert agreement([label(rows=round(10 * FULL) - 1)]).shaped == 1.0


def test_other_flags_cost_only_cleanness():
    found = agreement([label("parts:3", "holes:2")])
    assert found.fit == 3 / 4


def test_boxes_without_points_are_judged_by_the_rest():
    found = agreement([label("box_only", "misses_left")], points=None)
    assert found.points is None
    assert found.fit == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert agreement([label("box_only")], points=None).clean == 1.0
    boxed = dataclasses.replace(INSTANCE, points_xy=None)
    pair = [label("box_only"), label("misses_point_top")]
    mixed = module.agreement([boxed, INSTANCE], pair)
    assert mixed.points == 3 / 4
    assert mixed.fit == pytest.approx((1 + (3 / 4 + 1 + 0 + 1) / 4) / 2)


def test_worse_is_by_more_than_the_margin():
    good, bad = label(), label("parts:2")  # fits by a quarter less
    assert 1 / 40 < MARGIN < 1 / 28
    seventh = [bad, *[good] * 6]
    assert compare(seventh, [good] * 7).worse
    assert not compare([good] * 7, seventh).worse
    assert not compare([bad, *[good] * 9], [good] * 10).worse
    assert not compare(seventh, seventh).worse
    assert compare([label(rows=10)] * 7, [good] * 7).worse
    assert compare([label("empty_mask", rows=10)], [bad]).worse


def test_overlap_is_the_mean_iou_of_the_pairs():
    found = compare([label(rows=8), label(rows=4)], [label(rows=8), label(rows=8)])
    assert found.overlap == pytest.approx((1 + 0.5) / 2)
    assert found.instances == 2


def test_both_sets_are_of_the_same_instances():
    with pytest.raises(ValueError, match="longer"):
        compare([label()], [label(), label()])
