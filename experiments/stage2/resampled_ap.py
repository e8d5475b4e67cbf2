"""COCO AP of resampled images: detections are matched once, images are then drawn again and again.

A match depends on its image alone. So the AP of a set in which image i is n[i] times follows from
the matches of each image and the counts n; it is what COCOeval says of such a set.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools.cocoeval import COCOeval

CHUNK = 64  # resamplings held in memory at a time


class Matches(NamedTuple):
    """The detections of one category, best first, against the ground truth.

    Fields:
      image: position in COCOeval's list of images.
      hit: whether a detection has found an object, by IoU threshold.
      counted: whether it counts; inside a crowd it does not.
      objects: how many each image has.
    """

    image: Int[np.ndarray, " n"]
    hit: Bool[np.ndarray, "t n"]
    counted: Bool[np.ndarray, "t n"]
    objects: Int[np.ndarray, " images"]


def matches_of(evaluated: COCOeval, area: str = "all") -> dict[int, Matches]:
    """What `COCOeval.evaluate` found, by category id.

    Categories without an object are left out, as AP leaves them out.

    Args:
      evaluated: after `evaluate`.
      area: "all", "small", "medium" or "large".
    """
    images, areas = len(evaluated.params.imgIds), evaluated.params.areaRngLbl
    found = {}
    for place, category_id in enumerate(evaluated.params.catIds):
        first = (place * len(areas) + areas.index(area)) * images
        matches = _category(evaluated.evalImgs[first : first + images])
        if matches is not None and matches.objects.any():
            found[category_id] = matches
    return found


def _category(rows: Sequence[dict | None]) -> Matches | None:
    """The matches of one category from COCOeval's rows, one an image; None if it is nowhere."""
    objects = [0 if row is None else int((row["gtIgnore"] == 0).sum()) for row in rows]
    seen = [(place, row) for place, row in enumerate(rows) if row is not None]
    if not seen:
        return None
    scores = np.concatenate([row["dtScores"] for _, row in seen])
    order = np.argsort(-scores, kind="stable")
    hit = np.concatenate([row["dtMatches"] > 0 for _, row in seen], axis=1)
    ignored = np.concatenate([row["dtIgnore"] > 0 for _, row in seen], axis=1)
    image = np.repeat([place for place, _ in seen], [len(row["dtScores"]) for _, row in seen])
    return Matches(image[order], hit[:, order], ~ignored[:, order], np.array(objects))


def average_precision(
    found: Sequence[Matches], counts: Int[np.ndarray, "r images"], recalls: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "r t"]:
    """COCO's AP by IoU threshold, of sets of images.

    Args:
      found: of `matches_of`.
      counts: how often each image is in each set.
      recalls: at which precision is read (`COCOeval.params.recThrs`).

    Returns:
      the mean over the categories that a set has; nan where it has none.
    """
    chunks = [counts[k : k + CHUNK] for k in range(0, len(counts), CHUNK)]
    rows = [np.stack([_precision(one, chunk, recalls) for one in found]) for chunk in chunks]
    return np.concatenate([_mean_of_known(row) for row in rows])


def _mean_of_known(values: Float[np.ndarray, "c r t"]) -> Float[np.ndarray, "r t"]:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)


def _precision(
    one: Matches, counts: Int[np.ndarray, "r images"], recalls: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "r t"]:
    """Of one category; nan for a set without an object of it.

    Precision is looked at where an object is found: nowhere else does it rise.
    """
    objects = counts @ one.objects
    weights = counts[:, one.image]
    values = np.full((len(counts), len(one.hit)), np.nan)
    some = objects > 0
    for threshold, (hit, counted) in enumerate(zip(one.hit, one.counted, strict=True)):
        places = np.flatnonzero(hit & counted)
        hits = np.cumsum(weights[:, places], axis=1)
        both = np.cumsum(weights * counted, axis=1)[:, places]
        precision = hits / (both + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        envelope = np.pad(envelope, ((0, 0), (0, 1)))  # 0 at recalls that are not reached
        reached = hits[some] / objects[some, None]
        first = (reached[..., None] < recalls).sum(axis=1)
        values[some, threshold] = np.take_along_axis(envelope[some], first, axis=1).mean(axis=1)
    return values


def drawn_counts(images: int, samples: int, seed: int = 0) -> Int[np.ndarray, "samples images"]:
    """How often each image is in a set of as many that are drawn with replacement."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(images, size=(samples, images))
    return np.stack([np.bincount(row, minlength=images) for row in drawn])


def interval(values: Float[np.ndarray, " r"]) -> tuple[float, float]:
    """The middle 95 %; sets of which nothing can be said are left out, nan if that is all."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
