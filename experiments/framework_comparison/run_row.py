"""One row in one framework in a process of its own; what was measured goes to a JSON file.

    python -m experiments.framework_comparison.run_row --column=jax --row=generator \
        --problem=problem.npz --seconds=20 --out=measured.json

Called by `bench.py`, by the interpreter of the framework's environment.
"""

import argparse
import importlib
import json
import pathlib
import resource
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from experiments.framework_comparison.problem import load_problem
from experiments.framework_comparison.rows import COLUMNS, ROWS, Case

LEAST, MOST = 3, 50  # timed runs; fewer than LEAST only where the time is up


def measure(
    column: str, build: Callable[[ModuleType], Case], seconds: float, *, counted: bool = True
) -> dict[str, Any]:
    """Builds a case and times its runs.

    Args:
      column: one of `rows.COLUMNS`.
      build: the case from a side.
      seconds: after so many no further run is begun once there are `LEAST`, and after three times
        as many none at all.
      counted: whether operations are counted.

    Returns:
      "seconds" of each run; "first": building, compiling, running once; "examples" and "flops" of a
      run (None: not known); "peak_bytes": the largest memory of the process, what it was given and
      libraries included; "device" and "versions".
    """
    start = time.perf_counter()
    framework = column.partition(".")[0]
    # The other framework stays unloaded.
    side = importlib.import_module(f"experiments.framework_comparison.{framework}_side")
    side.set_up(column)
    case = build(side)
    case.run()
    first = time.perf_counter() - start
    times = timed(case.run, seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": times,
        "first": first,
        "examples": case.examples,
        "flops": case.flops() if case.flops is not None and counted else None,
        "peak_bytes": peak + side.peak_device_bytes(),
        "device": side.device(),
        "versions": side.versions(),
    }


def timed(run: Callable[[], Any], seconds: float) -> list[float]:
    """Wall-clock seconds of runs, one after the other."""
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < MOST:
        start = time.perf_counter()
        if times and start - begin > seconds * (1 if len(times) >= LEAST else 3):
            break
        run()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--column", required=True, choices=COLUMNS)
    parser.add_argument("--row", required=True, choices=[*ROWS])
    parser.add_argument("--problem", required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    row, problem = ROWS[given.row], load_problem(given.problem)
    measured = measure(
        given.column, lambda side: row.build(side, problem), given.seconds, counted=row.counted
    )
    pathlib.Path(given.out).write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
