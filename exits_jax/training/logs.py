"""What training writes down: metrics.jsonl and TensorBoard events (without TensorFlow)."""

import json
import math
import pathlib
from collections.abc import Mapping

from tensorboardX import SummaryWriter

from exits_jax.files import write_bytes


class MetricsLog:
    """Appends one line a call to `metrics.jsonl` and the same numbers to TensorBoard.

    Opened for a phase at a step, it first drops that phase's lines after the step, so that a run
    which was killed and resumed reads like one that never stopped.
    """

    def __init__(self, workdir: pathlib.Path, phase: str, step: int) -> None:
        self._phase = phase
        self._path = workdir / "metrics.jsonl"
        self._keep_until(step)
        folder = workdir / "tensorboard" / phase
        self._events = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def _keep_until(self, step: int) -> None:
        """Drops later lines of this phase, and a last line that a kill cut short."""
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
        with self._path.open("a") as file:
            file.write(json.dumps({"phase": self._phase, "step": step, **finite}) + "\n")
        for name, value in finite.items():
            if value is not None:
                self._events.add_scalar(f"{self._phase}/{name}", value, step)

    def close(self) -> None:
        """Flushes the TensorBoard file."""
        self._events.close()


def _parsed(line: str) -> dict | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None
