"""Matrix NMS against its definition; what becomes a detection."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.segmentation.detect import cell_strides, detect_image, peaks
from exits_jax.segmentation.matrix_nms import matrix_nms
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.segmentation.solov2 import Outputs


def nms_by_definition(masks, classes, scores, sigma):
    count = len(scores)
    iou = np.zeros((count, count))
    for i in range(count):
        for j in range(i + 1, count):
            if classes[i] == classes[j]:
                union = (masks[i] | masks[j]).sum()
                iou[i, j] = (masks[i] & masks[j]).sum() / union if union else 0
    covered = iou.max(axis=0)
    decayed = []
    for j in range(count):
        factors = [math.exp(-sigma * (iou[i, j] ** 2 - covered[i] ** 2)) for i in range(j)]
        decayed.append(scores[j] * min([1.0, *factors]))
    return decayed


@pytest.mark.parametrize("seed", range(5))
def test_matrix_nms_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(5, 25, (12, 2))
    y, x = np.mgrid[:30, :30]
    masks = np.stack([np.hypot(y - cy, x - cx) < rng.uniform(3, 9) for cy, cx in centres])
    classes, scores = rng.integers(0, 2, 12), np.sort(rng.uniform(0.1, 1, 12))[::-1]
    found = matrix_nms(
        jnp.asarray(masks.reshape(12, -1)), jnp.asarray(classes), jnp.asarray(scores.copy())
    )
    np.testing.assert_allclose(found, nms_by_definition(masks, classes, scores, 2.0), rtol=1e-5)


def test_a_repeated_mask_loses_and_another_class_does_not():
    masks = jnp.ones((3, 9), bool)
    found = matrix_nms(masks, jnp.array([0, 0, 1]), jnp.array([0.9, 0.8, 0.7]))
    np.testing.assert_allclose(found, [0.9, 0.8 * math.exp(-2), 0.7], rtol=1e-5)


def test_what_is_none_suppresses_nothing():
    masks = jnp.ones((2, 9), bool)
    found = matrix_nms(masks, jnp.array([0, 0]), jnp.array([0.0, 0.0]))
    assert not np.asarray(found).any()


def test_a_peak_is_above_its_left_and_upper_neighbours():
    level = np.array([[0.5, 0.4, 0.1], [0.4, 0.6, 0.6], [0.7, 0.2, 0.5]], np.float32)
    kept = np.asarray(peaks(jnp.asarray(level.reshape(9, 1)), (3,))).reshape(3, 3)
    # By hand: (0,0) stays; (1,1) over (0,0), (0,1), (1,0); (1,2) ties with (1,1) and stays;
    # (2,0) stays; the rest has a louder one to the left, above, or both ways.
    expected = np.where(np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0]]), level, 0)
    np.testing.assert_array_equal(kept, expected)


GRIDS = (4, 3, 2, 2, 2)
SETTINGS = dataclasses.replace(SegmentationSettings(), grids=GRIDS, candidates=20)


def outputs_of(found, side=16, classes=2):
    """Outputs in which cell -> (class, logit, rows of the mask) and nothing else is seen."""
    cells = sum(grid * grid for grid in GRIDS)
    kernels, logits = np.zeros((cells, side), np.float32), np.full((cells, classes), -9, np.float32)
    for cell, (kind, logit, rows) in found.items():
        logits[cell, kind] = logit
        kernels[cell] = -20
        kernels[cell, rows] = 20
    features = np.repeat(np.eye(side, dtype=np.float32)[:, None], side, axis=1)
    return Outputs(jnp.asarray(kernels), jnp.asarray(logits), jnp.asarray(features))


def test_detections_of_known_outputs():
    found = {0: (1, 3.0, slice(0, 4)), 10: (0, 1.0, slice(8, 16))}
    detections = jax.device_get(detect_image(outputs_of(found), cell_strides(GRIDS), SETTINGS))
    sigmoid = 1 / (1 + np.exp([-3.0, -1.0]))
    assert (detections.scores > 0).sum() == 2
    np.testing.assert_allclose(detections.scores[:2], sigmoid, rtol=1e-5)
    assert detections.classes[:2].tolist() == [1, 0]
    assert (detections.masks[0] > 0.5)[:, 0].nonzero()[0].tolist() == [0, 1, 2, 3]
    assert (detections.masks[1] > 0.5).sum() == 8 * 16


def test_a_mask_smaller_than_its_level_s_stride_is_none():
    last = sum(grid * grid for grid in GRIDS) - 1  # stride 32, and two rows of 16 are 32 pixels
    for rows, count in ((slice(0, 2), 0), (slice(0, 3), 1)):
        found = detect_image(outputs_of({last: (0, 3.0, rows)}), cell_strides(GRIDS), SETTINGS)
        assert int((found.scores > 0).sum()) == count


def test_nothing_seen_is_no_detection():
    found = detect_image(outputs_of({}), cell_strides(GRIDS), SETTINGS)
    assert not np.asarray(found.scores).any()
