"""Writing files so that a reader never sees half of one."""

import contextlib
import json
import os
import pathlib
import tempfile
from typing import Any

from exits_jax.errors import UserError


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes `content` to `path` by a temporary file beside it and a rename.

    Whoever opens `path`, also after a kill or on a full disk, finds the old file or the new one.

    Raises:
      UserError: the file cannot be written (no space, no permission); the old file is untouched.
    """
    path = pathlib.Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_json(path: str | os.PathLike, value: Any, indent: int | None = None) -> None:
    """Writes `value` as strict JSON (NaN is refused) through `write_bytes`."""
    separators = None if indent else (",", ":")
    text = json.dumps(value, indent=indent, separators=separators, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def _umask() -> int:
    """The process's umask: mkstemp makes files private, the final file should not be."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
