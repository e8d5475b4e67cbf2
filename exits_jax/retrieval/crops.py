"""Retrieval on a batch of crops: from pixels to propagation scores."""

from collections.abc import Callable
from typing import Any

from exits_jax.retrieval.score import (
    RetrievalSettings,
    Scores,
    propagation_score,
    similarity_matrix,
)
from exits_jax.system.types import Batch

# (parameters, image, attention_layers=..., key_layers=...) -> {"attention": {...}, "keys": {...}}
Attend = Callable[..., dict[str, dict[int, Any]]]

# The keys of a batch that retrieval reads.
KEYS = ("image", "points_xy", "has_points", "box_xyxy", "valid_xyxy")


def layers_asked(settings: RetrievalSettings, depth: int) -> dict[str, tuple[int, ...]]:
    """The arguments with which the extractor returns what the settings' similarity needs."""
    layers = tuple(range(1, depth + 1)) if not settings.layers else settings.layers
    return {"attention_layers" if settings.source == "attention" else "key_layers": layers}


def crop_scores(
    attend: Attend, *, depth: int, class_token: bool, grid: int, settings: RetrievalSettings
) -> Callable[[Any, Batch], Scores]:
    """Builds (extractor's parameters, batch) -> `Scores` of the batch's crops.

    Args:
      attend: the frozen similarity extractor, from pixels to its intermediates; see
        `exits_jax.models.attend`.
      depth: its number of layers.
      class_token: whether its token 0 is a class token.
      grid: N, its cells per side at the crops' size.
      settings: similarity, propagation and decision.
    """
    asked = layers_asked(settings, depth)

    def scores(params: Any, batch: Batch) -> Scores:
        similarity = similarity_matrix(
            attend(params, batch["image"], **asked), class_token=class_token, settings=settings
        )
        return propagation_score(
            similarity,
            batch["points_xy"],
            batch["has_points"],
            batch["box_xyxy"],
            batch["valid_xyxy"],
            grid=grid,
            settings=settings,
        )

    return scores


def score_inputs(batch: Batch) -> Batch:
    """The arrays of a batch that `crop_scores` reads, so that nothing else is sent to a device."""
    return {name: batch[name] for name in KEYS}
