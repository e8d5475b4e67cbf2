"""The PyTorch counterpart that the package is timed against computes what the package computes."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from experiments.framework_comparison import parity
from experiments.framework_comparison.weights import to_flax, to_torch

ROOT = pathlib.Path(__file__).parents[2]
# Without the steps, whose compilation takes a minute; `make bench` runs all parts.
PARTS = [
    "features",
    "maps",
    "transition",
    "scores",
    "generator",
    "score_maps",
    "losses",
    "labelling",
]


def torch_python() -> str:
    """An interpreter with PyTorch, or a loud skip."""
    own = str(ROOT / ".venv-bench" / "bin" / "python")
    if importlib.util.find_spec("torch") is not None:
        own = sys.executable
    chosen = os.environ.get("EXITS_JAX_TORCH_PYTHON", own)
    if not pathlib.Path(chosen).exists():
        pytest.skip(
            "SKIPPED, needs PyTorch: `make bench` makes .venv-bench, or name an interpreter that "
            "has it in EXITS_JAX_TORCH_PYTHON"
        )
    return chosen


def test_forward_passes_agree(tmp_path):
    arguments = ["--size=Ti", "--crop=112", "--batch=3"]
    rows = parity.run_problem(arguments, torch_python(), tmp_path, PARTS)
    assert {row.part.partition(":")[0] for row in rows} == {*PARTS}
    assert all(row.arrays for row in rows)
    assert [row for row in rows if not row.holds] == []


def test_parity_needs_no_jax_on_pytorchs_side():
    code = (
        "import sys; from experiments.framework_comparison import parts, rows, torch_side;"
        "sys.exit(any(name in sys.modules for name in ('jax', 'flax')))"
    )
    subprocess.run([torch_python(), "-c", code], cwd=ROOT, check=True)


def test_both_sides_have_what_parts_and_rows_call():
    folder = pathlib.Path(parity.__file__).parent
    sources = [(folder / name).read_text() for name in ("parts.py", "rows.py", "run_row.py")]
    names = sorted({name for source in sources for name in re.findall(r"\bside\.(\w+)", source)})
    assert {"transition_matrix", "step_case", "set_up"} <= {*names}
    code = (
        "import importlib, sys; side, *names = sys.argv[1:];"
        "side = importlib.import_module(f'experiments.framework_comparison.{side}');"
        "sys.exit(str([name for name in names if not hasattr(side, name)] or '') or 0)"
    )
    for side, python in (("jax_side", sys.executable), ("torch_side", torch_python())):
        subprocess.run([python, "-c", code, side, *names], cwd=ROOT, check=True)


def test_weights_there_and_back():
    rng = np.random.default_rng(0)
    shapes = {
        "encoder/embedding/patch_projection/kernel": (14, 14, 3, 6),
        "encoder/embedding/patch_projection/bias": (6,),
        "encoder/embedding/position": (5, 5, 6),
        "encoder/embedding/class_token": (1, 6),
        "encoder/block01/norm1/scale": (6,),
        "encoder/block01/scale1": (6,),
        **{f"encoder/block01/attention/{n}/kernel": (6, 6) for n in ("query", "key", "value")},
        **{f"encoder/block01/attention/{n}/bias": (6,) for n in ("query", "key", "value")},
        "encoder/block12/mlp/fc1/kernel": (6, 24),
        "decoder/pixel/conv1/kernel": (3, 3, 6, 2),
    }
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    state = to_torch(params)
    assert state["encoder.blocks.0.attention.qkv.weight"].shape == (18, 6)
    assert state["encoder.blocks.11.mlp.fc1.weight"].shape == (24, 6)
    assert state["encoder.embedding.patch_projection.weight"].shape == (6, 3, 14, 14)
    back = to_flax(state)
    assert back.keys() == params.keys()
    for name, array in params.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_a_difference_is_found():
    ours = {"features:final": np.ones((2, 3)), "scores:keys": np.full(4, 1e-3)}
    theirs = {"features:final": np.ones((2, 3)), "scores:keys": np.full(4, 1.1e-3)}
    first, second = parity.compare(ours, theirs, [])
    assert first.holds
    assert not second.holds
    assert second.absolute == pytest.approx(1e-4)
    theirs["scores:keys"] = np.full(4, np.nan)
    assert not parity.compare(ours, theirs, [])[1].holds
    del theirs["scores:keys"]
    with pytest.raises(ValueError, match="scores:keys"):
        parity.compare(ours, theirs, [])
