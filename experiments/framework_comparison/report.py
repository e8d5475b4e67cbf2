"""What the comparison found, as a page and a picture."""

import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from exits_jax.models.vit import SIZES
from experiments.framework_comparison.rows import COLUMNS, MATMUL_SIDE, ROWS

OTHERS = COLUMNS[1:]
ABSENT = "n/a"
RETRIEVAL = ("retrieval_applied", "any")
BUSY = 0.25  # load per core before the first measurement, from where on numbers are not to be had


class Cell(NamedTuple):
    """One row at one size in one column, all rounds together.

    Attributes:
      seconds: of all runs; empty where none succeeded.
      first: seconds from the problem to the first result, of the first round: later ones find
        compiled code.
      peak_bytes: of the largest process.
      examples: crops in a run.
      flops: of a run; None: not known.
      device: what it ran on.
      error: why nothing was measured, or part of it.
    """

    seconds: list[float]
    first: float | None = None
    peak_bytes: int = 0
    examples: int = 0
    flops: float | None = None
    device: str = ""
    error: str = ""

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


def lines(measurements: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Records of single processes -> lines, in the order of `ROWS` and of the networks' sizes."""
    grouped: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for record in measurements:
        columns = grouped.setdefault((record["row"], record["size"]), {c: [] for c in COLUMNS})
        columns[record["column"]].append(record)
    return [
        Line(row, size if ROWS[row].sized else "any", {c: _cell(r) for c, r in columns.items()})
        for (row, size), columns in sorted(grouped.items(), key=_place)
    ]


def _place(item: tuple[tuple[str, str], Any]) -> tuple[int, int]:
    """Where a row and size stand in the tables."""
    (row, size), _ = item
    sizes = [*SIZES]
    return [*ROWS].index(row), sizes.index(size) if size in sizes else len(sizes)


def _cell(records: Sequence[Mapping[str, Any]]) -> Cell:
    """The rounds of one column joined."""
    good = [record for record in records if "error" not in record]
    error = next((record["error"] for record in records if "error" in record), "")
    if not good:
        return Cell([], error=error or "not measured")
    return Cell(
        [time for record in good for time in record["seconds"]],
        good[0]["first"],
        max(record["peak_bytes"] for record in good),
        good[0]["examples"],
        good[0]["flops"],
        good[0]["device"],
        error,
    )


def matmul_rate(found: Sequence[Line]) -> float | None:
    """Operations per second of the fastest matrix product of any column: the machine's rate."""
    best = [
        2 * MATMUL_SIDE**3 / min(cell.seconds)
        for line in found
        if line.row == "matmul"
        for cell in line.cells.values()
        if cell.seconds
    ]
    return max(best, default=None)


def page(runs: Sequence[Mapping[str, Any]], picture: str) -> str:
    """The whole Markdown page.

    Args:
      runs: one of each device, as `bench.py` keeps them in its JSON file.
      picture: file name of the plot beside it.
    """
    names = dict.fromkeys(record["row"] for run in runs for record in run["measurements"])
    sections = "\n".join(_section(run) for run in runs)
    return f"""# JAX and PyTorch side by side

The package against its counterpart in PyTorch (`experiments/framework_comparison`), whose results
`framework_parity.md` holds to be the same. float32; each row and column in a process of its own,
the columns in turn. The command adds or replaces the section of the device it runs on.

![ratio of times]({picture})

{sections}
## Rows

{_rows(names)}
"""


def _section(results: Mapping[str, Any]) -> str:
    """What was measured on one device."""
    found, settings = lines(results["measurements"]), results["settings"]
    rate = matmul_rate(found)
    return f"""## On {device_of(results)}
{_warnings(results)}
Crops of {settings["crop"]} px, patches of {settings["patch"]}, batches of {settings["batch"]}; \
{settings["rounds"]} round{"s" * (settings["rounds"] > 1)}; up to
{settings["seconds"]:g} s of timed runs per process (three at least) after one that compiles.

{_machine(results)}

### Time

Milliseconds per run: minimum / median / maximum. Ratios are of medians; above 1 JAX is faster.

{time_table(found)}

{_shares(found)}### Throughput, first result, memory, arithmetic

"First result": seconds from the loaded problem to the first result of a fresh process, compilation
included. Memory: peak of the process. GFLOP: operations of a run by XLA's count; share: of the
machine's matrix product rate, {_shown(rate and rate / 1e9, ".0f")} GFLOP/s. n/a: XLA's count \
leaves out loops and LAPACK, or
the row was not measured.

{detail_table(found, rate)}

{_errors(found)}"""


def device_of(results: Mapping[str, Any]) -> str | None:
    """What a run was measured on, by the name its framework gives it; None: nothing succeeded."""
    found = (record["device"] for record in results["measurements"] if "device" in record)
    return next(found, None)


def _shares(found: Sequence[Line]) -> str:
    """CRF and retrieval as shares of the paper's training step in JAX; nothing without a step."""
    if not any(line.row == "train_step" for line in found):
        return ""
    return f"""### What of a training step goes where

{shares_table(found)}

The CRF's share is `mean_field`'s time over that of `train_step`, retrieval's that of
`extractor_attention` and `retrieval_applied`. With `retrieval.when = "once"` a step
(`train_step_residual`) has neither.

"""


def shares_table(found: Sequence[Line]) -> str:
    """The shares by size."""
    medians = {(line.row, line.size): line.cells["jax"].median for line in found}
    body = []
    for size in (line.size for line in found if line.row == "train_step"):
        step, crf = medians["train_step", size], medians.get(("mean_field", "any"))
        parts = [medians.get(("extractor_attention", size)), medians.get(RETRIEVAL)]
        retrieval = sum(parts) if all(parts) else None
        body.append([size, *(_shown(x and step and x / step, ".1%") for x in (crf, retrieval))])
    return _markdown(["size", "CRF", "retrieval in every step"], body, left=1)


def time_table(found: Sequence[Line]) -> str:
    """Times and ratios."""
    head = ["row", "size", "device", *(f"{column}, ms" for column in COLUMNS)]
    head += [f"{column} / jax" for column in OTHERS]
    body = [
        [
            line.row,
            line.size,
            line.device or ABSENT,
            *(_spread(line.cells[column]) for column in COLUMNS),
            *(_shown(line.ratio(column), ".2f") for column in OTHERS),
        ]
        for line in found
    ]
    return _markdown(head, body, left=3)


def detail_table(found: Sequence[Line], rate: float | None) -> str:
    """Examples per second, seconds to the first result, memory and arithmetic."""
    head = ["row", "size"]
    for what in ("examples/s", "first result, s", "MB"):
        head += [f"{column}: {what}" for column in COLUMNS]
    head += ["GFLOP", *(f"{column}: share" for column in COLUMNS)]
    body = []
    for line in found:
        cells = [line.cells[column] for column in COLUMNS]
        body.append(
            [
                line.row,
                line.size,
                *(_shown(c.median and c.examples / c.median, ".3g") for c in cells),
                *(_shown(c.first, ".1f") for c in cells),
                *(_shown(c.peak_bytes / 1e6 if c.seconds else None, ".0f") for c in cells),
                _shown(line.flops and line.flops / 1e9, ".3g"),
                *(_shown(_share(line.flops, c.median, rate), ".0%") for c in cells),
            ]
        )
    return _markdown(head, body, left=2)


def plot(runs: Sequence[Mapping[str, Any]]) -> bytes:
    """Bars of the ratios, as a PNG; the runs below each other."""
    found = [line for run in runs for line in lines(run["measurements"])]
    height = 1.2 + 0.42 * len(found)
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    for offset, column in zip((-0.2, 0.2), OTHERS, strict=True):
        ratios = {place: line.ratio(column) for place, line in enumerate(found)}
        ratios = {place: ratio for place, ratio in ratios.items() if ratio}
        places = [place + offset for place in ratios]
        # From 1 outwards on a logarithmic axis: twice as fast and twice as slow look alike.
        bars = axes.barh(places, [r - 1 for r in ratios.values()], 0.36, left=1, label=column)
        labels = [f"{ratio:.2f}" for ratio in ratios.values()]
        axes.bar_label(bars, labels, padding=3, fontsize=7)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(range(len(found)), list(map(_title, found)), fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel("PyTorch's median time over JAX's; right of the line JAX is faster")
    axes.set_title("\n".join(map(_machine, runs)), fontsize=7, wrap=True)
    axes.legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _warnings(results: Mapping[str, Any]) -> str:
    """What a reader has to know before any number."""
    texts = []
    if results["settings"]["quick"]:
        texts.append("A smoke run: the numbers mean nothing.")
    load, cores = results["load_before"], results["machine"]["cores"]
    if load > BUSY * cores:
        texts.append(
            f"The machine was busy (load {load:.1f} on {cores} cores) before any measurement: "
            "PyTorch's threads wait for each other and lose far more by that than JAX's. Measure "
            "again on a quiet machine."
        )
    return "".join(f"\n**{text}**\n" for text in texts)


def _machine(results: Mapping[str, Any]) -> str:
    """What the numbers depend on, in words."""
    machine, loads = results["machine"], ("load_before", "load_after")
    versions = sorted({r["versions"] for r in results["measurements"] if "versions" in r})
    before, after = (_shown(results.get(name), ".1f") for name in loads)
    return (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}, Python {machine['python']}; {'; '.join(versions)}. Load average "
        f"before and after: {before}, {after}."
    )


def _errors(found: Sequence[Line]) -> str:
    """What could not be measured, and why."""
    texts = dict.fromkeys(
        f"{f'{line.row} {line.size}, ' if cell.device else ''}{column}: {cell.error}"
        for line in found
        for column, cell in line.cells.items()
        if cell.error
    )
    if not texts:
        return ""
    return "### Not measured\n\n" + "\n".join(f"* {text}" for text in texts) + "\n\n"


def _title(line: Line) -> str:
    """Of a line's bars."""
    return " ".join([line.row, line.size, *([] if line.device == "cpu" else [line.device])])


def _rows(names: Iterable[str]) -> str:
    """What each row times."""
    return "\n".join(f"* `{name}`: {ROWS[name].what}" for name in names)


def _share(flops: float | None, seconds: float | None, rate: float | None) -> float | None:
    return flops / seconds / rate if flops and seconds and rate else None


def _spread(cell: Cell) -> str:
    """minimum / median / maximum in milliseconds."""
    if not cell.seconds:
        return ABSENT
    low, middle, high = min(cell.seconds), cell.median, max(cell.seconds)
    return " / ".join(_shown(1000 * value, ".4g") for value in (low, middle, high))


def _shown(value: float | None, form: str) -> str:
    return ABSENT if value is None else format(value, form)


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table, the first `left` columns aligned left."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))
