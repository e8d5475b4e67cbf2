"""Writing files so that a reader never sees half of one."""

import contextlib
import io
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from exits_jax.system.errors import UserError

_recorders: list[list[pathlib.Path]] = []


@contextlib.contextmanager
def recording() -> Iterator[list[pathlib.Path]]:
    """Lists what is written while the context is open, by whichever thread."""
    written: list[pathlib.Path] = []
    _recorders.append(written)
    try:
        yield written
    finally:
        _recorders.pop()


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes `content` to `path` through a temporary file beside it and a rename.

    Whoever opens `path`, also after a kill or on a full disk, finds the old file or the new one.

    Raises:
      UserError: the file cannot be written (no space, no permission); the old file is untouched.
    """
    write_pieces(path, [content])


def write_npy(path: str | os.PathLike, array: np.ndarray) -> None:
    """`write_bytes` of an array, as NumPy reads it."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_bytes(path, buffer.getvalue())


def write_pieces(path: str | os.PathLike, pieces: Iterable[bytes]) -> None:
    """`write_bytes` of content never held as a whole; an error in `pieces` leaves no file."""
    path = pathlib.Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~UMASK)
        os.replace(temporary, path)
        for written in _recorders:
            written.append(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # it is gone once it was renamed


def write_json(path: str | os.PathLike, value: Any, indent: int | None = None) -> None:
    """Writes `value` as strict JSON (NaN is refused) through `write_bytes`."""
    write_bytes(path, _json(value, indent) + b"\n")


def write_json_rows(
    path: str | os.PathLike, rows: Iterable[Any], document: Mapping[str, Any] | None = None
) -> None:
    """Writes a long JSON list, one row per line, without holding it in memory.

    Args:
      path: the file.
      rows: what the list holds.
      document: the document that the list belongs to, as its "annotations"; None: the list stands
        alone.
    """
    write_pieces(path, _pieces(rows, document))


def _pieces(rows: Iterable[Any], document: Mapping[str, Any] | None) -> Iterator[bytes]:
    if document is None:
        yield from _list(rows)
    else:
        for number, name in enumerate(document):
            yield (b",\n" if number else b"{") + _json(name) + b":"
            yield from _list(rows) if name == "annotations" else [_json(document[name])]
        yield b"}"
    yield b"\n"


def _list(rows: Iterable[Any]) -> Iterator[bytes]:
    yield b"["
    for number, row in enumerate(rows):
        yield (b",\n" if number else b"\n") + _json(row)
    yield b"]"


def _json(value: Any, indent: int | None = None) -> bytes:
    separators = None if indent else (",", ":")
    return json.dumps(value, indent=indent, separators=separators, allow_nan=False).encode()


def _umask() -> int:
    """The process's umask: mkstemp makes files private, the final file should not be."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = _umask()  # read once: reading sets another one for a moment, for every thread
