"""Segmentations both ways: inverse pairs, pycocotools as the reference, malformed input."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_masks

from exits_jax.annotations import (
    decode_segmentation,
    encode_rle,
    parts_and_holes,
)
from exits_jax.system.errors import UserError

# Without a fill value every pixel is drawn, which makes ragged masks.
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), fill=st.nothing())


@given(MASKS)
@settings(max_examples=80, deadline=None)
def test_rle_gives_the_mask_back(mask):
    encoded = encode_rle(mask)
    assert type(encoded["counts"]) is str
    assert encoded["size"] == list(mask.shape)
    np.testing.assert_array_equal(decode_segmentation(encoded, *mask.shape), mask)


@given(MASKS)
@settings(max_examples=80, deadline=None)
def test_uncompressed_rle_is_column_major(mask):
    flat = mask.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    segmentation = {"size": list(mask.shape), "counts": counts}
    np.testing.assert_array_equal(decode_segmentation(segmentation, *mask.shape), mask)


def test_long_runs_survive():
    mask = np.zeros((3000, 2000), bool)  # runs of millions need five groups of bits
    mask[2999, 1999] = mask[0, 3] = True
    encoded = encode_rle(mask)
    np.testing.assert_array_equal(decode_segmentation(encoded, 3000, 2000), mask)
    assert encoded["counts"].encode() == coco_masks.encode(np.asfortranarray(mask))["counts"]


@given(st.text(alphabet="0123456789:;<=>?@ABCPOo`_^\\n l\x00é", max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_counts_decode_or_are_refused(counts):
    try:
        mask = decode_segmentation({"size": [5, 6], "counts": counts}, 5, 6)
    except UserError:
        return
    assert encode_rle(mask)["size"] == [5, 6]


@pytest.mark.parametrize(
    ("segmentation", "found"),
    [
        ({"size": [6, 5], "counts": [30]}, r"rle_size: .*\[6, 5\].*\[5, 6\]"),
        ({"counts": [30]}, "rle_size: .*None"),
        ({"size": [5, 6], "counts": [29]}, "bad_rle: .*30 pixels"),
        ({"size": [5, 6], "counts": [40, -10]}, "bad_rle"),
        ({"size": [5, 6], "counts": [10.0, 20.0]}, "bad_rle"),
        ({"size": [5, 6], "counts": []}, "bad_rle"),
        ({"size": [5, 6], "counts": "N"}, "bad_rle"),
        ({"size": [5, 6], "counts": None}, "bad_rle"),
        ([[0, 0, 4, 4]], "bad_polygon: .*three corners"),
        ([[0, 0, 4, 4, 4]], "bad_polygon"),
        ([[0, 0, 4, float("nan"), 4, 0]], "bad_polygon"),
        ([[0, 0, 4, 1e9, 4, 0]], "bad_polygon: .*far outside"),
        ([0, 0, 4, 4, 4, 0], "bad_polygon"),
        ("polygon", "bad_segmentation"),
        ([], "bad_segmentation"),
    ],
)
def test_malformed_segmentations(segmentation, found):
    with pytest.raises(UserError, match=found):
        decode_segmentation(segmentation, 5, 6)


def test_polygons_are_drawn_like_pycocotools_does():
    polygons = [[1.3, 2.2, 17.8, 4.1, 12.5, 19.9], [20, 20, 25, 20, 25, 24, 20, 24]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools's own, under NumPy 2
        runs = coco_masks.merge(coco_masks.frPyObjects(polygons, 30, 40))
        reference = coco_masks.decode(runs)
    np.testing.assert_array_equal(decode_segmentation(polygons, 30, 40), reference.astype(bool))


def test_parts_and_holes():
    mask = np.zeros((12, 20), bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False  # a hole
    mask[6, 6] = True  # touches the square only at a corner: the same part
    mask[9:11, 0:3] = True
    mask[0:4, 12:20] = True
    mask[0:2, 14] = False  # a notch, open to the border of the image
    assert parts_and_holes(mask) == ([30, 25, 6], 1)
    assert parts_and_holes(np.zeros((4, 4), bool)) == ([], 0)
    assert parts_and_holes(np.ones((4, 4), bool)) == ([16], 0)


def test_a_diagonal_gap_closes_no_hole_but_an_eight_connected_ring_does():
    ring = np.zeros((5, 5), bool)
    ring[[0, 1, 1, 2], [1, 0, 2, 1]] = True
    assert parts_and_holes(ring) == ([4], 1)
