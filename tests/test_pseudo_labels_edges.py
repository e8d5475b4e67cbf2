"""The edges of masks: cubics, smoothing, filled holes."""

import numpy as np
import pytest

from configs import base, coco_mini, demo, own
from exits_jax.annotations import ImageRecord, Instance, decode_segmentation, encode_rle
from exits_jax.app.settings import read_settings
from exits_jax.pseudo_labels.edges import drawn_edges
from exits_jax.pseudo_labels.label import label_from_logits
from exits_jax.pseudo_labels.paste import paste_probability
from exits_jax.pseudo_labels.settings import SMOOTH, Edges
from exits_jax.system.errors import UserError

WINDOW = np.array([0.0, 0.0, 96.0, 96.0])
CELL = np.array([8.0, 8.0])


def disc_map():
    """Log odds of a disc on 12 x 12 cells of 8 pixels, rough enough for stairs."""
    y, x = np.mgrid[:12, :12] + 0.5
    return np.where(np.hypot(y - 6, x - 6) < 4, 3.0, -3.0).astype(np.float32)


def true_disc():
    y, x = np.mgrid[:96, :96] + 0.5
    return np.hypot(y - 48, x - 48) < 32


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def label(logits, edges, box=(0.0, 0.0, 96.0, 96.0)):
    image = ImageRecord(1, "a.jpg", 96, 96, None)
    instance = Instance(1, 0, image, 1, "disc", np.array(box), None, "box", 4.0)
    made = label_from_logits(instance, logits, WINDOW, edges=edges)
    return decode_segmentation(made.rle, 96, 96), made


def test_smooth_edges_come_nearer_to_a_disc_than_stairs():
    stairs, _ = label(disc_map(), Edges())
    smooth, _ = label(disc_map(), SMOOTH)
    assert iou(smooth, true_disc()) > iou(stairs, true_disc()) + 0.005


def test_without_options_a_mask_stays_the_very_same():
    rng = np.random.default_rng(0)
    mask = rng.random((20, 30)) < 0.5
    region = (5, 6, 35, 26)
    assert drawn_edges(mask, region, (8, 8, 30, 20), CELL, Edges()) is mask


def test_smoothing_stays_in_the_box_and_mirrors_at_it():
    """A half-plane that the box cuts across: its straight edge must not bend at the box."""
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:30] = True
    smoothed = drawn_edges(mask, (0, 0, 60, 60), (10, 10, 50, 50), CELL, Edges(smooth=1.0))
    np.testing.assert_array_equal(smoothed, mask)


def test_a_mask_never_vanishes_by_smoothing():
    mask = np.zeros((60, 60), bool)
    mask[30, 30] = True
    smoothed = drawn_edges(mask, (0, 0, 60, 60), (0, 0, 60, 60), CELL, Edges(smooth=1.0))
    np.testing.assert_array_equal(smoothed, mask)


@pytest.mark.parametrize(("share", "left"), [(0.0, [4, 100]), (0.01, [100]), (1.0, [])])
def test_holes_up_to_a_share_are_filled(share, left):
    mask = np.ones((40, 40), bool)
    mask[2:4, 2:4] = False
    mask[10:20, 10:20] = False
    mask[15, 15] = True  # a part in the hole
    expected = mask.copy()
    if 4 not in left:
        expected[2:4, 2:4] = True
    if 100 not in left:
        expected[10:20, 10:20] = True
    region = (0, 0, 40, 40)
    edges = Edges(fill_holes=share)
    np.testing.assert_array_equal(drawn_edges(mask, region, region, CELL, edges), expected)


def test_a_notch_is_no_hole():
    mask = np.ones((10, 10), bool)
    mask[0:4, 5] = False
    region = (0, 0, 10, 10)
    filled = drawn_edges(mask, region, region, CELL, Edges(fill_holes=1.0))
    np.testing.assert_array_equal(filled, mask)


def test_what_is_empty_stays_the_box():
    mask, made = label(np.full((12, 12), -4.0, np.float32), SMOOTH, box=(8.0, 8.0, 24.0, 40.0))
    assert "empty_mask" in made.flags
    np.testing.assert_array_equal(np.argwhere(mask)[[0, -1]], [[8, 8], [39, 23]])
    assert made.area == 16 * 32 == int(mask.sum())
    assert encode_rle(mask)["counts"] == made.rle["counts"]


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize("size", [5, 12, 96, 200])
def test_constants_and_slopes_stay_when_a_map_is_enlarged_or_shrunk(cubic, size):
    window = np.array([0.0, 0.0, size, size])
    flat, _ = paste_probability(np.full((12, 12), 0.3), window, size, size, cubic=cubic)
    np.testing.assert_allclose(flat, 0.3, rtol=1e-5)
    slope = np.broadcast_to((np.arange(12) + 0.5) / 12, (12, 12))
    pasted, _ = paste_probability(slope, window, size, size, cubic=cubic)
    inner = slice(size // 4, -(size // 4) or None)  # away from where the edge is repeated
    expected = (np.arange(size) + 0.5) / size
    np.testing.assert_allclose(pasted[0, inner], expected[inner], atol=5e-3)


def test_cubics_go_through_the_values_in_the_cells_middles():
    values = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    pasted, _ = paste_probability(values, np.array([0.0, 0.0, 27.0, 27.0]), 27, 27, cubic=True)
    np.testing.assert_allclose(pasted[1::3, 1::3], values, atol=1e-5)


def edges_of(config) -> Edges:
    label = read_settings(config).label
    return Edges(label.cubic, label.smooth, label.fill_holes)


def test_the_best_settings_are_those_measured_and_the_papers_have_none():
    for config in (coco_mini.get_config(), own.get_config(), demo.get_config()):
        assert edges_of(config) == SMOOTH
    assert edges_of(base.get_config()) == Edges()
    assert edges_of(coco_mini.get_config("paper")) == Edges()


@pytest.mark.parametrize(
    ("key", "value"),
    [("smooth", -1.0), ("smooth", float("nan")), ("fill_holes", 1.5), ("simplify", -0.5)],
)
def test_values_that_cannot_work_are_refused(key, value):
    config = own.get_config()
    config.label[key] = value
    with pytest.raises(UserError, match=f"label.{key} is"):
        read_settings(config)
