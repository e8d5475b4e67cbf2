"""A table of retrieval settings: retrieval alone for all, generators for the paper's rows."""

import dataclasses
import time
from collections.abc import Mapping

import jax
import numpy as np
from matplotlib.figure import Figure

from exits_jax.evaluation.tables import markdown
from exits_jax.retrieval import RetrievalSettings, Scores, transition_matrix
from exits_jax.retrieval.score import walk
from experiments.retrieval_measures import measure, object_shares
from experiments.supplement import decoder
from experiments.supplement.ledger import Ledger
from experiments.supplement.page import SEEDS, Page, ordering, over_seeds, spread
from experiments.supplement.protocol import (
    CALIBRATION,
    GENERATOR_SIZE,
    MARGIN,
    RETRIEVAL_SIZE,
    Extractor,
    Sets,
    arguments,
    calibrated,
    crops_of,
    read_sets,
    scores_of,
)

MEASURES = ("fg_precision", "fg_coverage", "bg_precision", "bg_coverage", "auc", "iou", "iou_75")
TIMED, POINTS = 8, 1024  # crops of the paper's 32 x 32 points

HOW_RETRIEVAL = (
    "Each cell: on tune / on val2017. Points: precision over all crops, coverage as a share of the"
    " box's cells. AUC and IoU (`score > 0` in the box, native resolution): means over instances;"
    " iou_75 the share above .75. Time: normalisation and walk of one of"
    f" {TIMED} crops of {POINTS} points."
)


@dataclasses.dataclass(frozen=True)
class Table:
    """What differs between tables a1 and a2.

    Fields:
      name: of the module and its files.
      title: of the page.
      key: what the settings' names are.
      settings: the rows.
      paper: the paper's VOC AP of the rows it has, which are those a generator is trained for.
    """

    name: str
    title: str
    key: str
    settings: Mapping[str, RetrievalSettings]
    paper: Mapping[str, float]


def main(table: Table, description: str | None) -> None:
    """Measures what is missing, then writes the page."""
    args = arguments(description).parse_args()
    page, sets = Page(table.name), read_sets(args.root)
    retrieval = page.ledger((table.key, "set"))
    generators = page.ledger((table.key, "seed"), "_generators")

    def retrieve(row: str, name: str) -> dict[str, float]:
        found = retrieval_figures(args.cache, sets, table.settings, row, name)
        return found | {"walk_ms": 1e3 * _walk_seconds(table.settings[row])}

    def generate(row: str, seed: int) -> dict[str, float]:
        return _generator(args.cache, sets, table, row, seed)

    retrieval.fill(
        "retrieval", [(row, s) for row in table.settings for s in ("tune", "val")], retrieve
    )
    generators.fill("generators", [(row, s) for row in table.paper for s in SEEDS], generate)
    ours = {row: over_seeds(generators, (row,), "tune_iou") for row in table.paper}
    noise = float(np.mean([values.std(ddof=1) for values in ours.values()]))
    means = {row: float(values.mean()) for row, values in ours.items()}
    best = max(table.settings, key=lambda row: float(retrieval[row, "tune"]["iou"]))
    page.write(
        table.title,
        [
            ordering(means, table.paper, noise),
            f"## Retrieval alone, {RETRIEVAL_SIZE} px",
            HOW_RETRIEVAL,
            markdown(_retrieval_rows(table, retrieval)),
            f"Best IoU on tune: {best}; on val2017 it has {retrieval[best, 'val']['iou']}.",
            "## Generators",
            markdown(
                [
                    [table.key, "mask IoU on tune", "on val2017", "paper, VOC AP"],
                    *(
                        [
                            row,
                            spread(ours[row]),
                            spread(over_seeds(generators, (row,), "val_iou")),
                            str(table.paper[row]),
                        ]
                        for row in table.paper
                    ),
                ]
            ),
        ],
        _figure(table, retrieval, ours),
        {"Spread": f"mean +- standard deviation over {len(SEEDS)} seeds"},
    )


def retrieval_figures(
    cache: str,
    sets: Sets,
    settings: Mapping[str, RetrievalSettings],
    row: str,
    name: str,
    extractor: Extractor = Extractor(),  # noqa: B008 -- immutable
    size: int = RETRIEVAL_SIZE,
) -> dict[str, float]:
    """Retrieval of one row on `tune` or `val`; thresholds from `train`.

    Args:
      cache: folder.
      sets: of instances.
      settings: all rows; what the cache lacks of them is computed together.
      row: the one to measure.
      name: of the set to measure on.
      extractor: of the similarity.
      size: side of the crops.
    """
    known = scores_of(cache, sets.train.take(range(CALIBRATION)), settings, size, extractor)[row]
    chosen = getattr(sets, name)
    scores = scores_of(cache, chosen, settings, size, extractor)[row]
    grid = round(scores.score.shape[1] ** 0.5)
    tau_fg, tau_bg = calibrated(known, settings[row])
    shares = object_shares(chosen, grid, MARGIN)
    return measure(scores, chosen, shares, tau_fg=tau_fg, tau_bg=tau_bg, margin=MARGIN)._asdict()


def _walk_seconds(settings: RetrievalSettings) -> float:
    """Median time of transition matrix and walk for one crop of the paper's 1,024 points."""
    rng = np.random.default_rng(0)
    similarity = rng.uniform(0.1, 1.0, (TIMED, POINTS, POINTS)).astype(np.float32)
    seeds = rng.uniform(0.0, 1.0, (TIMED, POINTS, 2)).astype(np.float32)

    @jax.jit
    def reach(similarity: jax.Array, seeds: jax.Array) -> jax.Array:
        transition = transition_matrix(
            similarity, iterations=settings.sinkhorn, symmetric=settings.symmetric
        )
        return walk(transition, seeds, settings)

    jax.block_until_ready(reach(similarity, seeds))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(reach(similarity, seeds))
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)) / TIMED


def _generator(cache: str, sets: Sets, table: Table, row: str, seed: int) -> dict[str, float]:
    """A generator trained on the points of one row, judged on both sets."""
    paper = {name: table.settings[name] for name in table.paper}
    scores = scores_of(cache, sets.train, paper, GENERATOR_SIZE)[row]
    return judged(cache, sets, scores, calibrated(scores, paper[row]), seed)


def judged(
    cache: str, sets: Sets, scores: Scores, tau: tuple[float, float], seed: int, **options: object
) -> dict[str, float]:
    """Trains a generator on `train` with these scores; mean mask IoU on `tune` and `val`.

    Args:
      cache: folder.
      sets: of instances.
      scores: of `sets.train` at the generator's size.
      tau: thresholds.
      seed: of the run.
      options: of `decoder.train`.
    """
    began = time.monotonic()
    params = decoder.train(crops_of(cache, sets.train), scores, tau, seed=seed, **options)
    seconds = time.monotonic() - began
    on = {
        name: decoder.ious(params, crops_of(cache, chosen), chosen)
        for name, chosen in (("tune", sets.tune), ("val", sets.val))
    }
    figures = {f"{name}_iou": float(values.mean()) for name, values in on.items()}
    shares = {f"{name}_iou_75": float((values > 0.75).mean()) for name, values in on.items()}
    return {**figures, **shares, "tau_fg": tau[0], "tau_bg": tau[1], "seconds": seconds}


def _retrieval_rows(table: Table, ledger: Ledger) -> list[list[str]]:
    """Both sets side by side: the figure on tune, then on val2017."""
    rows = [[table.key, *MEASURES, "ms per crop"]]
    for row in table.settings:
        pairs = [(ledger[row, "tune"][name], ledger[row, "val"][name]) for name in MEASURES]
        cells = [" / ".join(_short(value) for value in pair) for pair in pairs]
        rows.append([row, *cells, f"{float(ledger[row, 'tune']['walk_ms']):.1f}"])
    return rows


def _short(value: str) -> str:
    return "n/a" if value == "nan" else f"{float(value):.3f}"


def _figure(table: Table, ledger: Ledger, ours: Mapping[str, np.ndarray]) -> Figure:
    """Retrieval over all rows, and generators over the paper's beside the paper's AP."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label in (("auc", "AUC"), ("iou", "IoU of score > 0"), ("fg_precision", "precision")):
        left.plot(
            [*table.settings],
            [float(ledger[row, "val"][name]) for row in table.settings],
            marker="o",
            label=label,
        )
    left.set(xlabel=table.key, title="retrieval alone, val2017")
    left.tick_params(axis="x", rotation=30)
    left.legend()
    means, errors = ([f(values) for values in ours.values()] for f in (np.mean, _deviation))
    right.errorbar([*table.paper], means, errors, marker="o", capsize=3, label="mask IoU, tune")
    right.set(xlabel=table.key, title="generators", ylabel="mask IoU")
    other = right.twinx()
    other.plot([*table.paper], [*table.paper.values()], "s--", color="grey", label="paper")
    other.set_ylabel("paper: VOC AP")
    right.legend(loc="lower left")
    other.legend(loc="lower right")
    return figure


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1))
