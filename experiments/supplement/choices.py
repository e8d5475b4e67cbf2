"""A table of retrieval settings (a1, a2): retrieval for all rows, generators for the paper's."""

import dataclasses
import time
from collections.abc import Mapping

import jax
import numpy as np
from matplotlib.figure import Figure

from exits_jax.evaluation.tables import markdown
from exits_jax.retrieval.propagation import transition_matrix
from exits_jax.retrieval.score import walk
from exits_jax.retrieval.settings import RetrievalSettings
from experiments.supplement.ledger import Ledger
from experiments.supplement.page import SEEDS, Page, beside_paper, over_seeds, spread, verdict
from experiments.supplement.protocol import RETRIEVAL_SIZE, arguments
from experiments.supplement.study import Study, open_study

MEASURES = ("fg_precision", "fg_coverage", "bg_precision", "bg_coverage", "auc", "iou", "iou_75")
MEASURED_ON = ("tune", "val")
TIMED, POINTS = 8, 1024  # crops of the paper's 32 x 32 points

HOW_RETRIEVAL = (
    "Each cell: on tune / on val2017. Points: precision over all crops, coverage as a share of the"
    " box's cells. AUC and IoU (`score > 0` in the box, native resolution; nothing is an IoU of 0):"
    " means over instances; iou_75: the share above .75."
)


@dataclasses.dataclass(frozen=True)
class Table:
    """What differs between the tables.

    Fields:
      name: of the module and its files.
      title: of the page.
      key: what the settings' names are.
      settings: the rows.
      paper: the paper's VOC AP of the rows it has, which are those a generator is trained for.
      timed: whether rows differ in the walk's time.
    """

    name: str
    title: str
    key: str
    settings: Mapping[str, RetrievalSettings]
    paper: Mapping[str, float]
    timed: bool = False


def main(table: Table, description: str | None) -> None:
    """Measures what is missing, then writes the page."""
    args = arguments(description).parse_args()
    study = open_study(args.root, args.cache)
    page = Page(table.name, (study.facts, table.settings))
    retrieval = measure_retrieval(page, study, table)
    generators = train_generators(page, study, table)
    walks = page.ledger((table.key,), "_walk") if table.timed else None
    if walks is not None:
        rows = [(row,) for row in table.settings]
        walks.fill("walk", rows, lambda row: {"ms": 1e3 * walk_seconds(table.settings[row])})
    ours = {row: over_seeds(generators, (row,), "tune_iou") for row in table.paper}
    best = max(table.settings, key=lambda row: float(retrieval[row, "tune"]["iou"]))
    page.write(
        table.title,
        [
            verdict(ours, table.paper),
            f"## Retrieval alone, {RETRIEVAL_SIZE} px",
            HOW_RETRIEVAL,
            _retrieval_table(table, retrieval, walks),
            f"Best IoU on tune: {best}; on val2017 it has {retrieval[best, 'val']['iou']}.",
            "## Generators, mask IoU",
            _generator_table(table, generators),
        ],
        {table.name: _figure(table, retrieval, ours)},
        Walk=f"median of five, normalisation and walk of a crop of {POINTS} points, {TIMED} at once"
        if table.timed
        else "",
    )


def measure_retrieval(page: Page, study: Study, table: Table) -> Ledger:
    """Retrieval alone, every row on both sets."""
    ledger = page.ledger((table.key, "set"))
    ledger.fill(
        "retrieval",
        [(row, name) for row in table.settings for name in MEASURED_ON],
        lambda row, name: study.retrieval(table.settings, row, name),
    )
    return ledger


def train_generators(page: Page, study: Study, table: Table) -> Ledger:
    """A generator for every row of the paper and every seed."""
    ledger = page.ledger((table.key, "seed"), "_generators")
    settings = {row: table.settings[row] for row in table.paper}
    ledger.fill(
        "generators",
        [(row, seed) for seed in SEEDS for row in table.paper],
        lambda row, seed: study.generator(settings, row, seed),
    )
    return ledger


def walk_seconds(settings: RetrievalSettings) -> float:
    """Median time of transition matrix and walk for one crop of the paper's 1,024 points."""
    rng = np.random.default_rng(0)
    similarity = rng.uniform(0.1, 1.0, (TIMED, POINTS, POINTS)).astype(np.float32)
    seeds = rng.uniform(0.0, 1.0, (TIMED, POINTS, 2)).astype(np.float32)

    @jax.jit
    def reach(similarity: jax.Array, seeds: jax.Array) -> jax.Array:
        transition = transition_matrix(
            similarity, iterations=settings.sinkhorn_iterations, symmetric=settings.symmetric
        )
        return walk(transition, seeds, settings)

    jax.block_until_ready(reach(similarity, seeds))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(reach(similarity, seeds))
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)) / TIMED


def _retrieval_table(table: Table, ledger: Ledger, walks: Ledger | None) -> str:
    """Both sets side by side: the figure on tune, then on val2017."""
    rows = [[table.key, *MEASURES, *(["walk, ms"] if walks else [])]]
    for row in table.settings:
        cells = [
            " / ".join(_short(ledger[row, name][measure]) for name in MEASURED_ON)
            for measure in MEASURES
        ]
        timed = [f"{float(walks[(row,)]['ms']):.1f}"] if walks else []
        rows.append([row, *cells, *timed])
    return markdown(rows)


def _short(value: str) -> str:
    return "n/a" if value == "nan" else f"{float(value):.3f}"


def _generator_table(table: Table, ledger: Ledger) -> str:
    """The paper's rows."""
    rows = [[table.key, "on tune", "on val2017", "paper, VOC AP"]]
    for row in table.paper:
        cells = [spread(over_seeds(ledger, (row,), f"{name}_iou")) for name in MEASURED_ON]
        rows.append([row, *cells, str(table.paper[row])])
    return markdown(rows)


def _figure(table: Table, ledger: Ledger, ours: Mapping[str, np.ndarray]) -> Figure:
    """Retrieval over all rows, and generators over the paper's beside the paper's AP."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label in (("auc", "AUC"), ("iou", "IoU of score > 0"), ("fg_precision", "precision")):
        values = [float(ledger[row, "val"][name]) for row in table.settings]
        left.plot([*table.settings], values, marker="o", label=label)
    left.set(xlabel=table.key, title="retrieval alone, val2017")
    left.tick_params(axis="x", rotation=30)
    left.legend()
    beside_paper(right, [*table.paper], {"ours": ours.values()}, table.paper.values())
    right.set(xlabel=table.key, title="generators")
    return figure
