"""The propagation of single instances, hop by hop: what the report opens on request."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from exits_jax.annotations import Instance
from exits_jax.app import networks
from exits_jax.app.fitting import saved_thresholds
from exits_jax.app.run import DataSet, Run
from exits_jax.app.shown import Shown, pixels
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.report.overlays import crop_mask, encode_image, panel_strip, save_png
from exits_jax.retrieval.crops import score_inputs
from exits_jax.retrieval.points import retrieve_points
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.progress import track


def hop_panels(run: Run, what: Shown, chosen: DataSet) -> Iterator[tuple[int, bytes]]:
    """The propagation of each instance, hop by hop, as encoded pictures by annotation id."""
    if not chosen.instances:
        return
    config, settings = run.config, saved_thresholds(run)
    hops = [dataclasses.replace(settings, hops=h + 1, rounds=0) for h in range(settings.hops or 1)]
    functions = [networks.scores_function(config, s, config.crop.size) for s in (*hops, settings)]
    forward = jax.jit(lambda params, batch: [f(params, batch) for f in functions])
    params = jax.device_put(networks.extractor_params(config, run.workdir))
    cut = {"crop_size": config.crop.size, "margin": config.crop.label_margin}
    with track("draw panels", len(chosen.instances)) as progress:
        batches = label_batches(
            chosen.source,
            **cut,
            batch_size=config.label.device_batch,
            on_error=lambda *_: None,
        )
        for batch in batches:
            scores = jax.device_get(forward(params, score_inputs(batch)))
            for row in np.flatnonzero(batch["valid"]):
                instance = chosen.instances[int(batch["index"][row])]
                strip = _strip(what, instance, batch, int(row), scores, settings)
                save_png(run.workdir.figures / f"instance_{instance.id}.png", strip)
                progress.advance()
                yield instance.id, encode_image(strip)


def _strip(
    what: Shown,
    instance: Instance,
    batch: Mapping[str, np.ndarray],
    row: int,
    scores: Sequence[Any],
    settings: RetrievalSettings,
) -> UInt8[np.ndarray, "height width 3"]:
    """The panel strip of one row of a batch; the last of `scores` is the one points come from."""
    grid = round(scores[0].score.shape[-1] ** 0.5)
    final = jax.tree.map(lambda x: x[row : row + 1], scores[-1])
    points, weights, _ = retrieve_points(
        final.score,
        final.inside_box,
        final.foreground,
        final.background,
        tau_fg=settings.tau_fg,
        tau_bg=settings.tau_bg,
    )
    side = batch["image"].shape[1]
    window = batch["window_xyxy"][row]
    label, true = what.labels[instance.id], what.truth.get(instance.id)
    return panel_strip(
        batch["image"][row],
        box_xyxy=batch["box_xyxy"][row],
        points_xy=batch["points_xy"][row] if batch["has_points"][row] else None,
        seeds=final.foreground.reshape(grid, grid),
        scores=np.stack([s.score[row].reshape(grid, grid) for s in scores[:-1]]),
        labels=np.asarray(points).reshape(grid, grid),
        weights=np.asarray(weights).reshape(grid, grid),
        prediction=crop_mask(pixels(label.rle, instance), window, side),
        score=label.score,
        truth=None if true is None else crop_mask(pixels(true, instance), window, side),
        iou=what.ious.get(instance.id),
    )
