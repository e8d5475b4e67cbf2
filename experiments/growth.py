"""How time and memory grow with the points, the batch and the instances of an image.

    python -m experiments.growth --root=data/coco-mini

writes experiments/results/growth.md and growth.png. What would keep the memory of a walk linear in
the points (`walks`) is measured beside the matrix, and its effect on points and masks on COCO's
photographs.
"""

import argparse
import functools
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
from exits_jax.models.build import load_backbone
from exits_jax.models.generator import Generator
from exits_jax.models.published import DEFAULT
from exits_jax.models.slices import jit_in_slices
from exits_jax.models.vit import build_vit, normalise
from exits_jax.pseudo_labels.label import label_from_logits
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.retrieval.crops import score_inputs
from exits_jax.retrieval.decision import decide, mean_seed
from exits_jax.retrieval.points import inside_box, seed_points
from exits_jax.system.cpu import prefer_eigen
from exits_jax.system.files import write_bytes
from experiments.figures import write_figure
from experiments.machine import machine
from experiments.retrieval_measures import Examples, examples, in_batches, mask_iou
from experiments.walks import (
    LAYERS,
    attention_walk,
    key_walk,
    streamed_key_walk,
    top_k_key_walk,
)

RESULTS = pathlib.Path(__file__).parent / "results"
WIDTH = 384
GRIDS = (16, 24, 32, 48, 64)
BATCHES = (1, 2, 4, 8, 16)
INSTANCES = (1, 2, 4, 8, 16, 32, 64)
TOP = (16, 32, 64, 128)
SIZE, MARGIN, KEY_LAYERS, TAU = 336, 0.3, (9, 10, 11), 1.0


class Point(NamedTuple):
    """One measurement: median seconds, and bytes beside arguments and results (None: not known)."""

    size: int
    seconds: float
    memory: int | None


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
    return found


def effect(root: str, count: int) -> str:
    """What streaming and top-k do to retrieved points and masks of val2017, as a table."""
    chosen = examples(root, "val2017", count)
    vit, params = load_backbone(DEFAULT)
    grid = SIZE // vit.patch
    walks: dict[str, Callable] = {"matrix": key_walk, "streamed": streamed_key_walk} | {
        f"largest {k} of {grid * grid} a row": functools.partial(top_k_key_walk, count=k)
        for k in TOP
    }

    @jax.jit
    def scores(batch: dict[str, Any]) -> tuple[dict[str, jax.Array], jax.Array]:
        asked = {"key_layers": KEY_LAYERS, "features": False}
        _, out = vit.apply({"params": params}, normalise(batch["image"]), **asked)
        keys = jnp.concatenate([out["keys"][layer] for layer in KEY_LAYERS], axis=-1)
        place = (batch["box_xyxy"], batch["valid_xyxy"])
        seeds = seed_points(
            batch["points_xy"],
            *place,
            grid=grid,
            delta=16 / 512,
            has_points=batch["has_points"],
        )
        columns = jnp.stack([mean_seed(one) for one in seeds], axis=-1)
        reached = {name: grid * grid * walk(keys, columns) for name, walk in walks.items()}
        found = {n: decide(r[..., 0], r[..., 1], "log_ratio") for n, r in reached.items()}
        return found, inside_box(*place, grid)

    found, inside = in_batches(
        "masks",
        chosen.instances,
        lambda batch: scores(score_inputs(batch)),
        size=SIZE,
        margin=MARGIN,
    )
    return _effect_table(found, inside, chosen)


def _effect_table(scores: dict[str, np.ndarray], inside: np.ndarray, chosen: Examples) -> str:
    exact = np.sign(scores["matrix"]) * (np.abs(scores["matrix"]) > TAU)
    lines = [
        "| walk | points in the box labelled alike | mean IoU of score > 0 |",
        "|---|---:|---:|",
    ]
    for name, score in scores.items():
        alike = (np.sign(score) * (np.abs(score) > TAU) == exact)[inside].mean()
        ious = [mask_iou(z, *pair, MARGIN) for z, *pair in zip(score, *chosen, strict=True)]
        lines.append(f"| {name} | {alike:.4f} | {np.mean(ious):.4f} |")
    return "\n".join(lines)


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


def page(found: dict[str, dict[str, list[Point]]], runs: int, masks: dict[str, Any]) -> str:
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
    head = HEAD.format(runs=runs, machine=machine())
    return head + "\n" + "\n".join(parts) + (MASKS.format(**masks) if masks else "")


HEAD = """# How time and memory grow

Medians of {runs} runs after one that compiles; MB: what the compiled program takes beside arguments
and results; slope: the exponent between the two largest sizes. The walks are of one crop, three
hops from two seed columns, Sinkhorn included; keys are three layers of ViT-S. "Streamed" computes
the similarity again for each of its nine products instead of keeping it (at most 256 rows at a
time): the same scores, to rounding, with memory that grows like the points.

![growth](growth.png)

{machine}

Command: `python -m experiments.growth --root=ROOT`
"""

MASKS = """
## What it does to points and masks

{table}

Key walks over {count} random val2017 instances of area >= 32^2 at 576 points (DINOv2-S/14, 336 px,
layers 9 to 11, three hops, log ratio); a point is foreground above 1, background below -1, else
nothing.
Streaming changes rounding only. A walk on the largest entries has other scores, and all must be
computed to find them: here its matrix is dense, so it was measured for its effect alone.
"""


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--root", default="", help="COCO subset, for the effect on masks")
    parser.add_argument("--count", type=int, default=200, help="instances of it")
    parser.add_argument("--output", default=str(RESULTS))
    given = parser.parse_args()
    prefer_eigen()
    found = {
        "points of a crop": by_points(given.runs),
        "crops in a batch": by_batch(given.runs),
        "instances of a photograph": by_instances(given.runs),
    }
    output = pathlib.Path(given.output)
    masks = {"table": effect(given.root, given.count), "count": given.count} if given.root else {}
    text = page(found, given.runs, masks)
    write_bytes(output / "growth.md", text.encode())
    write_figure(output / "growth.png", figure(found))
    print(text)


if __name__ == "__main__":
    main()
