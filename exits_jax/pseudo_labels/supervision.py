"""From a batch to its labelled points, by the frozen similarity extractor."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exits_jax.retrieval.points import inside_box, retrieve_points, seed_points
from exits_jax.retrieval.resample import resample_score
from exits_jax.retrieval.score import Scores
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.types import Batch


class Points(NamedTuple):
    """What retrieval tells a training step about each crop."""

    labels: Float[Array, "b p"]  # of the points, 0 or 1
    weights: Float[Array, "b p"]  # 0 where nothing is known
    empty: Bool[Array, " b"]  # nothing was retrieved in the box: the MIL loss is used
    score: Float[Array, "b p"]  # before the thresholds


# (extractor's parameters, batch) -> Points
Supervise = Callable[[Any, Batch], Points]


def supervise_online(
    scores_of: Callable[[Any, Batch], Scores], settings: RetrievalSettings
) -> Supervise:
    """Retrieval in every training step, on the very crop that is trained on (the paper).

    Args:
      scores_of: `retrieval.crop_scores` of the similarity extractor.
      settings: the thresholds are read.
    """

    def supervise(params: Any, batch: Batch) -> Points:
        return _cut(scores_of(jax.lax.stop_gradient(params), batch), settings)

    return supervise


def supervise_once(grid: int, settings: RetrievalSettings) -> Supervise:
    """Retrieval from scores that were computed before training, on a canonical crop.

    The canonical crop contains the box; its scores are resampled into the training crop at hand,
    while seeds and box are the crop's own. So the extractor costs nothing per step. Not given in
    the paper. The batch holds "canonical_score" [b,M,M] and "canonical_window" [b,4].
    """

    def supervise(params: Any, batch: Batch) -> Points:
        score = resample_score(
            batch["canonical_score"],
            batch["canonical_window"],
            batch["window_xyxy"],
            batch["flip"],
            grid=grid,
        )
        foreground, background = seed_points(
            batch["points_xy"],
            batch["box_xyxy"],
            batch["valid_xyxy"],
            grid=grid,
            delta=settings.delta_share,
            has_points=batch["has_points"],
        )
        inside = inside_box(batch["box_xyxy"], batch["valid_xyxy"], grid)
        flat = score.reshape(score.shape[0], -1)
        return _cut(Scores(flat, foreground, background, inside), settings)

    return supervise


def supervise_seeds(grid: int, delta: float) -> Supervise:
    """The warm-up's supervision: the seeds alone, with nothing retrieved (form not published)."""

    def supervise(params: Any, batch: Batch) -> Points:
        foreground, background = seed_points(
            batch["points_xy"],
            batch["box_xyxy"],
            batch["valid_xyxy"],
            grid=grid,
            delta=delta,
            has_points=batch["has_points"],
        )
        empty = jnp.ones(foreground.shape[0], bool)
        nothing = jnp.zeros_like(foreground)
        return Points(foreground, jnp.maximum(foreground, background), empty, nothing)

    return supervise


def _cut(scores: Scores, settings: RetrievalSettings) -> Points:
    labels, weights, empty = retrieve_points(
        scores.score,
        scores.inside_box,
        scores.foreground,
        scores.background,
        tau_fg=settings.tau_fg,
        tau_bg=settings.tau_bg,
    )
    return Points(labels, weights, empty, scores.score)
