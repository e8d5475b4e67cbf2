"""A workdir's `config.json` as a config again, even if another version wrote it."""

import functools
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from exits_jax.app.settings import as_json, default_config, flat, read_settings
from exits_jax.system.errors import UserError
from exits_jax.system.settings import tuples


def saved_config(path: pathlib.Path, *, say: bool = True) -> ConfigDict:
    """The config in a `config.json`, of the settings' types.

    Settings that are newer than it have their defaults, which leave results as they were; settings
    that no longer exist are left out, and named if `say`.

    Raises:
      UserError: it is not what a run writes.
    """
    tree = _read(path)
    config = default_config()
    known, saved = flat(config.to_dict()), flat(tree)
    gone = sorted(saved.keys() - known.keys())
    if gone and say:
        print(f"note: {path}: this version has no setting {', '.join(gone)}")
    for key, value in saved.items():
        if key in known:
            _set(config, key, value, path)
    return config


def saved_settings(path: pathlib.Path) -> dict[str, Any]:
    """Every setting in a `config.json` by its key, as JSON has it, to compare others with.

    Raises:
      UserError: it is not what a run writes.
    """
    return flat(as_json(read_settings(saved_config(path, say=False))))


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); delete it") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: holds no settings, expected {{section: {{setting: value}}}}")
    return tree


def _set(config: ConfigDict, key: str, value: Any, path: pathlib.Path) -> None:
    *sections, name = key.split(".")
    try:
        functools.reduce(getattr, sections, config)[name] = tuples(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {key} is {value!r}, which is not possible: {error}") from error
