"""Progress with the time left: a bar on a terminal, a line every ten seconds in a log."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 10.0


class Tracker:
    """Counts work done; made by `track`.

    The time left is estimated from the pieces after the first one, whose time is mostly the
    compiler's.
    """

    def __init__(
        self, label: str, total: int, show: Callable[["Tracker"], None] = lambda _: None
    ) -> None:
        self.label, self.total, self.done, self.note = label, total, 0, ""
        self._show = show
        self._began = time.monotonic()
        self._since: float | None = None  # when the first piece was done
        self._timed = 0  # pieces done after it
        show(self)

    def skip(self, amount: int) -> None:
        """Work that an earlier run has done: it counts as done, but not towards the speed."""
        self.done += amount
        self._show(self)

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more is done; `note` is shown beside the bar."""
        self.done += amount
        self.note = note
        if self._since is None:
            self._since = time.monotonic()
        else:
            self._timed += amount
        self._show(self)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def left(self) -> float | None:
        """Seconds the rest should take; None until that is known."""
        if self._since is None or not self._timed:
            return None
        return (self.total - self.done) * (time.monotonic() - self._since) / self._timed

    def time_left(self) -> str:
        """The time left in words, or the time taken so far while that is unknown."""
        left = self.left()
        return f"{clock(self.elapsed())} so far" if left is None else f"{clock(left)} left"

    def line(self) -> str:
        """How far the work is, for a log."""
        return f"{self.label}: {self.done}/{self.total}, {self.time_left()}  {self.note}".rstrip()


@contextlib.contextmanager
def track(label: str, total: int) -> Iterator[Tracker]:
    """Shows progress of `total` pieces of work while the context is open.

    A bar goes to standard error if that is a terminal; lines go to standard output if that is not
    one.

    Args:
      label: what is being done, in a few words.
      total: pieces of work in all.

    Yields:
      A `Tracker`: call its `advance` after each piece.
    """
    with contextlib.ExitStack() as shown:
        on_terminal = sys.stderr.isatty()
        tracker = Tracker(label, total, shown.enter_context(_bar()) if on_terminal else _nothing)
        if on_terminal and sys.stdout.isatty():
            yield tracker
            return
        with _lines(tracker):
            yield tracker
        print(f"{label}: {tracker.done} of {total} in {clock(tracker.elapsed())}", flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _nothing(tracker: Tracker) -> None:
    """Prints lines, where a bar would not be seen."""


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[Tracker], None]]:
    """A bar on standard error, and the function that moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[note]}"),
    )
    console, together = Console(stderr=True), sys.stdout.isatty()  # else a log keeps its lines
    with Progress(*columns, console=console, redirect_stdout=together) as bar:
        task = bar.add_task("", total=None, left="", note="")

        def show(tracker: Tracker) -> None:
            bar.update(
                task,
                description=tracker.label,
                total=tracker.total,
                completed=tracker.done,
                left="" if tracker.left() is None else tracker.time_left(),
                note=tracker.note,
            )

        yield show


@contextlib.contextmanager
def _lines(tracker: Tracker) -> Iterator[None]:
    """Prints a line now and then from a thread: also while the first piece compiles for minutes."""
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(SECONDS_BETWEEN_LINES):
            print(tracker.line(), flush=True)

    thread = threading.Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
