"""The folder of images: which of its files an entry of an annotation file means.

Names in annotation files come from other machines: with drive letters, addresses, backslashes, more
or fewer folders, another case, Unicode form or extension. A file is taken for an entry only if
there is no other choice, and no path out of the folder is ever opened.
"""

import difflib
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from exits_jax.annotations.folder_files import IMAGE_ENDINGS
from exits_jax.annotations.image_names import (
    ADDED,
    fold,
    is_plain,
    leads_out,
    name_parts,
    originals,
    stem,
)
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.summary import counted
from exits_jax.system.errors import UserError

MOST_FILES = 5_000_000  # listed in a folder
MOST_COMPARED = 20_000  # names that the nearest one is searched among


class Match(NamedTuple):
    """A file that is meant by an entry.

    Attributes:
      path: the file.
      way: what it was found by, in words; empty for the exact name.
    """

    path: pathlib.Path
    way: str


class _File(NamedTuple):
    """A file of the folder: the components of its path below it, as they are and folded."""

    parts: tuple[str, ...]
    folded: tuple[str, ...]


class ImageFolder:
    """A folder of images, listed once.

    Attributes:
      path: the folder.
      exif: the annotated frame of its turned photographs, as `ImageRecord.exif`.
    """

    def __init__(self, path: str | os.PathLike, exif: str = "auto") -> None:
        """Raises UserError if there is no such folder."""
        if not os.path.isdir(path):
            raise UserError(f"{os.fspath(path)}: there is no such image folder")
        self.path = pathlib.Path(path)
        self._root = tuple(fold(part) for part in self.path.absolute().parts)
        self._files: list[_File] | None = None
        self._by_name: dict[str, list[_File]] = {}
        self._by_tail: dict[tuple[str, str], list[_File]] = {}  # folder and name
        self._by_stem: dict[str, list[_File]] = {}
        self._by_original: dict[tuple[str, str], list[_File]] = {}  # way, and what is left
        self.exif = exif

    def find(self, names: list[str]) -> pathlib.Path:
        """The file that one of the names means.

        Raises:
          BadItem: several files may be meant; or none, and the name leads out of the folder.
        """
        match = self.exact(names) or self.near(names)
        return match.path if match else self.absent(names[0])

    def absent(self, name: str) -> pathlib.Path:
        """The path of a missing file: whoever opens it can say what is missing.

        Raises:
          BadItem: the name leads out of the folder.
        """
        if leads_out(name):
            raise BadItem(
                "unsafe_file_name",
                f"file_name {shown(name)} leads out of the image folder, and no file in it has "
                "such a name",
            )
        return self.path.joinpath(*name_parts(name))

    def exact(self, names: list[str]) -> Match | None:
        """The file of one of the names, each taken as a path below the folder or from above it."""
        for name in names:
            parts = name_parts(name)
            plain = is_plain(name)
            for skipped in range(min(len(parts), len(self._root) + 1)):
                # The folder's own name may be in front: cam1/0001.jpg in .../cam1.
                above = tuple(map(fold, parts[:skipped]))
                if above and self._root[-skipped:] != above:
                    continue
                path = os.path.join(self.path, *parts[skipped:])
                if os.path.isfile(path):
                    return Match(pathlib.Path(path), "" if plain else "their last components")
        return None

    def near(self, names: list[str], same_folder: bool = False) -> Match | None:
        """The only file that a name can mean: by its last components, case, decoding or extension.

        Args:
          names: the likeliest first.
          same_folder: the file must lie in the folder that the name gives.

        Raises:
          BadItem: several files may be meant.
        """
        self._look()
        for name in names:
            parts = name_parts(name)
            match = self._nearest_file(parts, same_folder)
            if match is not None:
                return match
        return None

    def own_name(self, name: str, file_stem: str) -> str | None:
        """The image that is named like its annotation file, if that is not the one it names.

        Args:
          name: the one in the annotation file.
          file_stem: the annotation file's name without its extension.
        """
        if stem(name_parts(name)[-1]) == file_stem:
            return None
        try:
            own = self.near([file_stem], same_folder=True)
        except BadItem:  # there are several
            return None
        return own and own.path.relative_to(self.path).as_posix()

    def alike(self, name: str) -> str:
        """The text about a missing name: the most similar one, and how many files there are."""
        files = self._look()
        wanted = fold((name_parts(name)[-1:] or (name,))[0])
        known = {
            spelled: file
            for file in files[:MOST_COMPARED]
            for spelled in (file.folded[-1], *originals(file.folded[-1]).values())
        }
        spellings = (wanted, *originals(wanted).values())
        close = [one for text in spellings for one in difflib.get_close_matches(text, known, 1)]
        hint = f", the most similar is {'/'.join(known[close[0]].parts)}" if close else ""
        return f"in {self.path} ({counted(len(files), 'image')}){hint}"

    def _nearest_file(self, parts: tuple[str, ...], same_folder: bool) -> Match | None:
        if not parts:
            return None
        for way, files, anywhere in self._likely(parts[-1]):
            if same_folder or not anywhere:
                files = [file for file in files if self._in_folder(file, parts)]
            if files:
                file = self._only(self._in_tail(files, parts), parts)
                return Match(self.path.joinpath(*file.parts), _way(file, parts[-1], way))
        return None

    def _likely(self, wanted: str) -> Iterator[tuple[str, list[_File], bool]]:
        """Files a name may mean, likeliest first: by what, which, if they may lie anywhere."""
        name, decoded = fold(wanted), fold(unquote(wanted))
        yield "their decoded names", self._by_name.get(name, []), True
        yield "their decoded names", self._by_name.get(decoded, []), True
        before = originals(name)
        for way, *_ in ADDED:
            added = self._by_original.get((way, name), [])
            yield way, [*self._by_name.get(before.get(way, ""), []), *added], True
        # A file with another extension may be another image, the mask of this one, say: it has to
        # lie where the name says.
        yield "their names with another extension", self._by_stem.get(stem(decoded), []), False

    def _in_tail(self, files: list[_File], parts: tuple[str, ...]) -> list[_File]:
        """Of the files of one name those in a folder of the given name, if there are any.

        A frame's name may be in thousands of folders: they are not to be compared one by one.
        """
        if len(files) == 1 or len(parts) < 2:
            return files
        tail = (fold(unquote(parts[-2])), files[0].folded[-1])
        return self._by_tail.get(tail, files)

    def _in_folder(self, file: _File, parts: tuple[str, ...]) -> bool:
        """Whether a file lies in the folder that a name gives, or in none if it gives none."""
        folders = tuple(fold(unquote(part)) for part in parts[:-1])
        around = self._root + file.folded[:-1]
        return file.folded[:-1] == folders or (bool(folders) and around[-len(folders) :] == folders)

    def _only(self, files: list[_File], parts: tuple[str, ...]) -> _File:
        """The one file that agrees in the most components from the end.

        Raises:
          BadItem: there are several.
        """
        best = max(self._agreement(file, parts) for file in files)
        chosen = [file for file in files if self._agreement(file, parts) == best]
        to_the_letter = [file for file in chosen if file.parts[-1] == parts[-1]]
        if len(chosen) > 1 and len(to_the_letter) == 1:
            return to_the_letter[0]
        if len(chosen) > 1:
            first, second = ("/".join(file.parts) for file in chosen[:2])
            raise BadItem(
                "ambiguous_image",
                f"{shown('/'.join(parts))} may be {first} or {second}; name it as in the folder",
            )
        return chosen[0]

    def _agreement(self, file: _File, parts: tuple[str, ...]) -> int:
        """How many folders before the name are the same."""
        around = self._root + file.folded[:-1]
        wanted = [fold(unquote(part)) for part in parts[:-1]]
        count = 0
        for one, other in zip(reversed(around), reversed(wanted), strict=False):
            if one != other:
                break
            count += 1
        return count

    def _look(self) -> list[_File]:
        """The image files below the folder, listed at the first call."""
        if self._files is None:
            self._files = [*_image_files(self.path)]
            for file in self._files:
                folder, name = (*self._root[-1:], *file.folded)[-2:]
                for key in {name, unquote(name)}:
                    self._by_name.setdefault(key, []).append(file)
                self._by_tail.setdefault((folder, name), []).append(file)
                self._by_stem.setdefault(stem(file.folded[-1]), []).append(file)
                for added in originals(file.folded[-1]).items():
                    self._by_original.setdefault(added, []).append(file)
        return self._files


def image_folder(images: str | os.PathLike | None, exif: str = "auto") -> ImageFolder | None:
    """The image folder of a path; None if none is given.

    Raises:
      UserError: it is not a folder.
    """
    return ImageFolder(images, exif) if images is not None and os.fspath(images) else None


def _way(file: _File, wanted: str, way: str) -> str:
    """What a file is found by: less than `way` if its name is the wanted one."""
    if file.parts[-1] == wanted:
        return "their last components"
    return "their names in another case or Unicode form" if file.folded[-1] == fold(wanted) else way


def _image_files(root: pathlib.Path) -> Iterator[_File]:
    """The image files below a folder; folders that are links are followed once."""
    seen: set[tuple[int, int]] = set()
    count = 0
    for folder, folders, names in os.walk(root, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        above = pathlib.Path(folder).relative_to(root).parts
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in IMAGE_ENDINGS and not name.startswith("."):
                parts = (*above, name)
                yield _File(parts, tuple(map(fold, parts)))
                count += 1
        if count > MOST_FILES:
            return
