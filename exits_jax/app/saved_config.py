"""A workdir's `config.json` as a config again, also where another version wrote it."""

import functools
import importlib.util
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

import exits_jax
from exits_jax.system.errors import UserError

# Every setting there is, in the checkout that the package is part of.
BASE = pathlib.Path(exits_jax.__file__).parent.parent / "configs" / "base.py"


def saved_config(path: pathlib.Path) -> ConfigDict:
    """The config in a `config.json`, of the types that configs/base.py has.

    Settings that are new since it was written have the values of configs/base.py, which are those
    of before; settings that are no more are left out, which is said.

    Raises:
      UserError: it is not what a run writes.
    """
    tree = _read(path)
    config = _base()
    if config is None:
        return ConfigDict(tree)
    known, saved = flat(config.to_dict()), flat(tree)
    gone = sorted(saved.keys() - known.keys())
    if gone:
        print(f"note: {path}: this version has no setting {', '.join(gone)}")
    for key, value in saved.items():
        if key in known:
            _set(config, key, value, path)
    return config


def saved_settings(path: pathlib.Path) -> dict[str, Any]:
    """The settings in a `config.json` by their keys, as JSON has them, to compare others with.

    What is new since then has the values of configs/base.py, and what is no more is left out.

    Raises:
      UserError: it is not what a run writes.
    """
    saved, known = flat(_read(path)), defaults()
    return known | {key: value for key, value in saved.items() if not known or key in known}


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); delete it") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: holds no settings, expected {{section: {{setting: value}}}}")
    return tree


def defaults() -> dict[str, Any]:
    """Every setting of configs/base.py by its key, as JSON has it; none where it is not at hand."""
    config = _base()
    return {} if config is None else flat(json.loads(json.dumps(config.to_dict())))


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their keys: {"label": {"flip": True}} -> {"label.flip": True}."""
    rows: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            rows |= flat(value, f"{prefix}{name}.")
        else:
            rows[prefix + name] = value
    return rows


def _set(config: ConfigDict, key: str, value: Any, path: pathlib.Path) -> None:
    *sections, name = key.split(".")
    try:
        functools.reduce(getattr, sections, config)[name] = value
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {key} is {value!r}, which it cannot be: {error}") from error


def _base() -> ConfigDict | None:
    """configs/base.py's settings; None where the package is installed without it."""
    if not BASE.is_file():
        return None
    spec = importlib.util.spec_from_file_location("exits_jax_base_config", BASE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
