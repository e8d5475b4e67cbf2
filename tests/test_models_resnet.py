"""ResNet, its norms and the feature pyramid: PyTorch's numbers, parameter counts, what learns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.models.group_norm import GroupNorm


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def run(module, x, seed=0):
    """A module on its initial parameters."""
    return jax.jit(lambda x: module.init_with_output(jax.random.key(seed), x)[0])(x)


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
