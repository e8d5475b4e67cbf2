"""The propagation of single instances, hop by hop: opened in the page on request."""

import pathlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from exits_jax.annotations import Instance
from exits_jax.report.overlays import crop_mask, encode_image, panel_strip, save_png
from exits_jax.report.shown import Shown


@dataclass(frozen=True, eq=False)
class Hops:
    """How the points of one instance were retrieved, on its crop.

    Attributes:
      instance: the one shown.
      crop: what the network saw.
      window_xyxy: where the crop is in the image, in pixels.
      box_xyxy, points_xy: box and extreme points in [0,1] over the crop; points None: box only.
      seeds: not zero where a pushed foreground seed is.
      scores: the propagation score, one map per hop.
      labels, weights: retrieved points: 1 (object) or 0 where the weight is positive.
    """

    instance: Instance
    crop: UInt8[np.ndarray, "s s 3"]
    window_xyxy: Float[np.ndarray, "4"]
    box_xyxy: Float[np.ndarray, "4"]
    points_xy: Float[np.ndarray, "4 2"] | None
    seeds: Shaped[np.ndarray, "N N"]
    scores: Float[np.ndarray, "hops N N"]
    labels: Shaped[np.ndarray, "N N"]
    weights: Shaped[np.ndarray, "N N"]


def hop_panels(
    what: Shown, hops: Iterable[Hops], figures: pathlib.Path
) -> Iterator[tuple[int, bytes]]:
    """The panel strips, encoded, by annotation id; each is also a PNG in the folder `figures`."""
    for one in hops:
        strip = _strip(what, one)
        save_png(figures / f"instance_{one.instance.id}.png", strip)
        yield one.instance.id, encode_image(strip)


def _strip(what: Shown, hops: Hops) -> UInt8[np.ndarray, "height width 3"]:
    instance, side = hops.instance, len(hops.crop)
    label, truth = what.mask(instance), what.true_mask(instance)
    return panel_strip(
        hops.crop,
        box_xyxy=hops.box_xyxy,
        points_xy=hops.points_xy,
        seeds=hops.seeds,
        scores=hops.scores,
        labels=hops.labels,
        weights=hops.weights,
        prediction=crop_mask(label, hops.window_xyxy, side),
        score=what.labels[instance.id].score,
        truth=None if truth is None else crop_mask(truth, hops.window_xyxy, side),
        iou=what.ious.get(instance.id),
    )
