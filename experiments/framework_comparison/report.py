"""What the comparison found, as a page and a picture."""

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from experiments.framework_comparison.problem import SIZES
from experiments.framework_comparison.rows import COLUMNS, MATMUL_SIDE, ROWS

OTHERS = COLUMNS[1:]
ABSENT = "n/a"
RETRIEVAL = ("retrieval_applied", "any")
BUSY = 0.25  # load per core before the first measurement, from where on numbers are not to be had

Run = Mapping[str, Any]  # what `bench.py` keeps of one device


class Cell(NamedTuple):
    """One row at one size in one column, all rounds together; times in seconds."""

    seconds: list[float]  # of all runs; empty where none succeeded
    first: float | None = None  # to the first result, of the first round: later ones are compiled
    peak_bytes: int = 0  # of the largest process
    examples: int = 0  # crops in a run
    flops: float | None = None  # of a run; None: not known
    device: str = ""  # what it ran on
    error: str = ""  # why nothing was measured, or part of it

    @property
    def median(self) -> float | None:
        """Of the runs; None where there are none."""
        return statistics.median(self.seconds) if self.seconds else None


class Line(NamedTuple):
    """One row at one size; the cells by column."""

    row: str
    size: str
    cells: dict[str, Cell]

    @property
    def device(self) -> str:
        """What it ran on; the columns' own where they differ."""
        return " / ".join(dict.fromkeys(c.device for c in self.cells.values() if c.device))

    @property
    def flops(self) -> float | None:
        """XLA's count, which serves all columns."""
        return self.cells["jax"].flops

    def ratio(self, column: str) -> float | None:
        """A column's median time over JAX's: above 1, JAX is faster."""
        ours, theirs = self.cells["jax"].median, self.cells[column].median
        return theirs / ours if ours and theirs else None


def lines(measurements: Sequence[Run]) -> list[Line]:
    """Records of single processes -> lines, in the order of `ROWS` and of the networks' sizes."""
    grouped: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for record in measurements:
        columns = grouped.setdefault((record["row"], record["size"]), {c: [] for c in COLUMNS})
        columns[record["column"]].append(record)
    rows, sizes = [*ROWS], [*SIZES]
    places = sorted(
        grouped, key=lambda x: (rows.index(x[0]), sizes.index(x[1]) if x[1] in SIZES else 99)
    )
    return [
        Line(
            row,
            size if ROWS[row].sized else "any",
            {column: joined(records) for column, records in grouped[row, size].items()},
        )
        for row, size in places
    ]


def joined(records: Sequence[Run]) -> Cell:
    """The rounds of one column joined."""
    good = [record for record in records if "error" not in record]
    error = next((record["error"] for record in records if "error" in record), "")
    if not good:
        return Cell([], error=error or "not measured")
    return Cell(
        seconds=[time for record in good for time in record["seconds"]],
        peak_bytes=max(record["peak_bytes"] for record in good),
        error=error,
        **{name: good[0][name] for name in ("first", "examples", "flops", "device")},
    )


def matmul_rate(found: Sequence[Line]) -> float | None:
    """Operations per second of the fastest matrix product of any column: the machine's rate."""
    cells = [cell for line in found if line.row == "matmul" for cell in line.cells.values()]
    best = [2 * MATMUL_SIDE**3 / min(cell.seconds) for cell in cells if cell.seconds]
    return max(best, default=None)


def device_of(results: Run) -> str | None:
    """What a run was measured on, by the name its framework gives it; None: nothing succeeded."""
    found = (record["device"] for record in results["measurements"] if "device" in record)
    return next(found, None)


def page(runs: Sequence[Run], picture: str) -> str:
    """The whole Markdown page.

    Args:
      runs: one of each device, as `bench.py` keeps them in its JSON file.
      picture: file name of the plot beside it.
    """
    names = dict.fromkeys(record["row"] for run in runs for record in run["measurements"])
    return PAGE.format(
        picture=picture,
        sections="\n".join(map(_section, runs)),
        rows="\n".join(f"* `{name}`: {ROWS[name].what}" for name in names),
    )


def _section(results: Run) -> str:
    """What was measured on one device."""
    found, settings = lines(results["measurements"]), results["settings"]
    rate = matmul_rate(found)
    return SECTION.format(
        device=device_of(results),
        warnings=warnings(results),
        **settings,
        plural="s" * (settings["rounds"] > 1),
        machine=machine_words(results),
        times=time_table(found),
        # Nothing without a step.
        shares=SHARES.format(shares_table(found)) if _steps(found) else "",
        rate=shown(rate and rate / 1e9, ".0f"),
        details=detail_table(found, rate),
        errors=_errors(found),
    )


def _steps(found: Sequence[Line]) -> list[Line]:
    return [line for line in found if line.row == "train_step"]


def shares_table(found: Sequence[Line]) -> str:
    """CRF and retrieval as shares of the paper's training step in JAX, by size."""
    medians = {(line.row, line.size): line.cells["jax"].median for line in found}
    table = [["size", "CRF", "retrieval in every step"]]
    for size in (line.size for line in _steps(found)):
        step, crf = medians["train_step", size], medians.get(("mean_field", "any"))
        parts = [medians.get(("extractor_attention", size)), medians.get(RETRIEVAL)]
        both = crf, sum(parts) if all(parts) else None
        table.append([size, *(shown(x and step and x / step, ".1%") for x in both)])
    return markdown(table, left=1)


def time_table(found: Sequence[Line]) -> str:
    """Times and ratios."""
    table = [["row", "size", "device"]]
    table[0] += [f"{c}, ms" for c in COLUMNS] + [f"{c} / jax" for c in OTHERS]
    for line in found:
        spreads = [spread(line.cells[column]) for column in COLUMNS]
        ratios = [shown(line.ratio(column), ".2f") for column in OTHERS]
        table.append([line.row, line.size, line.device or ABSENT, *spreads, *ratios])
    return markdown(table, left=3)


def detail_table(found: Sequence[Line], rate: float | None) -> str:
    """Examples per second, seconds to the first result, memory and arithmetic."""

    def share(line: Line, cell: Cell) -> float | None:
        known = line.flops and cell.median and rate
        return line.flops / cell.median / rate if known else None

    # name of a column's figure -> its value in a cell, and how it is shown
    figures = {
        "examples/s": (lambda line, c: c.median and c.examples / c.median, ".3g"),
        "first result, s": (lambda line, c: c.first, ".1f"),
        "MB": (lambda line, c: c.peak_bytes / 1e6 if c.seconds else None, ".0f"),
        "GFLOP": (lambda line, c: line.flops and line.flops / 1e9, ".3g"),
        "share": (share, ".0%"),
    }
    columns = {name: ["jax"] if name == "GFLOP" else COLUMNS for name in figures}
    names = [name if name == "GFLOP" else f"{c}: {name}" for name in figures for c in columns[name]]
    table = [["row", "size", *names]]
    for line in found:
        texts = [
            shown(value(line, line.cells[column]), form)
            for name, (value, form) in figures.items()
            for column in columns[name]
        ]
        table.append([line.row, line.size, *texts])
    return markdown(table, left=2)


def plot(runs: Sequence[Run]) -> bytes:
    """Bars of the ratios, as a PNG; the runs below each other."""
    found = [line for run in runs for line in lines(run["measurements"])]
    figure = Figure(figsize=(9, 1.2 + 0.42 * len(found)), layout="constrained")
    axes = figure.subplots()
    for offset, column in zip((-0.2, 0.2), OTHERS, strict=True):
        ratios = {place + offset: line.ratio(column) for place, line in enumerate(found)}
        ratios = {place: ratio for place, ratio in ratios.items() if ratio}
        # From 1 outwards on a logarithmic axis: twice as fast and twice as slow look alike.
        widths = [ratio - 1 for ratio in ratios.values()]
        bars = axes.barh([*ratios], widths, 0.36, left=1, label=column)
        axes.bar_label(bars, [f"{r:.2f}" for r in ratios.values()], padding=3, fontsize=7)
    axes.axvline(1.0, color="black", linewidth=1)
    titles = [f"{x.row} {x.size}{'' if x.device == 'cpu' else f' {x.device}'}" for x in found]
    axes.set_yticks(range(len(found)), titles, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel("PyTorch's median time over JAX's; right of the line JAX is faster")
    axes.set_title("\n".join(map(machine_words, runs)), fontsize=7, wrap=True)
    axes.legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def warnings(results: Run) -> str:
    """What a reader has to know before any number."""
    texts, load, cores = [], results["load_before"], results["machine"]["cores"]
    if results["settings"]["quick"]:
        texts.append("A smoke run: the numbers mean nothing.")
    if load > BUSY * cores:
        texts.append(
            f"The machine was busy (load {load:.1f} on {cores} cores) before any measurement: "
            "PyTorch's threads wait for each other and lose far more by that than JAX's. Measure "
            "again on a quiet machine."
        )
    return "".join(f"\n**{text}**\n" for text in texts)


def machine_words(results: Run) -> str:
    """What the numbers depend on, in words."""
    versions = sorted({r["versions"] for r in results["measurements"] if "versions" in r})
    before, after = (shown(results.get(f"load_{when}"), ".1f") for when in ("before", "after"))
    return (
        "Machine: {processor}, {cores} cores, {memory_gb} GB, {system}, Python {python}; {versions}"
        ". Load average before and after: {before}, {after}."
    ).format(**results["machine"], versions="; ".join(versions), before=before, after=after)


def _errors(found: Sequence[Line]) -> str:
    """What could not be measured, and why."""
    texts = dict.fromkeys(
        f"* {f'{line.row} {line.size}, ' if cell.device else ''}{column}: {cell.error}"
        for line in found
        for column, cell in line.cells.items()
        if cell.error
    )
    return "### Not measured\n\n" + "\n".join(texts) + "\n\n" if texts else ""


def spread(cell: Cell) -> str:
    """minimum / median / maximum in milliseconds."""
    if not cell.seconds:
        return ABSENT
    extent = (min(cell.seconds), cell.median, max(cell.seconds))
    return " / ".join(f"{1000 * value:.4g}" for value in extent)


def shown(value: float | None, form: str) -> str:
    """A number as it stands in a table."""
    return ABSENT if value is None else format(value, form)


def markdown(table: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table, its first row the head, the first `left` columns aligned left."""
    rule = ["---"] * left + ["---:"] * (len(table[0]) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in (table[0], rule, *table[1:]))


PAGE = """# JAX and PyTorch side by side

The package against its counterpart in PyTorch (`experiments/framework_comparison`), whose results
`framework_parity.md` holds to be the same. float32; each row and column in a process of its own,
the columns in turn. The command adds or replaces the section of the device it runs on.

![ratio of times]({picture})

{sections}
## Rows

{rows}
"""

SECTION = """## On {device}
{warnings}
Crops of {crop} px, patches of {patch}, batches of {batch}; {rounds} round{plural}; up to
{seconds:g} s of timed runs per process (three at least) after one that compiles.

{machine}

### Time

Milliseconds per run: minimum / median / maximum. Ratios are of medians; above 1 JAX is faster.

{times}

{shares}### Throughput, first result, memory, arithmetic

"First result": seconds from the loaded problem to the first result of a fresh process, compilation
included. Memory: peak of the process. GFLOP: operations of a run by XLA's count; share: of the
machine's matrix product rate, {rate} GFLOP/s. n/a: XLA's count leaves out loops and LAPACK, or
the row was not measured.

{details}

{errors}"""

SHARES = """### What of a training step goes where

{}

The CRF's share is `mean_field`'s time over that of `train_step`, retrieval's that of
`extractor_attention` and `retrieval_applied`. With `retrieval.when = "once"` a step
(`train_step_residual`) has neither.

"""
