"""How fast is stage 2, and how fast its PyTorch twin? Training steps and predictions, one page.

    python -m experiments.framework_comparison.stage2_speed --torch_python=.venv-bench/bin/python

SOLOv2 on ResNet-50 with 80 classes. Every measurement is a process of its own, the columns take
turns and begin with another in every round. Besides the side and the number of instances that the
goals name, sides and instances show how time and memory grow. Writes
experiments/results/stage2_speed.md.
"""

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from exits_jax.system.files import write_bytes
from experiments.framework_comparison.bench import brief, machine, measure, not_available
from experiments.framework_comparison.parity import ROOT, run
from experiments.framework_comparison.report import (
    joined,
    machine_words,
    markdown,
    shown,
    spread,
    warnings,
)
from experiments.framework_comparison.rows import COLUMNS
from experiments.framework_comparison.stage2_scene import ROWS

RESULT = ROOT / "experiments" / "results" / "stage2_speed.md"
SIDE, INSTANCES = 320, 8  # of the goals
GOALS = {"train_step": 1.1, "prediction": 1.3}  # PyTorch's time over JAX's
PEAKS = 200  # of classes that a prediction looks at, at side `SIDE`
QUICK = {"rounds": 1, "sides": [], "instances": [], "seconds": 1.0}

Record = dict[str, Any]


class Line(NamedTuple):
    """A row at a size."""

    row: str
    side: int
    instances: int
    batch: int


def plan(sides: Sequence[int], instances: Sequence[int], batch: int) -> list[Line]:
    """Every row at the goals' size, then at other sides and, where it matters, other instances."""
    sizes = [(SIDE, INSTANCES), *((side, INSTANCES) for side in sides if side != SIDE)]
    lines = [
        Line(row, *size, batch if row == "train_step" else 1) for row in ROWS for size in sizes
    ]
    more = [Line("train_step", SIDE, count, batch) for count in instances if count != INSTANCES]
    return lines + more


def measurements(given: argparse.Namespace, folder: pathlib.Path) -> Iterator[Record]:
    """One record per line, round and column."""
    absent, weights = not_available(given.torch_python), folder / "weights.npz"
    options = (f"--out={weights}", f"--side={SIDE}", f"--peaks={PEAKS}")
    run(given.torch_python, "stage2_torch", *options)
    for line in plan(given.sides, given.instances, given.batch):
        for number in range(given.rounds):
            for column in _turn(given.columns, number):
                record = {"line": line, "column": column}
                if column in absent:
                    yield record | {"error": absent[column]}
                    continue
                python = sys.executable if column == "jax" else given.torch_python
                asked = {**line._asdict(), "column": column, "seconds": given.seconds}
                found = measure(python, "run_stage2", {**asked, "weights": weights}, folder)
                print(f"{line} {column} round {number + 1}: {brief(found)}", flush=True)
                yield record | found


def _turn(columns: Sequence[str], number: int) -> list[str]:
    """The columns in the order of a round."""
    first = number % len(columns)
    return [*columns[first:], *columns[:first]]


def page(results: Record) -> str:
    """The Markdown page."""
    settings, columns = results["settings"], results["settings"]["columns"]
    head = ["row", "side", "instances", "batch"]
    head += [f"{column}, ms" for column in columns] + [f"{c} / jax" for c in columns[1:]]
    head += [f"{c}: {name}" for name in ("MB", "first result, s") for c in columns]
    table, errors = [head], {}
    for line in dict.fromkeys(record["line"] for record in results["measurements"]):
        records = [record for record in results["measurements"] if record["line"] == line]
        cells = [joined([r for r in records if r["column"] == column]) for column in columns]
        ours = cells[0].median
        ratios = [shown(c.median / ours if c.median and ours else None, ".2f") for c in cells[1:]]
        memory = [shown(c.peak_bytes / 1e6 if c.seconds else None, ".0f") for c in cells]
        firsts = [shown(c.first, ".1f") for c in cells]
        table.append([*map(str, line), *map(spread, cells), *ratios, *memory, *firsts])
        pairs = zip(columns, cells, strict=True)
        errors |= {
            f"* {line.row}, {name}: {cell.error}": None for name, cell in pairs if cell.error
        }
    return PAGE.format(
        warnings=warnings(results),
        rounds=settings["rounds"],
        seconds=settings["seconds"],
        peaks=PEAKS,
        side=SIDE,
        goals=", ".join(f"{row} {goal}" for row, goal in GOALS.items()),
        table=markdown(table, left=1),
        errors="\n".join(["", "## Not measured", "", *errors, ""]) if errors else "",
        rows="\n".join(f"* `{row}`: {what}" for row, what in ROWS.items()),
        machine=machine_words(results),
    )


PAGE = """# Stage 2 in JAX and in PyTorch

SOLOv2 on ResNet-50, 80 classes, float32, against its twin in PyTorch
(`experiments/framework_comparison/torch_solov2.py`, whose results
`tests/test_segmentation_parity.py` holds to be the same), by
`python -m experiments.framework_comparison.stage2_speed`. Minimum / median / maximum of the runs of
{rounds} rounds of at least {seconds:g} s each; a column's ratio is its median over JAX's: above 1
JAX is faster. MB: the largest memory of a process, libraries and weights included. The same weights
on both sides, with {peaks} peaks of classes to look at in an image of {side} pixels.
Goals at {side} pixels: {goals}.
{warnings}
{table}
{errors}
{rows}

{machine}
"""


def _arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    python = ROOT / ".venv-bench" / "bin" / "python"
    parser.add_argument("--torch_python", default=str(python), help="PyTorch's environment")
    parser.add_argument("--columns", nargs="+", default=["jax", "torch"], choices=COLUMNS)
    parser.add_argument("--sides", nargs="*", type=int, default=[256, 448], help="besides 320")
    parser.add_argument("--instances", nargs="*", type=int, default=[2, 32], help="besides 8")
    parser.add_argument("--batch", type=int, default=2, help="images in a training step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="timed per process")
    parser.add_argument("--output", help="file; the page, or runs/stage2_speed.md with --quick")
    parser.add_argument("--quick", action="store_true", help=f"a smoke run: {QUICK}")
    given = parser.parse_args()
    if given.quick:
        vars(given).update(QUICK)
    given.output = given.output or str(ROOT / "runs" / RESULT.name if given.quick else RESULT)
    if given.columns[0] != "jax":
        parser.error("--columns: the first is jax, which the others are compared with")
    return given


def main() -> int:
    """Measures and writes the page, after every measurement; exit status 1 when one failed."""
    given = _arguments()
    results: Record = {
        "machine": machine(),
        "settings": vars(given),
        "load_before": os.getloadavg()[0],
        "measurements": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for record in measurements(given, pathlib.Path(folder)):
            results["measurements"].append(record)
            results["load_after"] = os.getloadavg()[0]
            write_bytes(pathlib.Path(given.output), page(results).encode())
    print(page(results))
    return int(any("log" in record for record in results["measurements"]))


if __name__ == "__main__":
    sys.exit(main())
