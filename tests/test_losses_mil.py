"""The box-tightness loss against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.losses import mil_loss


def _box(y0: int, x0: int, y1: int, x1: int, side: int = 8) -> np.ndarray:
    mask = np.zeros((1, side, side), np.float32)
    mask[:, y0:y1, x0:x1] = 1.0
    return mask


def test_the_filled_box_costs_nothing() -> None:
    box = _box(2, 1, 6, 7)
    np.testing.assert_allclose(mil_loss(box, box), 0.0, atol=3e-4)  # eps alone


def test_any_mask_that_touches_every_row_and_column_costs_nothing() -> None:
    diagonal = np.eye(8, dtype=np.float32)[None] * _box(2, 2, 7, 7)
    np.testing.assert_allclose(mil_loss(diagonal, _box(2, 2, 7, 7)), 0.0, atol=3e-4)


def test_the_empty_mask_costs_two() -> None:
    np.testing.assert_array_equal(mil_loss(np.zeros((1, 8, 8)), _box(2, 1, 6, 7)), [2.0])


def test_a_mask_elsewhere_costs_two() -> None:
    np.testing.assert_array_equal(mil_loss(_box(0, 0, 2, 2), _box(4, 4, 8, 8)), [2.0])


def test_rows_and_columns_are_added() -> None:
    """Half the box's width, all its height: rows cost 0, columns 1 - 2*3/(3 + 6)."""
    loss = mil_loss(_box(1, 1, 5, 4), _box(1, 1, 5, 7))
    np.testing.assert_allclose(loss, [1 - 6 / 9], atol=5e-4)


def test_closed_form_with_probabilities_and_eps() -> None:
    """Constant 0.5 over 8 x 8 and a box of 4 rows and 2 columns."""
    loss = mil_loss(np.full((1, 8, 8), 0.5), _box(0, 0, 4, 2))
    rows, columns = 1 - 4 / (2 + 4 + 1e-3), 1 - 2 / (2 + 2 + 1e-3)
    np.testing.assert_allclose(loss, [rows + columns], rtol=1e-5)


def test_padding_never_counts() -> None:
    """Whatever stands in the padding, even nonsense, the loss is that of the part that is image."""
    probability = np.random.default_rng(0).random((1, 8, 8)).astype(np.float32)
    valid, box = _box(0, 2, 8, 8), _box(2, 0, 6, 6)
    clean = mil_loss(probability * valid, box * valid)
    probability[:, :, :2] = np.nan
    value, gradient = jax.value_and_grad(lambda x: mil_loss(x, box, valid=valid).sum())(
        jnp.asarray(probability)
    )
    np.testing.assert_array_equal(value, clean[0])
    assert np.isfinite(gradient).all()
    assert not gradient[:, :, :2].any()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_gradients_are_finite_at_certain_probabilities(level: float) -> None:
    for box in (_box(2, 1, 6, 7), np.zeros((1, 8, 8))):
        gradient = jax.grad(lambda x, box=box: mil_loss(x, box).sum())(jnp.full((1, 8, 8), level))
        assert np.isfinite(gradient).all()


def test_gradient_raises_rows_of_the_box_and_lowers_the_others() -> None:
    column = np.zeros((1, 8, 8), np.float32)
    column[:, :, 3] = 0.5
    column[:, 2:6, 3] = 0.6  # the column's maxima, so that the columns' dice pulls at these alone
    gradient = jax.grad(lambda x: mil_loss(x, _box(2, 3, 6, 4)).sum())(jnp.asarray(column))
    assert (gradient[0, 2:6, 3] < 0).all()
    assert (gradient[0, [0, 1, 6, 7], 3] > 0).all()


def test_crops_do_not_mix() -> None:
    rng = np.random.default_rng(1)
    probability = rng.random((3, 8, 8), np.float32)
    box = np.concatenate([_box(2, 1, 6, 7), _box(0, 0, 3, 3), _box(1, 5, 8, 8)])
    together = mil_loss(probability, box)
    alone = [mil_loss(probability[i : i + 1], box[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
