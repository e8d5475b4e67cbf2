"""Writing a table's page: Markdown and PNG beside the CSV, with all that made them."""

import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from exits_jax.system.files import write_bytes
from experiments.figures import write_figure
from experiments.machine import machine
from experiments.supplement import decoder
from experiments.supplement.ledger import Ledger
from experiments.supplement.protocol import (
    CALIBRATION,
    EMPTY,
    GENERATOR_SIZE,
    MARGIN,
    PAPER,
    RETRIEVAL_SIZE,
    TRAIN,
    TUNE,
)

FOLDER = pathlib.Path(__file__).parents[1] / "results" / "supplement"
SEEDS = (0, 1, 2)

PROTOCOL = (
    f"extractor DINOv2-S/14 unless a row says otherwise; COCO photographs of coco-mini, instances"
    f" of area >= 32^2; labelling crops, margin {MARGIN}. Retrieval at {RETRIEVAL_SIZE} px;"
    f" generators (mask decoder on frozen features of DINOv2-S/14, {decoder.EPOCHS:g} epoch of"
    f" {TRAIN} train2017 crops, the paper's losses, AdamW at {decoder.RATE:g}) at {GENERATOR_SIZE}"
    f" px. Thresholds: ratio {PAPER.tau_fg} to {PAPER.tau_bg}, scaled until {EMPTY:.0%} of the"
    f" training crops ({CALIBRATION} of them for retrieval alone) retrieve nothing; no mask is"
    f" read. tune: {TUNE} train2017 instances of other photographs; val2017: all"
)
SPREAD = (
    f"+- is the standard deviation over {len(SEEDS)} seeds of the generator. Noise is its mean over"
    " the rows; it holds neither the choice of instances nor anything before the generator"
)


class Page:
    """One table or figure on its way to disk; made when the script starts.

    Fields:
      name: of its module and files.
      facts: what its measurements depend on (`Study.facts` and more).
    """

    def __init__(self, name: str, facts: Any = ()) -> None:
        self.name, self._facts = name, facts
        self._began = time.monotonic()
        self._ledgers: list[Ledger] = []

    def ledger(self, keys: tuple[str, ...], part: str = "") -> Ledger:
        """The page's CSV, or one of several."""
        self._ledgers.append(Ledger(FOLDER / f"{self.name}{part}.csv", keys, self._facts))
        return self._ledgers[-1]

    def write(
        self,
        title: str,
        sections: Sequence[str],
        figures: Mapping[str, Figure],
        *,
        command: str = "--root=ROOT",
        **facts: str,
    ) -> None:
        """Writes Markdown and PNGs, and prints the former.

        Args:
          title: of the page.
          sections: Markdown, one after the other.
          figures: by file name without ending; shown at the end unless a section shows them.
          command: the arguments that make this page again.
          facts: further lines at the end, or others in place of `Config`.
        """
        for name, figure in figures.items():
            write_figure(FOLDER / f"{name}.png", figure)
        body = "\n".join(sections)
        pictures = [f"![{name}]({name}.png)" for name in figures if f"({name}.png)" not in body]
        module = f"experiments.supplement.{self.name}"
        machines = [one for ledger in self._ledgers for one in ledger.machines]
        lines = {
            "Command": f"`python -m {' '.join(filter(None, [module, command]))}`",
            "Config": PROTOCOL,
            "Spread": SPREAD,
            **facts,
            "Time": f"{(time.monotonic() - self._began) / 60:.1f} min for this call, which measures"
            " only what neither the CSV nor the cache holds",
            "Machine": "; ".join(dict.fromkeys(machines)) or machine(),
        }
        shown = {name.replace("_", " "): value for name, value in lines.items() if value}
        end = "\n".join(f"* {name}: {value}." for name, value in shown.items())
        text = "\n\n".join([f"# {title}", *sections, *pictures, end]) + "\n"
        write_bytes(FOLDER / f"{self.name}.md", text.encode())
        print(text)


def over_seeds(ledger: Ledger, run: tuple, column: str, seeds: Sequence[int] = SEEDS) -> np.ndarray:
    """A column of a run that was repeated with several seeds, its last key."""
    return np.array([float(ledger[(*run, seed)][column]) for seed in seeds])


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation."""
    return f"{values.mean():.3f} +- {deviation(values):.3f}"


def deviation(values: np.ndarray) -> float:
    """Standard deviation of a sample."""
    return float(values.std(ddof=1))


def verdict(ours: Mapping[str, np.ndarray], paper: Mapping[str, float]) -> str:
    """One line: whether our figures order the rows as the paper's do.

    Two rows are ordered here if their means differ by more than the noise; the paper states no
    noise, so all its rows that differ are.

    Args:
      ours: a value per seed, by row.
      paper: the paper's figure, by row; rows that are not in `ours` are left out.
    """
    names = [name for name in paper if name in ours]
    noise = float(np.mean([deviation(ours[name]) for name in names]))
    means = {name: float(ours[name].mean()) for name in names}
    alike = other = tied = 0
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            here, there = means[first] - means[second], paper[first] - paper[second]
            if there and abs(here) <= noise:
                tied += 1
            elif there:
                alike += here * there > 0
                other += here * there < 0
    word = "not confirmed"
    if alike > other:
        word = "confirmed in part" if other or tied else "confirmed"
    return (
        f"**The paper's ordering is {word} here**: of its pairs of rows {alike} are ordered alike,"
        f" {other} the other way, {tied} differ by no more than the noise ({noise:.3f}); best here"
        f" {max(names, key=means.get)}, in the paper {max(names, key=paper.get)}."
    )


def beside_paper(
    axes: Axes, at: Sequence, lines: Mapping[str, Iterable[np.ndarray]], paper: Iterable[float]
) -> None:
    """Means with error bars, and the paper's AP on an axis of its own.

    Args:
      axes: to draw on.
      at: positions or names of the rows.
      lines: label -> values per seed, row by row.
      paper: row by row.
    """
    for label, rows in lines.items():
        rows = [*rows]
        means, errors = [row.mean() for row in rows], [deviation(row) for row in rows]
        axes.errorbar(at, means, errors, marker="o", capsize=3, label=label)
    axes.margins(y=0.25)  # room for the legends
    axes.set_ylabel("generator's mask IoU, tune")
    axes.legend(loc="upper left")
    other = axes.twinx()
    other.plot(at, [*paper], "s--", color="grey", label="paper")
    other.set_ylabel("paper: VOC AP")
    other.legend(loc="lower right")
