"""Writing a table's page: Markdown and PNG beside the CSV, with all that made them."""

import pathlib
import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from exits_jax.files import write_bytes
from experiments.figures import write_figure
from experiments.machine import machine
from experiments.supplement.ledger import Ledger
from experiments.supplement.protocol import (
    GENERATOR_SIZE,
    MARGIN,
    RETRIEVAL_SIZE,
    TRAIN,
    TUNE,
)

FOLDER = pathlib.Path(__file__).parents[1] / "results" / "supplement"
SEEDS = (0, 1, 2)

PROTOCOL = (
    f"Extractor DINOv2-S/14 unless a row says otherwise; COCO photographs of coco-mini, instances"
    f" of area >= 32^2. Labelling crops, margin {MARGIN}. Retrieval at {RETRIEVAL_SIZE} px;"
    f" generators (mask decoder on frozen features of DINOv2-S/14, one epoch of {TRAIN} train2017"
    f" crops, the paper's losses) at {GENERATOR_SIZE} px. Thresholds: ratio 0.4 to 0.15, scaled"
    f" until 7 % of training crops retrieve nothing; no mask is read. tune: {TUNE} train2017"
    f" instances of other photographs."
)


class Page:
    """One table or figure on its way to disk; made when the script starts.

    Fields:
      name: of its files.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._began = time.monotonic()

    def ledger(self, keys: tuple[str, ...], part: str = "") -> Ledger:
        """The page's CSV, or one of several."""
        return Ledger(FOLDER / f"{self.name}{part}.csv", keys)

    def write(
        self, title: str, sections: Sequence[str], figure: Figure, config: Mapping[str, object] = {}
    ) -> None:
        """Writes the Markdown and the PNG, and prints the former."""
        write_figure(FOLDER / f"{self.name}.png", figure)
        module = f"experiments.supplement.{self.name}"
        facts = {
            "Command": f"`python -m {' '.join([module, *sys.argv[1:]])}`",
            "Config": PROTOCOL,
            **config,
            "Time of this call": f"{(time.monotonic() - self._began) / 60:.1f} min (what the CSV"
            " and the cache hold already is not computed again)",
            "Machine": machine(),
        }
        lines = [f"# {title}", *sections, f"![{title}]({self.name}.png)"]
        lines.append("\n".join(f"* {name}: {value}" for name, value in facts.items()))
        text = "\n\n".join(lines) + "\n"
        write_bytes(FOLDER / f"{self.name}.md", text.encode())
        print(text)


def over_seeds(ledger: Ledger, run: tuple, column: str, seeds: Sequence[int] = SEEDS) -> np.ndarray:
    """A column of a run that was repeated with several seeds, its last key."""
    return np.array([float(ledger[(*run, seed)][column]) for seed in seeds])


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation."""
    return f"{values.mean():.3f} +- {values.std(ddof=1):.3f}"


def ordering(ours: Mapping[str, float], paper: Mapping[str, float], noise: float) -> str:
    """One line: whether our figures order the rows as the paper's do.

    Pairs of rows are compared that differ by more than `noise` here; the paper states no noise, so
    of its pairs all that differ count.
    """
    names = [name for name in paper if name in ours]
    right = wrong = tied = 0
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if paper[first] == paper[second]:
                continue
            difference = ours[first] - ours[second]
            if abs(difference) <= noise:
                tied += 1
            elif (difference > 0) == (paper[first] > paper[second]):
                right += 1
            else:
                wrong += 1
    best = max(names, key=lambda name: ours[name])
    paper_best = max(names, key=lambda name: paper[name])
    verdict = "confirmed" if right and not wrong and not tied else "not confirmed"
    if right > wrong and verdict != "confirmed":
        verdict = "confirmed in part"
    return (
        f"**The paper's ordering is {verdict} here**: of its pairs of rows {right} are ordered"
        f" alike, {wrong} the other way, {tied} differ by no more than the noise"
        f" ({noise:.3f}); best here {best}, in the paper {paper_best}."
    )
