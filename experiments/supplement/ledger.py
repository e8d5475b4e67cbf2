"""Finished runs in a CSV file, so that a driver that was stopped goes on where it was."""

import csv
import io
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from exits_jax.system.files import write_bytes
from exits_jax.system.progress import track
from experiments.machine import machine
from experiments.supplement.kept import digest_of

Row = dict[str, str]
SETTINGS, MACHINE = "settings", "machine"


class Ledger:
    """Rows of one CSV file, each found by the columns that name its run.

    Fields:
      path: of the file; it need not be there.
      keys: columns that name a run; the others are what came out, the machine and the settings.
      facts: what all runs depend on; rows of other facts are not seen, and dropped by the next run.
    """

    def __init__(self, path: pathlib.Path, keys: tuple[str, ...], facts: Any = ()) -> None:
        self._path, self._keys, self._settings = path, keys, digest_of(facts)
        text = path.read_text() if path.exists() else ""
        rows = csv.DictReader(io.StringIO(text))
        self._rows: list[Row] = [row for row in rows if row[SETTINGS] == self._settings]

    def __getitem__(self, run: tuple[Any, ...]) -> Row:
        """The row of a run.

        Raises:
          KeyError: it is not finished.
        """
        name = self._name(run)
        for row in self._rows:
            if self._name_of(row) == name:
                return row
        raise KeyError(f"{self._path}: no run {name}")

    def __contains__(self, run: tuple[Any, ...]) -> bool:
        """Whether a run is finished."""
        return any(self._name_of(row) == self._name(run) for row in self._rows)

    @property
    def machines(self) -> list[str]:
        """What the runs ran on."""
        return [*dict.fromkeys(row[MACHINE] for row in self._rows)]

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
        found = {name: _written(value) for name, value in values.items()}
        if both := named.keys() & found.keys():
            raise ValueError(f"{self._path}: {sorted(both)} name a run and are results of it")
        return named | found | {SETTINGS: self._settings, MACHINE: machine()}

    def _write(self) -> None:
        columns = dict.fromkeys(name for row in self._rows for name in row)
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, [*columns], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_bytes(self._path, buffer.getvalue().encode())

    def _name_of(self, row: Row) -> tuple[str, ...]:
        return tuple(row[key] for key in self._keys)

    def _name(self, run: tuple[Any, ...]) -> tuple[str, ...]:
        return tuple(_written(part) for part in run)


def _written(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
