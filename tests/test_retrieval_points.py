"""Seeds, retrieval and resampling on small grids, in exact numbers."""

import jax
import numpy as np
import pytest

from exits_jax.retrieval.points import centre_seed, inside_box, retrieve_points, seed_points
from exits_jax.retrieval.resample import resample_score

WHOLE = [0.0, 0.0, 1.0, 1.0]


def _seeds(
    points: list, box: list, valid: list | None = None, grid: int = 8, delta: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Seeds of one crop as [row, column] maps."""
    foreground, background = seed_points(
        np.float32([points]),
        np.float32([box]),
        np.float32([valid or WHOLE]),
        grid=grid,
        delta=delta,
    )
    return (np.asarray(seeds).reshape(grid, grid) for seeds in (foreground, background))


def _cells(seeds: np.ndarray) -> list[list[int]]:
    return np.argwhere(seeds).tolist()


CROSS = [[0.5, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 0.5]]
MIDDLE = [[0.5, 0.5]] * 4
BOX = [0.25, 0.25, 0.75, 0.75]


def test_points_move_toward_the_centre_in_exact_numbers() -> None:
    """Delta 3/16 brings y 0.25 to 0.4375: from row 2 to row 3 of 8; the right one to column 4."""
    foreground, _ = _seeds(CROSS, BOX, delta=3 / 16)
    assert _cells(foreground) == [[3, 4], [4, 3], [4, 4]]  # bottom and right share a cell
    foreground, _ = _seeds(CROSS, BOX, delta=0.0)
    assert _cells(foreground) == [[2, 4], [4, 2], [4, 6], [6, 4]]


def test_a_slanted_move_follows_the_vector_to_the_centre() -> None:
    """From (0, 0) to the centre (0.6, 0.8), 0.5 along: (0.3, 0.4), which is row 4 of column 3."""
    points = [[0.0, 0.0]] * 4
    foreground, _ = _seeds(points, [0.2, 0.6, 1.0, 1.0], grid=10, delta=0.55)
    assert _cells(foreground) == [[4, 3]]  # (0.33, 0.44)


def test_a_point_never_passes_the_centre() -> None:
    foreground, _ = _seeds(CROSS, BOX, delta=9.0)
    assert _cells(foreground) == [[4, 4]]
    foreground, _ = _seeds(MIDDLE, BOX, delta=0.1)  # already there: no 0 / 0
    assert _cells(foreground) == [[4, 4]]


def test_points_on_the_crop_border_stay_on_the_grid() -> None:
    corners = [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]
    foreground, background = _seeds(corners, WHOLE)
    assert _cells(foreground) == [[0, 0], [0, 7], [7, 0], [7, 7]]
    assert not background.any()  # a box that fills the crop leaves no background


def test_background_leaves_out_cells_the_border_cuts() -> None:
    _, background = _seeds(MIDDLE, [0.25, 0.3, 0.75, 0.7])
    outside = np.ones((8, 8))
    outside[2:6, 2:6] = 0.0  # rows 2 and 5 are cut: 0.3 and 0.7 lie in them
    np.testing.assert_array_equal(background, outside)


def test_a_border_on_a_grid_line_cuts_nothing_whatever_the_rounding() -> None:
    for wiggle in (-1e-6, 0.0, 1e-6):
        _, background = _seeds(MIDDLE, [0.25 + wiggle, 0.25, 0.75 + wiggle, 0.75])
        assert background.sum() == 64 - 16


def test_padding_is_no_background() -> None:
    _, background = _seeds(MIDDLE, BOX, valid=[0.2, 0.0, 1.0, 0.9])
    outside = np.ones((8, 8))
    outside[2:6, 2:6] = 0.0
    outside[:, :2] = 0.0  # column 1 is cut by 0.2
    outside[7] = 0.0  # cut by 0.9
    np.testing.assert_array_equal(background, outside)


def test_a_seed_in_the_padding_is_none_and_a_seed_outside_the_box_is_no_background() -> None:
    points = [[0.05, 0.05], [0.95, 0.95], [0.5, 0.5], [0.5, 0.5]]
    foreground, background = _seeds(points, BOX, valid=[0.25, 0.0, 1.0, 1.0])
    assert _cells(foreground) == [[4, 4], [7, 7]]
    assert background[7, 7] == 0.0
    assert background[6, 7] == 1.0


def test_two_points_in_one_cell_are_one_seed() -> None:
    foreground, _ = _seeds([[0.51, 0.51], [0.55, 0.52], [0.6, 0.6], [0.1, 0.1]], BOX)
    assert foreground.max() == 1.0
    assert _cells(foreground) == [[0, 0], [4, 4]]


def test_seeds_mirror_with_the_crop() -> None:
    """Off the grid lines, flipping the crop flips the seeds."""
    rng = np.random.default_rng(0)
    points, box = rng.random((5, 4, 2), np.float32), np.float32([[0.1, 0.22, 0.57, 0.9]] * 5)
    valid = np.float32([[0.06, 0.0, 1.0, 1.0]] * 5)
    plain = seed_points(points, box, valid, grid=9, delta=0.05)
    points[..., 0] = 1.0 - points[..., 0]
    box, valid = (np.stack([1 - v[:, 2], v[:, 1], 1 - v[:, 0], v[:, 3]], 1) for v in (box, valid))
    flipped = seed_points(points, box, valid, grid=9, delta=0.05)
    for one, other in zip(plain, flipped, strict=True):
        np.testing.assert_array_equal(
            np.asarray(one).reshape(5, 9, 9), np.asarray(other).reshape(5, 9, 9)[:, :, ::-1]
        )


def test_seeds_against_a_loop() -> None:
    """Cell by cell on coordinates that are multiples of 1/64, where float32 is exact."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        x0, y0 = rng.integers(0, 30, 2)
        x1, y1 = rng.integers(33, 65, 2)
        box = np.array([x0, y0, x1, y1]) / 64
        valid = np.array([rng.integers(0, 20), 0, 64, rng.integers(40, 65)]) / 64
        points = rng.integers(0, 64, (4, 2)) / 64
        foreground, background = _seeds(points.tolist(), box.tolist(), valid.tolist())
        for row in range(8):
            for column in range(8):
                left, top, right, bottom = column / 8, row / 8, (column + 1) / 8, (row + 1) / 8
                apart = right <= box[0] or left >= box[2] or bottom <= box[1] or top >= box[3]
                shown = (
                    left >= valid[0]
                    and right <= valid[2]
                    and top >= valid[1]
                    and bottom <= valid[3]
                )
                padding = left >= valid[2] or right <= valid[0] or top >= valid[3]
                hit = any(left <= x < right and top <= y < bottom for x, y in points)
                seed = hit and not padding
                assert foreground[row, column] == seed
                assert background[row, column] == (apart and shown and not seed)


def test_inside_box_goes_by_the_cell_centre() -> None:
    inside = inside_box(np.float32([[0.3, 0.1, 0.7, 1.0]]), np.float32([[0.0, 0.0, 1.0, 0.8]]), 4)
    expected = np.zeros((4, 4), bool)
    expected[0:3, 1:3] = True  # centres .125 .375 .625 .875; the last row is padding
    np.testing.assert_array_equal(inside.reshape(4, 4), expected)


def test_centre_seed_is_a_gaussian_of_the_box_within_it() -> None:
    """Sigma is 0.4 of each side: 0.2 across and 0.4 down, on cells of 0.1."""
    box = np.float32([[0.2, 0.0, 0.7, 1.0]])
    seed = np.asarray(centre_seed(box, np.float32([WHOLE]), 10)).reshape(10, 10)
    x, y = np.meshgrid(np.arange(0.05, 1, 0.1), np.arange(0.05, 1, 0.1))
    expected = np.exp(-((x - 0.45) ** 2) / 0.08 - (y - 0.5) ** 2 / 0.32) * ((x > 0.2) & (x < 0.7))
    np.testing.assert_allclose(seed, expected, rtol=1e-4, atol=1e-6)


def _retrieve(score: list, inside: list, foreground: list, background: list) -> tuple:
    arrays = (np.array([v], np.float32) for v in (score, inside, foreground, background))
    labels, weights, empty = retrieve_points(*arrays, tau_fg=0.4, tau_bg=0.15)
    return labels[0].tolist(), weights[0].tolist(), bool(empty[0])


def test_thresholds_are_strict_and_only_the_box_counts() -> None:
    score = [0.5, 0.4, 0.0, -0.15, -0.2, 0.9, -0.9]
    labels, weights, empty = _retrieve(score, [1, 1, 1, 1, 1, 0, 0], [0] * 7, [0] * 7)
    assert labels == [1, 0, 0, 0, 0, 0, 0]
    assert weights == [1, 0, 0, 0, 1, 0, 0]
    assert not empty


def test_seeds_join_and_overrule() -> None:
    score = [-0.9, 0.9, 0.1, 0.0]
    labels, weights, empty = _retrieve(score, [1, 1, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1])
    assert labels == [1, 0, 0, 0]
    assert weights == [1, 1, 0, 1]
    assert not empty


def test_empty_is_judged_without_the_seeds() -> None:
    labels, weights, empty = _retrieve([0.1, -0.1, 0.9], [1, 1, 0], [1, 0, 0], [0, 0, 1])
    assert (labels, weights, empty) == ([1, 0, 0], [1, 0, 1], True)


def test_a_seed_does_not_retrieve_itself() -> None:
    labels, weights, empty = _retrieve([0.9, 0.1, -0.9], [1, 1, 0], [1, 0, 0], [0, 0, 1])
    assert (labels, weights, empty) == ([1, 0, 0], [1, 0, 1], True)


def _windows(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A canonical window and crops inside it that keep clear of its outermost half cell."""
    rng = np.random.default_rng(5)
    low, high = rng.uniform(20, 60, (count, 2)), rng.uniform(120, 160, (count, 2))
    canonical = np.tile(np.float32([0, 0, 200, 180]), (count, 1))
    return canonical, np.concatenate([low, high], 1).astype(np.float32)


def _centres(window: np.ndarray, grid: int, flip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image coordinates [b, N] of the cells' columns and rows."""
    share = (np.arange(grid) + 0.5) / grid
    across = np.where(flip[:, None], 1 - share, share)
    x = window[:, :1] + across * (window[:, 2:3] - window[:, :1])
    return x, window[:, 1:2] + share * (window[:, 3:] - window[:, 1:2])


def test_resampling_a_linear_function_is_exact_also_flipped() -> None:
    canonical, window = _windows(4)
    flip = np.array([False, True, False, True])
    x, y = _centres(canonical, 12, np.zeros(4, bool))
    score = (0.03 * x[:, None, :] - 0.02 * y[:, :, None] + 1).astype(np.float32)
    x, y = _centres(window, 12, flip)
    expected = 0.03 * x[:, None, :] - 0.02 * y[:, :, None] + 1
    np.testing.assert_allclose(
        resample_score(score, canonical, window, flip), expected, rtol=1e-5, atol=1e-5
    )


def test_resampling_to_a_grid_of_another_size() -> None:
    """A finer canonical score read on a coarser crop; linear functions stay exact."""
    canonical, window = _windows(2)
    flip = np.array([True, False])
    x, y = _centres(canonical, 20, np.zeros(2, bool))
    score = (0.05 * x[:, None, :] + 0.01 * y[:, :, None]).astype(np.float32)
    x, y = _centres(window, 6, flip)
    coarse = jax.jit(resample_score, static_argnames="grid")(score, canonical, window, flip, grid=6)
    np.testing.assert_allclose(
        coarse, 0.05 * x[:, None, :] + 0.01 * y[:, :, None], rtol=1e-5, atol=1e-5
    )


def test_resampling_to_the_same_window_changes_nothing() -> None:
    score = np.random.default_rng(0).random((2, 5, 5), np.float32)
    window = np.float32([[3, 7, 28, 22], [-4, -9, 36, 31]])
    flip = np.array([False, True])
    same = np.asarray(resample_score(score, window, window, flip))
    np.testing.assert_allclose(same[0], score[0], atol=2e-6)
    np.testing.assert_allclose(same[1], score[1, :, ::-1], atol=2e-6)


def test_resampling_repeats_the_edge_beyond_the_window() -> None:
    score = np.random.default_rng(0).random((1, 4, 4), np.float32)
    small, large = np.float32([[0, 0, 4, 4]]), np.float32([[-100, -100, -90, -90]])
    corner = resample_score(score, small, large, np.array([False]))
    np.testing.assert_array_equal(corner[0], np.full((4, 4), score[0, 0, 0]))


@pytest.mark.parametrize("grid", [4, 7])
def test_one_trace_serves_every_batch(grid: int) -> None:
    traces = []

    @jax.jit
    def supervise(points: jax.Array, box: jax.Array, valid: jax.Array) -> tuple:
        traces.append(1)
        foreground, background = seed_points(points, box, valid, grid=grid, delta=0.05)
        inside = inside_box(box, valid, grid)
        return retrieve_points(
            foreground - background, inside, foreground, background, tau_fg=0.4, tau_bg=0.1
        )

    for seed in range(3):
        rng = np.random.default_rng(seed)
        box = np.concatenate([rng.random((3, 2)) / 2, 0.5 + rng.random((3, 2)) / 2], 1)
        points = rng.random((3, 4, 2), np.float32)
        valid = np.tile(np.float32(WHOLE), (3, 1))
        labels, weights, empty = supervise(points, box.astype(np.float32), valid)
        assert labels.shape == weights.shape == (3, grid * grid)
        assert (np.asarray(labels) <= np.asarray(weights)).all()
        assert empty.shape == (3,)
    assert len(traces) == 1


def test_a_box_alone_has_no_foreground_and_keeps_its_background() -> None:
    """Without points their place in the batch is zeros: the corner stays background."""
    arguments = (np.zeros((1, 4, 2), np.float32), np.float32([BOX]), np.float32([WHOLE]))
    foreground, background = seed_points(
        *arguments, grid=8, delta=0.0, has_points=np.zeros(1, bool)
    )
    assert not foreground.any()
    assert background[0, 0] == 1
    _, expected = _seeds(MIDDLE, BOX)
    np.testing.assert_array_equal(np.asarray(background).reshape(8, 8), expected)
