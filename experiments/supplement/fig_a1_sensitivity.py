"""Figure a1: thresholds and loss weights, five values each, three seeds.

python -m experiments.supplement.fig_a1_sensitivity --root=data/coco-mini
"""

from matplotlib.figure import Figure

from exits_jax.evaluation.tables import markdown
from experiments.supplement import decoder
from experiments.supplement.ledger import Ledger
from experiments.supplement.page import SEEDS, Page, deviation, over_seeds, spread
from experiments.supplement.protocol import PAPER, arguments
from experiments.supplement.study import open_study

# The thresholds as multiples of the calibrated ones; the paper's axes have no common unit with
# ours, because the form of its score is not published.
VALUES = {
    "fg_factor": (0.25, 0.5, 1.0, 2.0, 4.0),
    "bg_factor": (0.25, 0.5, 1.0, 2.0, 4.0),
    "point": (0.05, 0.15, 0.5, 1.5, 5.0),
    "crf": (0.05, 0.15, 0.5, 1.5, 5.0),
}
EPOCHS = 0.5  # 51 runs are many
DEFAULTS = {"fg_factor": 1.0, "bg_factor": 1.0, "point": 0.5, "crf": 0.5}
LABELS = {
    "fg_factor": "tau_FG / calibrated",
    "bg_factor": "tau_BG / calibrated",
    "point": "lambda_point",
    "crf": "lambda_crf",
}


def main() -> None:
    """Trains what is missing, then writes the page."""
    args = arguments(__doc__).parse_args()
    study = open_study(args.root, args.cache)
    page = Page("fig_a1_sensitivity", (study.facts, PAPER, EPOCHS))
    ledger = page.ledger((*DEFAULTS, "seed"))

    def train(fg_factor: float, bg_factor: float, point: float, crf: float, seed: int) -> dict:
        weights = decoder.WEIGHTS | {"point": point, "crf": crf}
        return study.generator(
            {"paper": PAPER},
            "paper",
            seed,
            factors=(fg_factor, bg_factor),
            weights=weights,
            epochs=EPOCHS,
            judged_on=("tune",),
        )

    settings = [at(name, value) for name in VALUES for value in VALUES[name]]
    ledger.fill("runs", dict.fromkeys((*one, seed) for seed in SEEDS for one in settings), train)
    page.write(
        "Fig. a1 analog: thresholds and loss weights",
        [robustness(ledger), *(table(ledger, name) for name in VALUES)],
        {page.name: plot(ledger)},
        Shorter=f"in this figure a generator is trained for {EPOCHS:g} epochs",
    )


def at(name: str, value: float) -> tuple[float, ...]:
    """The defaults but for one of them."""
    return tuple((DEFAULTS | {name: value}).values())


def robustness(ledger: Ledger) -> str:
    """One line beside what the paper says of this figure (supplement, D)."""
    middle = over_seeds(ledger, at("crf", DEFAULTS["crf"]), "tune_iou")
    changes = {
        name: [over_seeds(ledger, at(name, v), "tune_iou").mean() - middle.mean() for v in values]
        for name, values in VALUES.items()
    }
    noise = max(
        deviation(over_seeds(ledger, at(name, v), "tune_iou"))
        for name, values in VALUES.items()
        for v in values
    )
    widest = ", ".join(
        f"{LABELS[name]} {min(found):+.3f} to {max(found):+.3f}" for name, found in changes.items()
    )
    return (
        "The paper says of this figure that its method is robust to the two loss weights and that"
        f" its tau_FG was not the best. Here, against the defaults' {spread(middle)} on tune and a"
        f" deviation between seeds of at most {noise:.3f}: {widest}."
    )


def table(ledger: Ledger, name: str) -> str:
    """The runs of one parameter."""
    rows = [[LABELS[name], "mask IoU on tune", "share above .75"]]
    for value in VALUES[name]:
        columns = ("tune_iou", "tune_iou_75")
        cells = [spread(over_seeds(ledger, at(name, value), column)) for column in columns]
        rows.append([f"{value:g}{' (default)' * (value == DEFAULTS[name])}", *cells])
    return markdown(rows)


def plot(ledger: Ledger) -> Figure:
    """Four panels with error bars, the default marked."""
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    panels = figure.subplots(1, len(VALUES), sharey=True)
    for axes, (name, values) in zip(panels, VALUES.items(), strict=True):
        found = [over_seeds(ledger, at(name, value), "tune_iou") for value in values]
        means, errors = [one.mean() for one in found], [deviation(one) for one in found]
        axes.errorbar(values, means, errors, marker="o", capsize=3)
        axes.axvline(DEFAULTS[name], color="grey", linestyle=":")
        axes.set(xscale="log", xlabel=LABELS[name])
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    panels[0].set_ylabel("mask IoU, tune")
    return figure


if __name__ == "__main__":
    main()
