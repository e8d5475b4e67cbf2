"""What labels, images and categories are called in outputs."""

import collections
import os
import pathlib
import re
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from exits_jax.annotations.coco import category_names
from exits_jax.annotations.records import ImageRecord
from exits_jax.system.errors import UserError


def class_names(document: Mapping[str, Any]) -> dict[int, str]:
    """Name by category id as one line of printable text; the id if nothing is left of a name."""
    known = category_names(dict(document), lambda _: None)  # reading has reported what is wrong
    return {key: _line(name) or str(key) for key, name in known.items()}


def _line(name: str) -> str:
    return "".join(letter for letter in " ".join(name.split()) if letter.isprintable())


def safe_name(image: ImageRecord) -> str:
    """An image's name with its folders, which never leads out of the folder it is put into."""
    parts = re.split(r"[/\\]+", image.file_name)
    kept = [_line(part) for part in parts if part.strip(". ") and not part.endswith(":")]
    return "/".join(kept) or str(image.id)


def unique_stems(images: Sequence[ImageRecord], *, flat: bool = False) -> dict[int, str]:
    """Names without extension, by image id, no two of them the same file on any system.

    The first of these that no other image wants: the name without its extension; with it, as in
    `a.jpg` beside `a.png`; for flat names the same after its folders, `train_a`. If two are still
    the same, the later one gets its id.

    Args:
      images: those that need a name.
      flat: without folders.
    """
    choices = {image.id: _choices(safe_name(image), flat) for image in images}
    uses = collections.Counter(_folded(name) for names in choices.values() for name in set(names))
    stems: dict[int, str] = {}
    taken: set[str] = set()
    for key, names in choices.items():
        free = [name for name in names if uses[_folded(name)] == 1 and _folded(name) not in taken]
        name = free[0] if free else names[-1]
        while _folded(name) in taken:
            name = f"{name}-{key}"
        taken.add(_folded(name))
        stems[key] = name
    return stems


def _choices(name: str, flat: bool) -> list[str]:
    """Possible names for a file, best first."""
    if not flat:
        return [_without_ending(name), name]
    last, joined = name.rpartition("/")[2], name.replace("/", "_")
    return [_without_ending(last), last, _without_ending(joined), joined]


def _without_ending(name: str) -> str:
    return str(pathlib.PurePosixPath(name).with_suffix(""))


def _folded(name: str) -> str:
    """Equal for names that some file systems do not tell apart."""
    return unicodedata.normalize("NFC", name).casefold()


def place_photograph(image: ImageRecord, target: pathlib.Path) -> bool:
    """Puts an image's file at `target`: as a hard link, a symbolic one, or a copy.

    A hard link needs no space and survives packing and moving; a symbolic link serves across file
    systems, a copy where there are no links. A JPEG file that goes on after its image, as some
    phones write it, is copied: older versions of Ultralytics "restore" it in place, through links.

    Returns:
      Whether the image has a file.

    Raises:
      UserError: it cannot be put there.
    """
    if image.path is None or not image.path.is_file():
        return False
    source = os.path.realpath(image.path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for put in () if _goes_on(source) else (os.link, os.symlink):
            try:
                put(source, target)
            except OSError:
                continue
            return True
        shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from error
    return True


def _goes_on(path: str) -> bool:
    """Whether a JPEG file does not end with its end-of-image marker."""
    with open(path, "rb") as file:
        is_jpeg = file.read(2) == b"\xff\xd8"
        file.seek(-2, os.SEEK_END)
        return is_jpeg and file.read() != b"\xff\xd9"
