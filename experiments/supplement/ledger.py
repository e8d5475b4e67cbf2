"""Finished runs in a CSV file, so that a driver that was stopped goes on where it was."""

import csv
import io
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from exits_jax.files import write_bytes
from exits_jax.progress import track

Row = dict[str, str]


class Ledger:
    """Rows of one CSV file, each found by the columns that name its run.

    Fields:
      path: of the file; it need not be there.
      keys: columns that name a run; the other columns are what came out.
    """

    def __init__(self, path: pathlib.Path, keys: tuple[str, ...]) -> None:
        self._path, self._keys = path, keys
        text = path.read_text() if path.exists() else ""
        self._rows: list[Row] = list(csv.DictReader(io.StringIO(text)))

    def __getitem__(self, run: tuple[Any, ...]) -> Row:
        """The row of a run."""
        name = self._name(run)
        return next(row for row in self._rows if self._name_of(row) == name)

    def __contains__(self, run: tuple[Any, ...]) -> bool:
        """Whether a run is finished."""
        return any(self._name_of(row) == self._name(run) for row in self._rows)

    def fill(
        self,
        label: str,
        runs: Iterable[tuple[Any, ...]],
        execute: Callable[..., Mapping[str, Any]],
    ) -> None:
        """Executes the runs that have no row; each row is on disk before the next begins."""
        runs = list(runs)
        missing = [run for run in runs if run not in self]
        with track(label, len(runs)) as progress:
            progress.skip(len(runs) - len(missing))
            for run in missing:
                self._rows.append(self._row(run, execute(*run)))
                self._write()
                progress.advance(1)

    def replace(self, rows: Mapping[tuple[Any, ...], Mapping[str, Any]]) -> None:
        """Drops what there was and writes these rows."""
        self._rows = [self._row(run, values) for run, values in rows.items()]
        self._write()

    def _row(self, run: tuple[Any, ...], values: Mapping[str, Any]) -> Row:
        named = dict(zip(self._keys, self._name(run), strict=True))
        return named | {name: _written(value) for name, value in values.items()}

    def _write(self) -> None:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(self._rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_bytes(self._path, buffer.getvalue().encode())

    def _name_of(self, row: Row) -> tuple[str, ...]:
        return tuple(row[key] for key in self._keys)

    def _name(self, run: tuple[Any, ...]) -> tuple[str, ...]:
        return tuple(_written(part) for part in run)


def _written(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
