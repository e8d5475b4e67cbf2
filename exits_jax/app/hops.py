"""The propagation of single instances, computed hop by hop, as arrays for the report."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from exits_jax.annotations import Instance
from exits_jax.app import networks
from exits_jax.app.fitting import saved_thresholds
from exits_jax.app.run import Run
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.report.hop_panels import Hops
from exits_jax.report.shown import Shown
from exits_jax.retrieval.crops import score_inputs
from exits_jax.retrieval.points import retrieve_points
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.progress import track


def hops_of(run: Run, what: Shown) -> Iterator[Hops]:
    """The hops of each instance that is shown; instances of unreadable images are left out."""
    if not what.instances:
        return
    config, settings = run.config, saved_thresholds(run)
    hops = [dataclasses.replace(settings, hops=h + 1, rounds=0) for h in range(settings.hops or 1)]
    functions = [networks.scores_function(config, s, config.crop.size) for s in (*hops, settings)]
    forward = jax.jit(lambda params, batch: [f(params, batch) for f in functions])
    params = jax.device_put(networks.extractor_params(config, run.workdir))
    cut = {"crop_size": config.crop.size, "margin": config.crop.label_margin}
    with track("draw panels", len(what.instances)) as progress:
        batches = label_batches(
            what.source,
            **cut,
            batch_size=config.label.device_batch,
            on_error=lambda *_: None,
        )
        for batch in batches:
            scores = jax.device_get(forward(params, score_inputs(batch)))
            for row in map(int, np.flatnonzero(batch["valid"])):
                instance = what.instances[int(batch["index"][row])]
                yield _of_row(instance, batch, row, scores, settings)
                progress.advance()


def _of_row(
    instance: Instance,
    batch: Mapping[str, np.ndarray],
    row: int,
    scores: Sequence[Any],
    settings: RetrievalSettings,
) -> Hops:
    """The hops of one row of a batch; points are retrieved from the last of `scores`."""
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
    return Hops(
        instance,
        crop=batch["image"][row],
        window_xyxy=batch["window_xyxy"][row],
        box_xyxy=batch["box_xyxy"][row],
        points_xy=batch["points_xy"][row] if batch["has_points"][row] else None,
        seeds=final.foreground.reshape(grid, grid),
        scores=np.stack([s.score[row].reshape(grid, grid) for s in scores[:-1]]),
        labels=np.asarray(points).reshape(grid, grid),
        weights=np.asarray(weights).reshape(grid, grid),
    )
