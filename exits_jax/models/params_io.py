"""Parameters as one safetensors file with '/'-joined names, and reports of what does not fit."""

import itertools
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from exits_jax.system import files
from exits_jax.system.errors import UserError, one_line
from exits_jax.system.types import Params

# A nested dict of arrays: "params" in what `Module.init` returns.

_MADE_WITH = "made_with"  # key of the file's metadata
_LISTED = 8  # how many names of a kind a report lists


def save_params(
    path: str | os.PathLike, params: Params, made_with: Mapping[str, Any] | None = None
) -> None:
    """Writes a nested dict of arrays as safetensors, names joined by '/'; atomic.

    The same parameters give the same bytes (names are sorted).

    Args:
      path: of the file.
      params: the arrays.
      made_with: what the parameters only work with (settings by name, JSON values); kept in the
        file's metadata, for `load_params` to compare.

    Raises:
      UserError: the file cannot be written.
    """
    flat = {name: np.asarray(array) for name, array in sorted(flatten(params).items())}
    flat = {name: np.ascontiguousarray(array) for name, array in flat.items()}
    metadata = {_MADE_WITH: json.dumps(made_with, sort_keys=True)} if made_with else None
    files.write_bytes(path, safetensors.numpy.save(flat, metadata))


def load_params(
    path: str | os.PathLike,
    expected: Params | None = None,
    made_with: Mapping[str, Any] | None = None,
) -> Params:
    """Reads what `save_params` wrote.

    Args:
      path: a safetensors file.
      expected: a nested dict whose leaves have `shape` (parameters, or `jax.eval_shape` of an
        initialisation): what the network at hand wants. None: no check.
      made_with: the settings at hand, which must equal those the file was saved with. None: no
        check.

    Returns:
      A nested dict of NumPy arrays, types as in the file.

    Raises:
      UserError: missing or unreadable file; or, with `expected`, parameters of another network:
        missing, extra and mis-shaped ones are listed together; or made with other settings.
    """
    flat, saved_with = _read(path)
    if expected is not None:
        shapes = {name: tuple(leaf.shape) for name, leaf in flatten(expected).items()}
        report_misfit(
            path,
            missing=shapes.keys() - flat.keys(),
            extra=flat.keys() - shapes.keys(),
            misshaped=[
                f"{name} {list(flat[name].shape)}, expected {list(shapes[name])}"
                for name in shapes.keys() & flat.keys()
                if flat[name].shape != shapes[name]
            ],
        )
    if made_with is not None:
        _compare_settings(path, saved_with, json.loads(json.dumps(made_with)))
    _check_nesting(path, flat)
    return unflatten(flat)


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Name -> array of a safetensors file.

    Raises:
      UserError: missing file, or not a safetensors file.
    """
    return _read(path)[0]


def read_made_with(path: str | os.PathLike) -> dict[str, Any]:
    """The settings that a file of parameters was saved with; {} where it names none.

    Raises:
      UserError: missing file, or not a safetensors file.
    """
    return _read(path)[1]


def _read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file and the settings it was saved with ({}: it holds none)."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            settings = json.loads((file.metadata() or {}).get(_MADE_WITH, "{}"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # types that NumPy lacks, settings nested too deeply, ...
        raise UserError(f"{path}: cannot be read as safetensors: {one_line(error)}") from error
    if not isinstance(settings, dict):
        raise UserError(
            f"{path}: the settings it was saved with are {one_line(settings)}, not a dict"
        )
    return arrays, settings


def _check_nesting(path: str | os.PathLike, names: Iterable[str]) -> None:
    """Raises a UserError where a name is both an array's and a group's ('a' and 'a/b')."""
    names = set(names)
    for name in sorted(names):
        for group in itertools.accumulate(name.split("/")[:-1], "{}/{}".format):
            if group in names:
                raise UserError(f"{path}: {one_line(group)!r} is an array and holds another one")


def _compare_settings(
    path: str | os.PathLike, saved: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Raises one UserError that lists every setting that differs."""
    if not saved:
        raise UserError(f"{path}: does not say which settings it was trained with; train it again")
    rows = [
        f"{one_line(name)} = {one_line(repr(saved.get(name, 'absent')))},"
        f" now {now.get(name, 'absent')!r}"
        for name in sorted(saved.keys() | now.keys())
        if saved.get(name) != now.get(name)
    ]
    if rows:
        raise UserError(
            f"{path}: was trained with other settings: {'; '.join(rows)}. Use the config it was "
            "trained with"
        )


def report_misfit(
    path: str | os.PathLike,
    missing: Iterable[str],
    extra: Iterable[str],
    misshaped: Iterable[str],
    advice: str = "load it into the network it was saved from",
) -> None:
    """Raises one UserError that lists everything that does not fit; nothing to list: returns."""
    kinds = {"missing": missing, "not used": extra, "of another shape": misshaped}
    parts = []
    for kind, names in kinds.items():
        names = sorted(names)
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            parts.append(f"{len(names)} {kind}: {', '.join(map(one_line, names[:_LISTED]))}{more}")
    if parts:
        raise UserError(f"{path}: does not fit the network: {'; '.join(parts)}. {advice}")


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dict -> {'a/b/c': leaf}."""
    return traverse_util.flatten_dict(params, sep="/")


def unflatten(flat: Mapping[str, Any]) -> Params:
    """{'a/b/c': leaf} -> nested dict."""
    return traverse_util.unflatten_dict(flat, sep="/")
