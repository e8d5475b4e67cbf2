"""Where an annotation's object is: box, extreme points, mask, whichever it states."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from pycocotools import mask as coco_masks

from exits_jax.annotations.extreme import extreme_points, tight_box
from exits_jax.annotations.fields import (
    NO_BOX,
    given_points,
    has_keypoints,
    inside_image,
    points_box,
    stated_box,
)
from exits_jax.annotations.geometry import KEYPOINT_MASK_PX, Geometry
from exits_jax.annotations.masks import decode_segmentation, run_lengths
from exits_jax.annotations.numbers import finite_numbers, shown
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.segmentations import is_rectangle, plain_outline, polygons_box
from exits_jax.annotations.summary import counted

SOLID_PX = 4  # filled boxes narrower than this occur by chance
Box = Float[np.ndarray, "4"]


class Located(NamedTuple):
    """Where an annotation's object is.

    Attributes:
      box_xyxy: the box, clipped to the image.
      points_xy: extreme points top, left, bottom, right; None where only a box is known.
      points_source: "given", "mask" or "box".
      place: what the annotation says about its geometry, for `geometry.doubts`.
      lost: what it says that cannot be used, though the object can.
      solid: whether its run lengths fill their whole box, as those of a box do.
    """

    box_xyxy: Box
    points_xy: Float[np.ndarray, "4 2"] | None
    points_source: str
    place: Geometry
    lost: list[BadItem]
    solid: bool = False


def locate(
    annotation: dict[str, Any], width: int, height: int, rule: str, masks: bool = False
) -> Located:
    """Box and extreme points of an annotation; its segmentation is put into COCO's own form.

    A stated box wins over the points' bounding box. A mask is only drawn if no points are given. A
    mask that cannot be read, or is only the box written as a polygon, is removed from the
    annotation, and so is an unusable box beside points or a mask; the object stays.

    Args:
      annotation: with plain numbers; only its `segmentation` and `bbox` are changed.
      width, height: of its image.
      rule: how points are read off a mask, see `extreme_points`.
      masks: the mask is what counts: one that cannot be read is a mistake, and a box is a mask like
        any other.

    Raises:
      UserError: there is nothing to go by, or it is malformed.
    """
    lost = [*_lost_fields(annotation)]
    try:
        stated = stated_box(annotation, width, height)
    except BadItem as bad:
        return _without_box(bad, annotation, width, height, rule, masks)
    outline = _outline(annotation, lost)
    box, drawn_box = stated, None
    if is_rectangle(outline) and masks:
        lost.append(BadItem("box_as_mask", "the segmentation is a box, and used as a mask"))
    elif is_rectangle(outline):
        drawn_box = polygons_box(outline, width, height)
        box = drawn_box if stated is None else stated
        lost.append(BadItem("box_as_mask", "the segmentation is a box: it is read as one"))
        outline = annotation["segmentation"] = None
    around = mask_box(outline, width, height) if box is None else box
    points = given_points(annotation, around)
    if points is not None and not annotation.get("extreme_points"):
        if not _touch(points, outline, width, height):
            points = None
        else:
            text = "its four keypoints lie at its sides: they are read as extreme points"
            lost.append(BadItem("keypoints_used", text))
    if points is not None:
        points = inside_image(points, width, height)
        box = points_box(points, width, height) if box is None else box
        if masks and outline is not None:
            run_lengths(outline, height, width)  # refuses what is not one
        # A mask beside points is ground truth to measure against: labelling never sees it.
        place = _place(annotation, stated, box, points, None, (width, height))
        return Located(box, points, "given", place, lost)
    if has_keypoints(annotation):
        text = "its keypoints are not four labelled ones at its sides: not its extreme points"
        lost.append(BadItem("keypoints_unused", text))
    instead = None if masks else box
    mask = _drawn(annotation, outline, width, height, instead, lost)
    if mask is None:
        box = _needed(box, around)
        place = _place(annotation, stated, box, None, drawn_box, (width, height))
        return Located(box, None, "box", place, lost)
    tight = tight_box(mask)
    box = tight if box is None else box
    runs = isinstance(outline, dict)
    # For a polygon, by its corners: its thin ends cover no pixel, and are not a mistake.
    outlined = tight if runs else polygons_box(outline, width, height)
    place = _place(annotation, stated, box, None, outlined, (width, height))
    solid = runs and _fills(mask, tight)
    return Located(box, extreme_points(mask, rule), "mask", place, lost, solid)


def known_box(annotation: dict[str, Any], width: int, height: int) -> Box | None:
    """The box around the extreme points or the mask of an annotation whose `bbox` is of no use."""
    try:
        points = given_points(annotation)
    except BadItem:
        points = None
    if points is not None:
        return np.concatenate([points.min(axis=0), points.max(axis=0)])
    return mask_box(plain_outline(annotation.get("segmentation")).segmentation, width, height)


def _without_box(
    bad: BadItem, annotation: dict[str, Any], width: int, height: int, rule: str, masks: bool
) -> Located:
    """Where the object is by its points or its mask, beside an unusable box.

    The box is removed from the annotation.

    Raises:
      BadItem: the mistake of the box, if there is nothing else to go by.
    """
    found, annotation["bbox"] = annotation["bbox"], None
    try:
        located = locate(annotation, width, height, rule, masks)
    except BadItem:
        annotation["bbox"] = found
        raise bad from None
    used = "points are" if located.points_source == "given" else "segmentation is"
    located.lost.append(BadItem(bad.code, f"{bad.text}; the {used} used instead"))
    return located


def _place(
    annotation: dict[str, Any],
    stated: Box | None,
    box_xyxy: Box,
    points_xy: Float[np.ndarray, "4 2"] | None,
    mask_xyxy: Box | None,
    size_wh: tuple[int, int],
) -> Geometry:
    bbox = None if stated is None else finite_numbers(annotation["bbox"])
    return Geometry(bbox, box_xyxy, points_xy, mask_xyxy, size_wh)


def _needed(box_xyxy: Box | None, around: Box | None) -> Box:
    """The box, which is all that is left to go by.

    Raises:
      BadItem: there is none, or it is a rectangle outside the image, clipped to nothing.
    """
    if box_xyxy is not None and (box_xyxy[2:] <= box_xyxy[:2]).any():
        text = "the segmentation is a box outside the image, and there is nothing else to go by"
        raise BadItem("box_outside_image", text)
    if box_xyxy is not None:
        return box_xyxy
    text = "found no extreme points, no pixel in a segmentation and no bbox"
    if around is not None and around.max() <= 1 + 1e-6:
        text += "; are the segmentation's corners shares of the image? multiply them"
    raise BadItem("nothing_given", text)


def _lost_fields(annotation: dict[str, Any]) -> Iterator[BadItem]:
    """Notes a box that is none."""
    if annotation.get("bbox") == NO_BOX:
        yield BadItem("zero_box", "bbox [0, 0, 0, 0] is taken for a missing one")


def _touch(points_xy: Float[np.ndarray, "4 2"], outline: Any, width: int, height: int) -> bool:
    """Whether points are in the image, and on its mask or beside it where one can be drawn."""
    if points_xy.min() < 0 or (points_xy > (width, height)).any():
        return False
    try:
        mask = decode_segmentation(outline, height, width)
    except BadItem:
        return True
    near = [(int(y), int(x)) for x, y in points_xy]
    reach = KEYPOINT_MASK_PX
    return all(
        mask[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].any()
        for y, x in near
    )


def _outline(annotation: dict[str, Any], lost: list[BadItem]) -> Any:
    """The segmentation in COCO's own form, which replaces the one in the annotation."""
    found = annotation.get("segmentation")
    outline = plain_outline(found)
    if found is not None:
        annotation["segmentation"] = outline.segmentation
    if outline.rewritten:
        what = "run lengths" if isinstance(outline.segmentation, dict) else "polygons"
        lost.append(BadItem("other_form", f"the segmentation {shown(found)} is read as {what}"))
    if outline.without_area:
        parts = counted(outline.without_area, "part")
        lost.append(
            BadItem(
                "part_without_area",
                f"{parts} of the segmentation left out: fewer than three corners",
            )
        )
    return outline.segmentation


def _drawn(
    annotation: dict[str, Any],
    outline: Any,
    width: int,
    height: int,
    instead: Box | None,
    lost: list[BadItem],
) -> Bool[np.ndarray, "h w"] | None:
    """The mask; None without one, or if it has no pixel or cannot be read and a box will do."""
    if outline is None:
        return None
    try:
        mask = decode_segmentation(outline, height, width)
    except BadItem as bad:
        if instead is None:
            raise
        lost.append(BadItem(bad.code, f"{bad.text}; the bbox is used instead"))
        annotation["segmentation"] = None
        return None
    if mask.any():
        return mask
    if instead is not None:
        lost.append(BadItem("no_pixel", "the segmentation covers no pixel; the bbox is used"))
    return None


def mask_box(outline: Any, width: int, height: int) -> Box | None:
    """The box around a mask without drawing it; None without a mask, or one that is malformed."""
    if isinstance(outline, list):
        return polygons_box(outline, width, height)
    if not isinstance(outline, dict):
        return None
    try:
        runs = run_lengths(outline, height, width)
    except BadItem:
        return None
    x, y, wide, high = coco_masks.toBbox(runs).tolist()
    return np.array([x, y, x + wide, y + high]) if wide and high else None


def _fills(mask: Bool[np.ndarray, "h w"], box_xyxy: Box) -> bool:
    """Whether a mask is a filled box, of a size that does not occur by chance."""
    sides = box_xyxy[2:] - box_xyxy[:2]
    return bool(sides.min() >= SOLID_PX and mask.sum() == np.prod(sides))
