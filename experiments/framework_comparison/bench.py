"""How fast is the package, and how fast the same work in PyTorch? One command, one page.

    python -m experiments.framework_comparison.bench --torch_python=.venv-bench/bin/python

Every measurement is a process of its own, so peak memory and compilation are its own too. A round
runs a row in all columns, one after the other and beginning with another in every round, so that
what else the machine does meets all of them. Writes framework_comparison.json, .md and .png to
experiments/results; the first after every row, so that an interrupted comparison is not lost.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exits_jax.system.files import write_bytes, write_json
from experiments.framework_comparison.parity import PACKAGE, ROOT, run
from experiments.framework_comparison.problem import PATCH
from experiments.framework_comparison.report import device_of, page, plot
from experiments.framework_comparison.rows import COLUMNS, ROWS
from experiments.machine import processor

NAME, RESULTS = "framework_comparison", "experiments/results"
SIZES = ("Ti", "S", "B")
SHAPES = ("crop", "patch", "batch")  # settings on which times depend
QUICK = {"sizes": ["Ti"], "rounds": 1, "crop": 112, "batch": 2, "seconds": 1.0}
# A process that has not ended by then is stuck: compilation comes on top of the timed runs.
PATIENCE_S = 900.0


def plan(rows: Sequence[str], sizes: Sequence[str]) -> list[tuple[str, str]]:
    """(row, size) of every line; rows that do not depend on the size run on the first one."""
    return [(row, size) for row in rows for size in (sizes if ROWS[row].sized else sizes[:1])]


def order(round_number: int) -> tuple[str, ...]:
    """The columns in the order of a round: each round begins with another."""
    first = round_number % len(COLUMNS)
    return COLUMNS[first:] + COLUMNS[:first]


def not_available(torch_python: str) -> dict[str, str]:
    """Column -> why it cannot be measured here."""
    if shutil.which(torch_python) is None:
        reason = f"{torch_python} is missing: `make bench` makes it"
        return {"torch": reason, "torch.compile": reason}
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        return {"torch.compile": "no C++ compiler (g++) on this machine"}
    return {}


def measurements(given: argparse.Namespace, folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """One record per line, round and column: what `run_row` measured, or "error"."""
    absent = not_available(given.torch_python)
    for size in given.sizes:
        shape = (f"--crop={given.crop}", f"--batch={given.batch}")
        run(sys.executable, "prepare", f"--size={size}", *shape, f"--out={folder / size}.npz")
    for row, size in plan(given.rows, given.sizes):
        for number in range(given.rounds):
            for column in order(number):
                record = {"row": row, "size": size, "column": column, "round": number}
                if column in absent:
                    yield record | {"error": absent[column]}
                    continue
                python = sys.executable if column == "jax" else given.torch_python
                options = {"row": row, "column": column, "seconds": given.seconds}
                options["problem"] = folder / f"{size}.npz"
                found = measure(python, "run_row", options, folder)
                print(f"{row} {size} {column} round {number + 1}: {brief(found)}", flush=True)
                yield record | found


def measure(
    python: str, module: str, options: Mapping[str, Any], folder: pathlib.Path
) -> dict[str, Any]:
    """Runs a module of this package in a process and reads what it wrote to its `--out`."""
    out = folder / "measured.json"
    out.unlink(missing_ok=True)
    arguments = [f"--{name}={value}" for name, value in {**options, "out": out}.items()]
    command = [python, "-m", f"{PACKAGE}.{module}", *arguments]
    # The first round compiles, later ones find its work; nothing older is found.
    caches = {
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "torchinductor"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
    }
    how = {"cwd": ROOT, "env": os.environ | caches, "timeout": PATIENCE_S}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    except subprocess.TimeoutExpired:
        return {"error": f"stopped after {PATIENCE_S:.0f} s"}
    if done.returncode or not out.exists():
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"error": last[:300], "log": done.stderr[-4000:]}
    return json.loads(out.read_text())


def brief(found: Mapping[str, Any]) -> str:
    """What the terminal shows of a measurement."""
    if "error" in found:
        return found["error"]
    return f"{1000 * min(found['seconds']):.1f} ms at best of {len(found['seconds'])}"


def merged(earlier: Sequence[dict], results: dict[str, Any]) -> list[dict]:
    """All runs: those of other machines and devices as they are, then this one.

    What this machine measured earlier with the same settings, and not now, is kept.
    """
    same = [one for one in earlier if _place(one) == _place(results)]
    now = {_line(record) for record in results["measurements"]}
    kept = [
        record
        for one in same
        if all(one["settings"][name] == results["settings"][name] for name in SHAPES)
        for record in one["measurements"]
        if _line(record) not in now
    ]
    rest = [one for one in earlier if one not in same and device_of(one) is not None]
    return [*rest, {**results, "measurements": [*kept, *results["measurements"]]}]


def _place(results: Mapping[str, Any]) -> tuple[str, str | None]:
    return results["machine"]["processor"], device_of(results)


def _line(record: Mapping[str, Any]) -> tuple[str, str, str]:
    return record["row"], record["size"], record["column"]


def machine() -> dict[str, Any]:
    """Processor, cores, memory, versions, and nothing that names a host."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    python = ROOT / ".venv-bench" / "bin" / "python"
    parser.add_argument("--torch_python", default=str(python), help="PyTorch's environment")
    parser.add_argument("--rows", nargs="+", default=[*ROWS], choices=[*ROWS])
    parser.add_argument("--sizes", nargs="+", default=[*SIZES], help="Ti, S, B, L or dinov2")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--crop", type=int, default=336, help="side in pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0, help="timed per process")
    parser.add_argument("--output", help="folder; experiments/results, or runs/bench with --quick")
    parser.add_argument("--quick", action="store_true", help=f"a smoke run: {QUICK}")
    given = parser.parse_args()
    if given.quick:
        vars(given).update(QUICK)
    given.output = given.output or str(ROOT / ("runs/bench" if given.quick else RESULTS))
    return given


def main() -> int:
    """Measures every row and writes the page; exit status 1 when a measurement failed."""
    given = _arguments()
    output = pathlib.Path(given.output)
    names = ("rows", "sizes", "rounds", "crop", "batch", "seconds", "quick")
    results: dict[str, Any] = {
        "machine": machine(),
        "settings": {name: getattr(given, name) for name in names} | {"patch": PATCH},
        "load_before": os.getloadavg()[0],
        "measurements": [],
    }
    kept = output / f"{NAME}.json"
    earlier = json.loads(kept.read_text()).get("runs", []) if kept.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        for record in measurements(given, pathlib.Path(folder)):
            results["measurements"].append(record)
            results["load_after"] = os.getloadavg()[0]
            runs = merged(earlier, results)
            write_json(kept, {"runs": runs}, indent=1)
    text = page(runs, f"{NAME}.png")
    write_bytes(output / f"{NAME}.md", text.encode())
    write_bytes(output / f"{NAME}.png", plot(runs))
    print(text)
    return int(any("log" in record for record in results["measurements"]))


if __name__ == "__main__":
    sys.exit(main())
