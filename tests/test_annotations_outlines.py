"""Polygons of masks: exact ones, simplified ones, and what three ways of filling make of them."""

import itertools

import numpy as np
import pytest
from annotations_samples import disc
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.draw import polygon2mask

from exits_jax.annotations import decode_segmentation, mask_to_polygons, parts_and_holes
from exits_jax.annotations.outlines import crosses_itself, simplified
from exits_jax.export.formats.yolo import join_parts

# Without a fill value every pixel is drawn, which makes ragged masks.
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), fill=st.nothing())
FINE = 8  # times as fine as the masks: outlines then run between the pixels that are looked at


def by_pycocotools(corners, height, width):
    fine = (corners * FINE).ravel().tolist()
    return decode_segmentation([fine], FINE * height, FINE * width)[FINE // 2 :: FINE, 4::FINE]


def by_parity(corners, height, width):
    """Pillow fills by parity."""
    canvas = Image.new("1", (FINE * width, FINE * height))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in (corners * FINE).tolist()], fill=1)
    return np.asarray(canvas)[FINE // 2 :: FINE, FINE // 2 :: FINE]


def by_skimage(corners, height, width):
    """scikit-image asks whether a pixel is inside, corners as (row, column)."""
    fine = polygon2mask((FINE * height, FINE * width), corners[:, ::-1] * FINE - 0.5)
    return fine[FINE // 2 :: FINE, FINE // 2 :: FINE]


def by_path(corners, height, width):
    """matplotlib asks of each pixel's centre, here a little beside it: seams run through some."""
    centres = np.stack(np.meshgrid(np.arange(width) + 0.501, np.arange(height) + 0.4987), axis=-1)
    path = Path(np.concatenate([corners, corners[:1]]), closed=True)
    return path.contains_points(centres.reshape(-1, 2)).reshape(height, width)


FILLERS = [by_pycocotools, by_parity, by_skimage, by_path]


def random_mask(seed):
    """Noise and rings, so that there are parts in holes of parts in holes."""
    rng = np.random.default_rng(seed)
    mask = rng.random((40, 40)) < rng.uniform(0.02, 0.4)
    for _ in range(4):
        y, x, outer = rng.integers(5, 35), rng.integers(5, 35), rng.integers(3, 15)
        square = np.maximum(abs(np.arange(40)[:, None] - y), abs(np.arange(40)[None] - x))
        mask = np.where(square < outer, square == outer - 1, mask)
        if rng.random() < 0.5:
            mask[y, x] = True
    return mask


@pytest.mark.parametrize("filler", FILLERS)
def test_a_part_in_a_hole_is_not_cut_out_again(filler):
    ring = np.ones((7, 7), bool)
    ring[1:-1, 1:-1] = False
    ring[3, 3] = True
    polygons, holes, iou = mask_to_polygons(ring)
    assert (len(polygons), holes) == (1, 1)
    assert iou == 25 / 49
    corners = np.array(join_parts(polygons)).reshape(-1, 2)
    assert filler(corners, 7, 7).sum() == 49


@pytest.mark.parametrize("filler", FILLERS)
def test_joined_outlines_fill_to_the_mask_with_its_holes_filled(filler):
    for seed in range(15):
        mask = random_mask(seed)
        polygons, holes, _ = mask_to_polygons(mask)
        assert holes == parts_and_holes(mask)[1]
        drawn = filler(np.array(join_parts(polygons)).reshape(-1, 2), *mask.shape)
        filled = ndimage.binary_fill_holes(mask)
        apart = drawn ^ filled
        # Pillow draws the outline itself, and so seams that run through a pixel's middle.
        assert not (apart & filled).any(), seed
        assert filler is by_parity or not apart.any(), seed


def test_the_loss_of_a_filled_ring_with_a_core_is_not_made_larger():
    """40 x 40: the outline cut out again would be an IoU of .556, filled it is .716."""
    mask = np.zeros((40, 40), bool)
    mask[4:36, 4:36] = True
    mask[10:30, 10:30] = False
    mask[15:25, 14:25] = True
    polygons, _, iou = mask_to_polygons(mask)
    corners = np.array(join_parts(polygons)).reshape(-1, 2)
    drawn = by_path(corners, 40, 40)
    assert iou == mask.sum() / 32**2
    assert (drawn & mask).sum() / (drawn | mask).sum() == iou


@given(MASKS)
@settings(max_examples=100, deadline=None)
def test_polygons_give_back_the_mask_with_its_holes_filled(mask):
    polygons, holes, iou = mask_to_polygons(mask)
    filled = ndimage.binary_fill_holes(mask)
    assert (len(polygons), holes) == (len(parts_and_holes(filled)[0]), parts_and_holes(mask)[1])
    if not mask.any():
        assert (polygons, iou) == ([], 1.0)
        return
    np.testing.assert_array_equal(decode_segmentation(polygons, *mask.shape), filled)
    assert iou == pytest.approx(mask.sum() / filled.sum())
    assert all(len(polygon) >= 8 for polygon in polygons)


def test_one_pixel_wide_objects_survive_as_polygons():
    for place, tolerance in itertools.product(
        (np.s_[3, 4], np.s_[2, 1:9], np.s_[1:9, 2]), (0.0, 1.5, 9.0)
    ):
        mask = np.zeros((10, 10), bool)
        mask[place] = True
        polygons, holes, iou = mask_to_polygons(mask, tolerance)
        assert (len(polygons), holes) == (1, 0)
        assert iou == 1.0 if tolerance == 0 else iou >= 0.5
    np.testing.assert_array_equal(
        mask_to_polygons(np.ones((1, 1), bool))[0], [[0, 0, 1, 0, 1, 1, 0, 1]]
    )


@pytest.mark.parametrize(
    "rows",
    [("#.#", ".#."), (".#.", "#.#"), ("#..", ".#.", "..#"), ("..#", ".#.", "#.."), ("#.#", "###")],
)
def test_pixels_that_touch_at_a_corner_are_one_polygon(rows):
    mask = np.array([[letter == "#" for letter in row] for row in rows])
    for turned in (mask, mask.T):
        polygons, holes, iou = mask_to_polygons(turned)
        assert (len(polygons), holes, iou) == (1, 0, 1.0)


def test_only_corners_are_kept():
    mask = np.zeros((50, 50), bool)
    mask[10:40, 5:45] = True
    assert mask_to_polygons(mask)[0] == [[5.0, 10.0, 45.0, 10.0, 45.0, 40.0, 5.0, 40.0]]


def test_a_disc_round_trips_and_needs_few_corners_within_a_pixel():
    polygons, holes, iou = mask_to_polygons(disc())
    assert (len(polygons), holes, iou) == (1, 0, 1.0)
    fewer, _, loss = mask_to_polygons(disc(), 1.0)
    assert len(fewer[0]) < len(polygons[0]) / 4
    assert loss > 0.95


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 9.0])
def test_a_box_has_no_corner_to_spare(tolerance):
    mask = np.zeros((30, 40), bool)
    mask[4:20, 5:31] = True
    assert mask_to_polygons(mask, tolerance) == mask_to_polygons(mask)


def distance_to(points, corners):
    """How far each point is from a closed polygon's line, by brute force."""
    starts, along = corners, np.roll(corners, -1, axis=0) - corners
    off = points[:, None] - starts
    share = np.clip((off * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9), 0, 1)
    return np.linalg.norm(off - share[..., None] * along, axis=-1).min(axis=1)


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
def test_no_outline_is_left_by_more_than_the_tolerance(tolerance):
    for seed in range(10):
        field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(90, 80)), 5)
        mask = field > field.mean() + field.std()
        for exact, fewer in zip(
            mask_to_polygons(mask)[0], mask_to_polygons(mask, tolerance)[0], strict=True
        ):
            corners = np.array(exact).reshape(-1, 2)
            kept = np.array(fewer).reshape(-1, 2)
            assert len(kept) >= 3
            assert not crosses_itself(kept)
            # Corners lie half a pixel's edge off the middles, on a diagonal .36 pixels.
            assert distance_to(corners, kept).max() <= tolerance + 0.51


@given(MASKS, st.sampled_from([0.5, 1.0, 2.0, 8.0]))
@settings(max_examples=100, deadline=None)
def test_no_part_vanishes_by_simplification(mask, tolerance):
    polygons, _, iou = mask_to_polygons(mask, tolerance)
    assert len(polygons) == len(mask_to_polygons(mask)[0])
    assert all(len(polygon) >= 6 for polygon in polygons)
    assert iou > 0


def test_an_outline_that_would_cross_itself_keeps_more_corners():
    comb = np.zeros((20, 60), bool)
    comb[:3] = True
    comb[:, ::4] = True
    corners = np.array(mask_to_polygons(comb)[0][0]).reshape(-1, 2)
    assert not crosses_itself(simplified(corners, 50.0))


def test_crossing_is_told_from_touching():
    bow_tie = np.array([[0.0, 0], [4, 4], [4, 0], [0, 4]])
    assert crosses_itself(bow_tie)
    assert not crosses_itself(bow_tie[[0, 2, 1, 3]])
    touching = np.array([[0.0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [1, 2], [1, 1], [0, 1]])
    assert not crosses_itself(touching)
