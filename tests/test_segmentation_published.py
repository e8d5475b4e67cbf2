"""Published SOLOv2s: every array in its place, and a file to predict with."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from exits_jax.models.params_io import flatten
from exits_jax.segmentation import published
from exits_jax.segmentation.build import MINI, initial_params
from exits_jax.segmentation.classes import Classes
from exits_jax.segmentation.published import load_published
from exits_jax.segmentation.trained import load_trained
from exits_jax.system.errors import UserError
from tests.published_resnets import torchvision
from tests.solov2_small import small_settings

CLASSES = Classes((1, 3, 7), ("bird", "cat", "dog"))
SETTINGS = small_settings(encoder="resnet_mini")
NECK, HEAD, KERNELS, MASK = 16, 40, 16, 40
# Ours -> mmdetection's and the authors' name, by hand.
PLACES = {
    "encoder/stem/conv/kernel": ("backbone.conv1.weight",) * 2,
    "encoder/stage4/block02/norm2/var": ("backbone.layer4.1.bn2.running_var",) * 2,
    "neck/lateral2/kernel": ("neck.lateral_convs.0.conv.weight",) * 2,
    "neck/output5/bias": ("neck.fpn_convs.3.conv.bias",) * 2,
    "head/kernel_tower/layers_0/conv/kernel": (
        "mask_head.kernel_convs.0.conv.weight",
        "bbox_head.kernel_convs.0.conv.weight",
    ),
    "head/class_tower/layers_1/norm/scale": (
        "mask_head.cls_convs.1.gn.weight",
        "bbox_head.cate_convs.1.gn.weight",
    ),
    "head/kernel/kernel": ("mask_head.conv_kernel.weight", "bbox_head.solo_kernel.weight"),
    "head/classes/bias": ("mask_head.conv_cls.bias", "bbox_head.solo_cate.bias"),
    "head/mask/level0_0/conv/kernel": (
        "mask_head.mask_feature_head.convs_all_levels.0.conv0.conv.weight",
        "mask_feat_head.convs_all_levels.0.conv0.conv.weight",
    ),
    "head/mask/level3_2/norm/bias": (
        "mask_head.mask_feature_head.convs_all_levels.3.conv2.gn.bias",
        "mask_feat_head.convs_all_levels.3.conv2.gn.bias",
    ),
    "head/mask/out/kernel": (
        "mask_head.mask_feature_head.conv_pred.conv.weight",
        "mask_feat_head.conv_pred.0.conv.weight",
    ),
    "head/mask/norm/scale": (
        "mask_head.mask_feature_head.conv_pred.gn.weight",
        "mask_feat_head.conv_pred.0.gn.weight",
    ),
}


def checkpoint(kernel_tower, class_tower, kernel, classes, mask, last):
    """A SOLOv2's arrays with the head's modules under the names given."""
    made = torchvision("backbone.", (2, 2, 2, 2), MINI["width"], bottleneck=False)
    for level in range(4):
        made.conv(f"neck.lateral_convs.{level}.conv", NECK, MINI["width"] * 2**level, 1, bias=True)
        made.conv(f"neck.fpn_convs.{level}.conv", NECK, NECK, 3, bias=True)
    for tower, into in ((kernel_tower, NECK + 2), (class_tower, NECK)):
        for number, width in enumerate((into, HEAD)):
            made.conv(f"{tower}.{number}.conv", HEAD, width, 3)
            made.norm(f"{tower}.{number}.gn", HEAD)
    made.conv(kernel, KERNELS, HEAD, 3, bias=True)
    made.conv(classes, len(CLASSES), HEAD, 3, bias=True)
    for level, steps in enumerate((1, 1, 2, 3)):
        for step in range(steps):
            into = MASK if step else NECK + 2 * (level == 3)
            made.conv(f"{mask}.convs_all_levels.{level}.conv{step}.conv", MASK, into, 3)
            made.norm(f"{mask}.convs_all_levels.{level}.conv{step}.gn", MASK)
    made.conv(f"{last}.conv", KERNELS, MASK, 1)
    made.norm(f"{last}.gn", KERNELS)
    return made.state


STATES = {
    "mmdetection": checkpoint(
        "mask_head.kernel_convs",
        "mask_head.cls_convs",
        "mask_head.conv_kernel",
        "mask_head.conv_cls",
        "mask_head.mask_feature_head",
        "mask_head.mask_feature_head.conv_pred",
    ),
    "solo": checkpoint(
        "bbox_head.kernel_convs",
        "bbox_head.cate_convs",
        "bbox_head.solo_kernel",
        "bbox_head.solo_cate",
        "mask_feat_head",
        "mask_feat_head.conv_pred.0",
    ),
}


@pytest.fixture
def files(tmp_path):
    for naming, state in STATES.items():
        save_file(state, tmp_path / f"{naming}.safetensors")
    return tmp_path


@pytest.mark.parametrize("naming", STATES)
def test_every_array_comes_to_its_place(naming, files):
    model = load_published(files / f"{naming}.safetensors", CLASSES, SETTINGS)
    found, state = flatten(model.params), STATES[naming]
    for ours, theirs in PLACES.items():
        array = state[theirs[naming == "solo"]]
        wanted = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        np.testing.assert_array_equal(found[ours], wanted)
    arrays = [x for name, x in state.items() if "num_batches_tracked" not in name]
    sums = [sorted(float(np.abs(x).sum()) for x in xs) for xs in (found.values(), arrays)]
    np.testing.assert_allclose(*sums, rtol=1e-5)  # each array is there once


def test_another_number_of_classes_is_refused(files):
    with pytest.raises(UserError, match=r"2 of another shape: mask_head.conv_cls.bias \[3\] for"):
        load_published(files / "mmdetection.safetensors", Classes((1,), ("cat",)), SETTINGS)


def test_a_detector_s_encoder_alone_begins_a_training(files):
    """Of a whole checkpoint, for other classes; neck and head are fresh."""
    path = str(files / "mmdetection.safetensors")
    settings = small_settings(encoder="resnet_mini", weights=path)
    network = published.build_segmenter(settings, 5)
    params = flatten(initial_params(settings, network, 0))
    stem = STATES["mmdetection"]["backbone.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["encoder/stem/conv/kernel"], stem)
    assert params["head/classes/kernel"].shape == (3, 3, HEAD, 5)


def coco_file(folder):
    """One object, and the categories in another order than their ids."""
    square = {"bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]], "area": 16}
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 8, "width": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "iscrowd": 0, **square}],
        "categories": [
            {"id": key, "name": name}
            for key, name in zip(CLASSES.ids[::-1], CLASSES.names[::-1], strict=True)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return str(folder / "coco.json")


def test_the_command_writes_a_model_to_predict_with(files, monkeypatch, capsys):
    monkeypatch.setattr(published, "SegmentationSettings", lambda: SETTINGS)
    out = files / "out.safetensors"
    arguments = [str(files / "solo.safetensors"), coco_file(files), str(out)]
    assert published.main(arguments) == 0
    assert f"--config.segmentation.params={out}" in capsys.readouterr().out
    model = load_trained(out)
    assert (model.classes, model.settings.grids) == (CLASSES, SETTINGS.grids)
    wanted = load_published(files / "solo.safetensors", CLASSES, SETTINGS)
    jax.tree.map(np.testing.assert_array_equal, model.params, wanted.params)


def test_the_command_says_what_is_wrong_in_one_line(files, capsys):
    save_file({"a.b": np.zeros(2, np.float32)}, files / "other.safetensors")
    arguments = [str(files / "other.safetensors"), coco_file(files), str(files / "out.safetensors")]
    assert published.main(arguments) == 2
    error = capsys.readouterr().err
    assert "no known SOLOv2: found 1 names such as ['a.b']" in error
    assert error.count("\n") == 1
    assert not (files / "out.safetensors").exists()
