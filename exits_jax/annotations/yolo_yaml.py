"""What a YOLO data set says about itself: its data.yaml, or the list of its classes."""

import contextlib
import itertools
import pathlib
import re
from typing import Any

import yaml

from exits_jax.annotations.folder_files import files_in, read_text
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem
from exits_jax.system.errors import UserError, one_line

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
YAML_ENDINGS = (".yaml", ".yml")
CLASS_LISTS = ("classes.txt", "obj.names", "predefined_classes.txt")
MAX_YAML_CHARACTERS, MAX_YAML_DEPTH = 500_000, 30


def names_near(folder: pathlib.Path) -> dict[int, str]:
    """Class names by index, from the data set that a folder is or is in, else from one above.

    Raises:
      BadItem: its data.yaml is not one, or its names are not names.
    """
    names = _names_in(_places(folder))
    with contextlib.suppress(UserError):  # what lies above may be something else
        names = names or _names_in([folder.absolute().parent])
    return names


def settings_near(folder: pathlib.Path) -> dict[str, Any]:
    """The data.yaml of a folder, or of the data set whose `labels` it is in; empty without one."""
    return _settings_in(_places(folder))


def _names_in(places: list[pathlib.Path]) -> dict[int, str]:
    """Names from a data.yaml, else from a list of classes, one per line; empty without either."""
    names = names_by_index(_settings_in(places).get("names"))
    path = _first_file(places, CLASS_LISTS)
    if names or path is None:
        return names
    lines = [line.strip() for line in read_text(path).splitlines()]
    return names_by_index([line for line in lines if line])


def _settings_in(places: list[pathlib.Path]) -> dict[str, Any]:
    """The data.yaml in one of the folders, or the only other one there that has names."""
    path = _first_file(places, YAML_NAMES)
    if path is not None:
        return read_settings(path)
    for place in places:
        found = []
        for other in files_in(place, *YAML_ENDINGS):
            with contextlib.suppress(BadItem):
                found.append(read_settings(other))
        named = [settings for settings in found if isinstance(settings.get("names"), (list, dict))]
        if len(named) == 1:
            return named[0]
    return {}


def _first_file(places: list[pathlib.Path], names: tuple[str, ...]) -> pathlib.Path | None:
    files = (place / name for place in places for name in names)
    return next((path for path in files if path.is_file()), None)


def _places(folder: pathlib.Path) -> list[pathlib.Path]:
    """Where a data set's own files lie: in a folder, or around the `labels` that it is in."""
    whole = folder.absolute()
    for depth, place in enumerate([whole, *whole.parents[:2]]):
        if place.name == "labels":
            return [whole, *whole.parents[: depth + 2]]
    return [whole]


def read_settings(path: pathlib.Path) -> dict[str, Any]:
    """What a data.yaml says, every value as text.

    Read as text, YAML has no merge keys, by which a few lines grow without end, no impossible
    dates, and classes called `no` keep their name.
    """
    text = read_text(path)
    if len(text) > MAX_YAML_CHARACTERS or _depth(text) > MAX_YAML_DEPTH:
        raise BadItem("bad_yaml", f"{path.name} is not a data.yaml: too long, or nested too deeply")
    try:
        found = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadItem("bad_yaml", f"{path.name} is not valid YAML: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise BadItem("bad_yaml", f"{path.name} holds {shown(found)}; expected names, train, val")
    return found


def _depth(text: str) -> int:
    """The most brackets that are open at once: reading them takes their number squared."""
    steps = (1 if mark in "[{" else -1 for mark in re.findall(r"[\[\]{}]", text))
    return max(itertools.accumulate(steps), default=0)


def _is_index(key: Any) -> bool:
    text = str(key)
    return text.isdecimal() and len(text) < 10


def names_by_index(names: Any) -> dict[int, str]:
    """`names` as a list, or by index.

    Raises:
      BadItem: two classes have one name, or they are not names.
    """
    if names is None:
        return {}
    rows = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(rows, dict) or not all(map(_is_index, rows)):
        text = f"names is {shown(names)}; expected a list, or names by index"
        raise BadItem("bad_category", text)
    found = {int(k): name.strip() for k, name in rows.items() if isinstance(name, str)}
    if len(found) < len(rows) or len(set(found.values())) < len(found):
        raise BadItem("bad_category", f"names {shown(names)} are not different texts")
    return dict(sorted(found.items()))


def keypoint_numbers(shape: Any) -> int:
    """`kpt_shape`, [how many, 2 or 3], as the count of numbers after a box."""
    right = isinstance(shape, list) and len(shape) == 2 and all(str(n).isdecimal() for n in shape)
    return int(shape[0][:4]) * int(shape[1][:4]) if right else 0
