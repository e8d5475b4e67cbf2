"""Resizing position tables: closed forms, and agreement with the libraries the kernels are from."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from exits_jax.models import backbones
from exits_jax.models.position import (
    KERNELS,
    antialiased_matrix,
    cubic_matrix,
    linear_matrix,
    resize_positions,
)
from exits_jax.models.published import BACKBONES

FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "position.npz"  # make_position_fixtures.py


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("size_in", "size_out"), [(14, 32), (37, 16), (4, 4), (3, 7), (1, 5)])
def test_rows_sum_to_one(kernel, size_in, size_out):
    matrix = KERNELS[kernel](size_in, size_out)
    assert matrix.shape == (size_out, size_in)
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-6)
    # Symmetric about the middle: turning the table round turns the result round.
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_same_size_is_the_identity(kernel):
    np.testing.assert_allclose(KERNELS[kernel](5, 5), np.eye(5), atol=1e-7)


def test_doubling_by_hand():
    """Output 3 of 8 is centred on input 1.25: taps at distances 1.25, .25, .75, 1.75, a = -3/4."""
    expected = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]
    np.testing.assert_allclose(cubic_matrix(4, 8)[3], expected, atol=1e-6)
    # Output 0 is centred on -0.25, between inputs -1 and 0: what is left of the edge is the edge.
    edge = [-0.03515625 + 0.26171875 + 0.87890625, -0.10546875, 0.0, 0.0]
    np.testing.assert_allclose(cubic_matrix(4, 8)[0], edge, atol=1e-6)


def test_bicubic_is_pytorch_s_with_and_without_antialiasing():
    with np.load(FIXTURE) as archive:
        expected = {name: archive[name] for name in archive.files}
    assert len(expected) == 18
    for name, matrix in expected.items():
        kernel, size_in, size_out = name.split("_")
        found = KERNELS[kernel](int(size_in), int(size_out))
        np.testing.assert_allclose(found, matrix, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("size_in", "size_out"), [(10, 17), (14, 21), (37, 24), (24, 7), (2, 9)])
def test_antialiased_bicubic_is_jax_s_too(size_in, size_out):
    """An independent implementation; antialiasing changes the kernel where nothing shrinks, too."""
    theirs = jax.image.resize(jnp.eye(size_in), (size_out, size_in), "cubic")
    np.testing.assert_allclose(antialiased_matrix(size_in, size_out), theirs, atol=1e-5)
    assert np.abs(cubic_matrix(size_in, size_out) - theirs).max() > 0.02


@pytest.mark.parametrize(
    ("size_in", "size_out"), [(14, 21), (14, 24), (14, 32), (14, 7), (24, 14), (4, 6), (5, 1)]
)
def test_zoom_is_scipy_s(size_in, size_out):
    table = np.random.default_rng(0).normal(size=(size_in, size_in, 3)).astype(np.float32)
    scale = size_out / size_in
    expected = scipy.ndimage.zoom(table, (scale, scale, 1), order=1)
    found = resize_positions(jnp.asarray(table), size_out, "zoom")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_zoom_of_a_ramp_by_hand():
    """Corner to corner: 0 stays 0, 13 stays 13, and what lies between is evenly spaced."""
    np.testing.assert_allclose(
        linear_matrix(14, 21) @ np.arange(14.0), np.linspace(0, 13, 21), atol=1e-5
    )
    # Where scipy's last place is rounded to beyond the edge, its last row is zero; ours is not.
    np.testing.assert_allclose(linear_matrix(8, 26)[-1], np.eye(8)[-1])


def test_every_backbone_names_a_kernel_there_is():
    found = {name: item.position_resize for name, item in BACKBONES.items()}
    assert set(found.values()) <= set(KERNELS)
    assert {found["augreg_s16"], found["augreg_b16"]} == {"zoom"}
    assert found[backbones.DEFAULT] == found["mae_b16"] == found["dinov2_b14"] == "pytorch"


def test_rows_and_columns_are_not_swapped():
    table = jnp.broadcast_to(jnp.arange(4.0)[:, None, None], (4, 4, 2))
    found = resize_positions(table, 9)
    assert found.shape == (9, 9, 2)
    np.testing.assert_allclose(found, jnp.broadcast_to(found[:, :1, :1], (9, 9, 2)), atol=1e-6)
    assert float(found[8, 0, 0] - found[0, 0, 0]) > 2.5


def test_table_at_its_own_grid_is_untouched():
    table = jax.random.normal(jax.random.key(0), (6, 6, 3))
    for kernel in KERNELS:
        assert resize_positions(table, 6, kernel) is table


def test_unknown_kernel():
    with pytest.raises(ValueError, match="'lanczos'"):
        resize_positions(jnp.zeros((4, 4, 2)), 5, "lanczos")
