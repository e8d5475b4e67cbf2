"""Table a4: what the similarity extractor was pretrained on.

    python -m experiments.supplement.a4_weights --root=data/coco-mini

compares what needs no download by hand. With the files in the cache folder
(`exits_jax.models.backbones` says which and where from), the paper's rows are added by

    python -m experiments.supplement.a4_weights --root=data/coco-mini \\
        --weights mae_b16 deit_b16 dino_b16 augreg_b16
"""

import dataclasses

from matplotlib.figure import Figure

from exits_jax.evaluation.tables import markdown
from exits_jax.models.backbones import BACKBONES, DEFAULT
from exits_jax.retrieval import RetrievalSettings
from experiments.supplement.choices import MEASURES, judged, retrieval_figures
from experiments.supplement.ledger import Ledger
from experiments.supplement.page import SEEDS, Page, ordering, over_seeds, spread
from experiments.supplement.protocol import (
    GENERATOR_SIZE,
    PAPER,
    Extractor,
    arguments,
    calibrated,
    read_sets,
    scores_of,
)

CONTROL = "random"
PAPER_AP = {"mae_b16": 37.3, "augreg_b16": 34.2, "deit_b16": 35.8, "dino_b16": 34.7}


def main() -> None:
    """Measures what is missing, then writes the page with everything measured so far."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[DEFAULT, CONTROL],
        choices=[*BACKBONES, CONTROL],
        metavar="NAME",
        help=f"any of: {', '.join([*BACKBONES, CONTROL])}",
    )
    args = parser.parse_args()
    page, sets = Page("a4_weights"), read_sets(args.root)
    retrieval, generators = (
        page.ledger(("weights", "set")),
        page.ledger(("weights", "seed"), "_generators"),
    )

    def retrieve(weights: str, name: str) -> dict[str, float]:
        extractor, one = Extractor(weights), settings_of(weights)
        return retrieval_figures(args.cache, sets, {"paper": one}, "paper", name, extractor)

    def generate(weights: str, seed: int) -> dict[str, float]:
        one = settings_of(weights)
        scores = scores_of(
            args.cache, sets.train, {"paper": one}, GENERATOR_SIZE, Extractor(weights)
        )["paper"]
        return judged(args.cache, sets, scores, calibrated(scores, one), seed)

    retrieval.fill(
        "retrieval", [(one, name) for one in args.weights for name in ("tune", "val")], retrieve
    )
    generators.fill("generators", [(one, seed) for one in args.weights for seed in SEEDS], generate)
    measured = [one for one in [*BACKBONES, CONTROL] if (one, SEEDS[-1]) in generators]
    page.write(
        "Table a4 analog: weights of the similarity extractor",
        [verdict(generators, measured), table(retrieval, generators, measured), MISSING],
        plot(generators, measured),
        {"Spread": f"mean +- standard deviation over {len(SEEDS)} seeds"},
    )


def settings_of(weights: str) -> RetrievalSettings:
    """The paper's, with the layer as deep as its tenth of twelve."""
    large = weights != CONTROL and BACKBONES[weights].size == "L"
    return dataclasses.replace(PAPER, layers=(20,)) if large else PAPER


def verdict(generators: Ledger, measured: list[str]) -> str:
    """Whether the paper's ordering shows, or that it cannot be asked."""
    ours = {one: over_seeds(generators, (one,), "tune_iou") for one in measured}
    known = {one: PAPER_AP[one] for one in measured if one in PAPER_AP}
    if len(known) > 1:
        noise = max(float(ours[one].std(ddof=1)) for one in known)
        return ordering({one: float(v.mean()) for one, v in ours.items()}, known, noise)
    return (
        "**The paper's ordering (MAE, DeiT, DINO, ImageNet-22k) is neither confirmed nor refuted"
        " here**: none of its weights is in a public package index, and nothing else was within"
        " reach. What can be said: how much pretraining gives over random weights."
    )


MISSING = (
    "Rows of the paper are added by putting their files into the cache folder and naming them:"
    " `--weights mae_b16 deit_b16 dino_b16 augreg_b16`; a missing file's error says where it is to"
    " be had. The generator's own encoder stays DINOv2-S/14, so that only the points differ."
)


def table(retrieval: Ledger, generators: Ledger, measured: list[str]) -> str:
    """A row per weights: retrieval on tune, generators on both sets, the paper's AP."""
    rows = [["weights", *MEASURES, "generator, tune", "generator, val2017", "paper, VOC AP"]]
    for one in measured:
        cells = [f"{float(retrieval[one, 'tune'][name]):.3f}" for name in MEASURES]
        cells += [spread(over_seeds(generators, (one,), f"{s}_iou")) for s in ("tune", "val")]
        rows.append([one, *cells, str(PAPER_AP.get(one, ""))])
    return markdown(rows)


def plot(generators: Ledger, measured: list[str]) -> Figure:
    """Mask IoU by weights."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    found = [over_seeds(generators, (one,), "val_iou") for one in measured]
    axes.bar(measured, [v.mean() for v in found], yerr=[v.std(ddof=1) for v in found], capsize=4)
    axes.set(ylabel="generator's mask IoU, val2017", ylim=(0, 1))
    return figure


if __name__ == "__main__":
    main()
