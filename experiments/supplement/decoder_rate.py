"""The learning rate of the sweeps' small generator, chosen on `tune`; not in the paper.

python -m experiments.supplement.decoder_rate --root=data/coco-mini
"""

from matplotlib.figure import Figure

from exits_jax.evaluation.tables import markdown
from experiments.supplement.decoder import RATE
from experiments.supplement.page import Page
from experiments.supplement.protocol import PAPER, arguments
from experiments.supplement.study import open_study

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
WHY = "within the noise of the best, and further from the rate that fails"


def main() -> None:
    """Trains what is missing, then writes the page."""
    args = arguments(__doc__).parse_args()
    study = open_study(args.root, args.cache)
    # Without what the small generator is set to.
    page = Page("decoder_rate", (study.facts[:-1], PAPER))
    ledger = page.ledger(("rate",))
    ledger.fill(
        "rates",
        [(rate,) for rate in RATES],
        lambda rate: study.generator({"paper": PAPER}, "paper", 0, rate=rate),
    )
    found = {rate: float(ledger[(rate,)]["tune_iou"]) for rate in RATES}
    rows = [["rate", "mask IoU on tune"], *([f"{r:g}", f"{iou:.3f}"] for r, iou in found.items())]
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([*found], [*found.values()], "o-")
    axes.set(xscale="log", xlabel="learning rate", ylabel="mask IoU, tune")
    page.write(
        "Learning rate of the small generator",
        [f"The sweeps use {RATE:g}: {WHY}.", markdown(rows)],
        {page.name: figure},
        Spread="one seed",
    )


if __name__ == "__main__":
    main()
