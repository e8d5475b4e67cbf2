"""Published weights: every naming gives the numbers of the library it comes from."""

import pathlib
import sys
import types

import jax
import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from exits_jax.models.params_io import flatten
from exits_jax.models.pretrained import load_vit
from exits_jax.models.read_tensors import read_tensors
from exits_jax.models.vit import ViT
from exits_jax.system.errors import UserError

FOLDER = pathlib.Path(__file__).parent / "fixtures" / "vit"
# What make_vit_fixtures.py built.
SMALL = {"patch": 8, "width": 24, "depth": 3, "heads": 3, "position_grid": 4}
LAYERS = (1, 2, 3)

CASES = {
    "hf_vit": ("hf_vit.safetensors", False),
    "hf_mae": ("hf_mae.safetensors", False),
    "hf_dinov2": ("hf_dinov2.safetensors", True),
    "timm": ("timm.safetensors", False),
    "dinov2": ("dinov2.safetensors", True),
    "augreg": ("augreg.npz", False),
}


def small_vit(layer_scale=False, **options):
    return ViT(**{**SMALL, **options}, layer_scale=layer_scale)


@pytest.mark.parametrize("case", CASES)
def test_same_numbers_as_the_original(case):
    """Keys and attention of every layer, and features; also at another grid where known."""
    file, layer_scale = CASES[case]
    vit = small_vit(layer_scale)
    params = load_vit(FOLDER / file, vit)
    with np.load(FOLDER / f"{case}.expected.npz") as archive:
        expected = {name: archive[name] for name in archive.files}
    run = jax.jit(
        lambda p, x: vit.apply({"params": p}, x, attention_layers=LAYERS, key_layers=LAYERS)
    )
    for batch in range(2 if "image_1" in expected else 1):
        features, out = run(params, expected[f"image_{batch}"].astype(np.float32))
        tokens = expected[f"tokens_{batch}"][:, 1:].reshape(features.shape)
        assert tokens.std() > 0.3, "a fixture that is all alike shows nothing"
        np.testing.assert_allclose(features, tokens, atol=1e-5)
        for layer in LAYERS:
            keys, attention = expected[f"keys_{batch}_{layer}"], f"attention_{batch}_{layer}"
            np.testing.assert_allclose(out["keys"][layer], keys, atol=1e-5)
            np.testing.assert_allclose(out["attention"][layer], expected[attention], atol=1e-5)


def test_parameters_are_complete_and_float32():
    params = load_vit(FOLDER / "timm.safetensors", small_vit())
    shapes = jax.eval_shape(small_vit().init, jax.random.key(0), np.zeros((1, 32, 32, 3), "f"))
    assert jax.tree.structure(params) == jax.tree.structure(shapes["params"])
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}


def test_big_vision_naming(tmp_path):
    """AugReg's arrays under big_vision's names, whose class token has no position."""
    old = read_tensors(FOLDER / "augreg.npz")
    new = {}
    for name, array in old.items():
        name = name.replace("LayerNorm_2", "LayerNorm_1").replace("MlpBlock_3", "MlpBlock_0")
        name = name.replace("MultiHeadDotProductAttention_1", "MultiHeadDotProductAttention_0")
        new[f"params/{name}"] = array
    positions = new.pop("params/Transformer/posembed_input/pos_embedding")
    new["params/pos_embedding"] = positions[:, 1:]
    np.savez(tmp_path / "big.npz", **new)
    found = flatten(load_vit(tmp_path / "big.npz", small_vit()))
    expected = flatten(load_vit(FOLDER / "augreg.npz", small_vit()))
    assert float(np.abs(found.pop("embedding/class_position")).max()) == 0.0
    del expected["embedding/class_position"]
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_without_class_token():
    """The generator's encoder takes the patch tokens' parameters and leaves the class token."""
    full = flatten(load_vit(FOLDER / "dinov2.safetensors", small_vit(True)))
    bare = flatten(load_vit(FOLDER / "dinov2.safetensors", small_vit(True, class_token=False)))
    assert full.keys() - bare.keys() == {"embedding/class_token", "embedding/class_position"}
    for name, array in bare.items():
        np.testing.assert_array_equal(array, full[name])


def test_convolution_stem_starts_afresh():
    params = {
        seed: flatten(
            load_vit(FOLDER / "timm.safetensors", small_vit(stem="conv", patch=16), stem_seed=seed)
        )
        for seed in (0, 1)
    }
    kernel = "embedding/conv_stem/conv1/kernel"
    assert params[0][kernel].shape == (3, 3, 3, 3)
    assert not np.array_equal(params[0][kernel], params[1][kernel])
    assert "embedding/patch_projection/kernel" not in params[0]
    np.testing.assert_array_equal(params[0]["norm/scale"], params[1]["norm/scale"])


def test_report_lists_all_three_kinds(tmp_path):
    tensors = load_file(FOLDER / "timm.safetensors")
    del tensors["blocks.1.norm2.bias"]
    tensors["blocks.9.norm1.bias"] = np.zeros(24, np.float32)
    tensors["blocks.0.mlp.fc1.weight"] = np.zeros((95, 24), np.float32)
    tensors["pos_embed"] = np.zeros((1, 26, 24), np.float32)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(UserError) as caught:
        load_vit(tmp_path / "odd.safetensors", small_vit())
    text = str(caught.value)
    assert "odd.safetensors" in text
    assert "1 missing: blocks.1.norm2.bias" in text
    assert "1 not used: blocks.9.norm1.bias" in text
    assert "2 of another shape: blocks.0.mlp.fc1.weight [95, 24]" in text
    assert "pos_embed [1, 26, 24] for embedding/position [4, 4, 24]" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("file", "vit", "words"),
    [
        ("timm.safetensors", small_vit(True), "6 missing: block01/scale1"),
        ("dinov2.safetensors", small_vit(), "6 not used: blocks.0.ls1.gamma"),
        ("timm.safetensors", small_vit(depth=4), "12 missing: blocks.3.attn.proj.bias"),
        ("timm.safetensors", small_vit(depth=2), "12 not used: blocks.2.attn.proj.bias"),
        ("timm.safetensors", small_vit(patch=16), "1 of another shape: patch_embed.proj.weight"),
        ("hf_vit.safetensors", small_vit(width=48), " and "),
    ],
)
def test_another_network_is_refused(file, vit, words):
    with pytest.raises(UserError, match=words):
        load_vit(FOLDER / file, vit)


def test_fused_attention_of_the_wrong_size(tmp_path):
    tensors = load_file(FOLDER / "timm.safetensors")
    tensors["blocks.0.attn.qkv.weight"] = np.zeros((70, 24), np.float32)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match=r"3 of another shape: blocks.0.attn.qkv.weight \[70, 24\]"):
        load_vit(tmp_path / "odd.safetensors", small_vit())


def test_family_by_name():
    named = load_vit(FOLDER / "timm.safetensors", small_vit(), "timm")
    told = load_vit(FOLDER / "timm.safetensors", small_vit())
    jax.tree.map(np.testing.assert_array_equal, named, told)
    with pytest.raises(UserError, match="'vgg'"):
        load_vit(FOLDER / "timm.safetensors", small_vit(), "vgg")
    with pytest.raises(UserError, match=r"Read as 'hf_vit' weights"):
        load_vit(FOLDER / "timm.safetensors", small_vit(), "hf_vit")


def test_no_known_family(tmp_path):
    save_file({"conv1.weight": np.zeros(3, np.float32)}, tmp_path / "resnet.safetensors")
    with pytest.raises(UserError, match=r"no known ViT: .*conv1.weight"):
        load_vit(tmp_path / "resnet.safetensors", small_vit())


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".onnx"])
def test_unreadable_files(tmp_path, ending):
    with pytest.raises(UserError, match="no such file"):
        read_tensors(tmp_path / f"absent{ending}")
    broken = tmp_path / f"broken{ending}"
    broken.write_bytes(b"PK\x03\x04 this is no such thing")
    with pytest.raises(UserError, match=f"broken{ending}"):
        read_tensors(broken)


def test_other_endings_are_named(tmp_path):
    with pytest.raises(UserError, match=r"\.safetensors.*found '\.ckpt'"):
        read_tensors(tmp_path / "weights.ckpt")


def test_pytorch_files_need_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "mae.pth").write_bytes(b"")
    with pytest.raises(UserError, match="pip install torch"):
        read_tensors(tmp_path / "mae.pth")


class StandInTensor:
    """As much of a torch.Tensor as is read."""

    def __init__(self, array):
        self.array = array

    shape = property(lambda self: self.array.shape)

    def numel(self):
        return self.array.size

    def element_size(self):
        return self.array.itemsize

    def untyped_storage(self):
        return types.SimpleNamespace(nbytes=lambda: self.array.nbytes)

    def is_complex(self):
        return False

    def detach(self):
        return self

    def float(self):
        return StandInTensor(self.array.astype(np.float32))

    def numpy(self):
        return self.array


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "epoch": 3}])
def test_pytorch_files(tmp_path, monkeypatch, wrap):
    """A state dict at the top (DINO, DINOv2) or under "model" (MAE, DeiT), safely unpickled."""
    tensors = load_file(FOLDER / "timm.safetensors")
    state = {name: StandInTensor(array) for name, array in tensors.items()}

    def load(path, *, map_location, weights_only):
        assert weights_only
        assert map_location == "cpu"
        return wrap(state)

    stand_in = types.ModuleType("torch")
    stand_in.load = load
    stand_in.is_tensor = lambda item: isinstance(item, StandInTensor)
    monkeypatch.setitem(sys.modules, "torch", stand_in)
    (tmp_path / "vit.pth").write_bytes(b"")
    found = load_vit(tmp_path / "vit.pth", small_vit())
    expected = load_vit(FOLDER / "timm.safetensors", small_vit())
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def tiny_onnx(path, random):
    """A graph shaped like PyTorch's exports: folded, transposed weights under made-up names."""
    weights = {
        "net.cls_token": random.normal(size=(1, 1, 4)),
        "onnx::Concat_7": random.normal(size=(1, 1, 4)),
        "onnx::Reshape_9": random.normal(size=(1, 9, 4)),
        "onnx::MatMul_3": random.normal(size=(4, 6)),
        "net.fc.bias": random.normal(size=6),
        "onnx::MatMul_5": random.normal(size=(6, 4)),
    }
    node = onnx.helper.make_node
    nodes = [
        node("MatMul", ["x", "onnx::MatMul_3"], ["y"]),
        node("Add", ["net.fc.bias", "y"], ["z"]),
        node("MatMul", ["z", "onnx::MatMul_5"], ["w"]),
        node("Identity", ["onnx::Reshape_9"], ["grid"]),
        node("Concat", ["onnx::Concat_7", "grid"], ["positions"], axis=1),
    ]
    arrays = [
        onnx.numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in weights.items()
    ]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], arrays)), str(path))
    return weights


def test_onnx_names_come_from_the_graph(tmp_path):
    weights = tiny_onnx(tmp_path / "net.onnx", np.random.default_rng(0))
    found = read_tensors(tmp_path / "net.onnx")
    assert found.keys() == {
        "net.cls_token",
        "net.fc.bias",
        "net.fc.weight",
        "net.position_embeddings",
        "onnx::MatMul_5",  # no bias tells its name: left as it is, for the strict report
    }
    np.testing.assert_allclose(found["net.fc.weight"], weights["onnx::MatMul_3"].T, rtol=1e-6)
    positions = np.concatenate([weights["onnx::Concat_7"], weights["onnx::Reshape_9"]], 1)
    np.testing.assert_allclose(found["net.position_embeddings"], positions, rtol=1e-6)
