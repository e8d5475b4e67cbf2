"""What a YOLO data set says of itself: its data.yaml, or the list of its classes."""

import itertools
import pathlib
import re
from typing import Any

import yaml

from exits_jax.annotations.folder_files import read_text
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem
from exits_jax.errors import one_line

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
MAX_YAML_CHARACTERS, MAX_YAML_DEPTH = 500_000, 30


def names_near(folder: pathlib.Path) -> dict[int, str]:
    """The names of the classes by index, from the data set that a folder is or is in; or none.

    Raises:
      BadItem: its data.yaml is none, or its names are not.
    """
    return names_by_index(settings_near(folder).get("names")) or classes_near(folder)


def settings_near(folder: pathlib.Path) -> dict[str, Any]:
    """The data.yaml of a folder, or of the data set whose `labels` it is in; empty without one."""
    files = (place / name for place in _places(folder) for name in YAML_NAMES)
    path = next((path for path in files if path.is_file()), None)
    return {} if path is None else read_settings(path)


def classes_near(folder: pathlib.Path) -> dict[int, str]:
    """Names from classes.txt, one a line; empty where there is none."""
    files = (place / name for place in _places(folder) for name in ("classes.txt", "obj.names"))
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        return {}
    lines = [line.strip() for line in read_text(path).splitlines()]
    return names_by_index([line for line in lines if line])


def _places(folder: pathlib.Path) -> list[pathlib.Path]:
    """Where a data set's own files lie: in a folder, or around the `labels` that it is in."""
    whole = folder.absolute()
    for depth, place in enumerate([whole, *whole.parents[:2]]):
        if place.name == "labels":
            return [whole, *whole.parents[: depth + 2]]
    return [whole]


def read_settings(path: pathlib.Path) -> dict[str, Any]:
    """What a data.yaml says, every value as text.

    As text alone YAML has no merge keys, by which a few lines grow without end, no dates that do
    not exist, and classes called `no` keep their name.
    """
    text = read_text(path)
    if len(text) > MAX_YAML_CHARACTERS or _depth(text) > MAX_YAML_DEPTH:
        raise BadItem("bad_yaml", f"{path.name} is no data.yaml: too long, or nested too deeply")
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
      BadItem: two classes have one name, or they are no names.
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
    """`kpt_shape`, [how many, 2 or 3], as the count of numbers behind a box."""
    right = isinstance(shape, list) and len(shape) == 2 and all(str(n).isdecimal() for n in shape)
    return int(shape[0][:4]) * int(shape[1][:4]) if right else 0
