"""From outputs to detections, in jit: fixed shapes, and a score of 0 where there is none."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from exits_jax.segmentation.build import Segmenter
from exits_jax.segmentation.matrix_nms import matrix_nms
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.segmentation.solov2 import Outputs
from exits_jax.system.types import Params

STRIDES = (8, 8, 16, 32, 32)  # of the pyramid's levels as the head reads them, pixels


class Detections(NamedTuple):
    """The objects found on canvases, best first.

    Attributes:
      masks: probabilities, on the mask map.
      classes: positions in the model's list of classes.
      scores: 0..1; 0: no detection.
    """

    masks: Float[Array, "b n h w"]
    classes: Int[Array, "b n"]
    scores: Float[Array, "b n"]


Detect = Callable[[Params, Array, Array], Detections]


def make_detect(network: Segmenter, settings: SegmentationSettings) -> Detect:
    """detect(params, image uint8 [b,h,w,3], extent [b,2]) -> Detections, to be jitted."""

    def detect(params: Params, image: Array, extent: Array) -> Detections:
        outputs = network.apply({"params": params}, image, extent)
        strides = cell_strides(settings.grids)
        return jax.lax.map(lambda one: detect_image(Outputs(*one), strides, settings), outputs)

    return detect


def cell_strides(grids: tuple[int, ...]) -> Float[np.ndarray, " n"]:
    """The stride of each cell's level: the fewest pixels of the mask map that a mask may have."""
    return np.repeat(np.float32(STRIDES), [grid * grid for grid in grids])


def detect_image(
    outputs: Outputs, strides: Float[np.ndarray, " n"], settings: SegmentationSettings
) -> Detections:
    """The detections of one image (no batch axis).

    Per cell and class: keep what its neighbours do not say louder; masks of the best candidates;
    their scores times how sure the mask is; suppression.
    """
    probability = peaks(jax.nn.sigmoid(outputs.logits), settings.grids)
    probability = jnp.where(probability > settings.score_floor, probability, 0.0)
    count = min(settings.candidates, probability.size)
    best, place = jax.lax.top_k(probability.reshape(-1), count)
    cell, classes = jnp.divmod(place, probability.shape[1])
    logits = jnp.einsum("ke,hwe->khw", outputs.kernels[cell], outputs.features)
    masks = jax.nn.sigmoid(logits)
    inside = masks > settings.mask_threshold
    area = jnp.sum(inside, axis=(1, 2))
    sure = jnp.sum(masks * inside, axis=(1, 2)) / jnp.maximum(area, 1)
    scores = jnp.where(area > jnp.asarray(strides)[cell], best * sure, 0.0)
    order = jnp.argsort(-scores)
    inside, classes, scores = inside[order], classes[order], scores[order]
    scores = matrix_nms(
        inside.reshape(count, -1), classes, scores, sigma=settings.suppression_sigma
    )
    scores = jnp.where(scores >= settings.min_score, scores, 0.0)
    kept, last = jax.lax.top_k(scores, min(settings.max_detections, count))
    return Detections(masks[order[last]], classes[last], kept)


def peaks(probability: Float[Array, "n c"], grids: tuple[int, ...]) -> Float[Array, "n c"]:
    """Probabilities that no left, upper or upper-left neighbour in their grid exceeds; else 0."""
    kept, first = [], 0
    for grid in grids:
        level = probability[first : first + grid * grid].reshape(grid, grid, -1)
        first += grid * grid
        padded = jnp.pad(level, ((1, 0), (1, 0), (0, 0)))
        around = (padded[:-1, 1:], padded[1:, :-1], padded[:-1, :-1])
        highest = jnp.maximum(jnp.maximum(*around[:2]), around[2])
        kept.append(jnp.where(level >= highest, level, 0.0).reshape(grid * grid, -1))
    return jnp.concatenate(kept)
