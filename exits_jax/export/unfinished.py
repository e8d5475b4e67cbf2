"""The batches of a part that is not finished yet, so that a kill costs seconds and not the part.

Each process keeps the network's output for its part's batches in a file beside the parts,
`part-00003.0.begun` for process 0: records, one after the other, one per batch; incomplete ones do
not count. Whoever makes the part after a kill, that process or another, begins after the last of
them. Batches are the same as without a kill, and a network's output is kept to the bit, so rows are
the same bytes. How often a file is written to depends on the clock; nothing else does.
"""

import hashlib
import io
import os
import pathlib
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from exits_jax.system.errors import UserError
from exits_jax.system.files import write_bytes

SECONDS_BETWEEN_WRITES = 5.0
DIGEST_BYTES, LENGTH_BYTES = 32, 8


class Predicted(NamedTuple):
    """A network's output for the crops of a batch: position in the part, map, window in the image.

    Positions ascend, in a batch and from batch to batch.
    """

    index: Int[np.ndarray, " k"]
    logits: Float[np.ndarray, "k m m"]
    window_xyxy: Float[np.ndarray, "k 4"]


class Unfinished:
    """The batches of one part that are made so far: named tuples of arrays.

    The first array, `index`, holds the positions of a batch's items in the part.

    Attributes:
      batches: those that are on disk, from the part's beginning.
    """

    def __init__(
        self,
        path: pathlib.Path,
        found: Sequence[pathlib.Path] = (),
        kind: type = Predicted,
    ) -> None:
        """Reads what earlier runs kept.

        Args:
          path: this process's file of the part.
          found: every file of the part, of whichever process; the longest is continued.
          kind: of the batches, a named tuple of arrays.
        """
        self._path, self._found = path, found
        contents = [_whole(file.read_bytes()) for file in found if file.exists()]
        self._begun = max(contents, key=len, default=b"")
        self.batches = [*_records(self._begun, kind)]
        self._waiting: list[Any] = []  # packed when they are written: most parts are quick
        self._written = time.monotonic()
        self._appends = False  # to a file that holds what this object knows
        self._works = True

    def keep(self, batch: Any) -> None:
        """Adds a batch; it is on disk some seconds later, or after `flush`."""
        self._waiting.append(batch)
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        """Writes what is waiting to disk.

        If that fails (no space), nothing more is kept: a part does not need it, and writing it will
        report what is wrong.
        """
        if self._works and self._waiting:
            try:
                self._append(b"".join(map(_record, self._waiting)))
            except (OSError, UserError):
                self._works = False
        self._waiting.clear()
        self._written = time.monotonic()

    def remove(self) -> None:
        """Deletes the part's files: it is finished."""
        for path in {self._path, *self._found}:
            path.unlink(missing_ok=True)

    def _append(self, content: bytes) -> None:
        if not self._appends:
            write_bytes(self._path, self._begun + content)
            self._appends, self._begun = True, b""
            return
        with self._path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def unfinished_path(folder: pathlib.Path, number: int, process: int) -> pathlib.Path:
    """The file of a process for a part that it has not finished."""
    return folder / f"part-{number:05d}.{process}.begun"


def unfinished_files(folder: pathlib.Path) -> dict[int, list[pathlib.Path]]:
    """The files of each part, by whichever process, that a kill left."""
    files: dict[int, list[pathlib.Path]] = {}
    for path in sorted(folder.glob("part-*.begun")):
        if found := re.fullmatch(r"part-(\d{5,})\.\d+\.begun", path.name):
            files.setdefault(int(found[1]), []).append(path)
    return files


def _record(batch: Any) -> bytes:
    """A batch as length, digest and content."""
    content = io.BytesIO()
    np.savez(content, **batch._asdict())
    packed = content.getvalue()
    return len(packed).to_bytes(LENGTH_BYTES) + hashlib.sha256(packed).digest() + packed


def _pieces(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The complete records from the beginning: where each ends, and what it holds."""
    start, head = 0, LENGTH_BYTES + DIGEST_BYTES
    while len(content) - start > head:
        end = start + head + int.from_bytes(content[start : start + LENGTH_BYTES])
        packed = content[start + head : end]
        if hashlib.sha256(packed).digest() != content[start + LENGTH_BYTES : start + head]:
            return
        yield end, packed
        start = end


def _whole(content: bytes) -> bytes:
    """The content without a record that a kill truncated."""
    return content[: max((end for end, _ in _pieces(content)), default=0)]


def _records(content: bytes, kind: type) -> Iterator[Any]:
    for _, packed in _pieces(content):
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            yield kind(*(arrays[name] for name in kind._fields))
