"""Times the forms of the random walk: kernel, applied, absorbing.

    python -m experiments.propagation_benchmark --runs=20

prints a Markdown table and writes it, with the machine it was measured on, to
experiments/results/propagation_benchmark.md. What is asked: at the paper's size (32 x 32 points),
how much cheaper is it to apply the walk to two seed columns than to build its kernel?
"""

import os
import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import app, flags

from exits_jax.retrieval.propagation import (
    absorbing_kernel,
    power_kernel,
    propagate,
    propagate_absorbing,
    transition_matrix,
)
from exits_jax.system.files import write_bytes
from experiments.machine import machine

RESULT = pathlib.Path(__file__).parent / "results" / "propagation_benchmark.md"

POINTS = flags.DEFINE_integer("points", 1024, "p, points of a crop (a square number)")
BATCH = flags.DEFINE_integer("batch", 4, "crops at a time")
RUNS = flags.DEFINE_integer("runs", 20, "timed runs of each form, after one that compiles")
HOPS = flags.DEFINE_integer("hops", 3, "hops of the finite walk")
BETA = flags.DEFINE_float("beta", 0.25, "share of propagated scores in the absorbing walk")
OUTPUT = flags.DEFINE_string("output", str(RESULT), "where the table goes")

Walk = Callable[[jax.Array, jax.Array], jax.Array]


def forms(hops: int, beta: float) -> dict[str, Walk]:
    """The walks by name; each takes T [b,p,p] and seeds [b,p,2] and gives scores [b,p,2]."""
    return {
        f"kernel, T^{hops} then its product with the seeds": lambda t, v: power_kernel(t, hops) @ v,
        f"applied, {hops} products with the seeds": lambda t, v: propagate(t, v, hops),
        "absorbing kernel, a solve against I": lambda t, v: absorbing_kernel(t, beta) @ v,
        "absorbing applied, a solve against the seeds": lambda t, v: propagate_absorbing(
            t, v, beta
        ),
    }


def milliseconds(walk: Walk, transition: jax.Array, seeds: jax.Array, runs: int) -> np.ndarray:
    """Wall-clock time of `runs` runs of the compiled walk, the first (compiling) run left out."""
    compiled = jax.jit(walk)
    compiled(transition, seeds).block_until_ready()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        compiled(transition, seeds).block_until_ready()
        times.append(1000.0 * (time.perf_counter() - start))
    return np.array(times)


def example(batch: int, points: int) -> tuple[jax.Array, jax.Array]:
    """A random transition matrix of the right size, and two seed columns."""
    first, second = jax.random.split(jax.random.key(0))
    transition = transition_matrix(jax.random.uniform(first, (batch, points, points)))
    return transition, jax.random.uniform(second, (batch, points, 2))


def table(times: dict[str, np.ndarray]) -> str:
    """Markdown rows of minimum, median and maximum."""
    rows = ["| form | min ms | median ms | max ms |", "|---|---|---|---|"]
    for name, values in times.items():
        low, middle, high = np.min(values), np.median(values), np.max(values)
        rows.append(f"| {name} | {low:.1f} | {middle:.1f} | {high:.1f} |")
    return "\n".join(rows)


def main(argv: list[str]) -> None:
    """Measures every form on the same matrix, prints and writes the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    transition, seeds = example(BATCH.value, POINTS.value)
    walks = forms(HOPS.value, BETA.value)
    with jax.default_matmul_precision("highest"):
        times = {n: milliseconds(w, transition, seeds, RUNS.value) for n, w in walks.items()}
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    page = (
        f"# Forms of the random walk\n\n"
        f"p = {POINTS.value} points, batch {BATCH.value}, 2 seed columns, float32, jit, "
        f"{RUNS.value} runs after one that compiles.\n\n{table(times)}\n\n"
        f"Machine: {machine()}. Load average after the runs (other programs share the cores; the"
        f" minimum is the one to compare): {load}.\n\n"
        f"Command: `python -m experiments.propagation_benchmark --points={POINTS.value} "
        f"--batch={BATCH.value} --runs={RUNS.value} --hops={HOPS.value} --beta={BETA.value}`\n"
    )
    print(page)
    write_bytes(OUTPUT.value, page.encode())


if __name__ == "__main__":
    app.run(main)
