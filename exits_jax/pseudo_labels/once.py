"""Propagation scores computed once per instance, before training (`retrieval.when = "once"`).

Not given in the paper, which retrieves points in every step. Scores are kept as float16 on a
canonical crop of the instance (`data.crop.fixed_window`); the step resamples them
(`supervision.supervise_once`).
"""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float16

from exits_jax.data.crop import fixed_window
from exits_jax.data.source import Source
from exits_jax.models.slices import jit_in_slices
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.retrieval.crops import score_inputs
from exits_jax.retrieval.score import Scores
from exits_jax.system.files import write_npy
from exits_jax.system.progress import track
from exits_jax.system.types import Batch

PART = 64  # instances in a file, which is what a kill costs at most


def canonical_scores(
    scores_of: Callable[[Any, Batch], Scores],
    params: Any,
    source: Source,
    folder: pathlib.Path,
    *,
    crop_size: int,
    margin: float,
    batch_size: int,
) -> Float16[np.ndarray, "n M M"]:
    """Scores of every instance on its canonical crop, kept in `folder` part by part.

    Parts that an earlier, interrupted run finished are read, not computed again.

    Args:
      scores_of: `retrieval.crop_scores` at `crop_size`.
      params: the similarity extractor's.
      source: what is trained on.
      folder: where the parts are.
      crop_size: side of the canonical crop in pixels.
      margin: of the canonical crop, share of the box's half-size per side.
      batch_size: crops at a time.
    """
    forward = jit_in_slices(lambda p, batch: scores_of(p, batch).score)
    params = jax.device_put(params)
    parts = []
    with track("retrieve once", len(source)) as progress:
        for first in range(0, len(source), PART):
            chosen = source.take(range(first, min(first + PART, len(source))))
            path = folder / f"scores_{first // PART:05d}_{chosen.fingerprint()}.npy"
            if path.exists():
                parts.append(np.load(path))
                progress.skip(len(chosen))
                continue
            rows = []
            for batch in label_batches(
                chosen, crop_size=crop_size, margin=margin, batch_size=batch_size
            ):
                score = np.asarray(forward(params, score_inputs(batch)))
                rows.append(score[batch["valid"]].astype(np.float16))
                progress.advance(int(batch["valid"].sum()))
            part = np.concatenate(rows)
            side = round(part.shape[-1] ** 0.5)
            parts.append(part.reshape(-1, side, side))
            write_npy(path, parts[-1])
    return np.concatenate(parts)


def with_canonical(
    scores: Float16[np.ndarray, "n M M"], source: Source, margin: float
) -> Callable[[Batch], Batch]:
    """Builds the function that adds "canonical_score" and "canonical_window" to a batch."""
    windows = np.stack([fixed_window(box, margin) for box in source.box_xyxy])
    windows = windows.astype(np.float32)

    def extend(batch: Batch) -> Batch:
        index = batch["index"]
        return batch | {
            "canonical_score": scores[index].astype(np.float32),
            "canonical_window": windows[index],
        }

    return extend


def score_sample(
    scores_of: Callable[[Any, Batch], Scores],
    params: Any,
    source: Source,
    *,
    crop_size: int,
    margin: float,
    batch_size: int,
) -> tuple[Float[np.ndarray, "n p"], np.ndarray]:
    """Scores and retrievable cells of some instances, to calibrate the thresholds on.

    Returns:
      score [n,p] float32 and retrievable [n,p] bool (in the box and no seed), of the instances
      that have extreme points.
    """
    forward = jit_in_slices(scores_of)
    rows: list[np.ndarray] = []
    retrievable: list[np.ndarray] = []
    with track("calibrate thresholds", len(source)) as progress:
        for batch in label_batches(
            source, crop_size=crop_size, margin=margin, batch_size=batch_size
        ):
            result = forward(params, score_inputs(batch))
            keep = batch["valid"] & batch["has_points"]
            rows.append(np.asarray(result.score)[keep])
            retrievable.append(np.asarray(result.retrievable)[keep])
            progress.advance(int(batch["valid"].sum()))
    return np.concatenate(rows), np.concatenate(retrievable)
