"""Which instances and images a report shows when there is no room for all."""

import numpy as np

from exits_jax.annotations import ImageRecord, Instance
from exits_jax.data.source import file_source
from exits_jax.export.quality import Label
from exits_jax.report.shown import Shown, chosen, worst, worst_images


def everything(scores, images=None, ious=None):
    box = np.array([0.0, 0.0, 9.0, 9.0])
    instances = [
        Instance(k, k, ImageRecord(image, "", 9, 9, None), 1, "", box, None, "box", 81.0)
        for k, image in enumerate(images or [1] * len(scores))
    ]
    labels = {k: Label(k, {}, 1, score, []) for k, score in enumerate(scores)}
    return Shown(instances, file_source(instances), labels, {}, ious or {})


def ids(found):
    assert len(found.source) == len(found.instances)
    return [instance.id for instance in found.instances]


def test_half_are_the_worst_and_half_are_spread_over_the_others():
    scores = np.full(1000, 0.9)
    scores[[17, 500, 998]] = 0.1, 0.2, 0.3
    found = ids(chosen(everything(scores.tolist()), 6))
    assert {17, 500, 998} < {*found}
    assert found == sorted(found)
    others = sorted({*found} - {17, 500, 998})
    assert others[0] < 10
    assert 400 < others[1] < 600
    assert others[2] > 990


def test_all_are_shown_where_there_is_room_and_none_where_none_is_wanted():
    what = everything([0.5, 0.1, 0.9])
    assert ids(chosen(what, 3)) == [0, 1, 2]
    assert ids(chosen(what, 2)) == [0, 1]  # the worst, and the first of the others
    assert ids(chosen(what, 1)) == [1]
    assert ids(chosen(what, 0)) == []
    assert ids(worst(what, 2)) == [0, 1]
    assert ids(worst(what, 0)) == []


def test_the_iou_counts_where_it_is_known():
    what = everything([0.5, 0.1, 0.9], images=[7, 8, 9], ious={1: 0.95, 2: 0.2})
    assert ids(worst(what, 1)) == [2]
    assert worst_images(what, 2) == [9, 7]
    assert worst_images(what, 9) == [9, 7, 8]
