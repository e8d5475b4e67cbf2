"""Which cells an object gets: against hand-made cases, and a definition in plain loops."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.segmentation.targets import NO_CLASS, assign

CANVAS = (96, 128)
SETTINGS = dataclasses.replace(
    SegmentationSettings(),
    grids=(8, 6, 4),
    ranges=((1.0, 32.0), (24.0, 64.0), (48.0, 200.0)),
    positives=200,
)


def batch_of(objects, places=6, draw=0):
    """A batch of one image: objects as (x, y, w, h, class[, weight]); centres continuous."""
    rows = {
        "centre_xy": np.zeros((1, places, 2), np.float32),
        "size_wh": np.zeros((1, places, 2), np.float32),
        "area": np.zeros((1, places), np.float32),
        "classes": np.zeros((1, places), np.int32),
        "weight": np.zeros((1, places), np.float32),
        "draw": np.full(1, draw, np.uint32),
    }
    for place, (x, y, w, h, kind, *weight) in enumerate(objects):
        rows["centre_xy"][0, place] = x, y
        rows["size_wh"][0, place] = w, h
        rows["area"][0, place] = w * h
        rows["classes"][0, place] = kind
        rows["weight"][0, place] = weight[0] if weight else 1
    return rows


def cells_by_loops(objects, settings, canvas):
    """{(level, row, column): [objects that claim it]}, as the released code finds them."""
    found = {}
    for number, (x, y, w, h, *_) in enumerate(objects):
        x, y = x - 0.5, y - 0.5
        for level, (grid, (low, high)) in enumerate(
            zip(settings.grids, settings.ranges, strict=True)
        ):
            if not low <= math.sqrt(w * h) <= high:
                continue
            half_w, half_h = settings.centre * w / 2, settings.centre * h / 2
            column, row = int(x / canvas[1] * grid), int(y / canvas[0] * grid)
            top = max(max(0, math.floor((y - half_h) / canvas[0] * grid)), row - 1)
            bottom = min(min(grid - 1, math.floor((y + half_h) / canvas[0] * grid)), row + 1)
            left = max(max(0, math.floor((x - half_w) / canvas[1] * grid)), column - 1)
            right = min(min(grid - 1, math.floor((x + half_w) / canvas[1] * grid)), column + 1)
            for i in range(top, bottom + 1):
                for j in range(left, right + 1):
                    found.setdefault((level, i, j), []).append(number)
    return found


def flat(settings, level, row, column):
    before = sum(grid * grid for grid in settings.grids[:level])
    return before + row * settings.grids[level] + column


def pairs(targets):
    """{(cell, object)} of the mask loss."""
    rows = zip(targets.cell[0], targets.instance[0], targets.share[0], strict=True)
    return {(int(cell), int(instance)) for cell, instance, share in rows if share > 0}


def test_one_object_of_known_cells():
    # 40 x 40 round (64.5, 48.5): levels 1 and 2; in each +-4 pixels round pixel (64, 48).
    targets = jax.device_get(assign(batch_of([(64.5, 48.5, 40, 40, 2)]), CANVAS, SETTINGS))
    # Level 1, 6 x 6: columns 60/128*6 = 2.8 to 68/128*6 = 3.2, rows 44/96*6 = 2.75 to 3.25.
    level1 = {flat(SETTINGS, 1, i, j) for i in (2, 3) for j in (2, 3)}
    assert set(np.flatnonzero(targets.classes[0] != NO_CLASS)) == level1
    assert set(targets.classes[0][sorted(level1)]) == {2}
    assert pairs(targets) == {(cell, 0) for cell in level1}


def test_an_object_of_two_levels_has_cells_in_both_ends_included():
    settings = dataclasses.replace(SETTINGS, ranges=((1.0, 40.0), (40.0, 64.0), (48.0, 200.0)))
    targets = assign(batch_of([(20.5, 20.5, 40, 40, 0)]), CANVAS, settings)
    cells = np.flatnonzero(np.asarray(targets.classes[0]) != NO_CLASS)
    assert {int(cell >= 64) for cell in cells} == {0, 1}


def test_at_most_nine_cells_a_level():
    settings = dataclasses.replace(SETTINGS, grids=(40,), ranges=((1.0, 1000.0),), centre=1.0)
    targets = assign(batch_of([(64, 48, 120, 90, 0)]), CANVAS, settings)
    assert int((targets.classes != NO_CLASS).sum()) == 9


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("owners", ["smaller", "both"])
def test_random_images_against_loops(seed, owners):
    rng = np.random.default_rng(seed)
    objects = [
        (
            *(rng.uniform(1, side - 1) for side in CANVAS[::-1]),
            *rng.uniform(4, 90, 2),
            int(rng.integers(5)),
        )
        for _ in range(6)
    ]
    settings = dataclasses.replace(SETTINGS, owners=owners)
    targets = jax.device_get(assign(batch_of(objects), CANVAS, settings))
    expected = cells_by_loops(objects, settings, CANVAS)
    wanted_classes = np.full(targets.classes.shape[1], NO_CLASS)
    wanted_pairs = set()
    for place, claimed in expected.items():
        cell = flat(settings, *place)
        areas = {number: objects[number][2] * objects[number][3] for number in claimed}
        owner = min(areas, key=areas.get) if owners == "smaller" else max(claimed)
        wanted_classes[cell] = objects[owner][4]
        wanted_pairs |= {(cell, n) for n in ([owner] if owners == "smaller" else claimed)}
    assert (targets.classes[0] == wanted_classes).all()
    assert pairs(targets) == wanted_pairs


def test_the_smaller_of_two_owns_a_cell():
    both = [(64, 48, 60, 60, 1), (64, 48, 50, 50, 2)]
    for order in (both, both[::-1]):
        targets = assign(batch_of(order), CANVAS, SETTINGS)
        shared = np.asarray(targets.classes[0])[64:100]
        assert set(shared[shared != NO_CLASS]) == {2}


def test_of_too_many_pairs_a_random_choice_is_learnt():
    settings = dataclasses.replace(SETTINGS, positives=3)
    objects = [(x, y, 30, 30, 0) for x in (20, 60, 100) for y in (30, 70)]
    everything = pairs(assign(batch_of(objects), CANVAS, SETTINGS))
    chosen = [pairs(assign(batch_of(objects, draw=d), CANVAS, settings)) for d in range(4)]
    assert all(len(part) == 3 and part <= everything for part in chosen)
    assert len({frozenset(part) for part in chosen}) > 1
    again = pairs(assign(batch_of(objects, draw=2), CANVAS, settings))
    assert again == chosen[2]


def test_an_image_without_objects_has_no_targets():
    targets = assign(batch_of([]), CANVAS, SETTINGS)
    assert (np.asarray(targets.classes) == NO_CLASS).all()
    assert not np.asarray(targets.share).any()


def test_weights_go_with_cells_and_pairs():
    targets = jax.device_get(assign(batch_of([(64, 48, 40, 40, 0, 0.25)]), CANVAS, SETTINGS))
    owned = targets.classes[0] != NO_CLASS
    assert set(targets.weight[0][owned]) == {0.25}
    assert set(targets.weight[0][~owned]) == {1.0}
    assert {*targets.share[0]} == {0.0, 0.25}
