"""Finished parts of a long work: one file each, written as a whole by whichever process is first.

A part holds rows, dataclasses whose first field is the id of what they are about: an annotation's
for labels, an image's for predictions.

Processes and hosts share nothing but the folder: each makes its own parts, then the missing ones of
the others, last ones first. So a slow or dead process holds nobody up, and as rows do not depend on
who makes them, a part that two make at the same time is the same bytes twice.
"""

import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

import numpy as np

from exits_jax.annotations.records import Instance
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_bytes

PART_NAME = "part-{:05d}.jsonl"
Row = TypeVar("Row")


class Share(NamedTuple):
    """Which of `count` processes this one is, from 0."""

    index: int = 0
    count: int = 1


def part_path(folder: pathlib.Path, number: int) -> pathlib.Path:
    """The file of a part."""
    return folder / PART_NAME.format(number)


def positions_in_parts(count: int, part_size: int) -> list[range]:
    """Positions of each part of `count` items that nothing keeps together."""
    return [range(first, min(first + part_size, count)) for first in range(0, count, part_size)]


def part_positions(instances: Sequence[Instance], part_size: int) -> list[range]:
    """Positions of each part: at least `part_size` of them, cut only where the image changes."""
    parts, first = [], 0
    for end in range(1, len(instances) + 1):
        last = end == len(instances)
        if last or (
            end - first >= part_size and instances[end].image.id != instances[end - 1].image.id
        ):
            parts.append(range(first, end))
            first = end
    return parts


def taking_order(parts: int, share: Share) -> list[int]:
    """The order in which a process takes the parts: its own, then the others' from the end.

    Each begins at a different one of the others' parts, so that helpers do not all make the same
    one.
    """
    own = range(share.index, parts, share.count)
    others = [number for number in range(parts - 1, -1, -1) if number % share.count != share.index]
    first = len(others) * share.index // share.count
    return [*own, *others[first:], *others[:first]]


def write_part(folder: pathlib.Path, number: int, rows: Sequence[Any]) -> None:
    """Writes one finished part, a line per row; a kill leaves the whole file or none.

    Args:
      folder: of the parts.
      number: of the part, the same whichever process made it.
      rows: of the part, in order; dataclasses.

    Raises:
      UserError: the file cannot be written.
    """
    lines = "".join(json.dumps(asdict(row), separators=(",", ":")) + "\n" for row in rows)
    head = {"part": number, "rows": len(rows), "sha256": _digest(lines.encode())}
    write_bytes(part_path(folder, number), f"{json.dumps(head)}\n{lines}".encode())


def is_whole(folder: pathlib.Path, number: int) -> bool:
    """Whether a part exists as it was written: one that was truncated is made again."""
    return _rows(part_path(folder, number), number) is not None


def _rows(path: pathlib.Path, number: int) -> tuple[int, bytes] | None:
    """Where the rows of a complete part begin, and their lines; None if it is incomplete."""
    try:
        content = path.read_bytes()
        head, _, rows = content.partition(b"\n")
        facts = json.loads(head)
        whole = facts["part"] == number and facts["sha256"] == _digest(rows)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (len(head) + 1, rows) if whole else None


def _digest(rows: bytes) -> str:
    return hashlib.sha256(rows).hexdigest()


class StoredRows(Mapping[int, Row], Generic[Row]):
    """The rows in a folder's parts by their ids, read when they are asked for.

    Only the position of each row is kept in memory, 24 bytes per row.

    Args:
      folder: of the parts.
      count: how many parts there are.
      kind: of the rows, a dataclass whose first field is the id.

    Raises:
      UserError: a part is missing or damaged, or two hold the same id.
    """

    def __init__(self, folder: pathlib.Path, count: int, kind: type[Row]) -> None:
        self._folder, self._kind = folder, kind
        self._last: tuple[int, BinaryIO] | None = None  # rows are mostly read in order
        key = fields(kind)[0].name
        ids, parts, offsets = [], [], []
        for number in range(count):
            found = _rows(part_path(folder, number), number)
            if found is None:
                raise UserError(
                    f"{part_path(folder, number)}: missing or damaged; run the same mode again"
                )
            start, rows = found
            lines = rows.splitlines(keepends=True)
            offsets.append(start + np.cumsum([0, *map(len, lines)])[:-1])
            ids.append(np.array([json.loads(line)[key] for line in lines], np.int64))
            parts.append(np.full(len(lines), number, np.int32))
        self._ids = np.concatenate([*ids, np.zeros(0, np.int64)])
        self._parts, self._offsets = (
            np.concatenate([*columns, np.zeros(0, np.int64)]) for columns in (parts, offsets)
        )
        self._order = np.argsort(self._ids, kind="stable")
        self._sorted = self._ids[self._order]
        double = self._sorted[1:][self._sorted[1:] == self._sorted[:-1]]
        if len(double):
            raise UserError(
                f"{folder}: {key.removesuffix('_id')} {double[0]} is in two parts: they come from"
                " different runs; delete the folder and run the same mode again"
            )

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids.tolist())

    def __contains__(self, key: object) -> bool:
        return self._row(key) is not None

    def __getitem__(self, key: int) -> Row:
        row = self._row(key)
        if row is None:
            raise KeyError(key)
        file = self._opened(int(self._parts[row]))
        file.seek(int(self._offsets[row]))
        return self._kind(**json.loads(file.readline()))

    def _opened(self, number: int) -> BinaryIO:
        """The file of a part."""
        if self._last is None or self._last[0] != number:
            self.close()
            self._last = number, open(part_path(self._folder, number), "rb")  # noqa: SIM115
        return self._last[1]

    def close(self) -> None:
        """Closes the file read last; it is opened again when a row is asked for."""
        if self._last is not None:
            self._last[1].close()
            self._last = None

    __del__ = close

    def _row(self, key: object) -> int | None:
        place = int(np.searchsorted(self._sorted, key))
        if place == len(self._sorted) or self._sorted[place] != key:
            return None
        return int(self._order[place])
