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
from collections.abc import Iterable

import jax

from experiments.framework_comparison import jax_side
from experiments.framework_comparison.prepare import make_problem
from experiments.framework_comparison.rows import ROWS

# Names of the profiler's own and of Python frames, which are no operations.
NO_OPERATION = re.compile(r"^\$|::|^profiler")
MOST = 25


def operations(folder: pathlib.Path) -> list[tuple[str, float]]:
    """Names and milliseconds, from the trace in a folder."""
    (path,) = folder.glob("**/*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    timed = (event for event in events if event.get("ph") == "X")
    return [(e["name"], e["dur"] / 1000) for e in timed if not NO_OPERATION.search(e["name"])]


def table(found: Iterable[tuple[str, float]]) -> str:
    """The longest by name, as Markdown."""
    times = collections.defaultdict(list)
    for name, milliseconds in found:
        times[name].append(milliseconds)
    longest = sorted(times.items(), key=lambda item: -sum(item[1]))[:MOST]
    rows = [f"| {name} | {sum(each):.0f} | {len(each)} |" for name, each in longest]
    return "\n".join(["| operation | ms | times |", "|---|---:|---:|", *rows])


def main() -> None:
    """Runs a row three times, the last one under the profiler."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", default="train_step", choices=[*ROWS])
    parser.add_argument("--size", default="S")
    parser.add_argument("--crop", type=int, default=336)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    jax_side.set_up("jax")
    case = ROWS[given.row].build(jax_side, make_problem(given.size, given.crop, given.batch))
    for _ in range(2):
        case.run()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with jax.profiler.trace(folder):
            case.run()
            seconds = time.perf_counter() - start
        found = operations(pathlib.Path(folder))
    kinds = [(re.sub(r"[.\d]+$", "", name), time) for name, time in found]
    print(f"{given.row} {given.size}: {seconds:.2f} s under the profiler\n\n{table(kinds)}")
    print(f"\n{table(found)}")


if __name__ == "__main__":
    main()
