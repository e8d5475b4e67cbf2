"""Resizing position tables: closed forms, and agreement with the other library's kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.models.position import cubic_matrix, resize_positions


@pytest.mark.parametrize(("size_in", "size_out"), [(14, 32), (37, 16), (4, 4), (3, 7), (1, 5)])
def test_rows_sum_to_one(size_in, size_out):
    matrix = cubic_matrix(size_in, size_out)
    assert matrix.shape == (size_out, size_in)
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-6)
    # Symmetric about the middle: turning the table round turns the result round.
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


def test_same_size_is_the_identity():
    np.testing.assert_allclose(cubic_matrix(5, 5), np.eye(5), atol=1e-7)


def test_doubling_by_hand():
    """Output 3 of 8 is centred on input 1.25: taps at distances 1.25, .25, .75, 1.75, a = -3/4."""
    expected = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]
    np.testing.assert_allclose(cubic_matrix(4, 8)[3], expected, atol=1e-6)
    # Output 0 is centred on -0.25, between inputs -1 and 0: what is left of the edge is the edge.
    edge = [-0.03515625 + 0.26171875 + 0.87890625, -0.10546875, 0.0, 0.0]
    np.testing.assert_allclose(cubic_matrix(4, 8)[0], edge, atol=1e-6)


def test_other_kernel_is_jax_s_inside():
    """With a = -0.5 inner rows are those of `jax.image.resize`, an independent implementation."""
    theirs = jax.image.resize(jnp.eye(10), (17, 10), "cubic")
    np.testing.assert_allclose(cubic_matrix(10, 17, a=-0.5)[4:13], theirs[4:13], atol=1e-5)
    assert np.abs(cubic_matrix(10, 17)[4:13] - theirs[4:13]).max() > 0.02


def test_rows_and_columns_are_not_swapped():
    table = jnp.broadcast_to(jnp.arange(4.0)[:, None, None], (4, 4, 2))
    found = resize_positions(table, 9)
    assert found.shape == (9, 9, 2)
    np.testing.assert_allclose(found, jnp.broadcast_to(found[:, :1, :1], (9, 9, 2)), atol=1e-6)
    assert float(found[8, 0, 0] - found[0, 0, 0]) > 2.5


def test_table_at_its_own_grid_is_untouched():
    table = jax.random.normal(jax.random.key(0), (6, 6, 3))
    for kernel in ("pytorch", "jax"):
        assert resize_positions(table, 6, kernel) is table


def test_jax_kernel():
    table = jax.random.normal(jax.random.key(0), (6, 6, 3))
    expected = jax.image.resize(table, (4, 4, 3), "cubic")
    np.testing.assert_array_equal(resize_positions(table, 4, "jax"), expected)


def test_unknown_kernel():
    with pytest.raises(ValueError, match="'lanczos'"):
        resize_positions(jnp.zeros((4, 4, 2)), 5, "lanczos")
