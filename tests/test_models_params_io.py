"""Parameters on disk: round trip, same bytes, and what is said when they do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.models.params_io import load_params, save_params
from exits_jax.system.errors import UserError

PARAMS = {
    "encoder": {"norm": {"scale": jnp.arange(3.0), "bias": jnp.ones(3)}},
    "decoder": {"kernel": jnp.arange(6.0).reshape(2, 3).T},
}


def test_round_trip(tmp_path):
    save_params(tmp_path / "deep" / "p.safetensors", PARAMS)
    found = load_params(tmp_path / "deep" / "p.safetensors", PARAMS)
    assert jax.tree.structure(found) == jax.tree.structure(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, found, PARAMS)


def test_types_are_kept(tmp_path):
    params = {"a": np.arange(3, dtype=np.int32), "b": np.arange(3, dtype=np.float16)}
    save_params(tmp_path / "p.safetensors", params)
    found = load_params(tmp_path / "p.safetensors")
    assert {name: array.dtype.name for name, array in found.items()} == {
        "a": "int32",
        "b": "float16",
    }


def test_same_parameters_same_bytes(tmp_path):
    save_params(tmp_path / "1.safetensors", PARAMS)
    save_params(tmp_path / "2.safetensors", dict(reversed(PARAMS.items())))
    first, second = ((tmp_path / f"{i}.safetensors").read_bytes() for i in (1, 2))
    assert first == second


def test_shapes_alone_are_enough_to_check(tmp_path):
    save_params(tmp_path / "p.safetensors", PARAMS)
    load_params(tmp_path / "p.safetensors", jax.eval_shape(lambda: PARAMS))


def test_another_network_is_refused_with_everything_listed(tmp_path):
    save_params(tmp_path / "p.safetensors", PARAMS)
    expected = {
        "encoder": {"norm": {"scale": jnp.zeros(4), "bias": jnp.zeros(3)}},
        "head": jnp.zeros(2),
    }
    with pytest.raises(UserError) as caught:
        load_params(tmp_path / "p.safetensors", expected)
    text = str(caught.value)
    assert "p.safetensors" in text
    assert "1 missing: head" in text
    assert "1 not used: decoder/kernel" in text
    assert "1 of another shape: encoder/norm/scale [3], expected [4]" in text


def test_long_lists_are_cut(tmp_path):
    save_params(tmp_path / "p.safetensors", {f"p{i:02d}": jnp.zeros(1) for i in range(20)})
    with pytest.raises(UserError, match=r"20 not used: p00, .*p07 and 12 more"):
        load_params(tmp_path / "p.safetensors", {})


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(UserError, match=r"absent\.safetensors"):
        load_params(tmp_path / "absent.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(UserError, match=r"cut\.safetensors: cannot be read as safetensors"):
        load_params(tmp_path / "cut.safetensors")


def test_settings_that_differ_are_all_named(tmp_path):
    settings = {"crop.size": 336, "generator.prior": 1.0, "retrieval.layers": (9, 10)}
    save_params(tmp_path / "p.safetensors", PARAMS, settings)
    load_params(tmp_path / "p.safetensors", PARAMS, settings)
    load_params(tmp_path / "p.safetensors", PARAMS)
    other = {"crop.size": 224, "generator.prior": 1.0}
    with pytest.raises(UserError) as caught:
        load_params(tmp_path / "p.safetensors", PARAMS, other)
    text = str(caught.value)
    assert "crop.size = 336, now 224" in text
    assert "retrieval.layers = [9, 10], now 'absent'" in text
    assert "prior" not in text


def test_parameters_of_unknown_settings_are_refused(tmp_path):
    save_params(tmp_path / "p.safetensors", PARAMS)
    with pytest.raises(UserError, match="does not say which settings"):
        load_params(tmp_path / "p.safetensors", PARAMS, {"crop.size": 336})
