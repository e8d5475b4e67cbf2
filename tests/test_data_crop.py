"""Crop geometry: closed forms, inverse pairs, a linear gradient read at crop pixel centres."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exits_jax.data import crop

BOX = np.array([20.0, 30.0, 60.0, 50.0])

coordinate = st.floats(-50, 700)
boxes = st.tuples(coordinate, coordinate, st.floats(0, 500), st.floats(0, 500)).map(
    lambda t: np.array([t[0], t[1], t[0] + t[2], t[1] + t[3]])
)
windows = st.tuples(coordinate, coordinate, st.floats(0.5, 900), st.floats(0.5, 900)).map(
    lambda t: np.array([t[0], t[1], t[0] + t[2], t[1] + t[3]])
)


def gradient(height, width):
    """Red is the x of the pixel's centre, green its y, blue constant; times 1 (values < 256)."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x, y, np.full_like(x, 77)], axis=-1).astype(np.uint8)


def test_fixed_window_is_a_share_of_the_half_size():
    np.testing.assert_allclose(crop.fixed_window(BOX, 0.3), [14, 27, 66, 53])
    np.testing.assert_allclose(crop.fixed_window(BOX, 1.2), [-4, 18, 84, 62])


@pytest.mark.parametrize(
    "box", [[7.0, 9.0, 8.0, 10.0], [7.5, 9.0, 7.5, 9.0], [3.0, 9.0, 43.0, 9.0]]
)
def test_degenerate_boxes_get_the_minimum_side(box):
    window = crop.fixed_window(np.array(box), 0.5)
    sides = np.maximum([box[2] - box[0], box[3] - box[1]], crop.MIN_BOX_SIDE) * 1.5
    np.testing.assert_allclose(window[2:] - window[:2], sides)
    np.testing.assert_allclose(window[:2] + window[2:], [box[0] + box[2], box[1] + box[3]])
    assert crop.crop_image(gradient(20, 60), window, 8).shape == (8, 8, 3)


@settings(max_examples=100, deadline=None)
@given(boxes, st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_fixed_window_contains_every_random_window(box, scale, seed):
    window = crop.random_window(box, scale, np.random.default_rng(seed))
    whole = crop.fixed_window(box, scale)
    slack = 1e-9
    assert (window[:2] >= whole[:2] - slack).all()
    assert (window[2:] <= whole[2:] + slack).all()
    assert (window[:2] <= box[:2] + slack).all()
    assert (window[2:] >= box[2:] - slack).all()


def test_random_margins_follow_the_stated_law():
    rng = np.random.default_rng(0)
    found = np.stack([crop.random_window(BOX, 1.2, rng) for _ in range(4000)])
    margins = np.abs(found - BOX) / np.tile((BOX[2:] - BOX[:2]) / 2, 2)  # left, top, right, bottom
    total = margins[:, :2] + margins[:, 2:]
    # left + right = 1.2 u: uniform in [0, 1.2]; the share left / total = g: uniform in [0, 1].
    for uniform in (total / 1.2, margins[:, :2] / total):
        np.testing.assert_allclose(uniform.mean(axis=0), 0.5, atol=0.02)
        np.testing.assert_allclose(uniform.var(axis=0), 1 / 12, atol=0.005)
        assert uniform.max() <= 1 + 1e-9
    assert abs(np.corrcoef(total.T)[0, 1]) < 0.05  # the axes are independent


@settings(max_examples=100, deadline=None)
@given(windows, st.booleans(), st.integers(0, 2**32 - 1))
def test_to_image_inverts_to_crop(window, flip, seed):
    points = np.random.default_rng(seed).uniform(-100, 900, (7, 2))
    back = crop.to_image(crop.to_crop(points, window, flip), window, flip)
    np.testing.assert_allclose(back, points, atol=1e-9, rtol=0)


def test_to_crop_closed_form_and_flip():
    window = np.array([10.0, 20.0, 50.0, 100.0])
    points = np.array([[10.0, 20.0], [20.0, 40.0], [50.0, 100.0]])
    np.testing.assert_allclose(crop.to_crop(points, window, False), [[0, 0], [0.25, 0.25], [1, 1]])
    np.testing.assert_allclose(crop.to_crop(points, window, True), [[1, 0], [0.75, 0.25], [0, 1]])
    box = np.array([20.0, 40.0, 30.0, 60.0])
    np.testing.assert_allclose(crop.box_to_crop(box, window, False), [0.25, 0.25, 0.5, 0.5])
    np.testing.assert_allclose(crop.box_to_crop(box, window, True), [0.5, 0.25, 0.75, 0.5])


def test_swapped_sides_are_the_geometric_roles_of_the_mirrored_points():
    window = crop.fixed_window(BOX, 0.3)
    points = np.array([[30.0, 30.5], [20.5, 41.0], [44.0, 49.5], [59.5, 35.0]])
    mirrored = crop.swap_sides(crop.to_crop(points, window, True))
    assert mirrored[0, 1] == mirrored[:, 1].min()
    assert mirrored[1, 0] == mirrored[:, 0].min()
    assert mirrored[2, 1] == mirrored[:, 1].max()
    assert mirrored[3, 0] == mirrored[:, 0].max()


@pytest.mark.parametrize("flip", [False, True])
def test_valid_area(flip):
    window = np.array([-50.0, -10.0, 150.0, 40.0])  # image 100 x 30 in a 200 x 50 window
    np.testing.assert_allclose(crop.valid_in_crop(100, 30, window, flip), [0.25, 0.2, 0.75, 0.8])
    beyond = np.array([110.0, 0.0, 150.0, 30.0])
    valid = crop.valid_in_crop(100, 30, beyond, flip)
    assert valid[2] - valid[0] == 0
    inside = np.array([10.0, 5.0, 20.0, 9.0])
    np.testing.assert_allclose(crop.valid_in_crop(100, 30, inside, flip), [0, 0, 1, 1])


@pytest.mark.parametrize(
    "window",
    [
        [40.0, 30.0, 72.0, 62.0],  # one to one
        [40.37, 30.81, 72.37, 62.81],  # one to one at a sub-pixel offset
        [50.13, 40.66, 55.4, 47.9],  # enlarged
        [20.0, 16.0, 148.0, 112.0],  # shrunk by 4 and by 3
        [17.3, 12.9, 171.1, 118.4],  # shrunk by 4.8 and 3.3 at an offset
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_gradient_has_the_expected_values_at_crop_pixel_centres(window, flip):
    window, size = np.array(window), 32
    found = crop.crop_image(gradient(140, 200), window, size, flip).astype(float)
    centres = (np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) + 0.5) / size
    expected = crop.to_image(centres, window, flip) - 0.5  # the value at x is x - 0.5
    # 8-bit rounding in two passes, and a discrete filter that is not exactly linear.
    assert np.abs(found[..., :2] - expected).max() <= 1.05
    assert abs((found[..., :2] - expected).mean()) <= 0.25  # exact halves are rounded up
    assert (found[..., 2] == 77).all()


def test_identity_window_returns_the_image():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = crop.crop_image(image, np.array([0.0, 0.0, 40.0, 40.0]), 40)
    np.testing.assert_array_equal(whole, image)


def test_flip_is_the_mirrored_crop():
    image = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    window = np.array([-7.7, 3.2, 33.1, 50.0])
    plain, flipped = (crop.crop_image(image, window, 24, flip) for flip in (False, True))
    np.testing.assert_array_equal(flipped, plain[:, ::-1])


@pytest.mark.parametrize(
    "window",
    [
        [-20.0, -10.0, 60.0, 40.0],  # larger than the image on all sides
        [-13.4, 8.2, 21.9, 77.7],
        [39.6, 19.7, 47.2, 31.1],  # a corner of a pixel left
        [-500.0, -500.0, 500.0, 500.0],  # a crop pixel is as large as half the image
    ],
)
def test_outside_the_image_is_padding_and_inside_never_mixes_with_it(window):
    window, size = np.array(window), 25
    image = np.full((20, 40, 3), 255, np.uint8)
    found = crop.crop_image(image, window, size)
    centres = (np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) + 0.5) / size
    xy = crop.to_image(centres, window, False)
    inside = ((xy > 0) & (xy < [40, 20])).all(axis=-1)
    np.testing.assert_array_equal(found, np.where(inside[..., None], 255, np.uint8(crop.PAD_RGB)))


@pytest.mark.parametrize(
    "window",
    [
        [100.0, 0.0, 110.0, 10.0],
        [-1e7, -1e7, 1e7, 1e7],
        [-1e7, -1e7, 1.000002e7, 1.000002e7],
        [-30.0, -30.0, 0.0, 0.0],
    ],
)
def test_windows_that_miss_the_image_are_all_padding(window):
    found = crop.crop_image(np.zeros((20, 40, 3), np.uint8), np.array(window), 9)
    np.testing.assert_array_equal(found, np.broadcast_to(np.uint8(crop.PAD_RGB), (9, 9, 3)))


@pytest.mark.parametrize("side", [13.0, 70.0])
def test_neighbouring_crops_join_without_a_seam(side):
    """The filter reads the image beyond the window, so a crop does not depend on where it ends."""
    image = np.random.default_rng(2).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    x, y = 5.3, 7.9
    whole = crop.crop_image(image, np.array([x, y, x + 2 * side, y + 2 * side]), 32).astype(int)
    for row, column in np.ndindex(2, 2):
        low = np.array([x + column * side, y + row * side])
        part = crop.crop_image(image, np.concatenate([low, low + side]), 16)
        rows, columns = slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16)
        assert np.abs(whole[rows, columns] - part).max() <= 1
