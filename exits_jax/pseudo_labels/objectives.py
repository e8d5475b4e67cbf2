"""What warm-up and generator training minimise, per crop (EXITS supplement, section B)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exits_jax.losses import crf_loss, mean_field, mil_loss, point_loss
from exits_jax.models.generator import Generator
from exits_jax.models.vit import normalise
from exits_jax.pseudo_labels.settings import LossSettings
from exits_jax.pseudo_labels.supervision import Points, Supervise
from exits_jax.retrieval.points import inside_box
from exits_jax.retrieval.prior import prior_logits
from exits_jax.system.types import Batch, Params
from exits_jax.training.state import merge_params
from exits_jax.training.task import RowObjective


def generator_objective(
    generator: Generator,
    pixels: str,
    supervise: Supervise,
    weights: LossSettings,
    *,
    prior: float = 0.0,
) -> RowObjective:
    """point * L_point + crf * L_crf + [nothing retrieved] * mil * L_mil, per crop.

    Plus soft * the cross-entropy against the propagation map, if that is asked for.

    Args:
      generator: the student; the teacher is the same network with other parameters.
      pixels: normalisation of its input, "imagenet" or "half".
      supervise: labelled points of a batch; it gets `frozen["extractor"]`.
      weights: see `LossSettings`.
      prior: strength of the propagation map to which the generator's logits are added; 0, the
        paper's generator, does without it (`retrieval.prior_logits`).

    Returns:
      objective(params, teacher, frozen, batch) -> (loss [b], parts {name: [b]}), where `frozen` is
      {"generator": the parameters that are not trained, "extractor": the extractor's}.
    """

    def objective(
        params: Params, teacher: Params, frozen: Params, batch: Batch
    ) -> tuple[Float[Array, " b"], dict[str, Float[Array, " b"]]]:
        clean = normalise(batch["image"], pixels)
        seen = normalise(batch["student_image"], pixels) if "student_image" in batch else clean
        student = merge_params(params, frozen["generator"])
        points = supervise(frozen["extractor"], batch)
        logits = generator.apply({"params": student}, seen)
        start = prior_logits(points.score, logits.shape[-1], prior) if prior else 0.0
        logits += start
        parts = supervised_parts(logits, points, batch, weights)
        if weights.crf:
            followed = merge_params(teacher, frozen["generator"])
            teacher_logits = generator.apply({"params": followed}, clean) + start
            parts["crf"] = crf_part(logits, teacher_logits, clean, batch, weights)
        return _weighted(parts, weights), parts

    return objective


def warmup_objective(
    generator: Generator, pixels: str, supervise: Supervise, weights: LossSettings
) -> RowObjective:
    """The warm-up of the similarity extractor: L_point on the seeds and L_mil on every crop.

    A mask decoder sits on the extractor; no CRF, no teacher. The paper does not publish this loss.
    Arguments and result are those of `generator_objective`.
    """
    weights = dataclasses.replace(weights, crf=0.0, soft=0.0, mil_everywhere=True)
    return generator_objective(generator, pixels, supervise, weights)


def supervised_parts(
    logits: Float[Array, "b m m"], points: Points, batch: Batch, weights: LossSettings
) -> dict[str, Float[Array, " b"]]:
    """Point and MIL loss per crop, and the share of crops for which retrieval was empty."""
    grid = round(points.labels.shape[-1] ** 0.5)
    point = point_loss(
        at_points(logits, grid), points.labels, points.weights, balanced=weights.balanced
    )
    side, valid_xyxy = logits.shape[-1], batch["valid_xyxy"]
    box_mask = box_masks(batch["box_xyxy"], valid_xyxy, side)
    valid = box_masks(valid_xyxy, valid_xyxy, side)
    mil = mil_loss(jax.nn.sigmoid(logits), box_mask, valid=valid)
    if not weights.mil_everywhere:
        mil = jnp.where(points.empty, mil, 0.0)
    parts = {"point": point, "mil": mil, "empty": points.empty.astype(jnp.float32)}
    if weights.soft:
        parts["soft"] = soft_loss(at_points(logits, grid), points.score, batch)
    return parts


def soft_loss(
    logits: Float[Array, "b p"], score: Float[Array, "b p"], batch: Batch
) -> Float[Array, " b"]:
    """Cross-entropy against the propagation map in the box and background outside it.

    Not given in the paper. Every cell of the image counts alike; a crop whose map is 0 everywhere
    (nothing walked) is left out.

    Args:
      logits: at the points.
      score: log odds, from `propagation_score`.
      batch: its boxes are read.
    """
    grid = round(score.shape[-1] ** 0.5)
    inside = inside_box(batch["box_xyxy"], batch["valid_xyxy"], grid)
    shown = inside_box(batch["valid_xyxy"], batch["valid_xyxy"], grid)
    known = shown & jnp.any(score != 0, axis=-1, keepdims=True)
    return point_loss(logits, jnp.where(inside, jax.nn.sigmoid(score), 0.0), known)


def at_points(logits: Float[Array, "b m m"], grid: int) -> Float[Array, "b p"]:
    """Logits at the centres of the point grid's cells, bilinear."""
    b = logits.shape[0]
    return jax.image.resize(logits, (b, grid, grid), "linear", antialias=False).reshape(b, -1)


def box_masks(
    box_xyxy: Float[Array, "b 4"], valid_xyxy: Float[Array, "b 4"], side: int
) -> Bool[Array, "b m m"]:
    """Mask cells whose centre lies in the box and in the image."""
    return inside_box(box_xyxy, valid_xyxy, side).reshape(-1, side, side)


def crf_part(
    logits: Float[Array, "b m m"],
    teacher_logits: Float[Array, "b m m"],
    image: Float[Array, "b s s 3"],
    batch: Batch,
    weights: LossSettings,
) -> Float[Array, " b"]:
    """Dice between the mask in the box and the mean field of the student's and teacher's mean.

    Args:
      logits: the student's.
      teacher_logits: the teacher's.
      image: normalised.
      batch: its boxes are read.
      weights: sweeps and sigma of the mean field are read.
    """
    b, side, _ = logits.shape
    box_mask = box_masks(batch["box_xyxy"], batch["valid_xyxy"], side)
    valid = box_masks(batch["valid_xyxy"], batch["valid_xyxy"], side)
    probability = jax.nn.sigmoid(logits)
    mean = (probability + jax.nn.sigmoid(teacher_logits)) / 2
    small = jax.image.resize(image, (b, side, side, 3), "linear", antialias=True)
    refined = mean_field(
        jax.lax.stop_gradient(mean),
        small,
        box_mask,
        sweeps=weights.crf_sweeps,
        sigma=weights.crf_sigma,
        valid=valid,
    )
    return crf_loss(probability * box_mask, refined)


def _weighted(parts: dict[str, Any], weights: LossSettings) -> Float[Array, " b"]:
    """The sum of those weighted terms that exist."""
    names = [name for name in ("point", "mil", "crf", "soft") if name in parts]
    return sum(getattr(weights, name) * parts[name] for name in names)
