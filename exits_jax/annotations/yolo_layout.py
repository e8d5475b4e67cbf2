"""Where the files of a YOLO data set are: labels, images, names.

A data.yaml's paths are followed inside its own folder alone: whatever else they say, the images are
those in the image folder that was given.
"""

import itertools
import os
import pathlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from exits_jax.annotations.draft import PassedOver
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem
from exits_jax.errors import one_line

SPLITS = ("train", "val", "test")
IMAGE_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
YAML_ENDINGS = (".yaml", ".yml")
YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NO_LABELS = ("classes.txt", "labels.txt", "obj.names", "readme.txt")  # text beside labels
MAX_YAML_CHARACTERS, MAX_YAML_DEPTH = 500_000, 30
MAX_LABEL_BYTES = 64_000_000


@dataclass
class Layout:
    """A data set's files.

    Attributes:
      root: the folder that was given, or the file's.
      labels: the label files, sorted.
      names: of the categories, by index; empty where none are known.
      keypoints: how many numbers of key points follow each box, 0 if not known.
      folder: the folder of the images.
      images: image files relative to their folder, by that path without its ending.
    """

    root: pathlib.Path
    labels: list[pathlib.Path]
    names: dict[int, str]
    keypoints: int
    folder: pathlib.Path
    images: dict[str, list[str]]

    def __post_init__(self) -> None:
        self._taken: set[str] = set()
        self._by_base: dict[str, list[str]] = defaultdict(list)
        for stem, names in self.images.items():
            self._by_base[stem.rpartition("/")[2]] += names

    def where(self, label: pathlib.Path) -> str:
        """What messages call a label file."""
        return label.relative_to(self.root).as_posix()

    def image_of(self, label: pathlib.Path) -> tuple[str, pathlib.Path] | None:
        """Name and path of a label file's image; None where there is none.

        `labels/train/a.txt` means `images/train/a.*`. Where the image folder begins further down
        that is `train/a.*` or `a.*`, and where it has other folders the only file called `a.*`.

        Raises:
          BadItem: several images are called so.
        """
        parts = [*label.absolute().with_suffix("").parts]
        if "labels" in parts:
            parts[len(parts) - 1 - parts[::-1].index("labels")] = "images"
        stems = ("/".join(parts[first:]) for first in range(len(parts)))
        found = next((self.images[stem] for stem in stems if stem in self.images), None)
        found = found or self._by_base.get(parts[-1], [])
        if len(found) > 1:
            text = f"{len(found)} images are called so: {', '.join(found[:3])}"
            raise BadItem("ambiguous_image", text)
        self._taken.update(found)
        return (found[0], self.folder / found[0]) if found else None

    def without_labels(self) -> Iterator[tuple[str, pathlib.Path]]:
        """Name and path of the images that no label file has meant so far, sorted."""
        for name in sorted(name for names in self.images.values() for name in names):
            if name not in self._taken:
                yield name, self.folder / name


def layout_of(file: pathlib.Path, images: ImageFolder | None, passed: PassedOver) -> Layout:
    """The files of the data set that a data.yaml, a folder or one text file stands for.

    Raises:
      BadItem: there are no label files, or the data.yaml is none.
    """
    is_yaml = file.suffix.lower() in YAML_ENDINGS
    folder = file if file.is_dir() else file.parent
    settings = _settings(file) if is_yaml else _settings_near(folder)
    labels = [file]
    if not (file.is_dir() or is_yaml or file.suffix.lower() == ".txt"):
        text = f"{file.name} is no YOLO label file; expected a data.yaml, a folder or a .txt"
        raise BadItem("unknown_kind", text)
    if file.is_dir() or is_yaml:
        whole = is_yaml or any((folder / name).is_file() for name in YAML_NAMES)
        splits = _splits(settings, folder, passed) if whole else []
        labels = sorted({path for place in splits or [folder] for path in label_files(place)})
    if not labels:
        raise BadItem("no_annotations", f"no text file of labels in {folder}")
    image_folder = images.path if images else _images_near(folder)
    return Layout(
        root=folder,
        labels=labels,
        names=_names(settings.get("names")) or _classes_near(folder),
        keypoints=_keypoints(settings.get("kpt_shape")),
        folder=image_folder,
        images=images_below(image_folder),
    )


def images_below(folder: pathlib.Path) -> dict[str, list[str]]:
    """The image files in a folder and its folders, by relative path without the ending."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in _files_below(folder, IMAGE_ENDINGS):
        name = path.relative_to(folder).as_posix()
        found[os.path.splitext(name)[0]].append(name)
    return dict(found)


def read_text(path: pathlib.Path) -> str:
    """A text file in UTF-8, or in UTF-16 as PowerShell writes it.

    Raises:
      BadItem: it cannot be read, or is far too large or no text.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_LABEL_BYTES + 1)
        if len(content) > MAX_LABEL_BYTES:
            raise BadItem("bad_text", f"more than {MAX_LABEL_BYTES} bytes")
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadItem("bad_text", "it is no text in UTF-8") from error
    except OSError as error:
        raise BadItem("unreadable_file", f"cannot be read: {error.strerror or error}") from error


def _files_below(folder: pathlib.Path, endings: tuple[str, ...]) -> list[pathlib.Path]:
    """The files with one of the endings in a folder and its folders, sorted; links not followed."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            pathlib.Path(where, name)
            for name in names
            if name.lower().endswith(endings) and not name.startswith(".")
        ]
    return sorted(found)


def label_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The text files below a folder; only those in `labels` folders, if there are any."""
    found = [path for path in _files_below(folder, (".txt",)) if path.name.lower() not in NO_LABELS]
    inside = [path for path in found if "labels" in path.relative_to(folder).parts[:-1]]
    return inside or found


def _images_near(folder: pathlib.Path) -> pathlib.Path:
    """The data set's folder, where no image folder is given: its own, or the one around labels."""
    above = [parent for parent in folder.parents if parent.name == "labels"]
    start = above[0] if above else folder
    return start.parent if start.name == "labels" else folder


def names_near(folder: pathlib.Path) -> dict[int, str]:
    """The names of the classes by index, from the data set that a folder is or is in; or none.

    Raises:
      BadItem: its data.yaml is none, or its names are not.
    """
    return _names(_settings_near(folder).get("names")) or _classes_near(folder)


def _settings_near(folder: pathlib.Path) -> dict[str, Any]:
    """The data.yaml of a folder, or of the data set whose `labels` it is in; empty without one."""
    files = (place / name for place in _places(folder) for name in YAML_NAMES)
    path = next((path for path in files if path.is_file()), None)
    return {} if path is None else _settings(path)


def _classes_near(folder: pathlib.Path) -> dict[int, str]:
    """Names from classes.txt, one a line; empty where there is none."""
    files = (place / name for place in _places(folder) for name in ("classes.txt", "obj.names"))
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        return {}
    lines = [line.strip() for line in read_text(path).splitlines()]
    return _names([line for line in lines if line])


def _places(folder: pathlib.Path) -> list[pathlib.Path]:
    """Where a data set's own files lie: in a folder, or around the `labels` that it is in."""
    whole = folder.absolute()
    for depth, place in enumerate([whole, *whole.parents[:2]]):
        if place.name == "labels":
            return [whole, *whole.parents[: depth + 2]]
    return [whole]


def _settings(path: pathlib.Path) -> dict[str, Any]:
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


def _names(names: Any) -> dict[int, str]:
    """`names` as a list, or by index.

    Raises:
      BadItem: two classes have one name, or they are no names.
    """
    if names is None:
        return {}
    rows = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(rows, dict) or not all(str(key).isdecimal() for key in rows):
        text = f"names is {shown(names)}; expected a list, or names by index"
        raise BadItem("bad_category", text)
    found = {int(k): name.strip() for k, name in rows.items() if isinstance(name, str)}
    if len(found) < len(rows) or len(set(found.values())) < len(found):
        raise BadItem("bad_category", f"names {shown(names)} are not different texts")
    return dict(sorted(found.items()))


def _keypoints(shape: Any) -> int:
    """`kpt_shape`, [how many, 2 or 3], as the count of numbers behind a box."""
    right = isinstance(shape, list) and len(shape) == 2 and all(str(n).isdecimal() for n in shape)
    return int(shape[0][:4]) * int(shape[1][:4]) if right else 0


def _splits(settings: dict[str, Any], root: pathlib.Path, passed: PassedOver) -> list[pathlib.Path]:
    """The label folders of the splits of a data.yaml; those not below its folder are counted."""
    base = settings.get("path") if isinstance(settings.get("path"), str) else ""
    found = []
    for split in SPLITS:
        stated = settings.get(split)
        for one in stated if isinstance(stated, list) else [stated]:
            if not isinstance(one, str) or not one or "\0" in one + base:
                continue
            inner = one.lstrip("./")  # "../train/images" of a data.yaml that lies beside train
            folder = _labels_below(root, (os.path.join(base, one), one, inner))
            if folder is None:
                passed.add("splits of the data.yaml are not below its folder and not read", one)
            else:
                found.append(folder)
    return found


def _labels_below(root: pathlib.Path, places: tuple[str, ...]) -> pathlib.Path | None:
    """The first folder of labels that one of the image folders in `places` stands for."""
    for place in places:
        parts = os.path.normpath(place).split(os.sep)
        if parts[0] in ("..", ""):  # outside
            continue
        if "images" in parts:
            parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
        if os.path.isdir(os.path.join(root, *parts)):
            return root.joinpath(*parts)
    return None
