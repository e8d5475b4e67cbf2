"""The propagation score: evidence for and against a point being on the object.

The paper thresholds "the propagation difference between points outside of the bounding box and
extreme points" (EXITS supplement, H). Its exact form is not published; the forms here are
selectable.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from exits_jax.retrieval.decision import centre_score, decide, mean_seed
from exits_jax.retrieval.iterative import reseed
from exits_jax.retrieval.points import centre_seed, inside_box, seed_points
from exits_jax.retrieval.propagation import (
    power_kernel,
    propagate,
    propagate_absorbing,
    transition_matrix,
)
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.retrieval.similarity import attention_similarity, key_similarity


class Scores(NamedTuple):
    """What retrieval knows about every point before the thresholds."""

    score: Float[Array, "b p"]  # positive: on the object
    foreground: Float[Array, "b p"]  # seeds, 0 or 1
    background: Float[Array, "b p"]  # seeds, 0 or 1
    inside_box: Bool[Array, "b p"]

    @property
    def retrievable(self) -> Bool[Array, "b p"]:
        """Cells that thresholds are calibrated on: in the box (no background is) and not seeds."""
        return self.inside_box & (self.foreground == 0)


def similarity_matrix(
    out: dict[str, dict[int, Any]], *, class_token: bool, settings: RetrievalSettings
) -> Float[Array, "b p p"]:
    """The similarity the settings ask for, from the extractor's intermediates.

    Args:
      out: {"attention": {layer: [b, n, n]}, "keys": {layer: [b, n, D]}}, as the ViT returns it.
      class_token: whether token 0 is a class token.
      settings: source, layers, temperature and distance_sigma are read.
    """
    layers = settings.layers or "all"
    if settings.source == "attention":
        return attention_similarity(out["attention"], layers, class_token=class_token)
    return key_similarity(
        out["keys"],
        layers,
        class_token=class_token,
        temperature=settings.temperature,
        distance_sigma=settings.distance_sigma,
    )


def propagation_score(
    similarity: Float[ArrayLike, "b p p"],
    points_xy: Float[ArrayLike, "b 4 2"],
    has_points: Shaped[ArrayLike, "b"],
    box_xyxy: Float[ArrayLike, "b 4"],
    valid_xyxy: Float[ArrayLike, "b 4"],
    *,
    grid: int,
    settings: RetrievalSettings,
) -> Scores:
    """Walks from both kinds of seeds and weighs the two against each other.

    With s_X = T^alpha 1_X / |X|, the score is p * (s_FG - s_BG), where 1 is what a uniform walk
    gives, or the logarithm of the ratio. No gradient flows through it.

    An instance without extreme points (`has_points` False) has no foreground seeds; only the
    background outside its box is known. With box_only "nothing" its score is 0 everywhere and
    nothing is retrieved; with "centre" a soft seed in the box's middle walks in their place.

    Args:
      similarity: non-negative, from `similarity_matrix`.
      points_xy: extreme points in crop coordinates; unused where `has_points` is False.
      has_points: which instances have extreme points.
      box_xyxy: tight boxes in crop coordinates.
      valid_xyxy: the part of each crop that shows the image, in crop coordinates.
      grid: cells per side.
      settings: all but source, layers, thresholds, temperature and distance_sigma are read.
    """
    similarity = jax.lax.stop_gradient(jnp.asarray(similarity, jnp.float32))
    has_points = jnp.asarray(has_points, bool)[:, None]
    foreground, background = seed_points(
        points_xy,
        box_xyxy,
        valid_xyxy,
        grid=grid,
        delta=settings.delta_share,
        has_points=has_points[:, 0],
    )
    inside = inside_box(box_xyxy, valid_xyxy, grid)
    transition = transition_matrix(
        similarity, iterations=settings.sinkhorn_iterations, symmetric=settings.symmetric
    )
    known = mean_seed(foreground)
    if settings.box_only == "centre":
        middle = mean_seed(centre_seed(box_xyxy, valid_xyxy, grid))
        known = jnp.where(has_points, known, middle)
    seeds = jnp.stack([known, mean_seed(background)], axis=-1)
    reached = grid * grid * walk(transition, seeds, settings)
    score = decide(reached[..., 0], reached[..., 1], settings.decision)
    score = centre_score(score, inside, settings.centring)
    if settings.rounds:
        shown = inside_box(valid_xyxy, valid_xyxy, grid)
        score = reseed(
            score,
            transition,
            known,
            inside,
            shown,
            rounds=settings.rounds,
            centring=settings.centring,
        )
    score = jnp.where(jnp.any(known > 0.0, axis=-1, keepdims=True), score, 0.0)
    return Scores(score, foreground, background, inside)


def walk(
    transition: Float[Array, "b p p"], seeds: Float[Array, "b p k"], settings: RetrievalSettings
) -> Float[Array, "b p k"]:
    """The walk in the form the settings ask for."""
    if settings.form == "absorbing":
        return propagate_absorbing(transition, seeds, settings.beta)
    if settings.form == "kernel":
        return jnp.matmul(power_kernel(transition, settings.hops), seeds, precision="highest")
    return propagate(transition, seeds, settings.hops)
