"""ResNet, its norms and the feature pyramid: PyTorch's numbers, parameter counts, what learns."""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.models.fpn import FPN, doubled
from exits_jax.models.group_norm import GroupNorm
from exits_jax.models.load_by_table import load_by_table
from exits_jax.models.params_io import flatten, unflatten
from exits_jax.models.pretrained import load_resnet
from exits_jax.models.rename import Family
from exits_jax.models.rename_resnet import PYRAMID
from exits_jax.models.resnet import ResNet, max_pool

FOLDER = pathlib.Path(__file__).parent / "fixtures" / "resnet"
# What make_resnet_fixtures.py built.
SMALL = {"depths": (1, 1, 2, 1), "width": 4}
KINDS = {"bottleneck": True, "basic": False}


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def run(module, x, seed=0):
    """A module on its initial parameters."""
    return jax.jit(lambda x: module.init_with_output(jax.random.key(seed), x)[0])(x)


def shapes(module, x):
    return flatten(jax.eval_shape(module.init, jax.random.key(0), x)["params"])


def random_params(module, x):
    """Parameters no one of which is without effect, as the last scales of fresh blocks are."""
    random = np.random.default_rng(0)
    found = {}
    for name, leaf in shapes(module, x).items():
        array = random.normal(0, 0.3, leaf.shape) + name.endswith(("scale", "var"))
        found[name] = jnp.asarray(np.abs(array) if name.endswith("var") else array, jnp.float32)
    return unflatten(found)


def expected(name):
    with np.load(FOLDER / f"{name}.expected.npz") as archive:
        return {key: archive[key].astype(np.float32) for key in archive.files}


@pytest.mark.parametrize(("groups", "width"), [(32, 64), (4, 12), (32, 48)])
def test_group_norm_is_the_formula(groups, width):
    """Written out with NumPy in float64; 48 channels make 16 groups of 3."""
    x = 3.0 * normal(0, 2, 5, 4, width) + normal(1, 2, 1, 1, width)
    made = {"scale": 1.0 + 0.1 * normal(2, width), "bias": normal(3, width)}
    found = GroupNorm(groups).apply({"params": made}, x)
    split = np.asarray(x, np.float64).reshape(2, 20, np.gcd(groups, width), -1)
    mean, variance = (f(split, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
    expected = ((split - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    np.testing.assert_allclose(found, expected * made["scale"] + made["bias"], atol=2e-5)


def test_group_norm_keeps_its_digits_under_a_large_mean():
    """Flax's, by E[x^2] - E[x]^2 as it does by default, does not: what this one is there for."""
    x = normal(0, 1, 24, 24, 64) * 0.01 + 1000.0
    assert float(run(GroupNorm(), x).std()) == pytest.approx(1.0, abs=0.1)
    assert abs(float(run(nn.GroupNorm(32), x).std()) - 1.0) > 0.5


def test_group_norm_gives_the_type_it_gets_and_learns_in_float32():
    x = normal(0, 1, 6, 6, 64) + 50.0
    narrow = x.astype(jnp.bfloat16)
    found, params = GroupNorm().init_with_output(jax.random.key(0), narrow)
    assert found.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    wide = run(GroupNorm(), narrow.astype(jnp.float32))
    np.testing.assert_allclose(found.astype(jnp.float32), wide, atol=0.02)
    assert not np.any(run(GroupNorm(scale=0.0), x))


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (ResNet(), 23_508_032),  # torchvision's resnet50 without fc
        (ResNet(norm="group"), 23_508_032),
        (ResNet(depths=(2, 2, 2, 2), bottleneck=False), 11_176_512),  # resnet18 without fc
    ],
)
def test_parameters_are_as_many_as_published(network, count):
    """Statistics not counted, as PyTorch does not."""
    found = shapes(network, np.zeros((1, 32, 32, 3), "f"))
    statistics = [name for name in found if name.endswith(("mean", "var"))]
    assert bool(statistics) == (network.norm == "frozen")
    assert sum(leaf.size for name, leaf in found.items() if name not in statistics) == count


def test_the_pyramid_has_as_many_parameters_as_published():
    maps = [np.zeros((1, 2, 2, width), "f") for width in (256, 512, 1024, 2048)]
    assert sum(leaf.size for leaf in shapes(FPN(), maps).values()) == 3_344_384


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("image", [0, 1], ids=["64x96", "70x90"])
def test_maps_are_those_of_transformers(kind, image):
    network = ResNet(**SMALL, bottleneck=KINDS[kind])
    params = load_resnet(FOLDER / f"{kind}.safetensors", network)
    fixture = expected(kind)
    found = jax.jit(network.apply)({"params": params}, fixture[f"image_{image}"])
    assert len(found) == 4
    for level, x in enumerate(found, 2):
        wanted = fixture[f"map_{image}_{level}"]
        assert wanted.std() > 0.3, "a fixture that is all alike shows nothing"
        np.testing.assert_allclose(x, wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("image", [0, 1], ids=["64x96", "70x90"])
def test_the_pyramid_is_pytorchs(image):
    """Enlarged to the lateral's own size: at 70 x 90 the maps have 18, 9, 5 and 3 rows."""
    maps = [expected("bottleneck")[f"map_{image}_{level}"] for level in range(2, 6)]
    family = Family("mmdetection", ("neck.fpn_convs.0.conv.weight",), PYRAMID, ())
    wanted = {name: leaf.shape for name, leaf in shapes(FPN(8), maps).items()}
    params = load_by_table(FOLDER / "pyramid.safetensors", wanted, (family,), "auto", "FPN()")
    found = jax.jit(FPN(8).apply)({"params": params}, maps)
    assert len(found) == 5
    for level, x in enumerate(found, 2):
        np.testing.assert_allclose(x, expected("pyramid")[f"map_{image}_{level}"], atol=1e-5)


@pytest.mark.parametrize(
    ("bottleneck", "norm", "frozen"),
    [(True, "frozen", 0), (True, "frozen", 1), (False, "group", 0), (False, "group", 2)],
)
def test_a_gradient_reaches_what_learns_and_nothing_else(bottleneck, norm, frozen):
    network = ResNet(**SMALL, bottleneck=bottleneck, norm=norm, frozen_stages=frozen)
    image = normal(0, 1, 64, 64, 3)
    params = random_params(network, image)

    @jax.jit
    @jax.grad
    def gradient(params):
        maps = network.apply({"params": params}, image)
        return sum(jnp.vdot(x, normal(9, *x.shape)) for x in maps)

    found = flatten(gradient(params))
    moved = {name for name, leaf in found.items() if np.any(leaf)}
    assert moved == {name for name in found if network.learns(tuple(name.split("/")))}
    stages = {name.split("/")[0] for name in moved}
    kept = ["stem", "stage1", "stage2", "stage3", "stage4"][frozen and frozen + 1 :]
    assert stages == set(kept)
    assert not any(name.endswith(("mean", "var")) for name in moved)


def test_frozen_statistics_leave_scale_and_bias_to_learn():
    network = ResNet()
    assert network.learns(("stage2", "block01", "norm1", "scale"))
    assert not network.learns(("stage2", "block01", "norm1", "mean"))
    assert not network.learns(("stage1", "block01", "norm1", "scale"))
    assert not network.learns(("stem", "conv", "kernel"))


def test_a_fresh_block_hands_on_what_it_gets():
    """Group norm: only the shortcuts, where channels change, are there at first."""
    deep, shallow = (ResNet(depths=(n, n, n, n), width=4, norm="group") for n in (3, 1))
    image = normal(0, 1, 64, 64, 3)
    params = jax.jit(deep.init)(jax.random.key(0), image)["params"]
    first = {
        name: {"block01": part["block01"]} if name != "stem" else part
        for name, part in params.items()
    }
    both = deep.apply({"params": params}, image), shallow.apply({"params": first}, image)
    for deeper, shallower in zip(*both, strict=True):
        assert float(deeper.std()) > 0.1
        np.testing.assert_array_equal(deeper, shallower)


def test_bfloat16_is_close_and_parameters_are_float32():
    image = normal(0, 1, 64, 64, 3)
    exact, rough = ResNet(**SMALL), ResNet(**SMALL, dtype=jnp.bfloat16)
    params = load_resnet(FOLDER / "bottleneck.safetensors", exact)
    maps = [exact.apply({"params": params}, image), rough.apply({"params": params}, image)]
    for wide, narrow in zip(*maps, strict=True):
        assert narrow.dtype == jnp.bfloat16
        error = jnp.abs(wide - narrow.astype(jnp.float32)).max() / jnp.abs(wide).max()
        assert 1e-5 < float(error) < 0.05
    assert {leaf.dtype for leaf in shapes(rough, image).values()} == {jnp.dtype("float32")}
    levels = jax.eval_shape(FPN(8, jnp.bfloat16).init_with_output, jax.random.key(0), maps[0])[0]
    assert {level.dtype for level in levels} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (1, 2)])
def test_max_pool_is_flaxs_and_its_gradient_too(size):
    x = normal(0, 2, *size, 3) - 5.0  # all below 0: zeros around would be the largest

    def flaxs(x):
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    np.testing.assert_array_equal(max_pool(x), flaxs(x))
    weights = normal(1, *flaxs(x).shape)
    ours, theirs = (jax.grad(lambda x, f=f: jnp.vdot(f(x), weights))(x) for f in (max_pool, flaxs))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_doubled_repeats_and_cuts():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    assert doubled(x, (3, 4))[0, :, :, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]


def test_another_norm_is_named():
    with pytest.raises(ValueError, match="'batch'"):
        jax.eval_shape(ResNet(norm="batch").init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
