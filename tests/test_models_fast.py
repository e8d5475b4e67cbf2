"""What was rewritten for speed computes what the plain form computes, and so do its gradients."""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.models import attention, convolution
from exits_jax.models.attention import mean_probability, mixed_values
from exits_jax.models.convolution import convolve
from exits_jax.models.embedding import PatchProjection
from exits_jax.models.layers import anchored, gelu
from exits_jax.system import cpu
from exits_jax.training.parallel import automatic_microbatches

B, N, D = 2, 7, 12


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def plain_probability(query, key, heads):
    query, key = (x.reshape(B, N, heads, -1) for x in (query, key))
    return jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) * (D // heads) ** -0.5)


def plain_attention(query, key, value, heads):
    value = value.reshape(B, N, heads, -1)
    return jnp.einsum("bhqk,bkhd->bqhd", plain_probability(query, key, heads), value).reshape(
        B, N, D
    )


def same(ours, theirs, arguments, rtol=1e-5):
    """Values and the gradients of all arguments, weighted so that no entry can hide."""
    weights = normal(9, *jax.eval_shape(ours, *arguments).shape)
    np.testing.assert_allclose(ours(*arguments), theirs(*arguments), rtol, 1e-5)
    gradients = [
        jax.jit(jax.grad(lambda *a, f=f: jnp.sum(f(*a) * weights), tuple(range(len(arguments)))))(
            *arguments
        )
        for f in (ours, theirs)
    ]
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol, 1e-5)


@pytest.mark.parametrize(("kernel", "heads"), [("own", 4), ("own", 3), ("xla", 3)])
def test_attention_and_its_gradient(kernel, heads):
    arguments = [3 * normal(seed, B, N, D) for seed in range(3)]
    same(
        lambda q, k, v: mixed_values(q, k, v, heads, kernel),
        lambda q, k, v: plain_attention(q, k, v, heads),
        arguments,
        1e-4,
    )


def test_accelerators_compute_the_same_attention():
    parts = tuple(normal(seed, 4, 2, N, 3) for seed in range(3))
    mixed, denominator = vmap(attention._forward_part, parts)
    for ours, theirs in zip(
        (mixed, denominator), lax_map(attention._forward_part, parts), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, 1e-5, 1e-6)
    kept = (*parts, mixed, denominator, normal(9, 4, 2, N, 3))
    both = (over(attention._backward_part, kept) for over in (vmap, lax_map))
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-5, 1e-6)


def vmap(function, parts):
    return jax.vmap(function)(parts)


def lax_map(function, parts):
    return jax.lax.map(function, parts)


# Side of the kernel, stride, cells of the map: odd and even sides, ends that a stride leaves over.
CONVOLUTIONS = [(3, 1, (5, 4)), (3, 1, (1, 1)), (3, 2, (5, 4)), (3, 2, (6, 7))]
CONVOLUTIONS += [(1, 1, (5, 4)), (1, 2, (5, 4)), (7, 2, (8, 9)), (7, 2, (2, 1))]


@pytest.mark.parametrize(("size", "stride", "cells"), CONVOLUTIONS)
def test_the_two_gradients_of_a_convolution_are_one(size, stride, cells):
    x = normal(0, B, *cells, 3)
    gradient = normal(1, B, *(-(-side // stride) for side in cells), 6)
    np.testing.assert_allclose(
        convolution._to_kernel(x, gradient, size, stride),
        convolution._to_kernel_by_products(x, gradient, size, stride),
        1e-5,
        1e-5,
    )


def test_bfloat16_stays_bfloat16_and_near():
    """Activations in 16 bits: gradients of the same type, as right as 16 bits allow."""
    cases = {
        "attention": (lambda q, k, v: mixed_values(q, k, v, 4), [(B, N, D)] * 3),
        "convolution": (convolve, [(B, 5, 4, 3), (3, 3, 3, 6)]),
        "gelu": (gelu, [(B, N, D)]),
    }
    for name, (function, shapes) in cases.items():
        wide = [normal(seed, *shape) for seed, shape in enumerate(shapes)]
        every = tuple(range(len(wide)))
        gradient = jax.grad(lambda *a, f=function: jnp.sum(f(*a).astype("f4") ** 2), every)
        narrow = gradient(*(x.astype(jnp.bfloat16) for x in wide))
        for ours, theirs in zip(narrow, gradient(*wide), strict=True):
            assert ours.dtype == jnp.bfloat16, name
            error = jnp.max(jnp.abs(ours.astype("f4") - theirs)) / jnp.max(jnp.abs(theirs))
            assert error < 0.05, name


def test_attention_does_not_overflow():
    query, key = (1e3 * normal(seed, B, N, D) for seed in range(2))
    assert jnp.isfinite(mixed_values(query, key, key, 4)).all()


def test_attention_keeps_no_map_for_the_backward_pass():
    """What stays between the passes grows with the tokens, not with their square."""

    def kept(tokens):
        x = normal(0, 1, tokens, D)
        _, backward = jax.vjp(lambda q: mixed_values(q, q, q, 4), x)
        return sum(leaf.size for leaf in jax.tree.leaves(backward))

    assert kept(64) == 2 * kept(32) > 0


def test_mean_probability():
    query, key = (normal(seed, B, N, D) for seed in range(2))
    found = mean_probability(query, key, 4)
    np.testing.assert_allclose(found, plain_probability(query, key, 4).mean(axis=1), 1e-5, 1e-6)


@pytest.mark.parametrize(("size", "stride", "cells"), CONVOLUTIONS)
def test_convolution_and_its_gradient(size, stride, cells):
    around = (size // 2, size // 2)

    def plain(x, kernel):
        module = nn.Conv(6, (size, size), (stride, stride), (around, around), use_bias=False)
        return module.apply({"params": {"kernel": kernel}}, x)

    arguments = [normal(0, B, *cells, 3), normal(1, size, size, 3, 6)]
    same(lambda x, kernel: convolve(x, kernel, stride), plain, arguments, 1e-4)


def test_a_convolution_is_flax_s():
    """Parameters by the same names and shapes, and the bias added."""
    x = normal(0, B, 5, 4, 3)
    ours, theirs = convolution.Conv(6, jnp.float32, stride=2), nn.Conv(6, (3, 3), 2, 1)
    params = theirs.init(jax.random.key(1), x)["params"] | {"bias": normal(2, 6)}
    shapes = jax.eval_shape(ours.init, jax.random.key(1), x)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
    both = (module.apply({"params": params}, x) for module in (ours, theirs))
    np.testing.assert_allclose(*both, 1e-5, 1e-5)


def test_patches_are_a_convolution():
    image = normal(0, B, 8, 8, 3)
    ours, theirs = PatchProjection(4, 5, jnp.float32), nn.Conv(5, (4, 4), (4, 4), padding="VALID")
    params = ours.init(jax.random.key(1), image)
    shapes = jax.tree.map(jnp.shape, (params, theirs.init(jax.random.key(1), image)))
    assert shapes[0] == shapes[1]
    same(
        lambda x, p: ours.apply({"params": {**params["params"], "kernel": p}}, x),
        lambda x, p: theirs.apply({"params": {**params["params"], "kernel": p}}, x),
        [image, params["params"]["kernel"]],
    )


def test_gelu_is_exact():
    x = jnp.linspace(-6, 6, 120).reshape(2, 5, 12)
    same(gelu, lambda x: nn.gelu(x, approximate=False), [x])


def test_an_anchor_changes_nothing():
    same(lambda x: jnp.sin(anchored(x)), jnp.sin, [normal(0, B, N, D)])


def test_eigen_is_preferred_and_the_user_has_the_last_word(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--their=1")
    cpu.prefer_eigen()
    assert os.environ["XLA_FLAGS"] == f"{cpu.FLAG} --their=1"
    monkeypatch.setenv("XLA_FLAGS", f"{cpu.FLAG}LIBRARY_FUSION_TYPE_DOT")
    cpu.prefer_eigen()
    assert os.environ["XLA_FLAGS"] == f"{cpu.FLAG}LIBRARY_FUSION_TYPE_DOT"
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr(cpu.jaxlib, "__version__", "9.9.9")
    cpu.prefer_eigen()
    assert "XLA_FLAGS" not in os.environ


@pytest.mark.parametrize(("share", "parts"), [(0, 1), (1, 1), (2, 1), (3, 1), (8, 4)])
def test_automatic_microbatches_are_of_two_crops(share, parts):
    assert automatic_microbatches(share) == parts
