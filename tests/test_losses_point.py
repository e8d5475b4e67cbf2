"""The point loss against closed forms, and its gradients where logits are extreme."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.losses import point_loss


def test_mean_over_the_supervised_points_only() -> None:
    logits = np.float32([[0.0, 2.0, -3.0, 50.0]])
    labels, weights = np.float32([[1, 1, 0, 0]]), np.float32([[1, 1, 1, 0]])
    expected = (np.log(2) + np.log1p(np.exp(-2)) + np.log1p(np.exp(-3))) / 3
    np.testing.assert_allclose(point_loss(logits, labels, weights), [expected], rtol=1e-6)


def test_every_crop_has_its_own_mean() -> None:
    logits = np.zeros((2, 5), np.float32)
    weights = np.float32([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    loss = point_loss(logits, np.zeros((2, 5), np.float32), weights)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


def test_balanced_gives_one_foreground_point_the_say_of_four_hundred() -> None:
    logits = np.full((1, 401), 1.5, np.float32)
    labels = np.zeros((1, 401), np.float32)
    labels[0, 7] = 1.0
    loss = point_loss(logits, labels, np.ones((1, 401)), balanced=True)
    expected = (np.log1p(np.exp(-1.5)) + np.log1p(np.exp(1.5))) / 2
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)


@pytest.mark.parametrize("present", [0.0, 1.0])
def test_balanced_with_one_class_is_its_mean(present: float) -> None:
    logits, labels = np.float32([[1.0, -2.0, 3.0]]), np.full((1, 3), present, np.float32)
    weights = np.float32([[1, 1, 0]])
    np.testing.assert_allclose(
        point_loss(logits, labels, weights, balanced=True),
        point_loss(logits, labels, weights),
        rtol=1e-6,
    )


@pytest.mark.parametrize("balanced", [False, True])
def test_no_supervised_point_is_zero_with_zero_gradient(balanced: bool) -> None:
    logits = jnp.array([[5.0, jnp.inf, -jnp.inf, jnp.nan]])
    nothing = jnp.zeros((1, 4))

    def loss(x: jax.Array) -> jax.Array:
        return point_loss(x, nothing, nothing, balanced=balanced).sum()

    value, gradient = jax.value_and_grad(loss)(logits)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((1, 4)))


def test_gradient_is_probability_minus_label_also_when_saturated() -> None:
    logits = jnp.array([[300.0, -300.0, 300.0, -300.0, 0.0, 9.0]])
    labels = jnp.array([[1.0, 1.0, 0.0, 0.0, 1.0, 0.0]])
    weights = jnp.array([[1.0, 1.0, 1.0, 1.0, 1.0, 0.0]])
    gradient = jax.grad(lambda x: point_loss(x, labels, weights).sum())(logits)
    np.testing.assert_allclose(gradient[0], np.array([0, -1, 1, 0, -0.5, 0]) / 5, atol=1e-7)


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = jnp.zeros((1, 1000), jnp.bfloat16)
    loss = point_loss(logits, jnp.zeros((1, 1000)), jnp.ones((1, 1000)))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
