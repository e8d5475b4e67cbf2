"""The ViT: what it hands out, what it leaves uncomputed, what learns, how many parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.models.embedding import Embedding
from exits_jax.models.generator import Generator
from exits_jax.models.vit import ViT, build_vit, normalise

SMALL = {"patch": 8, "width": 24, "depth": 2, "heads": 3, "position_grid": 4}


@pytest.fixture(scope="module")
def image():
    return jax.random.normal(jax.random.key(1), (2, 32, 32, 3))


@pytest.fixture(scope="module")
def params(image):
    return random_params(ViT(**SMALL), image)


def random_params(vit, image):
    """Parameters of the right shapes, none of them zero (compiling `init` would take longer)."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(vit.init, jax.random.key(0), image)["params"]
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(0.1, 0.3, leaf.shape), "f"), shapes)


def run(vit, params, image, **asked):
    return jax.jit(lambda p, x: vit.apply({"params": p}, x, **asked))(params, image)


def count(module, side=224):
    """Parameters of a full-size network, none of which is computed."""
    tree = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (lambda: build_vit("B", 16), 85_798_656),  # similarity extractor, 86 M in table a5
        (lambda: Generator(build_vit("B", 16, class_token=False)), 89_599_744),
        (lambda: Generator(build_vit("B", 16, class_token=False, stem="conv")), 93_087_424),
        (lambda: build_vit("Ti", 16), 5_524_416),
        (lambda: build_vit("S", 8, position_grid=28), 21_670_272),
        (lambda: build_vit("S", 14, layer_scale=True, position_grid=37), 22_056_192),
        (lambda: build_vit("L", 16), 303_301_632),
    ],
)
def test_parameter_counts(network, parameters):
    assert count(network()) == parameters


def test_shapes_rows_and_class_token(image, params):
    features, out = run(
        ViT(**SMALL), params, image, attention_layers=(1, 2), key_layers=(2,), token_layers=(1,)
    )
    assert features.shape == (2, 4, 4, 24)
    assert {kind: {k: v.shape for k, v in found.items()} for kind, found in out.items()} == {
        "attention": {1: (2, 17, 17), 2: (2, 17, 17)},
        "keys": {2: (2, 17, 24)},
        "tokens": {1: (2, 17, 24)},
    }
    np.testing.assert_allclose(out["attention"][2].sum(-1), 1.0, atol=1e-6)


def test_without_class_token(image):
    vit = ViT(**SMALL, class_token=False)
    params = random_params(vit, image)
    assert "class_token" not in params["embedding"]
    assert "class_position" not in params["embedding"]
    features, out = run(vit, params, image, attention_layers=(1,), key_layers=(1,))
    assert features.shape == (2, 4, 4, 24)
    assert out["attention"][1].shape == (2, 16, 16)
    assert out["keys"][1].shape == (2, 16, 24)


def test_tokens_are_row_major_after_the_class_token(image, params):
    """Pixels of cell (1, 2), that is rows 8-15 and columns 16-23, reach token 1 + 4 + 2 alone."""
    embedding = Embedding(
        patch=8,
        width=24,
        class_token=True,
        stem="patch",
        position_grid=4,
        position_resize="pytorch",
        dtype=jnp.float32,
    )
    embed = jax.jit(lambda x: embedding.apply({"params": params["embedding"]}, x))
    moved = jnp.abs(embed(image.at[:, 8:16, 16:24].add(1.0)) - embed(image)).max((0, 2))
    assert jnp.flatnonzero(moved).tolist() == [7]


@pytest.mark.parametrize(
    "asked", [{"attention_layers": (1,)}, {"key_layers": (2,)}, {"key_layers": (1, 2)}]
)
def test_stopping_early_equals_the_full_run(image, params, asked):
    vit = ViT(**SMALL)
    full = run(vit, params, image, **asked)[1]
    features, early = run(vit, params, image, **asked, features=False)
    assert features is None
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), early, full)


def test_stopping_early_needs_no_later_parameters(image, params):
    """What is not in the parameters cannot have been computed."""
    cut = {name: part for name, part in params.items() if name not in ("block02", "norm")}
    needed = {name: cut["block01"]["attention"][name] for name in ("query", "key")}
    cut["block01"] = {"norm1": cut["block01"]["norm1"], "attention": needed}
    vit = ViT(**SMALL)
    out = run(vit, cut, image, attention_layers=(1,), features=False)[1]
    assert out["attention"][1].shape == (2, 17, 17)
    del needed["query"]
    out = run(vit, cut, image, key_layers=(1,), features=False)[1]
    assert out["keys"][1].shape == (2, 17, 24)


@pytest.mark.parametrize("asked", [{}, {"attention_layers": (1,)}, {"features": False}])
def test_parameters_do_not_depend_on_what_is_asked_for(image, params, asked):
    tree = jax.eval_shape(lambda x: ViT(**SMALL).init(jax.random.key(0), x, **asked), image)
    assert jax.tree.structure(tree["params"]) == jax.tree.structure(params)


def gradient(vit, params, image):
    def loss(p):
        features, out = vit.apply({"params": p}, image, attention_layers=(1, 2), key_layers=(1, 2))
        parts = jax.tree.leaves((features, out))
        return sum(jnp.vdot(part, jnp.cos(jnp.arange(part.size))) for part in map(jnp.ravel, parts))

    return jax.jit(jax.grad(loss))(params)


@pytest.fixture(scope="module")
def plain_gradient(image, params):
    return gradient(ViT(**SMALL), params, image)


def learning(found):
    """The parts of the network that a gradient moves."""
    most = {
        name: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(part))
        for name, part in found.items()
    }
    assert all(size == 0.0 or size > 1e-3 for size in most.values())
    return {name for name, size in most.items() if size}


def test_nothing_is_frozen_unless_asked(plain_gradient):
    assert learning(plain_gradient) == {"embedding", "block01", "block02", "norm"}


@pytest.mark.parametrize(("frozen", "expected"), [(1, {"block02", "norm"}), (2, {"norm"})])
def test_frozen_blocks_get_no_gradient(image, params, frozen, expected):
    assert learning(gradient(ViT(**SMALL, frozen_blocks=frozen), params, image)) == expected


def test_remat_changes_memory_only(image, params, plain_gradient):
    recomputing = ViT(**SMALL, remat=True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3),
        plain_gradient,
        gradient(recomputing, params, image),
    )
    trace = str(jax.make_jaxpr(lambda p: recomputing.apply({"params": p}, image))(params))
    assert "remat" in trace or "checkpoint" in trace


def test_bfloat16_is_close_and_float32_outside(image, params):
    asked = {"attention_layers": (2,), "key_layers": (2,)}
    exact = run(ViT(**SMALL), params, image, **asked)
    rough = run(ViT(**SMALL, dtype=jnp.bfloat16), params, image, **asked)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(rough))
    np.testing.assert_allclose(rough[0], exact[0], atol=0.05)
    assert float(jnp.abs(rough[0] - exact[0]).max()) > 1e-4, "bfloat16 was not used"
    np.testing.assert_allclose(rough[1]["attention"][2].sum(-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(rough[1]["attention"][2], exact[1]["attention"][2], atol=1e-2)


def test_positions_follow_the_grid_in_use(params):
    """On a blank image only positions tell cells apart, at any grid."""
    blank = jnp.zeros((1, 48, 48, 3))
    forward = jax.jit(lambda p: ViT(**SMALL).apply({"params": p}, blank)[0])
    assert forward(params).shape == (1, 6, 6, 24)
    assert float(forward(params).std((1, 2)).max()) > 0.03
    placeless = {**params["embedding"], "position": jnp.zeros((4, 4, 24))}
    assert float(forward({**params, "embedding": placeless}).std((1, 2)).max()) < 1e-5


@pytest.mark.parametrize("side", [20, (32, 40)])
def test_crops_must_be_squares_of_whole_patches(side):
    height, width = (side, side) if isinstance(side, int) else side
    with pytest.raises((ValueError, TypeError)):
        jax.eval_shape(ViT(**SMALL).init, jax.random.key(0), jnp.zeros((1, height, width, 3)))


@pytest.mark.parametrize("layer", [0, 3, -1])
def test_layers_are_counted_from_one(image, params, layer):
    with pytest.raises(ValueError, match="layers 1 to 2"):
        ViT(**SMALL).apply({"params": params}, image, attention_layers=(layer,))


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="'Huge'"):
        build_vit("Huge", 16)
    with pytest.raises(ValueError, match="patch 8"):
        jax.eval_shape(ViT(**SMALL, stem="conv").init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match="'cubist'"):
        normalise(np.zeros((1, 2, 2, 3), np.uint8), "cubist")


def test_normalise():
    image = np.array([[[[0, 128, 255]]]], np.uint8)
    np.testing.assert_allclose(normalise(image, "half"), [[[[-1.0, 1 / 255, 1.0]]]], atol=1e-6)
    expected = [[[[-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, 0.594 / 0.225]]]]
    np.testing.assert_allclose(normalise(image), expected, atol=1e-6)
    np.testing.assert_allclose(normalise(image), normalise(image.astype(np.float32)), atol=1e-6)
