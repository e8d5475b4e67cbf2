"""Table a3: warm-up of the similarity extractor, by epochs and by choices of its unpublished loss.

python -m experiments.supplement.a3_warmup --root=data/coco-mini
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from exits_jax.data.labelling import label_batches
from exits_jax.evaluation.tables import markdown
from exits_jax.models import Generator, load_params, save_params
from exits_jax.models.backbones import DEFAULT, load_backbone
from exits_jax.progress import track
from exits_jax.training.objectives import LossSettings, warmup_objective
from exits_jax.training.optimiser import learning_rate_schedule, make_optimiser
from exits_jax.training.state import (
    Params,
    init_state,
    merge_params,
    split_params,
    trains_blocks,
)
from exits_jax.training.step import make_step
from exits_jax.training.supervision import supervise_seeds
from experiments.retrieval_measures import Examples
from experiments.supplement.choices import judged, retrieval_figures
from experiments.supplement.ledger import Ledger
from experiments.supplement.page import SEEDS, Page, ordering, over_seeds, spread
from experiments.supplement.protocol import (
    GENERATOR_SIZE,
    MARGIN,
    PAPER,
    Extractor,
    arguments,
    calibrated,
    read_sets,
    scores_of,
)

EPOCH, BATCH = 48, 8  # crops; the paper's epoch is all of them, ours what ninety seconds allow
EPOCHS = (0, 4, 8)
TRAINED_FROM = 8  # blocks 9 to 12 and the decoder learn
RATE, DECODER_RATE = 1e-5, 100.0
LOSSES = {
    "seeds + MIL": LossSettings(),  # the project's default
    "MIL alone": LossSettings(point=0.0),
    "seeds alone": LossSettings(mil=0.0),
}
PAPER_AP = {"0": 36.0, "4": 37.0, "8": 37.3}


def warmed(folder: str, chosen: Examples, loss: str, epochs: int) -> Extractor:
    """The extractor after a warm-up, trained once; 0 epochs: the published one."""
    if not epochs:
        return Extractor()
    facts = f"{loss.replace(' ', '-')}-{epochs}x{EPOCH}-{RATE:g}-{DECODER_RATE:g}"
    path = pathlib.Path(folder) / f"warmed-{facts}.safetensors"
    if not path.exists():
        save_params(path, _warm_up(chosen, LOSSES[loss], epochs)["encoder"])
    return Extractor(params=load_params(path), trained=facts)


def _warm_up(chosen: Examples, weights: LossSettings, epochs: int) -> Params:
    """Every crop is seen once: an epoch is the next `EPOCH` of them."""
    vit, encoder = load_backbone(DEFAULT, frozen_blocks=TRAINED_FROM)
    network, total = Generator(vit), epochs * EPOCH // BATCH
    image = jnp.zeros((1, 2 * vit.patch, 2 * vit.patch, 3))
    params = network.init(jax.random.key(0), image)["params"] | {"encoder": encoder}
    trained, rest = split_params(params, trains_blocks(TRAINED_FROM))
    supervise = supervise_seeds(GENERATOR_SIZE // vit.patch, PAPER.delta)
    optimiser = make_optimiser(
        learning_rate_schedule(RATE, total_steps=total, warmup_steps=total // 8, final_rate=0.2),
        betas=(0.9, 0.9),
        weight_decay=5e-4,
        clip_norm=0.0,
        decoder_rate=DECODER_RATE,
    )
    objective = warmup_objective(network, "imagenet", supervise, weights)
    step = jax.jit(make_step(objective, optimiser, teacher_rate=0.996))
    state = init_state(trained, optimiser)
    frozen = {"generator": rest, "extractor": {}}
    order = np.random.default_rng(0).permutation(len(chosen.instances))[: total * BATCH]
    cut = {"crop_size": GENERATOR_SIZE, "margin": MARGIN, "batch_size": BATCH}
    with track("warm-up", total) as progress:
        for batch in label_batches(chosen.take(order).instances, **cut):
            state, logs = step(state, frozen, batch)
            progress.advance(1, f"loss {float(logs['loss']):.3f}")
    return jax.device_get(merge_params(state.params, rest))


def main() -> None:
    """Measures what is missing, then writes the page."""
    args = arguments(__doc__).parse_args()
    page, sets = Page("a3_warmup"), read_sets(args.root)
    retrieval, generators = (
        page.ledger(("loss", "epochs", *last), part)
        for last, part in ((("set",), ""), (("seed",), "_generators"))
    )
    extractor = functools.partial(warmed, args.cache, sets.train)

    def retrieve(loss: str, epochs: int, name: str) -> dict[str, float]:
        found = extractor(loss, epochs)
        return retrieval_figures(
            args.cache, sets, {"paper": PAPER}, "paper", name, found, GENERATOR_SIZE
        )

    def generate(loss: str, epochs: int, seed: int) -> dict[str, float]:
        found, paper = extractor(loss, epochs), {"paper": PAPER}
        scores = scores_of(args.cache, sets.train, paper, GENERATOR_SIZE, found)["paper"]
        return judged(args.cache, sets, scores, calibrated(scores, PAPER), seed)

    first, *rest = EPOCHS
    rows = [("none", first), *((loss, epochs) for loss in LOSSES for epochs in rest)]
    retrieval.fill(
        "retrieval", [(*row, name) for row in rows for name in ("tune", "val")], retrieve
    )
    generators.fill("generators", [(*row, seed) for row in rows for seed in SEEDS], generate)
    page.write(
        "Table a3 analog: warm-up of the extractor",
        [*(verdict(generators, loss) for loss in LOSSES), table(retrieval, generators, rows)],
        plot(generators),
        {
            "Warm-up": f"blocks {TRAINED_FROM + 1} to 12 and a mask decoder; rate {RATE:g}, the"
            f" decoder's {DECODER_RATE:g} times that; an epoch here is {EPOCH} crops never seen"
            f" before, at {GENERATOR_SIZE} px. Retrieval is at {GENERATOR_SIZE} px, too.",
            "Spread": f"mean +- standard deviation over {len(SEEDS)} seeds of the generator",
        },
    )


def row_of(loss: str, epochs: int) -> tuple[str, int]:
    """How the ledgers name it: without warm-up there is no loss."""
    return (loss if epochs else "none", epochs)


def verdict(generators: Ledger, loss: str) -> str:
    """The paper's ordering under one loss."""
    found = {str(e): over_seeds(generators, row_of(loss, e), "tune_iou") for e in EPOCHS}
    noise = float(np.mean([values.std(ddof=1) for values in found.values()]))
    means = {epochs: float(values.mean()) for epochs, values in found.items()}
    return f"{loss}: {ordering(means, PAPER_AP, noise)}"


def table(retrieval: Ledger, generators: Ledger, rows: list[tuple[str, int]]) -> str:
    """A row per loss and length."""
    measures = ("auc", "iou", "fg_precision", "fg_coverage")
    head = ["loss", "epochs", *(f"{measure}, tune / val2017" for measure in measures)]
    lines = [[*head, "generator, tune", "generator, val2017", "paper, VOC AP"]]
    for row in rows:
        cells = [
            " / ".join(f"{float(retrieval[(*row, name)][m]):.3f}" for name in ("tune", "val"))
            for m in measures
        ]
        cells += [spread(over_seeds(generators, row, f"{name}_iou")) for name in ("tune", "val")]
        lines.append([row[0], str(row[1]), *cells, str(PAPER_AP[str(row[1])])])
    return markdown(lines)


def plot(generators: Ledger) -> Figure:
    """Mask IoU by epochs, a line per loss, the paper's AP beside them."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for loss in LOSSES:
        found = [over_seeds(generators, row_of(loss, e), "tune_iou") for e in EPOCHS]
        means, errors = [v.mean() for v in found], [v.std(ddof=1) for v in found]
        axes.errorbar(EPOCHS, means, errors, marker="o", capsize=3, label=loss)
    axes.set(xlabel="epochs of warm-up", ylabel="generator's mask IoU, tune")
    axes.legend(loc="upper left")
    other = axes.twinx()
    other.plot(EPOCHS, [*PAPER_AP.values()], "s--", color="grey", label="paper")
    other.set_ylabel("paper: VOC AP")
    other.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main()
