"""The propagation score: what speaks for a point being on the object, and what against.

The paper cuts "the propagation difference between points outside of the bounding box and extreme
points" (EXITS supplement, H). Its exact form is not published; the forms here are selectable.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from exits_jax.errors import UserError
from exits_jax.retrieval.decision import centre_score, decide, mean_seed
from exits_jax.retrieval.iterative import reseed
from exits_jax.retrieval.points import inside_box, seed_points
from exits_jax.retrieval.propagation import (
    power_kernel,
    propagate,
    propagate_absorbing,
    transition_matrix,
)
from exits_jax.retrieval.similarity import attention_similarity, key_similarity


@dataclasses.dataclass(frozen=True)
class RetrievalSettings:
    """Everything that shapes the retrieval; hashable, so it can be a static argument of jit.

    A value from the paper says so; the others are not given in the paper.
    """

    # "attention" (the paper's) or "keys".
    source: Literal["attention", "keys"] = "attention"
    # 1-based layers whose mean similarity is used, or "all". Layer 10: table a1.
    layers: tuple[int, ...] | Literal["all"] = (10,)
    # alpha, the number of hops: table a2. Unused by the absorbing form.
    hops: int | None = 3
    # Share of propagated against initial scores in the absorbing form: supplement, C.
    beta: float = 0.25
    # "applied" and "kernel" are the same numbers; "absorbing" is alpha = infinity, equation a2.
    form: Literal["applied", "kernel", "absorbing"] = "applied"
    # "difference" p * (s_FG - s_BG) or "log_ratio" log s_FG - log s_BG.
    decision: Literal["difference", "log_ratio"] = "difference"
    # Thresholds on the score.
    tau_fg: float = 0.4
    tau_bg: float = 0.15
    # How far extreme points are pushed inwards, as a share of the crop's side: supplement, B.
    delta: float = 24 / 512
    # Rounds of Sinkhorn normalisation and whether (T + T^t) / 2 follows.
    sinkhorn: int = 3
    symmetric: bool = True
    # Of the key similarity; distance_sigma in grid cells, None leaves distance out.
    temperature: float = 0.1
    distance_sigma: float | None = None
    # Strength of the tightness centring; 0 turns it off.
    centring: float = 0.0
    # Rounds of reseeding after the walk, one hop each; 0 is the paper's single walk.
    rounds: int = 0

    def __post_init__(self) -> None:
        """Raises UserError for a value no code path knows."""
        allowed = {
            "source": ("attention", "keys"),
            "form": ("applied", "kernel", "absorbing"),
            "decision": ("difference", "log_ratio"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                given = getattr(self, name)
                raise UserError(f"retrieval.{name} is {given!r}, expected one of {values}")
        if self.form != "absorbing" and (self.hops is None or self.hops < 0):
            raise UserError(f"retrieval.hops is {self.hops}, expected 0 or more, or form=absorbing")
        if not 0.0 <= self.beta < 1.0:
            raise UserError(f"retrieval.beta is {self.beta}, expected 0 <= beta < 1")
        if self.rounds < 0 or (self.rounds and self.decision != "log_ratio"):
            raise UserError(
                f"retrieval.rounds is {self.rounds}, expected 0 or more, and 0 unless "
                "retrieval.decision is 'log_ratio': reseeding reads scores as log odds"
            )
        if self.layers != "all" and not (isinstance(self.layers, tuple) and self.layers):
            raise UserError(f"retrieval.layers is {self.layers!r}, expected a tuple or 'all'")


class Scores(NamedTuple):
    """What retrieval knows about every point before the thresholds."""

    score: Float[Array, "b p"]  # positive speaks for the object
    foreground: Float[Array, "b p"]  # seeds, 0 or 1
    background: Float[Array, "b p"]  # seeds, 0 or 1
    inside_box: Bool[Array, "b p"]


def similarity_matrix(
    out: dict[str, dict[int, Any]], *, class_token: bool, settings: RetrievalSettings
) -> Float[Array, "b p p"]:
    """The similarity the settings ask for, from the extractor's intermediates.

    Args:
      out: {"attention": {layer: [b, n, n]}, "keys": {layer: [b, n, D]}}, as the ViT returns it.
      class_token: whether token 0 is a class token.
      settings: source, layers, temperature and distance_sigma are read.
    """
    if settings.source == "attention":
        return attention_similarity(out["attention"], settings.layers, class_token=class_token)
    return key_similarity(
        out["keys"],
        settings.layers,
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
    gives, or the logarithm of the ratio. No gradient flows through it. An instance without extreme
    points (`has_points` False) has no foreground seeds and score 0 everywhere: nothing is retrieved
    for it, and only the background outside its box is known.

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
        points_xy, box_xyxy, valid_xyxy, grid=grid, delta=settings.delta
    )
    foreground = foreground * has_points
    inside = inside_box(box_xyxy, valid_xyxy, grid)
    transition = transition_matrix(
        similarity, iterations=settings.sinkhorn, symmetric=settings.symmetric
    )
    seeds = jnp.stack([mean_seed(foreground), mean_seed(background)], axis=-1)
    reached = grid * grid * walk(transition, seeds, settings)
    score = decide(reached[..., 0], reached[..., 1], settings.decision)
    score = centre_score(score, inside, settings.centring)
    if settings.rounds:
        score = reseed(
            score,
            transition,
            foreground,
            inside,
            shown=inside_box(valid_xyxy, valid_xyxy, grid),
            rounds=settings.rounds,
            centring=settings.centring,
        )
    return Scores(jnp.where(has_points, score, 0.0), foreground, background, inside)


def walk(
    transition: Float[Array, "b p p"], seeds: Float[Array, "b p k"], settings: RetrievalSettings
) -> Float[Array, "b p k"]:
    """The walk in the form the settings ask for."""
    if settings.form == "absorbing":
        return propagate_absorbing(transition, seeds, settings.beta)
    if settings.form == "kernel":
        return jnp.matmul(power_kernel(transition, settings.hops), seeds, precision="highest")
    return propagate(transition, seeds, settings.hops)
