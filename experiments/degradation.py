"""Measures how masks degrade with fewer points, careless clicks and another push of the points.

    python -m experiments.degradation --root=data/coco-mini

Propagation masks of val2017 (area >= 32^2) with coco_mini's settings, boxes exact. One forward pass
of the extractor per crop serves every row. Writes experiments/results/degradation.md and .png.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import app, flags
from jaxtyping import Float
from matplotlib.figure import Figure

from configs import coco_mini
from exits_jax.annotations import Instance, read_annotations
from exits_jax.annotations.extreme import complete_points
from exits_jax.app import networks
from exits_jax.app.settings import read_settings
from exits_jax.data.source import by_image
from exits_jax.evaluation.iou import label_ious, read_ground_truth
from exits_jax.evaluation.tables import markdown
from exits_jax.export.quality import Label
from exits_jax.models.build import attend, build_backbone, pretrained_params
from exits_jax.models.slices import jit_in_slices
from exits_jax.pseudo_labels.label import label_from_logits
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.retrieval.crops import score_inputs
from exits_jax.retrieval.score import propagation_score, similarity_matrix
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.retrieval.shape import shape_offset
from exits_jax.system.files import write_bytes
from exits_jax.system.progress import track
from experiments.figures import write_figure

RESULTS = pathlib.Path(__file__).parent / "results"
ROOT = flags.DEFINE_string("root", "data/coco-mini", "folder of the COCO subset")
COUNT = flags.DEFINE_integer("count", 0, "only so many instances, evenly spread; 0: all")
OUTPUT = flags.DEFINE_string("output", str(RESULTS), "folder of the page and its picture")

LARGE = 32**2  # square pixels
POINTS = (4, 3, 2, 0)
NOISE = (0, 1, 2, 3, 5, 10)  # pixels of the image, standard deviation
DELTA = (0, 8, 16, 24, 32, 48)  # pixels of a 512 crop

Batch = dict[str, np.ndarray]
Change = Callable[[Batch], Batch]


def fewer_points(count: int) -> Change:
    """Leaves `count` points, drawn by annotation id, and completes them from the box."""

    def change(batch: Batch) -> Batch:
        if count == 0:
            return batch | {"has_points": np.zeros_like(batch["has_points"])}
        points = batch["points_xy"].copy()
        for row, annotation_id in enumerate(batch["id"]):
            kept = np.random.default_rng(annotation_id).permutation(4)[:count]
            box = batch["box_xyxy"][row].astype(np.float64)
            points[row] = complete_points(points[row][kept].astype(np.float64), box)
        return batch | {"points_xy": points}

    return change


def noisy_points(sigma: float) -> Change:
    """Clicks that miss by Gaussian noise in image pixels; the same draw at every sigma."""

    def change(batch: Batch) -> Batch:
        points = batch["points_xy"].copy()
        for row, annotation_id in enumerate(batch["id"]):
            window = batch["window_xyxy"][row]
            noise = np.random.default_rng(annotation_id).normal(0, sigma, (4, 2))
            points[row] = np.clip(points[row] + noise / (window[2:] - window[:2]), 0, 1)
        return batch | {"points_xy": points}

    return change


def settings_of() -> dict[str, dict[float, tuple[Change, float]]]:
    """Curve -> abscissa -> (change to a batch, delta in pixels of a 512 crop)."""
    same: Change = lambda batch: batch  # noqa: E731
    usual = coco_mini.get_config().retrieval.delta
    return {
        "points given": {count: (fewer_points(count), usual) for count in POINTS},
        "click noise, pixels": {sigma: (noisy_points(sigma), usual) for sigma in NOISE},
        "delta, pixels of 512": {delta: (same, delta) for delta in DELTA},
    }


def measure(instances: list[Instance]) -> dict[tuple[str, float], dict[int, Label]]:
    """Labels of every setting."""
    config = read_settings(coco_mini.get_config())
    network = build_backbone(config.extractor, config.crop.size)
    params = pretrained_params(config.extractor, network, config.seed)
    params = jax.device_put(params)
    settings = config.retrieval
    maps = attend(network, config.extractor.normalise)
    keys = jit_in_slices(lambda p, image: maps(p, image, key_layers=settings.layers))
    grid = networks.grid(config)
    forms = {delta: _logits(settings, delta, grid) for delta in {config.retrieval.delta, *DELTA}}
    by_id = {instance.id: instance for instance in instances}
    labels: dict[tuple[str, float], dict[int, Label]] = {}
    cut = {"crop_size": config.crop.size, "margin": config.crop.label_margin}
    with track("degradation", len(instances)) as progress:
        for batch in label_batches(instances, **cut, batch_size=config.label.device_batch):
            out = keys(params, batch["image"])
            for curve, points in settings_of().items():
                for place, (change, delta) in points.items():
                    changed = score_inputs(change(batch))
                    logits = np.asarray(forms[delta](out, changed))
                    found = labels.setdefault((curve, place), {})
                    for row in np.flatnonzero(batch["valid"]):
                        instance = by_id[int(batch["id"][row])]
                        window = batch["window_xyxy"][row]
                        found[instance.id] = label_from_logits(instance, logits[row], window)
            progress.advance(int(batch["valid"].sum()))
    return labels


def _logits(settings: RetrievalSettings, delta: float, grid: int) -> Callable[[Any, Batch], Any]:
    """(keys, batch) -> logits with the points pushed by `delta`, shape evidence included."""
    settings = dataclasses.replace(settings, delta=delta)

    def logits(out: Any, batch: Batch) -> Any:
        similarity = similarity_matrix(out, class_token=True, settings=settings)
        known = [batch[k] for k in ("points_xy", "has_points", "box_xyxy", "valid_xyxy")]
        score = propagation_score(similarity, *known, grid=grid, settings=settings).score
        score = score.reshape(-1, grid, grid)
        return score + shape_offset(score, *known)[:, None, None]

    return jax.jit(logits)


def figure_of(means: dict[tuple[str, float], Float[np.ndarray, " n"]]) -> Figure:
    """A panel per curve, with standard errors."""
    curves = settings_of()
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, (name, places) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        ious = [means[name, place] for place in places]
        errors = [i.std() / len(i) ** 0.5 for i in ious]
        axes.errorbar(list(places), [i.mean() for i in ious], errors, marker="o", capsize=3)
        axes.set(xlabel=name, ylabel="mean IoU", ylim=(0.65, 0.85))
        axes.grid(alpha=0.3)
    return figure


def main(argv: list[str]) -> None:
    """Measures, prints and writes the page."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    root = pathlib.Path(ROOT.value)
    annotations = read_annotations(
        root / "annotations" / "instances_val2017.json", root / "val2017"
    )
    instances = by_image([i for i in annotations.instances if i.area >= LARGE])
    if COUNT.value:
        instances = instances[:: max(len(instances) // COUNT.value, 1)]
    annotations = dataclasses.replace(annotations, instances=instances)
    truth = read_ground_truth(annotations)
    means = {key: label_ious(truth, labels) for key, labels in measure(instances).items()}
    write_figure(pathlib.Path(OUTPUT.value) / "degradation.png", figure_of(means))
    rows = [["", "", "mean IoU", "share > .75"]]
    for (curve, place), ious in means.items():
        rows.append([curve, f"{place:g}", f"{ious.mean():.3f}", f"{(ious > 0.75).mean():.3f}"])
    page = PAGE.format(n=len(truth.instances), table=markdown(rows))
    print(page)
    write_bytes(pathlib.Path(OUTPUT.value) / "degradation.md", page.encode())


PAGE = """\
# Fewer points, careless clicks, another push

Propagation masks with coco_mini's settings (without competition) of the {n} instances of area >=
32^2 of val2017; boxes are exact throughout. Points that are missing are completed from the box
(0: the box alone, a soft seed in its centre). Noise is Gaussian, per coordinate, in image pixels.

![Mean IoU against points given, click noise and delta](degradation.png)

{table}
Command: `python -m experiments.degradation --root=ROOT`
"""


if __name__ == "__main__":
    app.run(main)
