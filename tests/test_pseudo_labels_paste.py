"""Pasting: closed forms (ramps, constants, means), the inverse of a crop, borders, tiny windows."""

import numpy as np
import PIL.Image
import pytest

from exits_jax.annotations.masks import decode_segmentation, encode_rle
from exits_jax.annotations.regions import box_pixels, encode_in_image, filled_box
from exits_jax.pseudo_labels.paste import binary_mask, paste_probability


def ramp(m, window, a=0.3, b=-0.7, c=5.0):
    """The values of a*x + b*y + c at the middles of an m x m crop's cells."""
    x = window[0] + (np.arange(m) + 0.5) * (window[2] - window[0]) / m
    y = window[1] + (np.arange(m) + 0.5) * (window[3] - window[1]) / m
    return (a * x[None, :] + b * y[:, None] + c).astype(np.float32)


@pytest.mark.parametrize("m", [8, 100])
@pytest.mark.parametrize("flip", [False, True])
def test_a_linear_ramp_is_reproduced_enlarging_and_shrinking(m, flip):
    window = np.array([3.3, 7.6, 43.1, 39.2])
    values = ramp(m, window)
    patch, (x0, y0, x1, y1) = paste_probability(
        values[:, ::-1] if flip else values, window, 60, 50, flip=flip
    )
    assert (x0, y0, x1, y1) == (3, 7, 44, 40)
    assert patch.dtype == np.float32
    x, y = np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5
    expected = 0.3 * x[None, :] - 0.7 * y[:, None] + 5.0
    edge = int(np.ceil(max(40 / m, 1))) + 1  # where the filter is cut off by the window's edge
    inner = (slice(edge, -edge), slice(edge, -edge))
    # Sampled at cells, a wide triangle is centred to within a hundredth of a pixel, as Pillow's.
    np.testing.assert_allclose(patch[inner], expected[inner], atol=1e-5 if m == 8 else 0.01)


@pytest.mark.parametrize("m", [5, 64, 301])
def test_unbounded_constants_stay(m):
    values = np.full((m, m), -37.5, np.float32)
    patch, _ = paste_probability(values, np.array([-4.2, 3.9, 30.7, 17.1]), 20, 25)
    np.testing.assert_allclose(patch, -37.5, rtol=1e-6)


def test_shrinking_keeps_the_mean_and_counts_every_cell():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(120, 120)).astype(np.float32)
    values[57, 61] = 500.0  # one hot cell: sampling without a filter would lose it or blow it up
    patch, region = paste_probability(values, np.array([10.0, 20.0, 30.0, 44.0]), 64, 64)
    assert region == (10, 20, 30, 44)
    assert patch.mean() == pytest.approx(values.mean(), abs=0.003)


@pytest.mark.parametrize(("size", "m"), [((30, 44), 120), ((200, 131), 24), ((24, 24), 24)])
def test_whole_pixel_windows_agree_with_pillow(size, m):
    rng = np.random.default_rng(1)
    values = rng.random((m, m)).astype(np.float32)
    expected = PIL.Image.fromarray(values).resize(size, PIL.Image.Resampling.BILINEAR)
    patch, _ = paste_probability(
        values, np.array([5.0, 6.0, 5.0 + size[0], 6.0 + size[1]]), 300, 300
    )
    np.testing.assert_allclose(patch, np.asarray(expected), atol=2e-5)


@pytest.mark.parametrize("m", [48, 200])
def test_crop_then_paste_returns_a_smooth_map(m):
    y, x = np.mgrid[0:80, 0:100] + 0.5
    image = (np.sin(x / 17) * np.cos(y / 13)).astype(np.float32)
    window = (12.4, 9.7, 77.9, 68.2)
    crop = PIL.Image.fromarray(image).resize((m, m), PIL.Image.Resampling.BILINEAR, box=window)
    patch, (x0, y0, x1, y1) = paste_probability(np.asarray(crop), np.array(window), 80, 100)
    difference = np.abs(patch - image[y0:y1, x0:x1])[3:-3, 3:-3]
    assert difference.max() < 0.01


def test_a_window_over_the_border_gives_the_inside_part_of_the_same_values():
    rng = np.random.default_rng(2)
    values = rng.random((16, 16)).astype(np.float32)
    window = np.array([-7.3, -2.1, 20.4, 31.8])
    whole, (x0, y0, _, _) = paste_probability(values, window + 10.0, 60, 60)
    part, region = paste_probability(values, window, 25, 15)
    assert region == (0, 0, 15, 25)
    np.testing.assert_allclose(part, whole[10 - y0 : 35 - y0, 10 - x0 : 25 - x0], atol=1e-5)


def test_windows_of_one_pixel_less_and_none():
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    patch, region = paste_probability(values, np.array([4.0, 5.0, 5.0, 6.0]), 9, 9)
    assert region == (4, 5, 5, 6)
    assert patch[0, 0] == pytest.approx(values.mean(), rel=1e-5)
    patch, region = paste_probability(values, np.array([4.2, 5.2, 4.4, 5.3]), 9, 9)
    assert region == (4, 5, 5, 6)
    assert np.isfinite(patch).all()
    patch, region = paste_probability(values, np.array([-5.0, 2.0, -1.0, 6.0]), 9, 9)
    assert patch.size == 0
    assert region[0] == region[2]


@pytest.mark.parametrize(
    "window", [[3, 3, 3, 9], [3, 3, 9, 2], [0, 0, np.nan, 4], [0, 0, np.inf, 4]]
)
def test_an_empty_window_is_refused(window):
    with pytest.raises(ValueError, match="empty or not finite"):
        paste_probability(np.ones((4, 4)), np.array(window, np.float64), 20, 20)


def test_a_masks_own_tight_box_never_loses_a_pixel():
    rng = np.random.default_rng(3)
    for _ in range(50):
        mask = np.zeros((30, 40), bool)
        x0, y0 = rng.integers(0, 38), rng.integers(0, 28)
        mask[y0 : y0 + rng.integers(1, 12), x0 : x0 + rng.integers(1, 12)] = True
        mask &= rng.random(mask.shape) < 0.8
        mask[y0, x0] = True
        rows, columns = np.nonzero(mask)
        box = np.array(
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float64
        )
        kept, empty = binary_mask(mask.astype(np.float32), (0, 0, 40, 30), box, 30, 40)
        assert not empty
        assert np.array_equal(kept, mask)


def test_cutting_to_the_box_goes_by_pixel_centres():
    patch = np.ones((10, 10), np.float32)
    shifted = np.array([12.5, 23.6, 16.4, 27.5])
    mask, empty = binary_mask(patch, (10, 20, 20, 30), shifted, 50, 50)
    expected = np.zeros((10, 10), bool)
    expected[4:8, 2:6] = True
    assert not empty
    assert np.array_equal(mask, expected)
    loose, _ = binary_mask(patch, (10, 20, 20, 30), shifted, 50, 50, clip=False)
    assert loose.all()


def test_an_empty_mask_becomes_its_box():
    patch = np.full((6, 8), 0.5, np.float32)  # not greater than the threshold
    mask, empty = binary_mask(patch, (0, 0, 8, 6), np.array([1.0, 2.0, 4.0, 5.0]), 6, 8)
    assert empty
    assert mask.sum() == 9
    assert mask[2:5, 1:4].all()
    mask, empty = binary_mask(patch, (0, 0, 8, 6), np.array([3.6, 2.6, 3.6, 2.6]), 6, 8)
    assert empty
    assert np.argwhere(mask).tolist() == [[2, 3]]


def test_a_box_outside_the_patch_and_values_not_finite_are_refused():
    patch = np.zeros((6, 8), np.float32)
    with pytest.raises(ValueError, match="does not hold"):
        binary_mask(patch, (0, 0, 8, 6), np.array([1.0, 2.0, 9.0, 5.0]), 20, 20)
    patch[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        binary_mask(patch, (0, 0, 8, 6), np.array([1.0, 2.0, 4.0, 5.0]), 20, 20)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 10, 8], (0, 0, 10, 8)),
        ([-5, -5, 30, 30], (0, 0, 10, 8)),
        ([2.4, 2.6, 4.4, 4.6], (2, 3, 4, 5)),
        ([9.9, 7.9, 10, 8], (9, 7, 10, 8)),
        ([10, 8, 10, 8], (9, 7, 10, 8)),
        ([-9, 20, -7, 22], (0, 7, 1, 8)),
    ],
)
def test_box_pixels(box, expected):
    assert box_pixels(np.array(box, np.float64), 8, 10) == expected


def test_rle_of_a_region_is_the_rle_of_the_whole_image():
    rng = np.random.default_rng(4)
    for _ in range(200):
        height, width = (int(v) for v in rng.integers(1, 12, 2))
        x0, x1 = sorted(int(v) for v in rng.integers(0, width + 1, 2))
        y0, y1 = sorted(int(v) for v in rng.integers(0, height + 1, 2))
        mask = rng.random((y1 - y0, x1 - x0)) < rng.choice([0.0, 0.5, 0.9, 1.0])
        full = np.zeros((height, width), bool)
        full[y0:y1, x0:x1] = mask
        rle = encode_in_image(mask, (x0, y0, x1, y1), height, width)
        assert rle == encode_rle(full)


def test_filled_box_has_the_boxs_pixels():
    rle = filled_box(np.array([1.0, 2.0, 4.0, 3.0]), 5, 6)
    mask = decode_segmentation(rle, 5, 6)
    assert np.argwhere(mask).tolist() == [[2, 1], [2, 2], [2, 3]]
