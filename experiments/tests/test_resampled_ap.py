"""AP of resampled images is what COCOeval says of the resampled set."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from exits_jax.annotations import encode_rle
from experiments.stage2.resampled_ap import (
    average_precision,
    drawn_counts,
    interval,
    matches_of,
)

SIDE, IMAGES, CATEGORIES = 24, 12, (3, 7, 9)


def _square(rng):
    mask = np.zeros((SIDE, SIDE), bool)
    y, x, side = (int(value) for value in rng.integers([0, 0, 5], [14, 14, 11]))
    mask[y : y + side, x : x + side] = True
    return mask


def _found(truth, rng):
    """Detections of an image: objects moved by a pixel or two, and some of nothing."""
    rows = []
    for entry, mask in truth:
        if rng.random() < 0.8:
            moved = np.roll(mask, tuple(rng.integers(-1, 2, 2)), axis=(0, 1))
            rows.append(entry | {"segmentation": encode_rle(moved)})
    for _ in range(int(rng.integers(0, 4))):
        row = {"category_id": int(rng.choice(CATEGORIES))}
        rows.append(row | {"segmentation": encode_rle(_square(rng))})
    return [row | {"score": round(float(rng.random()), 1)} for row in rows]  # with ties


def _scene(rng):
    truth = []
    for _ in range(int(rng.integers(0, 6))):
        mask = _square(rng)
        entry = {"category_id": int(rng.choice(CATEGORIES[:2])), "segmentation": encode_rle(mask)}
        truth.append((entry, mask))
    crowd = int(rng.integers(0, 2))
    found = _found(truth, rng)
    objects = [
        entry
        | {"area": int(mask.sum()), "iscrowd": int(crowd and not number), "bbox": [0, 0, 1, 1]}
        for number, (entry, mask) in enumerate(truth)
    ]
    return objects, found


def _evaluated(scenes):
    """COCOeval of these scenes, each an image of its own."""
    coco = COCO()
    truths = [row | {"image_id": n} for n, (rows, _) in enumerate(scenes) for row in rows]
    found = [row | {"image_id": n} for n, (_, rows) in enumerate(scenes) for row in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        coco.dataset = {
            "images": [{"id": n, "height": SIDE, "width": SIDE} for n in range(len(scenes))],
            "categories": [{"id": key} for key in CATEGORIES],
            "annotations": [row | {"id": n} for n, row in enumerate(truths, start=1)],
        }
        coco.createIndex()
        evaluated = COCOeval(coco, coco.loadRes(found), "segm")
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return evaluated


@pytest.fixture(scope="module")
def scenes():
    return [_scene(np.random.default_rng(seed)) for seed in range(IMAGES)]


def _ap(evaluated, counts):
    found = matches_of(evaluated)
    assert [*found] == [*CATEGORIES[:2]]
    return average_precision([*found.values()], counts, evaluated.params.recThrs)


def test_every_image_once_is_cocos_ap(scenes):
    evaluated = _evaluated(scenes)
    ap = _ap(evaluated, np.ones((1, IMAGES), int))[0]
    assert 0.2 < evaluated.stats[0] < 0.9  # the scenes are neither hopeless nor easy
    np.testing.assert_allclose(ap.mean(), evaluated.stats[0], rtol=1e-12)
    np.testing.assert_allclose(ap[[0, 5]], evaluated.stats[1:3], rtol=1e-12)


def test_sizes_are_cocos(scenes):
    evaluated, once = _evaluated(scenes), np.ones((1, IMAGES), int)
    for place, area in ((3, "small"), (4, "medium")):
        found = [*matches_of(evaluated, area).values()]
        ap = (
            average_precision(found, once, evaluated.params.recThrs) if found else -np.ones((1, 10))
        )
        np.testing.assert_allclose(ap.mean(), evaluated.stats[place], rtol=1e-12)


def test_images_drawn_again_are_cocos_ap_of_the_set_with_copies(scenes):
    counts = drawn_counts(IMAGES, 70)
    ap = _ap(_evaluated(scenes), counts)
    assert ap.shape == (70, 10)
    for sample in (0, 1, 2, 69):  # of two chunks
        copies = [scenes[n] for n in np.repeat(np.arange(IMAGES), counts[sample])]
        np.testing.assert_allclose(ap[sample].mean(), _evaluated(copies).stats[0], rtol=1e-12)


def test_a_category_that_a_set_lacks_is_left_out(scenes):
    alone = np.zeros((2, IMAGES), int)
    objects = [n for n, (rows, _) in enumerate(scenes) if rows]
    empty = [n for n, (rows, _) in enumerate(scenes) if not rows]
    alone[0, objects[0]] = alone[1, empty[0]] = 1
    ap = _ap(_evaluated(scenes), alone)
    expected = _evaluated([scenes[objects[0]]]).stats[0]
    np.testing.assert_allclose(ap[0].mean(), expected, rtol=1e-12)
    assert np.isnan(ap[1]).all()


def test_counts_are_of_sets_of_one_size():
    counts = drawn_counts(20, 300)
    assert (counts.sum(axis=1) == 20).all()
    assert counts.var() == pytest.approx(1 - 1 / 20, rel=0.1)
    assert interval(np.array([*range(101), np.nan])) == (2.5, 97.5)
