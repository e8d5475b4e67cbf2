"""Extreme points: closed forms, ties, the 2 % rule, order and click noise."""

import itertools

import numpy as np
import pytest
from annotations_samples import disc
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exits_jax.annotations import extreme_points, jitter_points, order_points, tight_box
from exits_jax.annotations.extreme import complete_points
from exits_jax.system.errors import UserError


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_one_pixel_is_all_four_points():
    mask = np.zeros((5, 7), bool)
    mask[3, 2] = True
    np.testing.assert_array_equal(extreme_points(mask), [[2.5, 3.5]] * 4)
    np.testing.assert_array_equal(tight_box(mask), [2, 3, 3, 4])


def test_the_median_pixel_is_taken_the_lower_of_two():
    mask = mask_of(
        "..####..",
        ".######.",
        "########",
        "########",
        ".#.#....",
    )
    # top: columns 2..5 -> 3; left and right: rows 2, 3 -> 2; bottom: columns 1, 3 -> 1
    np.testing.assert_array_equal(
        extreme_points(mask), [[3.5, 0.5], [0.5, 2.5], [1.5, 4.5], [7.5, 2.5]]
    )


def test_median_ignores_gaps_between_the_extremal_pixels():
    mask = mask_of("##......#", "#########")
    assert extreme_points(mask)[0].tolist() == [1.5, 0.5]


@pytest.mark.parametrize("rule", ["exact", "extremenet"])
def test_empty_mask_is_a_value_error(rule):
    with pytest.raises(ValueError, match="empty"):
        extreme_points(np.zeros((3, 3), bool), rule)


def test_unknown_rule():
    with pytest.raises(UserError, match="'nearest'"):
        extreme_points(np.ones((3, 3), bool), "nearest")


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
@settings(max_examples=60, deadline=None)
def test_points_lie_on_the_mask_and_touch_the_tight_box(mask):
    if not mask.any():
        mask = ~mask
    x0, y0, x1, y1 = tight_box(mask)
    for rule in ("exact", "extremenet"):
        points = extreme_points(mask, rule)
        columns, rows = np.floor(points).astype(int).T
        assert mask[rows, columns].all()
        # Under 50 pixels the 2 % band is one pixel deep, so both rules are on the border.
        assert (points[0, 1], points[1, 0]) == (y0 + 0.5, x0 + 0.5)
        assert (points[2, 1], points[3, 0]) == (y1 - 0.5, x1 - 0.5)


def test_extremenet_follows_a_nearly_flat_side():
    mask = np.zeros((120, 60), bool)
    mask[2:110, 10:50] = True
    mask[0:2, 10:20] = True  # the outermost pixels, 2 of 110 rows: within 2 %
    exact, middle = extreme_points(mask), extreme_points(mask, "extremenet")
    assert exact[0].tolist() == [14.5, 0.5]
    assert middle[0].tolist() == [29.5, 2.5]  # the middle of columns 10..49, on the outline


def test_extremenet_does_not_jump_to_another_bump():
    mask = np.zeros((100, 60), bool)
    mask[10:, :] = True
    mask[0:10, 5:10] = True
    mask[1:10, 40:50] = True  # as high, but not connected within the band
    assert extreme_points(mask, "extremenet")[0].tolist() == [7.5, 0.5]


@pytest.mark.parametrize("rule", ["exact", "extremenet"])
def test_a_transposed_mask_gives_transposed_points(rule):
    mask = disc(13.3, 15.1, 8.2)
    top, left, bottom, right = extreme_points(mask, rule)
    np.testing.assert_array_equal(
        extreme_points(mask.T.copy(), rule), [left[::-1], top[::-1], right[::-1], bottom[::-1]]
    )


def test_any_order_gives_the_same_roles():
    ordered = np.array([[20.0, 4], [10, 10], [22, 20], [30, 12]])
    for permutation in itertools.permutations(range(4)):
        np.testing.assert_array_equal(order_points(ordered[list(permutation)]), ordered)


def test_corners_of_a_box_fill_one_role_each_in_any_order():
    corners = np.array([[0.0, 0], [4, 0], [4, 3], [0, 3]])
    results = [order_points(corners[list(p)]) for p in itertools.permutations(range(4))]
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    assert len({tuple(point) for point in results[0].tolist()}) == 4
    assert (results[0][0, 1], results[0][1, 0]) == (0, 0)
    assert (results[0][2, 1], results[0][3, 0]) == (3, 4)


def test_one_point_may_fill_two_roles():
    # (0, 0) is both the top and the left of a triangle; (2, 1) is nothing.
    points = np.array([[2.0, 1], [0, 0], [9, 4], [3, 8]])
    np.testing.assert_array_equal(order_points(points), [[0, 0], [0, 0], [3, 8], [9, 4]])


@given(hnp.arrays(np.float64, (4, 2), elements=st.integers(0, 3).map(float)))
@settings(max_examples=80, deadline=None)
def test_every_role_is_filled_by_an_extremal_point(points):
    top, left, bottom, right = order_points(points)
    assert (top[1], left[0]) == (points[:, 1].min(), points[:, 0].min())
    assert (bottom[1], right[0]) == (points[:, 1].max(), points[:, 0].max())


def test_click_noise_has_its_sigma_and_stays_inside():
    points = np.full((4, 2), 500.0)
    bounds = np.array([0.0, 0, 1000, 1000])
    rng = np.random.default_rng(0)
    moved = np.stack([jitter_points(points, bounds, 5.0, rng) for _ in range(500)]) - points
    assert abs(moved.std() - 5.0) < 0.3
    assert abs(moved.mean()) < 0.3
    wild = jitter_points(points, bounds, 1e5, rng)
    assert wild.min() >= 0
    assert wild.max() <= 1000


def test_missing_points_become_the_middles_of_their_sides():
    box = np.array([10.0, 0.0, 50.0, 20.0])
    four = np.array([[20.0, 0.0], [10.0, 5.0], [30.0, 20.0], [50.0, 18.0]])
    np.testing.assert_array_equal(complete_points(four, box), four)
    np.testing.assert_array_equal(complete_points(four[[2, 0, 1]], box), [*four[:3], [50, 10]])
    expected = [[30, 0], four[1], [30, 20], [50, 10]]
    np.testing.assert_array_equal(complete_points(four[[1]], box), expected)


def test_no_side_gets_two_points():
    box = np.array([0.0, 0.0, 10.0, 10.0])
    corner = np.array([[1.0, 0.2], [0.1, 1.0], [0.5, 0.0]])  # all near the top left
    complete = complete_points(corner, box)
    assert {tuple(point) for point in corner} < {tuple(point) for point in complete}
