"""Table a3: warm-up of the similarity extractor, by epochs and by choices of its unpublished loss.

python -m experiments.supplement.a3_warmup --root=data/coco-mini
"""

import functools

import jax
import numpy as np
from matplotlib.figure import Figure

from exits_jax.app.networks import digest
from exits_jax.evaluation.tables import markdown
from exits_jax.models.build import fresh_params, load_backbone
from exits_jax.models.generator import Generator
from exits_jax.models.params_io import load_params, save_params
from exits_jax.models.published import DEFAULT
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.pseudo_labels.objectives import LossSettings, warmup_objective
from exits_jax.pseudo_labels.supervision import supervise_seeds
from exits_jax.system.progress import track
from exits_jax.training.optimiser import learning_rate_schedule, make_optimiser
from exits_jax.training.state import (
    Params,
    init_state,
    merge_params,
    split_params,
)
from exits_jax.training.step import make_step
from exits_jax.training.task import count_rows, over_rows
from experiments.retrieval_measures import Examples
from experiments.supplement.choices import MEASURED_ON
from experiments.supplement.kept import PUBLISHED, Extractor, path_of
from experiments.supplement.ledger import Ledger
from experiments.supplement.page import SEEDS, Page, beside_paper, over_seeds, spread, verdict
from experiments.supplement.protocol import GENERATOR_SIZE, MARGIN, PAPER, arguments, ids
from experiments.supplement.study import open_study

EPOCH, BATCH = 48, 8  # crops; the paper's epoch is all of them, ours what ninety seconds allow
EPOCHS = (0, 4, 8)
FROZEN_BLOCKS = 8  # blocks 9 to 12 and the decoder learn
RATE, DECODER_RATE = 1e-5, 100.0  # not given in the paper; not tuned
LOSSES = {
    "seeds + MIL": LossSettings(),  # the project's default
    "MIL alone": LossSettings(point=0.0),
}
PAPER_AP = {0: 36.0, 4: 37.0, 8: 37.3}
# All that a warm-up depends on but its loss, length and crops.
FACTS = (EPOCH, BATCH, FROZEN_BLOCKS, RATE, DECODER_RATE, GENERATOR_SIZE, MARGIN, PAPER.delta_share)


def warmed(folder: str, chosen: Examples, loss: str, epochs: int) -> Extractor:
    """The extractor after a warm-up, trained once; 0 epochs: the published one."""
    if not epochs:
        return PUBLISHED
    facts = (FACTS, LOSSES[loss], epochs, ids(chosen))
    path = path_of(folder, "warmed", facts, "safetensors")
    if not path.exists():
        save_params(path, _warm_up(chosen, LOSSES[loss], epochs)["encoder"])
    params = load_params(path)
    return Extractor(params=params, digest=digest(params))


def _warm_up(chosen: Examples, weights: LossSettings, epochs: int) -> Params:
    """Every crop is seen once: an epoch is the next `EPOCH` of them."""
    vit, encoder = load_backbone(DEFAULT)
    vit = vit.clone(frozen_blocks=FROZEN_BLOCKS)
    network, total = Generator(vit), epochs * EPOCH // BATCH
    params = {"encoder": encoder, "decoder": fresh_params(network, 0, "decoder")}
    trained, rest = split_params(params, network.learns)
    supervise = supervise_seeds(GENERATOR_SIZE // vit.patch, PAPER.delta_share)
    optimiser = make_optimiser(
        learning_rate_schedule(RATE, total_steps=total, warmup_steps=total // 8, final_rate=0.2),
        betas=(0.9, 0.9),
        weight_decay=5e-4,
        clip_norm=0.0,
        decoder_rate=DECODER_RATE,
    )
    objective = warmup_objective(network, "imagenet", supervise, weights)
    step = jax.jit(make_step(over_rows(objective), count_rows, optimiser, teacher_rate=0.996))
    state = init_state(trained, optimiser, teacher=True)
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
    study = open_study(args.root, args.cache)
    page = Page("a3_warmup", (study.facts, PAPER, FACTS, sorted(LOSSES.items())))
    retrieval = page.ledger(("loss", "epochs", "set"))
    generators = page.ledger(("loss", "epochs", "seed"), "_generators")
    # Kept: every seed of a row takes the same one.
    extractor = functools.cache(functools.partial(warmed, args.cache, study.sets.train))
    paper = {"paper": PAPER}

    def retrieve(loss: str, epochs: int, name: str) -> dict[str, float]:
        found = extractor(loss, epochs)
        return study.retrieval(paper, "paper", name, extractor=found, size=GENERATOR_SIZE)

    def generate(loss: str, epochs: int, seed: int) -> dict[str, float]:
        return study.generator(paper, "paper", seed, extractor=extractor(loss, epochs))

    rows = [*dict.fromkeys(row_of(loss, epochs) for loss in LOSSES for epochs in EPOCHS)]
    for row in rows:
        retrieval.fill("retrieval", [(*row, name) for name in MEASURED_ON], retrieve)
        generators.fill("generators", [(*row, seed) for seed in SEEDS], generate)
    page.write(
        "Table a3 analog: warm-up of the extractor",
        [
            *(f"{loss}: {verdict(by_epochs(generators, loss), PAPER_AP)}" for loss in LOSSES),
            table(retrieval, generators, rows),
        ],
        {page.name: plot(generators)},
        Warm_up=f"blocks {FROZEN_BLOCKS + 1} to 12 and a mask decoder, once for each row; rate"
        f" {RATE:g}, the decoder's {DECODER_RATE:g} times that; an epoch here is {EPOCH} crops"
        f" never seen before, at {GENERATOR_SIZE} px. Retrieval is at {GENERATOR_SIZE} px, too",
    )


def row_of(loss: str, epochs: int) -> tuple[str, int]:
    """How the ledgers name it: without warm-up there is no loss."""
    return (loss if epochs else "none", epochs)


def by_epochs(generators: Ledger, loss: str) -> dict[int, np.ndarray]:
    """Mask IoU on tune by epochs of warm-up."""
    return {e: over_seeds(generators, row_of(loss, e), "tune_iou") for e in EPOCHS}


def table(retrieval: Ledger, generators: Ledger, rows: list[tuple[str, int]]) -> str:
    """A row per loss and length."""
    measures = ("auc", "iou", "fg_precision", "fg_coverage")
    head = ["loss", "epochs", *(f"{measure}, tune / val2017" for measure in measures)]
    lines = [[*head, "generator, tune", "generator, val2017", "paper, VOC AP"]]
    for row in rows:
        cells = [
            " / ".join(f"{float(retrieval[(*row, name)][m]):.3f}" for name in MEASURED_ON)
            for m in measures
        ]
        cells += [spread(over_seeds(generators, row, f"{name}_iou")) for name in MEASURED_ON]
        lines.append([row[0], str(row[1]), *cells, str(PAPER_AP[row[1]])])
    return markdown(lines)


def plot(generators: Ledger) -> Figure:
    """Mask IoU by epochs, a line per loss, the paper's AP beside them."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    lines = {loss: by_epochs(generators, loss).values() for loss in LOSSES}
    beside_paper(axes, EPOCHS, lines, PAPER_AP.values())
    axes.set_xlabel("epochs of warm-up")
    return figure


if __name__ == "__main__":
    main()
