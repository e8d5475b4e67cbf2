"""What was rewritten for speed computes what the plain form computes, and so do its gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.models.attention import mean_probability, mixed_values
from exits_jax.models.convolution import convolve
from exits_jax.models.embedding import PatchProjection
from exits_jax.models.layers import anchored, gelu

B, N, HEADS, D = 2, 7, 3, 12


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def plain_probability(query, key):
    query, key = (x.reshape(B, N, HEADS, -1) for x in (query, key))
    return jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) * (D // HEADS) ** -0.5)


def plain_attention(query, key, value):
    value = value.reshape(B, N, HEADS, -1)
    return jnp.einsum("bhqk,bkhd->bqhd", plain_probability(query, key), value).reshape(B, N, D)


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


@pytest.mark.parametrize("kernel", ["own", "xla"])
def test_attention_and_its_gradient(kernel):
    arguments = [3 * normal(seed, B, N, D) for seed in range(3)]
    same(lambda q, k, v: mixed_values(q, k, v, HEADS, kernel), plain_attention, arguments, 1e-4)


def test_attention_does_not_overflow():
    query, key = (1e3 * normal(seed, B, N, D) for seed in range(2))
    assert jnp.isfinite(mixed_values(query, key, key, HEADS)).all()


def test_attention_keeps_no_map_for_the_backward_pass():
    """What stays between the passes grows with the tokens, not with their square."""

    def kept(tokens):
        x = normal(0, 1, tokens, D)
        _, backward = jax.vjp(lambda q: mixed_values(q, q, q, HEADS), x)
        return sum(leaf.size for leaf in jax.tree.leaves(backward))

    assert kept(64) == 2 * kept(32)


def test_mean_probability():
    query, key = (normal(seed, B, N, D) for seed in range(2))
    found = mean_probability(query, key, HEADS)
    np.testing.assert_allclose(found, plain_probability(query, key).mean(axis=1), 1e-5, 1e-6)


@pytest.mark.parametrize("cells", [(5, 4), (1, 1)])
def test_convolution_and_its_gradient(cells):
    def plain(x, kernel):
        module = nn.Conv(kernel.shape[-1], (3, 3), use_bias=False)
        return module.apply({"params": {"kernel": kernel}}, x)

    same(convolve, plain, [normal(0, B, *cells, 3), normal(1, 3, 3, 3, 6)])


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
