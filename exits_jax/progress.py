"""Progress with the time left: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 15.0


class Tracker:
    """Counts work done; made by `track`."""

    def __init__(self, label: str, total: int, bar: Progress | None) -> None:
        self._label, self._total, self._bar = label, total, bar
        self._done = self._first = 0
        self._started = self._last_line = time.monotonic()
        self._task = bar.add_task(label, total=total, note="") if bar else None

    @property
    def done(self) -> int:
        """Pieces of work done so far."""
        return self._done

    def skip(self, amount: int) -> None:
        """Work that an earlier run has done: it counts as done, not for the speed."""
        self._done += amount
        self._first += amount
        self._show("")

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more is done; `note` is shown beside the bar."""
        self._done += amount
        self._show(note)

    def _show(self, note: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, note=note)
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            rate = max(self._done - self._first, 1e-9) / (now - self._started)
            left = _clock((self._total - self._done) / rate)
            print(f"{self._label}: {self._done}/{self._total}, {left} left  {note}", flush=True)


@contextlib.contextmanager
def track(label: str, total: int) -> Iterator[Tracker]:
    """Shows progress of `total` pieces of work while the context is open.

    Args:
      label: what is being done, in a few words.
      total: pieces of work in all.

    Yields:
      A `Tracker`: call its `advance` after each piece.
    """
    started = time.monotonic()
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            yield Tracker(label, total, bar)
    else:
        tracker = Tracker(label, total, None)
        yield tracker
        print(
            f"{label}: {tracker.done} of {total} in {_clock(time.monotonic() - started)}",
            flush=True,
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
