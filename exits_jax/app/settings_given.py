"""What the command line gives: flags, and a config from a file or from a workdir."""

import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from exits_jax.annotations.folder_files import IMAGE_ENDINGS
from exits_jax.app.saved_config import saved_config
from exits_jax.app.settings import default_config, paths
from exits_jax.system.errors import UserError

# Beside the package, in a checkout and where it is installed alike.
CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"


class Given(NamedTuple):
    """Flags, the config (None without one), what is neither, and the settings they change."""

    flags: flags.FlagValues
    config: ConfigDict | None
    rest: list[str]
    changed: set[str]


def parse(argv: Sequence[str], modes: Sequence[str]) -> Given:
    """Reads a command line; `~` is the home folder in every path of it.

    Without --config the config is the one that the workdir was made with, if there is one, and
    `--config.section.field=value` changes that. The first word may be the mode; the annotation file
    and the image folder may follow it, and are labelled with configs/own.py if there is no
    --config.

    Args:
      argv: begins with the program's name.
      modes: what --mode may be.

    Raises:
      UserError: for every mistake in it.
    """
    argv = [argv[0], *map(_at_home, argv[1:])]
    files_of_check = _value_of("mode", argv) == "check"  # even a file called "label"
    if argv[1:2] in [[mode] for mode in modes] and not files_of_check:
        argv = [argv[0], f"--mode={argv[1]}", *argv[2:]]
        # One of several processes repeats its command with a --mode after it (`hosts.in_child`).
        mode = _value_of("mode", argv)
        return _parsed(argv, modes) if mode == "check" else _of_files(argv, modes)
    return _parsed(argv, modes)


def _of_files(argv: list[str], modes: Sequence[str]) -> Given:
    """Parses a command line whose first word was a mode: `label FILE DIR`, or without the files.

    Raises:
      UserError: as for `parse`.
    """
    config = [] if _has_config(argv) else ["--config=own"]
    given = _parsed([argv[0], *config, *argv[1:]], modes)
    if not given.rest and config:
        return _parsed(argv, modes)
    predicts = given.flags.mode == "predict"
    keys = ("annotations", "images")[: len(given.rest)]
    if predicts and len(given.rest) == 1 and _holds_images(given.rest[0]):
        keys = ("images",)
    for key, value in zip(keys, given.rest, strict=False):
        if f"config.data.{key}" in given.changed:
            raise UserError(f"data.{key} is given twice: {value} and --config.data.{key}")
        given.config.data[key] = value
    if keys and given.flags.workdir is None:
        name = pathlib.Path(given.rest[0]).resolve().name.removesuffix(".gz")
        # What is found on images and labels of a file of the same name are two runs.
        stem = pathlib.Path(name).stem + "_predictions" * predicts
        given.flags.workdir = os.path.join("runs", stem)
    changed = given.changed | {f"config.data.{key}" for key in keys}
    return given._replace(rest=given.rest[len(keys) :], changed=changed)


def _holds_images(path: str) -> bool:
    """Whether a path is a folder or an image, not an annotation file."""
    return os.path.isdir(path) or path.lower().endswith(IMAGE_ENDINGS)


def _parsed(argv: list[str], modes: Sequence[str]) -> Given:
    """Parses a command line of flags."""
    try:
        _find_configs()
        argv = _named_config(argv)
        values = _defined(modes)
        has_config = _define_config(values, argv)
        rest = values(argv)[1:]
        config = values.config if has_config else None
        changed = {name for name in values if name.startswith("config.")}
        if config is not None:
            config.to_dict()  # a config that could not be loaded raises only when it is used
            _expand_paths(config)
        if values.params is not None:
            _take_params(values, config, changed)
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


def _take_params(values: flags.FlagValues, config: ConfigDict | None, changed: set[str]) -> None:
    """--params is a short name of segmentation.params, for the mode that reads it.

    Raises:
      UserError: in another mode, or beside the long name.
    """
    key = "config.segmentation.params"
    if values.mode != "predict" or config is None:
        raise UserError("--params is for --mode=predict FOLDER; see --help")
    if key in changed:
        raise UserError(f"segmentation.params is given twice: --params and --{key}")
    config.segmentation.params = values.params
    changed.add(key)


def _find_configs() -> None:
    """Lets configs import each other as `configs.base`, whatever folder they are used in.

    This package's own come first: a folder `configs` of the caller adds to them.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # a config may import what lies beside it
    if "configs" not in sys.modules:
        spec = importlib.util.spec_from_file_location("configs", CONFIGS / "__init__.py")
        sys.modules["configs"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["configs"])
    known = sys.modules["configs"].__path__
    known += [
        folder for folder in (str(CONFIGS), os.path.join(here, "configs")) if folder not in known
    ]


def _named_config(argv: Sequence[str]) -> list[str]:
    """The arguments, with the file in place of a config's name."""
    argv = [*argv]
    for place, argument in enumerate(argv):
        if argument in ("--config", "-config") and place + 1 < len(argv):
            argv[place + 1] = config_file(argv[place + 1])
        elif match := re.fullmatch(r"(--?config=)(.*)", argument, re.DOTALL):
            argv[place] = match[1] + config_file(match[2])
    return argv


def config_file(name: str) -> str:
    """The file that --config means: `own`, `own.py` or `configs/own.py`, each with `:variant`.

    A file in the caller's folder goes before the one of this package.
    """
    path, colon, variant = name.partition(":")
    match = re.fullmatch(r"(?:configs/)?(\w+)(?:\.py)?", path)
    if match and not os.path.isfile(path):
        for folder in (pathlib.Path("configs"), CONFIGS):
            if (folder / f"{match[1]}.py").is_file():
                return f"{folder / match[1]}.py{colon}{variant}"
    return name


def _defined(modes: Sequence[str]) -> flags.FlagValues:
    """The flags, except the config's."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    flags.DEFINE_enum("mode", "run", modes, "what to do", flag_values=values)
    flags.DEFINE_string("images", None, "image folder, for --mode=check", flag_values=values)
    flags.DEFINE_string("params", None, "trained model, for --mode=predict", flag_values=values)
    flags.DEFINE_bool("all", False, "list every finding, for --mode=check", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "say what would be done", flag_values=values)
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, or auto", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "processes of the run", flag_values=values)
    flags.DEFINE_integer("process_id", None, "this process, from 0", flag_values=values)
    return values


def _define_config(values: flags.FlagValues, argv: list[str]) -> bool:
    """Defines --config and the settings of it that the command line changes; False without any.

    Raises:
      UserError: settings are given, and there is no config that has them.
    """
    options = {"flag_values": values, "sys_argv": argv}
    if _has_config(argv):
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


def _has_config(argv: Sequence[str]) -> bool:
    return any(re.match(r"--?config(=|$)", argument) for argument in argv)


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
    """The home folder for `~` in every path of a config, in the root first: others depend on it."""
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
