"""Mask decoder and generator: shapes, the inner product of eq. a1, how training starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.models.decoder import MaskDecoder, PixelHead, PrototypeHead, silent_start
from exits_jax.models.generator import Generator
from exits_jax.models.vit import ViT


@pytest.fixture(scope="module")
def features():
    """What leaves a LayerNorm: variance 1, a mean of its own per channel."""
    mean, noise = (jax.random.normal(jax.random.key(i), (2, 8, 8, 96)) for i in range(2))
    return 0.5 * mean[:, :1, :1] + 0.866 * noise


@pytest.fixture(scope="module")
def params(features):
    return jax.jit(MaskDecoder(96).init)(jax.random.key(2), features)["params"]


def test_widths(params):
    shapes = {
        f"{head}/{layer}": leaves["kernel"].shape
        for head, layers in params.items()
        for layer, leaves in layers.items()
    }
    assert shapes == {
        "pixel/conv1": (3, 3, 96, 32),
        "pixel/conv2": (3, 3, 32, 32),
        "pixel/conv3": (3, 3, 32, 32),
        "pixel/conv4": (3, 3, 32, 32),
        "prototype/fc1": (96, 32),
        "prototype/fc2": (32, 32),
    }


def test_logits_are_the_inner_product(features, params):
    """Eq. a1, pixel by pixel, from the two heads run on their own."""
    logits = MaskDecoder(96).apply({"params": params}, features)
    assert logits.shape == (2, 16, 16)
    pixels = PixelHead(32, jnp.float32).apply({"params": params["pixel"]}, features)
    prototype = PrototypeHead(32, jnp.float32).apply({"params": params["prototype"]}, features)
    for crop, row, column in ((0, 0, 0), (1, 3, 11), (0, 15, 7)):
        expected = float(np.dot(pixels[crop, row, column], prototype[crop]))
        assert float(logits[crop, row, column]) == pytest.approx(expected, abs=1e-5)


def test_prototype_sees_the_average_only(features, params):
    head = PrototypeHead(32, jnp.float32)
    shuffled = features.reshape(2, 64, 96)[:, ::-1].reshape(features.shape)
    np.testing.assert_allclose(
        head.apply({"params": params["prototype"]}, features),
        head.apply({"params": params["prototype"]}, shuffled),
        atol=1e-5,
    )


def test_first_logits_are_moderate(features, params):
    """Neither saturated nor dead."""
    logits = MaskDecoder(96).apply({"params": params}, features)
    assert 0.02 < float(logits.std()) < 1.5
    # Width by width: without the smaller last kernel this grows as the root of the width.
    wide = jax.random.normal(jax.random.key(3), (2, 4, 4, 384))
    logits, _ = jax.jit(MaskDecoder(384).init_with_output)(jax.random.key(4), wide)
    assert 0.02 < float(logits.std()) < 1.5


def test_every_parameter_learns(features, params):
    def loss(p):
        logits = MaskDecoder(96).apply({"params": p}, features)
        return jnp.square(logits - 1.0).mean()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(params)):
        assert float(jnp.abs(leaf).max()) > 0.0


def test_a_silent_decoder_learns_from_its_second_step_on(features, params):
    """Logits of 0; the first gradient moves the last dense layer, and then nothing is dead."""
    silent = silent_start(params)
    assert jax.tree.structure(silent) == jax.tree.structure(params)
    assert not np.any(MaskDecoder(96).apply({"params": silent}, features))

    @jax.jit
    @jax.grad
    def gradient(p):
        return jnp.square(MaskDecoder(96).apply({"params": p}, features) - 1.0).mean()

    def moving(p):
        flat = jax.tree_util.tree_flatten_with_path(gradient(p))[0]
        return {jax.tree_util.keystr(path): bool(jnp.any(leaf != 0)) for path, leaf in flat}

    first = moving(silent)
    last = {"['prototype']['fc2']['kernel']", "['prototype']['fc2']['bias']"}
    assert {name for name, moves in first.items() if moves} == last
    after = jax.tree.map(lambda p, g: p - 0.1 * g, silent, gradient(silent))
    assert all(moving(after).values())


def test_generator_is_encoder_then_decoder():
    generator = Generator(ViT(patch=8, width=24, depth=1, heads=3, class_token=False))
    image = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    shapes = jax.eval_shape(generator.init, jax.random.key(0), image)["params"]
    assert shapes.keys() == {"encoder", "decoder"}
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: random.normal(0, 0.2, leaf.shape).astype("f"), shapes)
    logits = jax.jit(generator.apply)({"params": params}, image)
    assert logits.shape == (2, 8, 8)

    @jax.jit
    def by_parts(params):
        features, _ = generator.encoder.apply({"params": params["encoder"]}, image)
        return generator.apply({"params": params}, features, method="decode")

    np.testing.assert_allclose(logits, by_parts(params), rtol=1e-4, atol=1e-4)


def test_bfloat16_logits_are_float32():
    generator = Generator(ViT(patch=8, width=24, depth=1, heads=3, dtype=jnp.bfloat16))
    image = jnp.zeros((1, 16, 16, 3))
    shapes = jax.eval_shape(lambda: generator.init_with_output(jax.random.key(0), image))
    assert shapes[0].dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes[1])} == {jnp.dtype("float32")}
