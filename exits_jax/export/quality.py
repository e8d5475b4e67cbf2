"""A finished label, and the flags that say what is known about it without ground truth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from pycocotools import mask as coco_masks

from exits_jax.annotations.certificate import fit_flags, shape_flags
from exits_jax.annotations.geometry import under_a_pixel
from exits_jax.annotations.masks import decode_segmentation
from exits_jax.annotations.records import Instance
from exits_jax.annotations.regions import Region, box_pixels, encode_in_image, filled_box


@dataclass(frozen=True)
class Label:
    """The mask made for one annotation.

    Attributes:
      annotation_id: whose mask it is.
      rle: {"size": [h, w], "counts": str}, compressed, of the whole image, never empty.
      area: pixels of the mask.
      score: 0..1, four decimals: the mean probability inside the mask, or its predicted IoU
        (`predicted_iou`).
      flags: any of, in this order: what the caller knew (`item_error`: the mask could not be made
        and is the box); `box_only`: no extreme points; `tiny_box`: less than a pixel wide or high,
        score 0; `empty_mask`: nothing was found and the mask is the box, score 0;
        `repaired_outside_box`: pixels beyond the box by more than one were cut away; `outside_box`:
        they could not be, because nothing lies inside; `misses_<side>`: the mask stays away from
        that side of the box, `misses_point_<side>`: from that extreme point, by more than 2 pixels
        and 5 % of the box's width or height; `parts:N`: N > 1 8-connected components of at least 2
        % of the mask; `holes:N`: N > 0 4-connected holes.
    """

    annotation_id: int
    rle: dict[str, Any]
    area: int
    score: float
    flags: list[str]


def make_label(
    instance: Instance,
    mask: Bool[np.ndarray, "h w"],
    probability: Float[np.ndarray, "h w"],
    region: Region,
    *,
    empty: bool = False,
    known: Sequence[str] = (),
    score: float | None = None,
) -> Label:
    """Checks a mask, repairs what can be repaired, and returns it as run lengths.

    Args:
      instance: the annotation.
      mask: on the region, at least one pixel (see `paste.binary_mask`).
      probability: of the object, 0..1, on the region.
      region: (x0, y0, x1, y1), the part of the image that the arrays show.
      empty: nothing was found; the mask is the box.
      known: flags that the caller adds.
      score: of the label; None: the mean probability inside the mask.

    Raises:
      ValueError: the mask has no pixel, a value in it is not a probability, or the run lengths do
        not decode to it.
    """
    height, width = instance.image.height, instance.image.width
    flags = [*known]
    if instance.points_xy is None:
        flags.append("box_only")
    if under_a_pixel(instance.box_xyxy):
        flags.append("tiny_box")
    if empty:
        flags.append("empty_mask")
    if empty or "tiny_box" in flags:
        score = 0.0  # whatever the map says: the mask is not that of an object
    if not mask.any():
        raise ValueError(f"the mask of annotation {instance.id} has no pixel")
    place = instance.box_xyxy, instance.points_xy, (height, width)
    fit = fit_flags(mask, region, *place)
    if "outside_box" in fit:
        cut = _cut_to_box(mask, region, instance)
        if cut is not mask:
            mask, fit = cut, ["repaired_outside_box", *fit_flags(cut, region, *place)]
    rle = encode_in_image(mask, region, height, width)
    if not _same_pixels(rle, mask, region):
        raise ValueError(f"annotation {instance.id}: the run lengths are not the mask")
    return Label(
        annotation_id=instance.id,
        rle=rle,
        area=int(mask.sum()),
        score=_mean_inside(probability, mask) if score is None else round(score, 4),
        flags=flags + fit + shape_flags(mask),
    )


def box_label(instance: Instance, known: Sequence[str] = ("item_error",)) -> Label:
    """The box as the mask of an instance that could not be labelled (unreadable image), score 0.

    Args:
      instance: the annotation.
      known: the flags that say why.
    """
    height, width = instance.image.height, instance.image.width
    x0, y0, x1, y1 = box_pixels(instance.box_xyxy, height, width)
    flags = [*known] if instance.points_xy is not None else [*known, "box_only"]
    rle = filled_box(instance.box_xyxy, height, width)
    return Label(instance.id, rle, (x1 - x0) * (y1 - y0), 0.0, flags)


def flag_counts(labels: Iterable[Label]) -> dict[str, int]:
    """How many masks there are, how many have no flag, and how many have each kind of flag."""
    counts = {"masks": 0, "without a flag": 0}
    for label in labels:
        counts["masks"] += 1
        counts["without a flag"] += not label.flags
        for flag in label.flags:
            kind = flag.partition(":")[0]
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def _mean_inside(probability: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """The mean probability inside the mask, four decimals; summed in float64."""
    values = probability[mask].astype(np.float64)
    if not (values.size and values.min() >= -1e-6 and values.max() <= 1 + 1e-6):
        raise ValueError("a label needs at least one pixel and probabilities between 0 and 1")
    return round(min(max(float(values.mean()), 0.0), 1.0), 4)


def _cut_to_box(
    mask: Bool[np.ndarray, "h w"], region: Region, instance: Instance
) -> Bool[np.ndarray, "h w"]:
    """The mask without what lies outside its box; all of it if nothing lies inside."""
    x0, y0, x1, y1 = box_pixels(instance.box_xyxy, instance.image.height, instance.image.width)
    inside = np.zeros_like(mask)
    rows = slice(max(y0 - region[1], 0), max(y1 - region[1], 0))
    columns = slice(max(x0 - region[0], 0), max(x1 - region[0], 0))
    inside[rows, columns] = mask[rows, columns]
    return inside if inside.any() else mask


def _same_pixels(rle: dict[str, Any], mask: Bool[np.ndarray, "h w"], region: Region) -> bool:
    """Whether run lengths decode to exactly the mask."""
    x0, y0, x1, y1 = region
    decoded = decode_segmentation(rle, *rle["size"])
    same = np.array_equal(decoded[y0:y1, x0:x1], mask)
    return same and int(coco_masks.area(rle)) == int(mask.sum())
