"""Masks compared without ground truth: what counts, and when a set is worse."""

import numpy as np
import pytest

from exits_jax.annotations import encode_rle
from exits_jax.labelling.agreement import MARGIN, agreement, compare
from exits_jax.labelling.quality import Label


def label(*flags, score=0.8, filled=10):
    mask = np.zeros((20, 20), bool)
    mask[:filled, :10] = True
    return Label(1, encode_rle(mask), int(mask.sum()), score, list(flags))


def test_a_mask_without_a_flag_fits():
    found = agreement([label()])
    assert (found.points, found.sides, found.clean, found.fit) == (1.0, 1.0, 1.0, 1.0)
    assert found.score == 0.8


def test_what_is_missed_is_counted_by_fours():
    found = agreement([label("misses_top", "misses_point_top", "misses_point_left"), label()])
    assert found.sides == pytest.approx((3 / 4 + 1) / 2)
    assert found.points == pytest.approx((2 / 4 + 1) / 2)
    assert found.clean == 0.5
    assert found.fit == pytest.approx(((3 / 4 + 2 / 4 + 0) / 3 + 1) / 2)


def test_a_box_for_want_of_a_mask_fits_nothing():
    """It touches its points and sides, but not because anything was found."""
    found = agreement([label("empty_mask")])
    assert (found.points, found.sides, found.clean, found.fit) == (0.0, 0.0, 0.0, 0.0)


def test_other_flags_cost_only_cleanness():
    found = agreement([label("parts:3", "holes:2")])
    assert found.fit == pytest.approx(2 / 3)


def test_boxes_without_points_are_judged_by_their_sides():
    found = agreement([label("box_only", "misses_left")])
    assert found.points is None
    assert found.fit == pytest.approx((3 / 4 + 0) / 2)
    mixed = agreement([label("box_only"), label("misses_point_top")])
    assert mixed.points == 3 / 4
    assert agreement([label("box_only")]).clean == 1.0


def test_worse_is_by_more_than_the_margin():
    good, bad = label(), label("parts:2")  # fits by a third less
    tenth = [bad, *[good] * 9]
    assert MARGIN < 1 / 30
    assert compare(tenth, [good] * 10).worse
    assert not compare([good] * 10, tenth).worse
    assert not compare([bad, *[good] * 19], [good] * 20).worse
    assert not compare(tenth, tenth).worse


def test_overlap_is_the_mean_iou_of_the_pairs():
    found = compare([label(filled=10), label(filled=5)], [label(filled=10), label(filled=10)])
    assert found.overlap == pytest.approx((1 + 0.5) / 2)
    assert found.instances == 2


def test_both_sets_are_of_the_same_instances():
    with pytest.raises(ValueError, match="longer"):
        compare([label()], [label(), label()])
