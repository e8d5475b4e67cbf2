"""Where the labels and images of a YOLO data set are.

A data.yaml's paths are followed inside its own folder alone: whatever else they say, the images are
those in the image folder that was given.
"""

import os
import pathlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from exits_jax.annotations.draft import PassedOver
from exits_jax.annotations.folder_files import files_below, images_below
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.yolo_yaml import (
    YAML_NAMES,
    classes_near,
    keypoint_numbers,
    names_by_index,
    read_settings,
    settings_near,
)

SPLITS = ("train", "val", "test")
YAML_ENDINGS = (".yaml", ".yml")
NO_LABELS = ("classes.txt", "labels.txt", "obj.names", "readme.txt")  # text beside labels


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
    settings = read_settings(file) if is_yaml else settings_near(folder)
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
        names=names_by_index(settings.get("names")) or classes_near(folder),
        keypoints=keypoint_numbers(settings.get("kpt_shape")),
        folder=image_folder,
        images=images_below(image_folder),
    )


def label_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The text files below a folder; only those in `labels` folders, if there are any."""
    found = [path for path in files_below(folder, (".txt",)) if path.name.lower() not in NO_LABELS]
    inside = [path for path in found if "labels" in path.relative_to(folder).parts[:-1]]
    return inside or found


def _images_near(folder: pathlib.Path) -> pathlib.Path:
    """The data set's folder, where no image folder is given: its own, or the one around labels."""
    above = [parent for parent in folder.parents if parent.name == "labels"]
    start = above[0] if above else folder
    return start.parent if start.name == "labels" else folder


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
