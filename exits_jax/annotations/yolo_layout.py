"""Where the labels and images of a YOLO data set are.

A data.yaml's paths are followed only inside its own folder: whatever else they say, the images are
those in the given image folder.
"""

import os
import pathlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from exits_jax.annotations.coco import Report
from exits_jax.annotations.draft import PassedOver
from exits_jax.annotations.folder_files import files_below, images_below
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.annotations.summary import counted
from exits_jax.annotations.yolo_yaml import (
    CLASS_LISTS,
    YAML_ENDINGS,
    YAML_NAMES,
    keypoint_numbers,
    names_by_index,
    names_near,
    read_settings,
    settings_near,
)

SPLITS = ("train", "val", "test")
NO_LABELS = (*CLASS_LISTS, "labels.txt", "readme.txt")  # text beside labels


@dataclass
class Layout:
    """A data set's files.

    Attributes:
      root: the folder that was given, or the file's.
      labels: the label files, sorted.
      names: of the categories, by index; empty where none are known.
      keypoints: how many numbers of keypoints follow each box, 0 if not known.
      folder: of the images.
      images: image files relative to their folder, by that path without its extension.
      ways: how the images were found of labels without one of their own name, in words.
    """

    root: pathlib.Path
    labels: list[pathlib.Path]
    names: dict[int, str]
    keypoints: int
    folder: ImageFolder
    images: dict[str, list[str]]

    def __post_init__(self) -> None:
        self.ways: dict[pathlib.Path, str] = {}
        self._by_base: dict[str, list[str]] = defaultdict(list)
        for stem, names in self.images.items():
            self._by_base[stem.rpartition("/")[2]] += names
        every = (name for names in self.images.values() for name in names)
        self._endings = sorted({os.path.splitext(name)[1].lower() for name in every})
        self._found: dict[pathlib.Path, str | BadItem | None] = {}
        self._claims: dict[str | None, list[pathlib.Path]] = defaultdict(list)
        self._find_all()

    def where(self, label: pathlib.Path) -> str:
        """What messages call a label file."""
        return label.relative_to(self.root).as_posix()

    def image_of(self, label: pathlib.Path) -> str | None:
        """Name of a label file's image; None if there is none.

        Raises:
          BadItem: several images may be meant, or it is that of another label file.
        """
        found = self._found.get(label)
        if isinstance(found, BadItem):
            raise found
        others = [other for other in self._claims.get(found, []) if other != label]
        if label in self.ways and others:
            text = f"{found}, which has a similar name, may be that of {self.where(others[0])}"
            raise BadItem("image_taken", f"it has no image of its name; {text}")
        return found

    def _find_all(self) -> None:
        """Finds the images of all labels, so that no similar name takes one that is another's."""
        for label in self.labels:
            try:
                self._found[label] = self._exact(label) or self._near(label)
            except BadItem as bad:
                self._found[label] = bad
            else:
                self._claims[self._found[label]].append(label)

    def _exact(self, label: pathlib.Path) -> str | None:
        """The image of a label file's own name.

        `labels/train/a.txt` means `images/train/a.*`. Where the image folder begins further down
        that is `train/a.*` or `a.*`, and where it has other folders the only file called `a.*`.

        Raises:
          BadItem: several images have the name.
        """
        parts = _image_parts(label)
        stems = ("/".join(parts[first:]) for first in range(len(parts)))
        found = next((self.images[stem] for stem in stems if stem in self.images), None)
        found = found or self._by_base.get(parts[-1], [])
        if len(found) > 1:
            text = f"{len(found)} images have this name: {', '.join(found[:3])}"
            raise BadItem("ambiguous_image", text)
        return found[0] if found else None

    def _near(self, label: pathlib.Path) -> str | None:
        """The only image with a name similar to a label file's; notes how it was found.

        Raises:
          BadItem: several are.
        """
        path = "/".join(_image_parts(label))
        names = [*(path + ending for ending in self._endings), path]
        match = self.folder.near(names)
        if match is None:
            return None
        name = match.path.relative_to(self.folder.path).as_posix()
        self.ways[label] = match.way or "their full names"
        return name

    def say(self, report: Report) -> None:
        """One note on the images that were found by a similar name."""
        ways: dict[str, list[pathlib.Path]] = defaultdict(list)
        for label, way in self.ways.items():
            ways[way].append(label)
        found = (
            f"{counted(len(labels), 'image')} found by {way}: {self.where(labels[0])} is of"
            f" {self._found[labels[0]]}"
            for way, labels in ways.items()
        )
        if ways:
            report(Problem("found_otherwise", "; ".join(found), note=True))

    def without_images(self) -> bool:
        """Whether no label file has an image."""
        return all(found is None for found in self._found.values())

    def without_labels(self) -> list[str]:
        """Names of the images that no label file means, sorted."""
        names = (name for names in self.images.values() for name in names)
        return sorted(name for name in names if name not in self._claims)


def layout_of(file: pathlib.Path, images: ImageFolder | None, passed: PassedOver) -> Layout:
    """The files of the data set that a data.yaml, a folder or one text file stands for.

    Raises:
      BadItem: there are no label files, or the data.yaml is not one.
    """
    is_yaml = file.suffix.lower() in YAML_ENDINGS
    folder = file if file.is_dir() else file.parent
    settings = read_settings(file) if is_yaml else settings_near(folder)
    labels = [file]
    if not (file.is_dir() or is_yaml or file.suffix.lower() == ".txt"):
        text = f"{file.name} is not a YOLO label file; expected a data.yaml, a folder or a .txt"
        raise BadItem("unknown_kind", text)
    if file.is_dir() or is_yaml:
        whole = is_yaml or any((folder / name).is_file() for name in YAML_NAMES)
        splits = _splits(settings, folder, passed) if whole else []
        labels = sorted({path for place in splits or [folder] for path in label_files(place)})
    if not labels:
        raise BadItem("no_annotations", f"no text file of labels in {folder}")
    image_folder = images or ImageFolder(_images_near(folder))
    return Layout(
        root=folder,
        labels=labels,
        names=names_by_index(settings.get("names")) or names_near(folder),
        keypoints=keypoint_numbers(settings.get("kpt_shape")),
        folder=image_folder,
        images=images_below(image_folder.path),
    )


def _image_parts(label: pathlib.Path) -> list[str]:
    """The path of a label file's image without extension: `images` for the last `labels`."""
    parts = [*label.absolute().with_suffix("").parts]
    if "labels" in parts:
        parts[len(parts) - 1 - parts[::-1].index("labels")] = "images"
    return parts


def label_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The text files below a folder; only those in `labels` folders, if there are any."""
    found = [path for path in files_below(folder, (".txt",)) if path.name.lower() not in NO_LABELS]
    inside = [path for path in found if "labels" in path.relative_to(folder).parts[:-1]]
    return inside or found


def _images_near(folder: pathlib.Path) -> pathlib.Path:
    """The data set's folder if no image folder is given: its own, or the one around labels."""
    above = [parent for parent in folder.parents if parent.name == "labels"]
    start = above[0] if above else folder
    return start.parent if start.name == "labels" else folder


def _splits(settings: dict[str, Any], root: pathlib.Path, passed: PassedOver) -> list[pathlib.Path]:
    """The label folders of the splits of a data.yaml; those not below its folder are counted."""
    base = settings.get("path") if isinstance(settings.get("path"), str) else ""
    found, absent = [], []
    for split in SPLITS:
        stated = settings.get(split)
        for one in stated if isinstance(stated, list) else [stated]:
            if not isinstance(one, str) or not one or "\0" in one + base:
                continue
            inner = one.lstrip("./")  # "../train/images" of a data.yaml that lies beside train
            folder = _labels_below(root, (os.path.join(base, one), one, inner))
            if folder is None:
                absent.append(one)
            else:
                found.append(folder)
    what = "not read" if found else "all labels in it are read"
    for one in absent:
        passed.add(f"splits of the data.yaml are not below its folder and {what}", one)
    return found


def _labels_below(root: pathlib.Path, places: tuple[str, ...]) -> pathlib.Path | None:
    """The first folder of labels that one of the image folders in `places` stands for.

    A list of image files (train.txt) stands for all labels.
    """
    for place in places:
        whole = os.path.join(os.path.abspath(root), "")
        parts = os.path.normpath(place).removeprefix(whole).split(os.sep)
        if parts[0] in ("..", ""):  # outside
            continue
        if place.endswith(".txt") and os.path.isfile(os.path.join(root, *parts)):
            return root
        if "images" in parts:
            parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
        if os.path.isdir(os.path.join(root, *parts)):
            return root.joinpath(*parts)
    return None
