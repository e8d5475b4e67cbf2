"""What a run wrote, and from which labels: `outputs.json`, so that no file outlives its labels.

One entry per output ("labels", each further format, "predictions", "report"): when and by which
version it was made, with which settings, the SHA-256 of the pseudo_labels.json that it shows, and
its files. Only listed files are ever removed: any other file is the user's own. An output is
`unfinished` while its files are being replaced; after a kill the next command that writes them
repairs it.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from exits_jax.system.errors import UserError
from exits_jax.system.files import write_json

LABELS, PREDICTIONS, REPORT = "labels", "predictions", "report"
MAKING = ".making"  # suffix of the folder that an output is written into before it takes its place

Made = TypeVar("Made")


def version() -> str:
    """The version of this package."""
    try:
        return importlib.metadata.version("exits-jax")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def file_digest(path: pathlib.Path) -> str:
    """SHA-256 of a file; "" if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Outputs:
    """The outputs of one workdir, as `outputs.json` lists them.

    Paths in it are relative to the workdir.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Reads the list; raises UserError where it is damaged.

        Args:
          path: of `outputs.json`, which may be missing.
        """
        self._path, self._folder = path, path.parent
        self._entries = _read(path)

    def names(self) -> set[str]:
        """The names of the outputs that exist or were begun."""
        return set(self._entries)

    def formats(self, of: str = LABELS) -> set[str]:
        """The further formats that are there, or begun: of `LABELS`, or of `PREDICTIONS`."""
        names = self.names() - {LABELS, PREDICTIONS, REPORT}
        predicted = {name for name in names if name.startswith(f"{PREDICTIONS}_")}
        return predicted if of == PREDICTIONS else names - predicted

    def files(self, name: str) -> list[str]:
        """The files of an output."""
        return list(self._entries[name]["files"]) if name in self._entries else []

    def is_made_from(self, name: str, labels_sha256: str) -> bool:
        """Whether an output exists, is complete, and shows the labels with this digest."""
        entry = self._entries.get(name, {})
        return not entry.get("unfinished", True) and entry.get("labels_sha256") == labels_sha256

    def is_unfinished(self, name: str) -> bool:
        """Whether an output was begun and not finished."""
        return self._entries.get(name, {}).get("unfinished", False)

    def settings(self, name: str) -> dict[str, Any] | None:
        """The settings an output was made with; None if it is missing or unfinished."""
        entry = self._entries.get(name, {})
        return None if entry.get("unfinished", True) else entry.get("settings")

    def labels_digest(self) -> str:
        """SHA-256 of pseudo_labels.json as it was written; "" if that is not known."""
        return self._entries.get(LABELS, {}).get("labels_sha256", "")

    def begin(self, name: str, files: Iterable[str] = ()) -> None:
        """Records that an output's files are about to be replaced, by these among others."""
        known = self._entries.get(name, {})
        listed = sorted({*self.files(name), *files})
        self._entries[name] = {**known, "unfinished": True, "files": listed}
        self._save()

    def finish(
        self, name: str, files: Iterable[str], labels_sha256: str, settings: dict[str, Any]
    ) -> None:
        """Records that an output is complete, with these files only; older ones are removed."""
        files = sorted(files)
        self._delete([file for file in self.files(name) if file not in {*files}])
        self._entries[name] = {
            "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "exits_jax": version(),
            "settings": settings,
            "labels_sha256": labels_sha256,
            "unfinished": False,
            "files": files,
        }
        self._save()

    def replace(
        self,
        name: str,
        write: Callable[[pathlib.Path], Made],
        labels_sha256: str,
        settings: dict[str, Any],
    ) -> Made:
        """Writes an output in place of its older version.

        It is written beside its place first. If that fails, or would overwrite a file that is not
        the run's, the old files, which show other labels, are removed anyway.

        Args:
          name: of the output.
          write: given a folder that stands for the workdir, writes the output into it.
          labels_sha256: of the labels it is made from.
          settings: those it is made with.

        Returns:
          What `write` returns.

        Raises:
          UserError: it cannot be written, or a file of the user's own is in its place.
        """
        staged = self._folder / f".{name}{MAKING}"
        shutil.rmtree(staged, ignore_errors=True)
        try:
            result = write(staged)
            files = _files_in(staged)
            self._refuse_foreign(name, files)
            self.begin(name, files)
            self._delete(self.files(name))
            for file in files:
                place = self._folder / file
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged / file, place)
        except OSError as error:
            self.remove([name])
            raise UserError(f"{name}: cannot be written: {error.strerror or error}") from error
        except UserError:
            self.remove([name])
            raise
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        self.finish(name, files, labels_sha256, settings)
        return result

    def remove(self, names: Collection[str]) -> list[str]:
        """Deletes the files of outputs; returns those that existed."""
        removed = []
        for name in names:
            removed += self._delete(self.files(name))
            if self._entries.pop(name, None):
                self._save()
        return removed

    def keep_edited(self, path: pathlib.Path) -> pathlib.Path | None:
        """Moves the label file aside if it was changed since it was written; returns where to."""
        entry = self._entries.get(LABELS, {"unfinished": True})
        if entry["unfinished"] or not path.exists():
            return None
        if file_digest(path) == entry.get("labels_sha256"):
            return None
        kept = path.with_name(f"{path.stem}.edited-{time.strftime('%Y%m%dT%H%M%S')}{path.suffix}")
        os.replace(path, kept)
        return kept

    def _refuse_foreign(self, name: str, files: Sequence[str]) -> None:
        own = {*self.files(name)}
        for file in files:
            if file not in own and os.path.lexists(self._folder / file):
                raise UserError(
                    f"{self._folder / file}: is in the way of '{name}', and this run did not write "
                    f"it ({self._path.name} does not list it); move it away"
                )

    def _delete(self, files: Iterable[str]) -> list[str]:
        """Deletes files and the folders that they leave empty; returns those that existed."""
        deleted = []
        for file in files:
            with contextlib.suppress(OSError):
                (self._folder / file).unlink()
                deleted.append(file)
        for folder in sorted({parent for file in deleted for parent in _parents(file)})[::-1]:
            with contextlib.suppress(OSError):
                (self._folder / folder).rmdir()
        return deleted

    def _save(self) -> None:
        write_json(self._path, self._entries, indent=1)


def summary(files: Sequence[str]) -> list[str]:
    """Files in few words: those in a folder as the folder and their number."""
    folders: dict[str, int] = {}
    for file in files:
        top, _, below = file.partition("/")
        folders[top + "/" * bool(below)] = folders.get(top + "/" * bool(below), 0) + 1
    return [
        f"{name} ({count} file{'s' * (count != 1)})" if name.endswith("/") else name
        for name, count in folders.items()
    ]


def _files_in(folder: pathlib.Path) -> list[str]:
    """Every file in a folder, by its path in it."""
    found = []
    for place, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(place, name), folder) for name in names]
    return sorted(found)


def _parents(file: str) -> list[str]:
    return [str(parent) for parent in pathlib.PurePath(file).parents][:-1]


def _read(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text())
        for entry in entries.values():
            if not all(_is_inside(file) for file in entry["files"]):
                raise ValueError("a path leads out of the folder")
            entry["unfinished"] = bool(entry["unfinished"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}: {error}); delete it, and png/, yolo/ and "
            "whatever else label.formats made"
        ) from error
    return entries


def _is_inside(file: Any) -> bool:
    path = pathlib.PurePath(file)
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)
