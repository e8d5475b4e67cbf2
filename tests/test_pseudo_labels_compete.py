"""Class-mates that compete for pixels; parts that never cut an image; the predicted IoU."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from exits_jax.annotations import ImageRecord, Instance
from exits_jax.data.source import table_source
from exits_jax.export.parts import part_positions
from exits_jax.pseudo_labels import predicted_iou
from exits_jax.pseudo_labels.compete import LOST, MARGIN, Crop, compete
from exits_jax.pseudo_labels.label import Labeller

SIDE = 20


def instance(number, box, category=1, image=1):
    record = ImageRecord(image, f"{image}.png", 100, 100, pathlib.Path("x"))
    box = np.array(box, np.float64)
    return Instance(number, number, record, category, "cat", box, None, "box", 1.0)


def crop(number, box, level, category=1):
    logits = np.full((SIDE, SIDE), level, np.float32)
    return Crop(instance(number, box, category), logits, np.array([0.0, 0.0, 100.0, 100.0]))


LARGE, SMALL = [0, 0, 100, 100], [50, 0, 100, 50]


def test_the_stronger_claim_of_the_smaller_box_wins_its_pixels():
    large, small = compete([crop(1, LARGE, 1.0), crop(2, SMALL, 2.0)])
    assert (large[:10, 10:] == LOST).all()
    assert (large[10:] == 1.0).all()
    assert (large[:, :10] == 1.0).all()
    assert (small == 2.0).all()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (crop(1, LARGE, 1.0), crop(2, SMALL, 2.0, category=2)),  # of another class
        (crop(1, LARGE, 1.0), crop(2, SMALL, 1.0 + MARGIN / 2)),  # hardly stronger
        (crop(1, LARGE, -2.0), crop(2, SMALL, -1.0)),  # stronger, but no object
        (crop(1, LARGE, 2.0), crop(2, SMALL, 1.0)),  # the larger box may not take
        (crop(1, [0, 0, 40, 40], 1.0), crop(2, SMALL, 2.0)),  # boxes apart
    ],
)
def test_nothing_is_lost_otherwise(first, second):
    left, right = compete([first, second])
    np.testing.assert_array_equal(left, first.logits)
    np.testing.assert_array_equal(right, second.logits)


def test_the_order_of_the_instances_does_not_matter():
    crops = [crop(1, LARGE, 1.0), crop(2, SMALL, 2.0), crop(3, [60, 0, 90, 30], 3.0)]
    forth, back = compete(crops), compete(crops[::-1])[::-1]
    for a, b in zip(forth, back, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parts_are_cut_only_between_images():
    images = [1, 1, 1, 2, 2, 3, 4, 4, 4, 4]
    instances = [instance(n, LARGE, image=image) for n, image in enumerate(images)]
    assert part_positions(instances, 2) == [range(0, 3), range(3, 5), range(5, 10)]
    assert part_positions(instances, 100) == [range(0, 10)]
    assert part_positions([], 2) == []


def test_evidence_of_a_certain_mask_and_of_a_vague_one():
    certain, vague = crop(1, SMALL, -9.0), crop(1, SMALL, -9.0)
    certain.logits[:10, 10:] = 9.0
    vague.logits[:10, 10:] = 0.1
    soft_iou, fill, tightness, side = predicted_iou.evidence(certain)
    assert soft_iou == pytest.approx(1.0, abs=1e-6)
    assert fill == 1.0
    assert tightness == 4.0
    assert side == pytest.approx(np.log(50.0))
    assert predicted_iou.evidence(vague)[0] == pytest.approx(0.55, abs=0.01)
    assert 0 < predicted_iou.predicted_iou(vague) < predicted_iou.predicted_iou(certain) < 1


def test_a_box_without_a_cell_has_evidence_too():
    assert np.isfinite(predicted_iou.evidence(crop(1, [33.0, 33.0, 33.1, 33.1], 1.0))).all()


def test_labeller_lets_the_instances_of_an_image_compete():
    """The larger box loses the pixels that the smaller one of its class claims more."""
    instances = [instance(1, LARGE), instance(2, SMALL), instance(3, LARGE, image=2)]
    content = io.BytesIO()
    Image.new("RGB", (100, 100)).save(content, "PNG")
    source = table_source(instances, lambda position, record: content.getvalue())

    def predict(batch):
        level = np.where(batch["id"] == 2, 3.0, 1.0).astype(np.float32)
        return np.broadcast_to(level[:, None, None], (len(level), SIDE, SIDE))

    def areas(joint):
        labeller = Labeller(
            predict, crop_size=SIDE, margin=0.3, batch_size=2, joint=joint, judge=lambda crop: 0.25
        )
        labels = labeller(source, instances)
        assert [label.score for label in labels] == [0.25] * 3
        return [label.area for label in labels]

    apart, together = areas(False), areas(True)
    assert apart == [10_000, 2500, 10_000]
    assert together[1:] == apart[1:]
    assert together[0] == pytest.approx(7500, abs=400)  # cells of the crop are coarse


@pytest.mark.parametrize("moved", [0, 3, 5])
def test_an_object_annotated_twice_does_not_take_its_own_pixels(moved):
    copy = [10, 10, 60 - moved, 60 - moved]  # smaller, so it could take from the first
    first, second = crop(1, [10, 10, 60, 60], 1.0), crop(2, copy, 2.0)
    left, right = compete([first, second])
    np.testing.assert_array_equal(left, first.logits)
    np.testing.assert_array_equal(right, second.logits)
