"""The files in given folders, and the text in them."""

import os
import pathlib
from collections import defaultdict

from exits_jax.annotations.recognise import not_utf8
from exits_jax.annotations.records import BadItem
from exits_jax.system.errors import UserError

# Extensions of image files, in lower case; any other file is found by its exact name only.
IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"),
    *(".avif", ".jp2", ".ppm", ".pgm", ".pbm"),
)
SHOWN = 5  # folders that a message names
MAX_TEXT_BYTES = 64_000_000


def files_in(folder: pathlib.Path, *endings: str) -> list[pathlib.Path]:
    """The files in a folder with one of the extensions, sorted by name; all files if none is given.

    Hidden files are ignored: macOS writes a `._a.xml` beside each `a.xml` on other disks.

    Raises:
      UserError: the folder cannot be read.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror or error}") from error
    paths = [path for path in paths if not path.name.startswith(".")]
    return [path for path in paths if not endings or path.suffix.lower() in endings]


def folder_of(folder: pathlib.Path, ending: str) -> pathlib.Path:
    """The folder itself or, if it has no file with the extension, the only folder in it that has.

    Raises:
      BadItem: there are several below.
    """
    if files_in(folder, ending):
        return folder
    inner = sorted({path.parent for path in files_below(folder, (ending,))})
    if len(inner) > 1:
        some = ", ".join(path.relative_to(folder).as_posix() for path in inner[:SHOWN])
        more = ", ..." if len(inner) > SHOWN else ""
        text = f"its {ending} files are in {len(inner)} folders ({some}{more}): give one of them"
        raise BadItem("several_folders", text)
    return inner[0] if inner else folder


def files_below(folder: pathlib.Path, endings: tuple[str, ...]) -> list[pathlib.Path]:
    """The files with one of the extensions below a folder, sorted; links are not followed."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            pathlib.Path(where, name)
            for name in names
            if name.lower().endswith(endings) and not name.startswith(".")
        ]
    return sorted(found)


def images_below(folder: pathlib.Path) -> dict[str, list[str]]:
    """The image files in a folder and its folders, by relative path without the extension."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in files_below(folder, IMAGE_ENDINGS):
        name = path.relative_to(folder).as_posix()
        found[os.path.splitext(name)[0]].append(name)
    return dict(found)


def read_text(path: pathlib.Path) -> str:
    """A text file in UTF-8, or in UTF-16 as PowerShell writes it.

    Raises:
      BadItem: it cannot be read, is far too large, or is not text.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            raise BadItem("bad_text", f"more than {MAX_TEXT_BYTES} bytes")
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadItem("bad_text", not_utf8(error)) from error
    except OSError as error:
        raise BadItem("unreadable_file", f"cannot be read: {error.strerror or error}") from error
