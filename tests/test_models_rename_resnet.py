"""Published ResNets: every naming puts every array in its place, and what does not fit is told."""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from exits_jax.models.params_io import flatten
from exits_jax.models.pretrained import load_resnet
from exits_jax.models.resnet import ResNet
from exits_jax.system.errors import UserError
from tests.published_resnets import DEPTHS, WIDTH, torchvision

NETWORK = ResNet(depths=DEPTHS, width=WIDTH)
# Ours -> torchvision's, by hand; the last block of a stage, the first, and all kinds of arrays.
PLACES = {
    "stem/conv/kernel": "conv1.weight",
    "stem/norm/scale": "bn1.weight",
    "stem/norm/bias": "bn1.bias",
    "stem/norm/mean": "bn1.running_mean",
    "stem/norm/var": "bn1.running_var",
    "stage1/block01/shortcut/kernel": "layer1.0.downsample.0.weight",
    "stage1/block01/shortcut_norm/var": "layer1.0.downsample.1.running_var",
    "stage3/block06/conv1/kernel": "layer3.5.conv1.weight",
    "stage3/block06/conv2/kernel": "layer3.5.conv2.weight",
    "stage4/block03/conv3/kernel": "layer4.2.conv3.weight",
    "stage4/block03/norm1/mean": "layer4.2.bn1.running_mean",
    "stage4/block03/norm2/scale": "layer4.2.bn2.weight",
    "stage4/block03/norm3/bias": "layer4.2.bn3.bias",
}


def as_transformers(name):
    """torchvision's name -> that of ResNetForImageClassification."""
    name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", name)
    name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
    name = re.sub(r"^layer(\d)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.", name)
    name = re.sub(r"\.conv(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.convolution.", name)
    name = re.sub(r"\.bn(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.normalization.", name)
    name = name.replace("downsample.0", "shortcut.convolution")
    return "resnet." + name.replace("downsample.1", "shortcut.normalization")


def as_detectron2(name):
    """torchvision's name -> the one detectron2's convert-torchvision-to-d2.py gives it."""
    name = name if name.startswith("layer") else f"stem.{name}"
    name = re.sub(r"layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
    name = re.sub(r"bn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


# naming -> change of a torchvision name, and names beside the network that belong to such a file.
NAMINGS = {
    "torchvision": (lambda name: name, ("fc.weight", "fc.bias")),
    "mmdetection": (
        lambda name: f"backbone.{name}",
        ("neck.fpn_convs.0.conv.bias", "mask_head.conv_cls.weight", "bbox_head.solo_cate.bias"),
    ),
    "transformers": (as_transformers, ("classifier.1.weight", "classifier.1.bias")),
    "detectron2": (as_detectron2, ("stem.fc.weight", "stem.fc.bias")),
}
KNOWN = {
    "transformers": {
        "resnet.embedder.embedder.convolution.weight",
        "resnet.embedder.embedder.normalization.running_mean",
        "resnet.encoder.stages.0.layers.0.shortcut.convolution.weight",
        "resnet.encoder.stages.2.layers.5.layer.1.normalization.bias",
    },
    "detectron2": {
        "stem.conv1.weight",
        "stem.conv1.norm.weight",
        "res2.0.shortcut.weight",
        "res2.0.shortcut.norm.running_var",
        "res5.2.conv1.norm.running_mean",
    },
    "torchvision": {"layer4.2.conv3.weight"},
    "mmdetection": {"backbone.layer4.2.conv3.weight"},
}


@pytest.fixture(scope="module")
def state():
    """All of resnet50's 318 arrays but fc's two."""
    state = torchvision().state
    assert len(state) == 318
    return state


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_array_comes_to_its_place(naming, state, tmp_path):
    change, beside = NAMINGS[naming]
    renamed = {change(name): array for name, array in state.items()}
    assert len(renamed) == len(state)
    assert renamed.keys() >= KNOWN[naming]
    renamed |= {name: np.zeros((2, 2), np.float32) for name in beside}
    save_file(renamed, tmp_path / "resnet.safetensors")
    found = flatten(load_resnet(tmp_path / "resnet.safetensors", NETWORK))
    assert len(found) == 318 - 53, "everything but the counters of 53 batch norms"
    for ours, theirs in PLACES.items():
        array = state[theirs]
        wanted = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        np.testing.assert_array_equal(found[ours], wanted)
    sums = sorted(float(np.abs(x).sum()) for n, x in state.items() if "num_batches" not in n)
    ours = sorted(float(np.abs(x).sum()) for x in found.values())
    np.testing.assert_allclose(ours, sums, rtol=1e-5)  # each array is there once


def test_what_does_not_fit_is_told_together(state, tmp_path):
    odd = dict(state)
    del odd["layer2.0.bn3.bias"]
    odd["layer2.4.conv1.weight"] = np.zeros((2, 8, 1, 1), np.float32)
    odd["layer1.0.conv2.weight"] = np.zeros((1, 1, 5, 5), np.float32)
    save_file(odd, tmp_path / "odd.safetensors")
    with pytest.raises(UserError) as caught:
        load_resnet(tmp_path / "odd.safetensors", NETWORK)
    text = str(caught.value)
    assert "odd.safetensors" in text
    assert "1 missing: layer2.0.bn3.bias" in text
    assert "1 not used: layer2.4.conv1.weight" in text
    assert "1 of another shape: layer1.0.conv2.weight [1, 1, 5, 5] for stage1/block01" in text
    assert "Read as 'torchvision' weights for ResNet(depths=(3, 4, 6, 3), width=1" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (NETWORK.clone(norm="group"), "not used: bn1.running_mean"),
        (NETWORK.clone(bottleneck=False), "not used: .*conv3.weight"),
        (NETWORK.clone(depths=(2, 2, 2, 2)), "not used: .*layer1.2.bn1.bias"),
        (NETWORK.clone(width=2), "of another shape: layer1.0.bn1.bias"),
    ],
)
def test_another_network_is_refused(network, words, state, tmp_path):
    save_file(state, tmp_path / "resnet.safetensors")
    with pytest.raises(UserError, match=words):
        load_resnet(tmp_path / "resnet.safetensors", network)


def test_another_naming_is_refused(state, tmp_path):
    save_file({"block1.w": np.zeros(3, np.float32)}, tmp_path / "vgg.safetensors")
    with pytest.raises(UserError, match=r"no known ResNet: .*block1.w.*'detectron2'"):
        load_resnet(tmp_path / "vgg.safetensors", NETWORK)
    save_file(state, tmp_path / "resnet.safetensors")
    with pytest.raises(UserError, match=r"Read as 'detectron2'"):
        load_resnet(tmp_path / "resnet.safetensors", NETWORK, "detectron2")
