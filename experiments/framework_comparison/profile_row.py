"""Where the time of one of JAX's rows goes, by kinds of operations; from a trace of its profiler.

    python -m experiments.framework_comparison.profile_row --row=warmup_step --size=S

prints what took longest, and what single operations did. Times of operations that run side by side
add up to more than the run, and loops count beside what runs in them.
"""

import argparse
import collections
import gzip
import json
import pathlib
import re
import tempfile
import time

import jax

from experiments.framework_comparison import jax_rows
from experiments.framework_comparison.prepare import make_problem
from experiments.framework_comparison.rows import ROWS

# Names of the profiler's own and of Python frames, which are no operations.
NO_OPERATION = re.compile(r"^\$|::|^profiler")
MOST = 25


def operations(folder: pathlib.Path) -> dict[str, tuple[float, int]]:
    """Name -> milliseconds and number, from the trace in a folder."""
    (path,) = folder.glob("**/*.trace.json.gz")
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    found: dict[str, list[float]] = collections.defaultdict(list)
    for event in events:
        if event.get("ph") == "X" and not NO_OPERATION.search(event["name"]):
            found[event["name"]].append(event["dur"] / 1000)
    return {name: (sum(times), len(times)) for name, times in found.items()}


def kinds(found: dict[str, tuple[float, int]]) -> dict[str, tuple[float, int]]:
    """The same with the numbers at the ends of names left out."""
    joined: dict[str, tuple[float, int]] = {}
    for name, (milliseconds, count) in found.items():
        kind = re.sub(r"[.\d]+$", "", name)
        before = joined.get(kind, (0.0, 0))
        joined[kind] = (before[0] + milliseconds, before[1] + count)
    return joined


def table(found: dict[str, tuple[float, int]]) -> str:
    """The longest, as Markdown."""
    longest = sorted(found.items(), key=lambda item: -item[1][0])[:MOST]
    rows = [f"| {name} | {ms:.0f} | {count} |" for name, (ms, count) in longest]
    return "\n".join(["| operation | ms | times |", "|---|---:|---:|", *rows])


def main() -> None:
    """Runs a row three times, the last one under the profiler."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", default="train_step", choices=[*ROWS])
    parser.add_argument("--size", default="S")
    parser.add_argument("--crop", type=int, default=336)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    problem = make_problem(given.size, patch=14, crop=given.crop, batch=given.batch)
    case = getattr(jax_rows, given.row)(problem)
    for _ in range(2):
        case.run()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with jax.profiler.trace(folder):
            case.run()
            seconds = time.perf_counter() - start
        found = operations(pathlib.Path(folder))
    print(f"{given.row} {given.size}: {seconds:.2f} s under the profiler\n\n{table(kinds(found))}")
    print(f"\n{table(found)}")


if __name__ == "__main__":
    main()
