"""What the command line says: flags, and a config from a file or from a workdir."""

import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from exits_jax.app.saved_config import saved_config
from exits_jax.app.settings import default_config, paths
from exits_jax.system.errors import UserError


class Given(NamedTuple):
    """Flags, the config (None without one), what is neither, and what of the config they change."""

    flags: flags.FlagValues
    config: ConfigDict | None
    rest: list[str]
    changed: set[str]


def parse(argv: Sequence[str], modes: Sequence[str]) -> Given:
    """Reads a command line; `~` is the home folder in every path of it.

    Without --config the config is the one that the workdir was made with, if there is one, and
    `--config.section.field=value` changes that.

    Args:
      argv: begins with the program's name.
      modes: what --mode may be.

    Raises:
      UserError: for every mistake in it.
    """
    argv = [argv[0], *map(_at_home, argv[1:])]
    try:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # configs import their base as `configs.base`
        values = _defined(modes)
        has_config = _define_config(values, argv)
        rest = values(argv)[1:]
        config = values.config if has_config else None
        changed = {name for name in values if name.startswith("config.")}
        if config is not None:
            config.to_dict()  # a config that could not be loaded says so only when it is used
            _expand_paths(config)
        return Given(values, config, rest, changed)
    except UserError:
        raise
    except KeyError as error:
        raise UserError(_unknown_key(error)) from error
    except (flags.Error, OSError, ImportError, SyntaxError) as error:
        raise UserError(_one_line(error)) from error
    except AttributeError as error:
        guess = re.search(r'Did you mean "(\w+)"', str(error))
        key = re.search(r"\w+", str(error))
        if not (guess and key):
            raise UserError(f"config: {_one_line(error)}") from error
        text = f"there is no key '{key[0]}'; did you mean '{guess[1]}'?"
        raise UserError(f"config: {text}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"config: {_one_line(error)}") from error


def _defined(modes: Sequence[str]) -> flags.FlagValues:
    """The flags, but for the config's."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    flags.DEFINE_enum("mode", "run", modes, "what to do", flag_values=values)
    flags.DEFINE_string("images", None, "image folder, for --mode=check", flag_values=values)
    flags.DEFINE_bool("all", False, "list every finding, for --mode=check", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "say what would be done", flag_values=values)
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, or auto", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "processes of the run", flag_values=values)
    flags.DEFINE_integer("process_id", None, "this process, from 0", flag_values=values)
    return values


def _define_config(values: flags.FlagValues, argv: list[str]) -> bool:
    """Defines --config and the settings of it that the command line changes; whether there is one.

    Raises:
      UserError: settings are to be changed, and there is no config that has them.
    """
    options = {"flag_values": values, "sys_argv": argv}
    if any(re.match(r"--?config(=|$)", argument) for argument in argv):
        config_flags.DEFINE_config_file("config", None, "the config", **options)
        return True
    changed = [argument for argument in argv if re.match(r"--?(no)?config\.", argument)]
    workdir = _value_of("workdir", argv)
    saved = pathlib.Path(workdir or "", "config.json")
    if not workdir or not saved.is_file():
        if changed and _value_of("mode", argv) == "check":
            config_flags.DEFINE_config_dict("config", default_config(), "the config", **options)
            return True
        if changed:
            where = f", and {workdir} has no config.json to take it from" if workdir else ""
            raise UserError(
                f"{changed[0]}: --config is missing, e.g. --config=configs/own.py{where}"
            )
        return False
    if any(re.match(r"--?config\.data\.root\b", argument) for argument in changed):
        raise UserError(
            f"data.root: {saved} has only the paths that were made from it; give "
            "--config.data.annotations and --config.data.images"
        )
    config_flags.DEFINE_config_dict("config", saved_config(saved), "the config", **options)
    return True


def _value_of(name: str, argv: Sequence[str]) -> str | None:
    """The last value a flag is given."""
    value = None
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        if match := re.fullmatch(rf"--?{name}(?:=(.*))?", argument, re.DOTALL):
            value = following if match[1] is None else match[1]
    return value


def _at_home(argument: str) -> str:
    """An argument whose value begins with `~`, with the home folder instead."""
    if not argument.startswith("-"):
        return os.path.expanduser(argument)
    name, sign, value = argument.partition("=")
    return f"{name}{sign}{os.path.expanduser(value)}"


def _expand_paths(config: ConfigDict) -> None:
    """The home folder for `~` in every path of a config, the root's first: others hang on it."""
    for key in paths():
        section, name = key.split(".")
        value: Any = config[section].get(name)
        if isinstance(value, str) and value.startswith("~"):
            config[section][name] = os.path.expanduser(value)


def _unknown_key(error: KeyError) -> str:
    first, *more = str(error.args[0]).splitlines()
    guess = re.search(r'Did you mean "(\w+)"', " ".join(more))
    help_ = f"did you mean '{guess[1]}'?" if guess else "--help=settings lists them all"
    key = first.strip("'\"")
    return f"config: there is no key '{key}'; {help_}"


def _one_line(error: Exception) -> str:
    """The last line of a message: what absl and ml_collections put before it is a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = re.sub(r"^\w+Error: ", "", lines[-1]) if lines else type(error).__name__
    absent = re.fullmatch(r"\[Errno 2\] .*: '(.*)'", line)
    return f"{absent[1]}: no such config; --help lists those there are" if absent else line
