"""From probabilities on the mask map to detections in an image's own pixels, and a model's file."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from pycocotools import mask as coco_masks

from exits_jax.annotations import ImageRecord, decode_segmentation
from exits_jax.export.in_parts import PartsToMake
from exits_jax.export.parts import Share, StoredRows, positions_in_parts
from exits_jax.models.params_io import save_params
from exits_jax.segmentation.build import build_segmenter, param_shapes
from exits_jax.segmentation.classes import Classes
from exits_jax.segmentation.detect import Detections
from exits_jax.segmentation.predict import (
    ImagePredictions,
    Pictures,
    Predicted,
    image_detections,
    image_masks,
    part_maker,
)
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.segmentation.trained import load_trained, made_with, trained_settings
from exits_jax.system.errors import UserError
from exits_jax.system.progress import Tracker
from tests import tiny_stage2

CLASSES = Classes((3, 0), ("ellipse", "other"), rest=True)
SETTINGS = SegmentationSettings(**tiny_stage2.get_config().segmentation.to_dict())


def smooth(rng, count, rows, columns):
    """Probabilities that vary over several cells, as a network's do."""
    coarse = rng.normal(size=(count, rows // 3 + 2, columns // 3 + 2)).astype(np.float32)
    fine = jax.image.resize(coarse, (count, rows, columns), "cubic")
    return np.array(jax.nn.sigmoid(2 * fine - 1))


def by_definition(probability, canvas, extent, size):
    """Bilinear to the canvas, cut to the extent, bilinear to the image: the probability there."""
    on_canvas = jax.image.resize(probability, canvas, "bilinear", antialias=False)
    cut = on_canvas[: extent[0], : extent[1]]
    return np.asarray(jax.image.resize(cut, size, "bilinear", antialias=False))


@pytest.mark.parametrize(
    ("extent", "size"),
    [((64, 96), (64, 96)), ((60, 96), (150, 240)), ((64, 91), (33, 47)), ((64, 50), (7, 5))],
    ids=["as it is", "larger", "smaller", "tiny"],
)
def test_masks_are_those_of_the_definition(extent, size):
    canvas = (64, 96)
    probabilities = smooth(np.random.default_rng(1), 6, 16, 24)
    probabilities[0, 3:, :] = 0  # one that lies at the border, and one of nothing
    probabilities[1] = 0.2
    masks = image_masks(probabilities, canvas=canvas, extent=extent, size=size, threshold=0.5)
    seen = 0
    for probability, (mask, (x0, y0, x1, y1)) in zip(probabilities, masks, strict=True):
        expected = by_definition(probability, canvas, extent, size)
        found = np.zeros(size, bool)
        found[y0:y1, x0:x1] = mask
        certain = np.abs(expected - 0.5) > 1e-5  # sums in another order
        assert np.array_equal(found[certain], (expected > 0.5)[certain])
        seen += int(found.any())
    assert seen >= 4


def test_detections_are_in_the_image_s_pixels_best_first_without_empty_ones():
    canvas, extent, size = (64, 96), (64, 64), (128, 128)
    masks = np.zeros((3, 16, 24), np.float32)
    masks[0, 4:8, 2:6] = 1.0  # rows 16 to 32 of the canvas, columns 8 to 24
    masks[1, 2:5, 20:23] = 1.0  # beyond what the image covers
    masks[2, 1:3, 10:12] = 1.0
    found = Detections(masks, np.array([1, 0, 0]), np.float32([0.98765, 0.9, 0.0]))
    (one,) = image_detections(found, CLASSES, canvas, extent, size, 0.5)
    assert one["category_id"] == 0
    assert one["score"] == 0.9876 or one["score"] == 0.9877
    assert coco_masks.toBbox(one["segmentation"]).tolist() == [16, 32, 32, 32]
    mask = decode_segmentation(one["segmentation"], *size)
    assert mask.sum() > 0.95 * 32 * 32
    assert mask[32:64, 16:48].sum() == mask.sum()
    assert json.loads(json.dumps(one)) == one


# A detector without a network: the bright square of each picture.
SIZES = ((64, 96), (96, 64), (48, 90), (80, 60), (64, 90), (70, 64), (64, 70))
RECORDS = [ImageRecord(10 + k, f"{k}.png", w, h, None) for k, (h, w) in enumerate(SIZES)]
BATCHED = dataclasses.replace(SETTINGS, device_batch=2)


def picture(index):
    image = np.zeros((RECORDS[index].height, RECORDS[index].width, 3), np.uint8)
    image[10:30, 8 + index : 30 + index] = 200
    return image


def bright(image, extent):
    assert image.shape[0] == extent.shape[0] == BATCHED.device_batch
    assert image.shape[1:3] in BATCHED.canvases
    assert (extent <= image.shape[1:3]).all()
    masks = image[:, 2::4, 2::4, 0].astype(np.float32)[:, None] / 255
    count = len(image)
    return Detections(masks, np.zeros((count, 1), int), np.full((count, 1), 0.5, np.float32))


def make(folder, *, detect=bright, decoded=picture, part_size=4, skip=False, **changes):
    maker = part_maker(detect, BATCHED, CLASSES, Pictures(RECORDS, decoded), skip=skip)
    parts = positions_in_parts(len(RECORDS), part_size)
    settings = {"share": Share(), "progress": Tracker("predict", len(RECORDS)), **changes}
    PartsToMake(parts, folder, kind=Predicted, **settings).make([maker])
    return StoredRows(folder, len(parts), ImagePredictions)


def test_images_of_all_canvases_come_back_in_their_order(tmp_path):
    tracker = Tracker("predict", len(RECORDS))
    found = make(tmp_path, progress=tracker)
    assert list(found) == [record.id for record in RECORDS]
    assert tracker.done == len(RECORDS)
    for index, record in enumerate(RECORDS):
        (one,) = found[record.id].detections
        x, y, width, height = coco_masks.toBbox(one["segmentation"])
        assert abs(x - 8 - index) <= 4
        assert abs(y - 10) <= 4
        assert abs(width - 22) <= 6
        assert abs(height - 20) <= 6


def test_parts_and_processes_do_not_change_what_is_found(tmp_path):
    alone = make(tmp_path / "a")
    assert dict(make(tmp_path / "b", part_size=3)) == dict(alone)
    with pytest.raises(UserError, match=r"part-00000\.jsonl: missing"):  # the other process's
        make(tmp_path / "c", share=Share(1, 2), stop=_after(2))
    assert dict(make(tmp_path / "c", share=Share(0, 2))) == dict(alone)


def _after(count):
    asked = iter([False] * count)
    return lambda: next(asked, True)


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_predictions_cut_off_after_any_batch_go_on_there(tmp_path, before):
    whole = {path.name: path.read_bytes() for path in _made(tmp_path / "whole")}
    seen = []

    def killed(image, extent):
        if len(seen) == before:
            raise KeyboardInterrupt
        seen.append(extent.tolist())
        return bright(image, extent)

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut", detect=killed)
    make(tmp_path / "cut", detect=lambda *batch: seen.append(batch[1].tolist()) or bright(*batch))
    assert len(seen) == 4  # two canvases in each part; none again
    assert {path.name: path.read_bytes() for path in (tmp_path / "cut").iterdir()} == whole


def _made(folder):
    make(folder)
    return folder.iterdir()


def test_an_image_that_cannot_be_used_stops_or_is_told_in_its_row(tmp_path):
    def damaged(index):
        if index == 2:
            raise UserError("2.png: no image")
        return picture(index)

    with pytest.raises(UserError, match=r"2\.png"):
        make(tmp_path / "stops", decoded=damaged)
    found = make(tmp_path / "skips", decoded=damaged, skip=True)
    assert found[12] == ImagePredictions(12, [], "2.png: no image")
    others = make(tmp_path / "whole")
    assert all(found[key] == others[key] for key in others if key != 12)


def shapes(settings, classes=2):
    network = build_segmenter(settings, classes)
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), param_shapes(settings, network))


def test_a_model_s_file_says_all_of_its_network(tmp_path):
    path = tmp_path / "model.safetensors"
    save_params(path, shapes(SETTINGS), made_with(SETTINGS, CLASSES))
    model = load_trained(path)
    assert model.classes == CLASSES
    assert model.network == build_segmenter(SETTINGS, 2)
    assert model.settings.canvases == SETTINGS.canvases
    asked = dataclasses.replace(SegmentationSettings(), min_score=0.2, device_batch=3)
    assert load_trained(path, asked).settings.min_score == 0.2


def test_a_vit_s_file_names_the_weights_that_it_began_with(tmp_path):
    settings = SegmentationSettings(encoder="vit", weights="dinov2_s14", canvases=((448, 448),))
    save_params(tmp_path / "m", {"a": np.zeros(1)}, made_with(settings, CLASSES))
    assert trained_settings(tmp_path / "m")[0].weights == "dinov2_s14"
    own = dataclasses.replace(settings, weights="/home/me/vit.pth")
    save_params(tmp_path / "m", {"a": np.zeros(1)}, made_with(own, CLASSES))
    assert trained_settings(tmp_path / "m")[0].weights == "random"  # of the same architecture


def test_other_models_and_classes_are_refused_by_name(tmp_path):
    path = tmp_path / "model.safetensors"
    save_params(path, shapes(SETTINGS), made_with(SETTINGS, CLASSES))
    for accepted in ((), ("ellipse", "other")):
        load_trained(path, dataclasses.replace(SegmentationSettings(), classes=accepted))
    with pytest.raises(UserError, match=r"classes are 'ellipse', 'other'.* asks for 'person'"):
        load_trained(path, dataclasses.replace(SegmentationSettings(), classes=("person",)))
    save_params(path, shapes(SETTINGS, 3), made_with(SETTINGS, CLASSES))
    with pytest.raises(UserError, match="does not fit the network"):
        load_trained(path)
    save_params(path, {"a": np.zeros(1)}, {"crop.size": 64})
    with pytest.raises(UserError, match="does not say which network"):
        load_trained(path)
    facts = made_with(SETTINGS, CLASSES) | {"segmentation.wings": 2}
    save_params(path, {"a": np.zeros(1)}, facts)
    with pytest.raises(UserError, match=r"has no setting segmentation\.wings"):
        load_trained(path)
