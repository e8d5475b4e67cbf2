"""The bytes of an annotation file; those of a .gz or a .zip unpacked, up to a limit."""

import gzip
import io
import lzma
import pathlib
import zipfile
import zlib

from exits_jax.annotations.records import BadItem
from exits_jax.system.errors import UserError, one_line

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
# JSON of annotations packs to a fifth or a tenth. What packs to less than a hundredth is a bomb, or
# so repetitive that its owner can unpack it.
MOST_TIMES = 100
ALWAYS_BYTES = 1 << 26
ANNOTATIONS = (".json", ".xml", ".csv")
DAMAGED = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error)
DAMAGED += (zipfile.BadZipFile, lzma.LZMAError)


def read_bytes(file: pathlib.Path, limit: int = -1) -> bytes:
    """The first `limit` bytes of a file, or all of them, as they are on the disk.

    Raises:
      UserError: it cannot be read.
    """
    try:
        with open(file, "rb") as stream:
            return stream.read(limit)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file}: cannot be read: {reason}") from error


def is_packed(file: pathlib.Path) -> bool:
    """Whether a file is a gzip file or a zip archive.

    Raises:
      UserError: it cannot be read.
    """
    return read_bytes(file, len(ZIP)).startswith((GZIP, ZIP))


def read_content(file: pathlib.Path, limit: int = -1) -> bytes:
    """The first `limit` bytes of what a file holds, or all of them.

    For a gzip file its unpacked content; for a zip archive its one annotation file.

    Raises:
      BadItem: it is damaged, far larger than its packed size suggests, or the archive has no
        annotation file or several.
      UserError: it cannot be read.
    """
    magic = read_bytes(file, len(ZIP))
    if magic.startswith(GZIP):
        return _unpacked(read_bytes(file), limit, "gzip")
    if magic == ZIP:
        return _unpacked(read_bytes(file), limit, "zip")
    return read_bytes(file, limit)


def _unpacked(packed: bytes, limit: int, kind: str) -> bytes:
    most = max(ALWAYS_BYTES, MOST_TIMES * len(packed))
    try:
        if kind == "gzip":
            with gzip.open(io.BytesIO(packed)) as stream:
                return _read(stream, limit, most)
        archive = zipfile.ZipFile(io.BytesIO(packed))
        with archive, archive.open(_only_annotations(archive)) as stream:
            return _read(stream, limit, most)
    except DAMAGED as error:
        if isinstance(error, BadItem):
            raise
        text = f"it is a damaged {kind} file ({one_line(error)}): copy it again"
        raise BadItem("packed_file", text) from error


def _read(stream: io.BufferedIOBase, limit: int, most: int) -> bytes:
    if limit >= 0:
        return stream.read(limit)
    content = stream.read(most + 1)
    if len(content) > most:
        text = f"it unpacks to more than {most} bytes, {MOST_TIMES} times its size: unpack it"
        raise BadItem("packed_file", text)
    return content


def _only_annotations(archive: zipfile.ZipFile) -> str:
    """The name of the one annotation file in an archive.

    Raises:
      BadItem: there is none, or there are several.
    """
    names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
    found = [name for name in names if name.lower().endswith(ANNOTATIONS)]
    if len(found) == 1:
        return found[0]
    held = "no .json, .xml or .csv file" if not found else f"{len(found)} annotation files"
    first = ", ".join(one_line(name) for name in (found or names)[:3])
    text = f"it is a zip archive with {held} ({first or 'it is empty'})"
    raise BadItem("packed_file", f"{text}: unpack it and give the file or folder that is meant")
