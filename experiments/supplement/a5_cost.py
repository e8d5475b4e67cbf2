"""Table a5: parameters, and how the times of warm-up, generator and labelling compare.

    python -m experiments.supplement.a5_cost

The times are those of experiments/results/framework_comparison.json (`make bench`).
"""

import argparse
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from exits_jax.evaluation.tables import markdown
from exits_jax.models.generator import Generator
from exits_jax.models.vit import ViT, build_vit
from experiments.supplement.page import FOLDER, Page

BENCH = FOLDER.parent / "framework_comparison.json"
# Passes over the data: 8 epochs of warm-up [supplement, E], 10 of the generator [inferred], one.
PASSES = {"warm-up": 8, "generator": 10, "generator without retrieval": 10, "labelling": 1}
# Hours on eight A100 [supplement, table a5]; the row without retrieval is its predecessor's.
PAPER_HOURS = {
    "warm-up": 2.0,
    "generator": 26.0,
    "generator without retrieval": 23.0,
    "labelling": 7 / 6,
}


def parameters(network: ViT | Generator) -> int:
    """Exact count, with a position table of 14 x 14."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes["params"]))


def seconds_per_crop(measurements: list[Mapping[str, Any]], size: str) -> dict[str, float]:
    """The phases' times for one crop in JAX, from the bench's rows."""

    def median(row: str, any_size: bool = False) -> float:
        found = [
            (seconds, one["examples"])
            for one in measurements
            if (one["row"], one["column"]) == (row, "jax") and (any_size or one["size"] == size)
            for seconds in one.get("seconds", ())
        ]
        if not found:
            raise SystemExit(f"{BENCH}: has no row {row} of size {size}; run `make bench`")
        return float(np.median([seconds / examples for seconds, examples in found]))

    retrieval = median("extractor_attention") + median("retrieval_applied", any_size=True)
    return {
        "warm-up": median("warmup_step"),
        "generator": median("train_step"),
        "generator without retrieval": median("train_step") - retrieval,
        "labelling": median("labelling"),
    }


def main() -> None:
    """Counts, reads the bench and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", default=str(BENCH), help="what `make bench` wrote")
    parser.add_argument("--size", default="S", help="of the ViT whose times are compared")
    args = parser.parse_args()
    run = json.loads(pathlib.Path(args.bench).read_text())["runs"][0]
    page = Page("a5_cost")
    bench, per_crop = run["settings"], seconds_per_crop(run["measurements"], args.size)
    ours = {phase: PASSES[phase] * seconds for phase, seconds in per_crop.items()}
    shares = {name: relative(hours) for name, hours in (("here", ours), ("paper", PAPER_HOURS))}
    page.ledger(("phase",)).replace(
        {
            (phase,): {
                "seconds_per_crop": per_crop[phase],
                "passes": PASSES[phase],
                "ratio": shares["here"][phase],
                "paper_hours": PAPER_HOURS[phase],
                "paper_ratio": shares["paper"][phase],
            }
            for phase in PASSES
        },
    )
    retrieval = 1 - ours["generator without retrieval"] / ours["generator"]
    page.write(
        "Table a5 analog: parameters and time",
        [
            f"**The paper's ordering (labelling, warm-up, generator) is"
            f" {'confirmed' if _ordered(ours) else 'not confirmed'} here** for"
            f" {PASSES['warm-up']}, {PASSES['generator']} and 1 passes over the data, its ratios"
            f" are not all ours: retrieval takes {retrieval:.0%} of a generator's step (paper:"
            f" {3 / 26:.0%}), the warm-up {ours['warm-up'] / ours['generator']:.2f} of the"
            f" generator's time (paper: {2 / 26:.2f}).",
            "## Parameters",
            _parameters_table(),
            "## Time",
            _time_table(per_crop, shares),
            f"With the generator's crops and all layers trained, as here, the warm-up takes"
            f" {shares['here']['warm-up'] / PAPER_HOURS['warm-up']:.1f} times the paper's share."
            " That suggests that the paper's runs on less, which is not published.",
        ],
        {page.name: _figure(shares)},
        command="",
        Config=f"ViT-{args.size}/{bench['patch']}, {bench['crop']} px, batch {bench['batch']},"
        f" float32; medians of `make bench`, {bench['rounds']} round(s), on a machine whose load"
        f' was {run["load_before"]:.1f} before and {run["load_after"]:.1f} after. "Without'
        ' retrieval" is a difference: the step less extractor and retrieval',
        Spread="",
    )


def relative(hours: Mapping[str, float]) -> dict[str, float]:
    """Times as the paper's table has them beside 26 hours of the generator."""
    return {phase: 26 * value / hours["generator"] for phase, value in hours.items()}


def _ordered(ours: Mapping[str, float]) -> bool:
    return ours["labelling"] < ours["warm-up"] < ours["generator"]


def _parameters_table() -> str:
    extractor = parameters(build_vit("B", 16))
    stems = {
        stem: parameters(Generator(build_vit("B", 16, class_token=False, stem=stem)))
        for stem in ("conv", "patch")
    }
    return markdown(
        [
            ["network", "parameters", "paper"],
            ["similarity extractor, ViT-B/16", f"{extractor:,}", "86 M"],
            ["generator, stem of four convolutions", f"{stems['conv']:,}", "93 M"],
            ["generator, 16 x 16 patches", f"{stems['patch']:,}", ""],
        ]
    )


def _time_table(per_crop: Mapping[str, float], shares: Mapping[str, Mapping[str, float]]) -> str:
    rows = [["phase", "s per crop", "passes", "generator = 26", "paper, hours"]]
    for phase, seconds in per_crop.items():
        figures = [f"{seconds:.3f}", str(PASSES[phase]), f"{shares['here'][phase]:.2f}"]
        rows.append([phase, *figures, f"{PAPER_HOURS[phase]:.1f}"])
    return markdown(rows)


def _figure(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(PASSES))
    for shift, (name, values) in zip((-0.2, 0.2), shares.items(), strict=True):
        axes.bar(at + shift, [values[phase] for phase in PASSES], 0.4, label=name)
    axes.set_xticks(at, [*PASSES])
    axes.set_ylabel("time, generator = 26")
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
