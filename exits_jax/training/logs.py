"""The logs of training: metrics.jsonl and TensorBoard events (without TensorFlow)."""

import contextlib
import json
import math
import pathlib
import time
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import UInt8
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import image, scalar

from exits_jax.system.errors import UserError
from exits_jax.system.files import write_bytes

# Numbers that depend on the clock: all others are the same in a run that was interrupted.
CLOCKED = ("items_per_second", "waiting_for_data")


class MetricsLog:
    """Appends one line per call to `metrics.jsonl` and the same numbers to TensorBoard.

    Opened for a phase at a step, it first drops that phase's lines after the step, so that the log
    of a run which was killed and resumed reads like that of one that never stopped.

    Events are written by the caller's thread: `SummaryWriter` has one of its own, and once that has
    met a full disk the program would wait for it forever.

    Raises:
      UserError: a file cannot be written (its methods raise this, too).
    """

    def __init__(self, workdir: pathlib.Path, phase: str, step: int) -> None:
        self._phase = phase
        self._path = workdir / "metrics.jsonl"
        self._keep_until(step)
        self._folder = workdir / "tensorboard" / phase
        # A session's start tells TensorBoard to drop what a dead run wrote from that step on.
        start = SessionLog(status=SessionLog.START)
        with _writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(self._folder / "events"))
            self._event(step + 1, session_log=start)

    def _keep_until(self, step: int) -> None:
        """Drops later lines of this phase, and a last line that a kill truncated."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        rows = [(line, _parsed(line)) for line in lines]
        kept = [
            line
            for line, row in rows
            if row and (row.get("phase") != self._phase or row.get("step", 0) <= step)
        ]
        if len(kept) != len(lines):
            write_bytes(self._path, "".join(f"{line}\n" for line in kept).encode())

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One row: {"phase", "step", **values}; a value that is not finite is written as null."""
        finite = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
        with _writing(self._path), self._path.open("a") as file:
            file.write(json.dumps({"phase": self._phase, "step": step, **finite}) + "\n")
        with _writing(self._folder):
            for name, value in finite.items():
                if value is not None:
                    self._event(step, summary=scalar(f"{self._phase}/{name}", value))
            self._events.flush()

    def show(self, step: int, pictures: Mapping[str, UInt8[np.ndarray, "_h _w 3"]]) -> None:
        """Pictures by title, for TensorBoard alone."""
        with _writing(self._folder):
            for title, picture in pictures.items():
                summary = image(f"{self._phase}/{title}", picture, dataformats="HWC")
                self._event(step, summary=summary)
            self._events.flush()

    def close(self) -> None:
        """Flushes the TensorBoard file."""
        with _writing(self._folder):
            self._events.close()

    def _event(self, step: int, **content: object) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    """Turns a full disk or a missing permission into an error that names `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def _parsed(line: str) -> dict | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None
