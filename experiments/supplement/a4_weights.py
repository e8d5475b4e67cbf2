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
from exits_jax.models.published import BACKBONES, DEFAULT
from exits_jax.retrieval.settings import RetrievalSettings
from experiments.supplement.choices import MEASURED_ON, MEASURES
from experiments.supplement.kept import RANDOM, Extractor
from experiments.supplement.ledger import Ledger
from experiments.supplement.page import SEEDS, Page, deviation, over_seeds, spread, verdict
from experiments.supplement.protocol import PAPER, arguments
from experiments.supplement.study import open_study

PAPER_AP = {"mae_b16": 37.3, "augreg_b16": 34.2, "deit_b16": 35.8, "dino_b16": 34.7}


def main() -> None:
    """Measures what is missing, then writes the page with everything measured so far."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[DEFAULT, RANDOM],
        choices=[*BACKBONES, RANDOM],
        metavar="NAME",
        help=f"any of: {', '.join([*BACKBONES, RANDOM])}",
    )
    args = parser.parse_args()
    study = open_study(args.root, args.cache)
    page = Page("a4_weights", (study.facts, PAPER))
    retrieval = page.ledger(("weights", "set"))
    generators = page.ledger(("weights", "seed"), "_generators")

    def retrieve(weights: str, name: str) -> dict[str, float]:
        settings, extractor = {"paper": settings_of(weights)}, Extractor(weights)
        return study.retrieval(settings, "paper", name, extractor=extractor)

    def generate(weights: str, seed: int) -> dict[str, float]:
        settings, extractor = {"paper": settings_of(weights)}, Extractor(weights)
        return study.generator(settings, "paper", seed, extractor=extractor)

    pairs = [(one, name) for one in args.weights for name in MEASURED_ON]
    retrieval.fill("retrieval", pairs, retrieve)
    generators.fill("generators", [(one, seed) for one in args.weights for seed in SEEDS], generate)
    measured = [one for one in [*BACKBONES, RANDOM] if (one, SEEDS[-1]) in generators]
    page.write(
        "Table a4 analog: weights of the similarity extractor",
        [ordering(generators, measured), table(retrieval, generators, measured), MORE],
        {page.name: plot(generators, measured)},
        command=" ".join(["--root=ROOT --weights", *measured]),
    )


def settings_of(weights: str) -> RetrievalSettings:
    """The paper's, with the layer as deep as its tenth of twelve."""
    large = weights != RANDOM and BACKBONES[weights].size == "L"
    return dataclasses.replace(PAPER, layers=(20,)) if large else PAPER


def ordering(generators: Ledger, measured: list[str]) -> str:
    """Whether the paper's ordering shows, or that it cannot be asked."""
    known = [one for one in measured if one in PAPER_AP]
    if len(known) > 1:
        ours = {one: over_seeds(generators, (one,), "tune_iou") for one in known}
        return verdict(ours, PAPER_AP)
    return (
        "**The paper's ordering (MAE, DeiT, DINO, ImageNet-22k) is neither confirmed nor refuted"
        f" here**: that takes two of its weights; measured are {', '.join(measured)}."
    )


MORE = (
    "Rows of the paper are added by putting their files into the cache folder and naming them:"
    " `--weights mae_b16 deit_b16 dino_b16 augreg_b16`; a missing file's error says where it is to"
    " be had. The generator's own encoder stays DINOv2-S/14, so that only the points differ."
)


def table(retrieval: Ledger, generators: Ledger, measured: list[str]) -> str:
    """A row per weights: retrieval and generators, tune / val2017; the paper's AP."""
    rows = [["weights", *MEASURES, "generator, tune", "generator, val2017", "paper, VOC AP"]]
    for one in measured:
        pairs = [[float(retrieval[one, name][m]) for name in MEASURED_ON] for m in MEASURES]
        cells = [" / ".join(f"{value:.3f}" for value in pair) for pair in pairs]
        cells += [spread(over_seeds(generators, (one,), f"{s}_iou")) for s in MEASURED_ON]
        rows.append([one, *cells, str(PAPER_AP.get(one, ""))])
    return markdown(rows)


def plot(generators: Ledger, measured: list[str]) -> Figure:
    """Mask IoU by weights."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    found = [over_seeds(generators, (one,), "val_iou") for one in measured]
    axes.bar(measured, [v.mean() for v in found], yerr=[deviation(v) for v in found], capsize=4)
    axes.set(ylabel="generator's mask IoU, val2017", ylim=(0, 1))
    return figure


if __name__ == "__main__":
    main()
