"""Mask logits of a batch of crops: from the generator, or from propagation alone."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from exits_jax.models.generator import Generator
from exits_jax.models.slices import jit_in_slices
from exits_jax.models.vit import normalise
from exits_jax.retrieval.crops import score_inputs
from exits_jax.retrieval.prior import prior_logits
from exits_jax.retrieval.score import Scores
from exits_jax.retrieval.shape import shape_offset
from exits_jax.system.types import Batch

# batch -> logits [b, m, m]; 0 is as likely object as not
Predict = Callable[[Batch], Float[np.ndarray, "b m m"]]


def generator_predictor(generator: Generator, params: Any, pixels: str) -> Predict:
    """Logits of the trained generator.

    Args:
      generator: the network.
      params: its parameters.
      pixels: normalisation of its input, "imagenet" or "half".
    """
    forward = jit_in_slices(
        lambda p, image: generator.apply({"params": p}, normalise(image, pixels))
    )
    params = jax.device_put(params)

    def predict(batch: Batch) -> Float[np.ndarray, "b m m"]:
        return np.asarray(forward(params, batch["image"]))

    return predict


def propagation_predictor(
    scores_of: Callable[[Any, Batch], Scores], params: Any, grid: int
) -> Predict:
    """Propagation scores taken for logits: masks without any training.

    A score of 0 means that walks from the extreme points and from outside the box reach a point
    equally. An instance without extreme points scores 0 everywhere: its mask is its box.

    Args:
      scores_of: `retrieval.crop_scores` of the similarity extractor.
      params: the extractor's.
      grid: N of its points.
    """
    forward = jit_in_slices(lambda p, batch: scores_of(p, batch).score)
    params = jax.device_put(params)

    def predict(batch: Batch) -> Float[np.ndarray, "b N N"]:
        return np.asarray(forward(params, score_inputs(batch))).reshape(-1, grid, grid)

    return predict


def with_prior(generator: Predict, propagation: Predict, strength: float) -> Predict:
    """The logits of a generator that was trained on top of the propagation map.

    Args:
      generator: the residual.
      propagation: the map.
      strength: the one of training (`retrieval.prior_logits`).
    """

    def predict(batch: Batch) -> Float[np.ndarray, "b m m"]:
        logits, score = generator(batch), propagation(batch)
        flat = score.reshape(len(score), -1)
        return logits + np.asarray(prior_logits(flat, logits.shape[-1], strength))

    return predict


def with_shape(predict: Predict, strength: float) -> Predict:
    """Moves each crop's logits by what its extreme points and its tightness say about its fullness.

    Args:
      predict: the logits.
      strength: factor on `retrieval.shape_offset`; 1 is what was measured best.
    """
    offset = jax.jit(shape_offset)

    def predict_shifted(batch: Batch) -> Float[np.ndarray, "b m m"]:
        logits = predict(batch)
        known = (batch[name] for name in ("points_xy", "has_points", "box_xyxy", "valid_xyxy"))
        return logits + np.float32(strength) * np.asarray(offset(logits, *known))[:, None, None]

    return predict_shifted


def with_flip(predict: Predict) -> Predict:
    """Averages the logits of a crop and of its mirror image."""

    def both(batch: Batch) -> Float[np.ndarray, "b m m"]:
        return (predict(batch) + predict(mirrored(batch))[:, :, ::-1]) / 2

    return both


def mirrored(batch: Batch) -> Batch:
    """The batch with every crop mirrored left to right, points and boxes included."""
    points = batch["points_xy"] * np.float32([-1, 1]) + np.float32([1, 0])
    return batch | {
        "image": batch["image"][:, :, ::-1],
        "points_xy": points[:, [0, 3, 2, 1]],
        "box_xyxy": _mirrored_box(batch["box_xyxy"]),
        "valid_xyxy": _mirrored_box(batch["valid_xyxy"]),
        "flip": ~batch["flip"],
    }


def _mirrored_box(box_xyxy: Float[np.ndarray, "b 4"]) -> Float[np.ndarray, "b 4"]:
    x0, y0, x1, y1 = box_xyxy.T
    return np.stack([1 - x1, y0, 1 - x0, y1], axis=1)
