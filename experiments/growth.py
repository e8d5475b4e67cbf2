"""How time and memory grow with the points, the batch and the instances of an image.

    python -m experiments.growth

writes experiments/results/growth.md and growth.png. "Streamed" is what would keep the memory of a
key walk linear in the points: the similarity is computed again, some rows at a time, for every
product with it; Sinkhorn's normalisation then is two vectors. The results are those of the matrix.
"""

import argparse
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from configs import demo
from exits_jax.annotations import Instance, read_annotations
from exits_jax.cpu import prefer_eigen
from exits_jax.data.labelling import label_batches
from exits_jax.files import write_bytes
from exits_jax.labelling.label import label_from_logits
from exits_jax.models import Generator, build_vit, jit_in_slices, normalise
from exits_jax.retrieval import attention_similarity, key_similarity, propagate, transition_matrix
from experiments.figures import write_figure
from experiments.machine import machine

RESULTS = pathlib.Path(__file__).parent / "results"
WIDTH, LAYERS, HOPS, SINKHORN = 384, 3, 3, 3
TEMPERATURE, DISTANCE_SIGMA = 0.1, 8.0
GRIDS = (16, 24, 32, 48, 64)
BATCHES = (1, 2, 4, 8, 16)
INSTANCES = (1, 2, 4, 8, 16, 32, 64)
ROWS_AT_A_TIME = 256


class Point(NamedTuple):
    """One measurement: median seconds, and bytes beside arguments and results (None: not known)."""

    size: int
    seconds: float
    memory: int | None


def attention_walk(attention: jax.Array, seeds: jax.Array) -> jax.Array:
    """Attention [b,n,n] and seeds [b,p,2] -> T^3 seeds, as the paper has it."""
    similarity = attention_similarity({10: attention}, 10, class_token=True)
    return propagate(transition_matrix(similarity, iterations=SINKHORN), seeds, HOPS)


def key_walk(keys: jax.Array, seeds: jax.Array) -> jax.Array:
    """Keys [b,n,3 D] and seeds [b,p,2] -> T^3 seeds, by the matrix."""
    layers = dict(enumerate(jnp.split(keys, LAYERS, axis=-1)))
    similarity = key_similarity(
        layers, "all", class_token=True, temperature=TEMPERATURE, distance_sigma=DISTANCE_SIGMA
    )
    return propagate(transition_matrix(similarity, iterations=SINKHORN), seeds, HOPS)


def streamed_key_walk(keys: jax.Array, seeds: jax.Array) -> jax.Array:
    """The same without ever holding the matrix."""
    return jax.lax.map(lambda pair: _streamed(*pair), (keys[:, 1:], seeds))


def _streamed(keys: jax.Array, seeds: jax.Array) -> jax.Array:
    """One crop: keys [p,3 D], seeds [p,2]."""
    layers = jnp.split(keys, LAYERS, axis=-1)
    unit = jnp.concatenate([k / jnp.linalg.norm(k, axis=-1, keepdims=True) for k in layers], -1)
    points = len(unit)
    grid = round(points**0.5)
    cell = jnp.stack(jnp.divmod(jnp.arange(points, dtype=jnp.float32), grid), axis=-1)

    def product(vectors: jax.Array) -> jax.Array:
        def rows(part: tuple[jax.Array, jax.Array]) -> jax.Array:
            own, at = part
            exponent = (own @ unit.T / LAYERS - 1.0) / TEMPERATURE
            apart = ((at[:, None] - cell) ** 2).sum(axis=-1)
            exponent -= apart / (2.0 * DISTANCE_SIGMA**2)
            return jnp.exp(jnp.minimum(exponent, 0.0)) @ vectors

        count = math.gcd(points, ROWS_AT_A_TIME)
        parts = (x.reshape(points // count, count, -1) for x in (unit, cell))
        return jax.lax.map(rows, tuple(parts)).reshape(points, -1)

    # T = diag(left) A diag(right), A symmetric: columns to 1, then rows, as `transition_matrix`.
    left = right = jnp.ones((points, 1))
    for _ in range(SINKHORN):
        right = 1.0 / product(left)
        left = 1.0 / product(right)
    for _ in range(HOPS):
        forth, back = jnp.split(product(jnp.hstack([right * seeds, left * seeds])), 2, axis=-1)
        seeds = (left * forth + right * back) / 2.0
    return seeds


def by_points(runs: int) -> dict[str, list[Point]]:
    """The walks of one crop, by the number of points."""
    found: dict[str, list[Point]] = {"attention": [], "keys": [], "keys, streamed": []}
    for grid in GRIDS:
        points = grid * grid
        rng = np.random.default_rng(0)
        seeds = np.abs(rng.normal(size=(1, points, 2))).astype(np.float32)
        keys = rng.normal(size=(1, points + 1, LAYERS * WIDTH)).astype(np.float32)
        weights = np.exp(2 * rng.normal(size=(1, points + 1, points + 1)))
        attention = (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)
        for name, walk, given in (
            ("attention", attention_walk, attention),
            ("keys", key_walk, keys),
            ("keys, streamed", streamed_key_walk, keys),
        ):
            found[name].append(_measured(points, jax.jit(walk), (given, seeds), runs))
        np.testing.assert_allclose(
            jax.jit(streamed_key_walk)(keys, seeds), jax.jit(key_walk)(keys, seeds), rtol=1e-3
        )
    return found


def by_batch(runs: int) -> dict[str, list[Point]]:
    """The generator (ViT-S/14, 336 px), all crops at once and as the package runs it on a CPU."""
    network = Generator(build_vit("S", 14, layer_scale=True))
    image = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 336, 336, 3), dtype=np.uint8)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 28, 28, 3)))["params"]

    def forward(params: Any, image: Any) -> Any:
        return network.apply({"params": params}, normalise(image))

    forms = {"generator, at once": jax.jit(forward), "generator, sliced": jit_in_slices(forward)}
    return {
        name: [_measured(b, form, (params, image[:b]), runs) for b in BATCHES]
        for name, form in forms.items()
    }


def by_instances(runs: int) -> dict[str, list[Point]]:
    """Everything about labels but the network, by the instances of one photograph."""
    config = demo.get_config()
    everything = read_annotations(config.data.annotations, config.data.images).instances
    image = everything[0].image
    own = [instance for instance in everything if instance.image.id == image.id]
    found: dict[str, list[Point]] = {"decode and crop": [], "paste, cut and encode": []}
    for count in INSTANCES:
        instances = [own[i % len(own)] for i in range(count)]
        crop = _median(lambda i=instances: list(_crops(i)), runs)
        windows = [row for batch in _crops(instances) for row in batch["window_xyxy"]][:count]
        encode = _median(lambda i=instances, w=windows: _encode(i, w), runs)
        found["decode and crop"].append(Point(count, crop, None))
        found["paste, cut and encode"].append(Point(count, encode, None))
    return found


def _crops(instances: Sequence[Instance]) -> Iterable[dict[str, np.ndarray]]:
    return label_batches(instances, crop_size=336, margin=0.3, batch_size=8)


def _encode(instances: Sequence[Instance], windows: Sequence[np.ndarray]) -> None:
    across = np.linspace(-1, 1, 48, dtype=np.float32)
    logits = 3 - 6 * np.hypot(*np.meshgrid(across, across))
    for instance, window in zip(instances, windows, strict=True):
        label_from_logits(instance, logits, window)


def _measured(size: int, function: Any, arguments: tuple, runs: int) -> Point:
    """Compiles for the arguments, times, and asks the compiler for the memory."""
    placed = jax.device_put(arguments)
    compiled = function.lower(*placed).compile()
    seconds = _median(lambda: jax.block_until_ready(compiled(*placed)), runs)
    return Point(size, seconds, compiled.memory_analysis().temp_size_in_bytes)


def _median(run: Callable[[], Any], runs: int) -> float:
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def slope(points: Sequence[Point], what: Callable[[Point], float]) -> float:
    """Exponent between the last two sizes: 1 is linear, 2 quadratic."""
    first, second = points[-2:]
    return float(np.log(what(second) / what(first)) / np.log(second.size / first.size))


def figure(found: dict[str, dict[str, list[Point]]]) -> Figure:
    """A panel of times for each thing that grows, and one of the memory by points."""
    picture = Figure(figsize=(13, 7), layout="constrained")
    panels = picture.subplots(2, 2).ravel()
    for axes, (title, lines) in zip(panels, found.items(), strict=False):
        _draw(axes, lines, lambda point: point.seconds, "seconds", title)
    walks = found["points of a crop"]
    _draw(
        panels[3], walks, lambda p: p.memory, "bytes beside arguments, results", "points of a crop"
    )
    return picture


def _draw(axes: Any, lines: dict, what: Callable[[Point], Any], unit: str, title: str) -> None:
    for name, points in lines.items():
        label = f"{name}: slope {slope(points, what):.2f}"
        axes.loglog([p.size for p in points], [what(p) for p in points], "o-", label=label)
    axes.set(xlabel=title, ylabel=unit)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def page(found: dict[str, dict[str, list[Point]]], runs: int) -> str:
    """The tables."""
    parts = []
    for title, lines in found.items():
        sizes = [point.size for point in next(iter(lines.values()))]
        head = ["", *map(str, sizes), "slope"]
        rows = []
        for name, points in lines.items():
            rows.append([f"{name}, ms", *(f"{1e3 * p.seconds:.1f}" for p in points)])
            rows[-1].append(f"{slope(points, lambda p: p.seconds):.2f}")
            if points[0].memory is not None:
                rows.append([f"{name}, MB", *(f"{p.memory / 1e6:.1f}" for p in points)])
                rows[-1].append(f"{slope(points, lambda p: p.memory):.2f}")
        table = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
        text = "\n".join("| " + " | ".join(row) + " |" for row in table)
        parts.append(f"## By {title}\n\n{text}\n")
    return HEAD.format(runs=runs, machine=machine()) + "\n" + "\n".join(parts)


HEAD = """# How time and memory grow

Medians of {runs} runs after one that compiles; MB: what the compiled program takes beside arguments
and results; slope: the exponent between the two largest sizes. The walks are of one crop, three
hops from two seed columns, Sinkhorn included; keys are three layers of ViT-S. "Streamed" computes
the similarity again for each of its nine products instead of keeping it (at most 256 rows at a
time): the same scores, to rounding, with memory that grows like the points.

![growth](growth.png)

{machine}

Command: `python -m experiments.growth`
"""


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", default=str(RESULTS))
    given = parser.parse_args()
    prefer_eigen()
    found = {
        "points of a crop": by_points(given.runs),
        "crops in a batch": by_batch(given.runs),
        "instances of a photograph": by_instances(given.runs),
    }
    output = pathlib.Path(given.output)
    write_bytes(output / "growth.md", page(found, given.runs).encode())
    write_figure(output / "growth.png", figure(found))
    print(page(found, given.runs))


if __name__ == "__main__":
    main()
