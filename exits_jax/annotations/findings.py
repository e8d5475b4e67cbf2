"""What the checker finds in one annotation."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from pycocotools import mask as coco_masks

from exits_jax.annotations import fields
from exits_jax.annotations.certificate import fit_flags
from exits_jax.annotations.geometry import ROLES, Geometry, doubts, polygon_area
from exits_jax.annotations.instances import image_of
from exits_jax.annotations.locate import mask_box
from exits_jax.annotations.masks import decode_segmentation, run_lengths
from exits_jax.annotations.numbers import finite_number, finite_numbers, shown
from exits_jax.annotations.records import BadItem, ImageRecord

# A polygon's area and the pixels it covers differ along its outline. Over 4,534 official COCO
# instances the difference stayed below 0.44 of width + height of the box.
AREA_TOLERANCE_PER_SIDE = 0.5
AREA_TOLERANCE = 0.02
# What most converters do to every object of a file: worth one note, not a finding for each.
NOTED = frozenset(("box_area",))


def annotation_findings(
    annotation: dict[str, Any], records: dict[int, ImageRecord], crowded: bool
) -> list[BadItem]:
    """What is wrong with one annotation beyond what reading it finds.

    Args:
      annotation: a dict with an id, as `read_instances` left it.
      records: the usable images.
      crowded: whether most annotations of the file are marked as crowds.
    """
    found: list[BadItem] = []
    attempt = _collector(found)
    attempt(_crowd_trap, annotation, crowded)
    attempt(_extras, annotation)
    try:
        image = image_of(annotation, records)
    except BadItem:
        return found
    size = image.width, image.height
    box = attempt(fields.stated_box, annotation, *size)
    points = attempt(fields.given_points, annotation, box)
    attempt(_role_names, annotation)
    runs = None
    if annotation.get("segmentation"):
        runs = attempt(run_lengths, annotation["segmentation"], image.height, image.width)
    if box is not None:
        area = attempt(fields.stated_area, annotation, box)
        if runs is not None and area is not None:
            attempt(_area_matches, annotation, runs, box)
            if _is_label(annotation) and all(bad.code in NOTED for bad in found):
                found.extend(_misfits(annotation, runs, box, points))
        if points is not None and runs is not None and "exits" not in annotation:
            found.extend(_mask_doubts(annotation, box, size))
    if points is not None:
        attempt(fields.inside_image, points, *size)
    return found


def _mask_doubts(
    annotation: dict[str, Any], box_xyxy: Float[np.ndarray, "4"], size_wh: tuple[int, int]
) -> Iterator[BadItem]:
    """Checks a mask beside points that does not fit the box: reading ignores it."""
    outline = annotation["segmentation"]
    bbox = finite_numbers(annotation["bbox"])
    place = Geometry(bbox, box_xyxy, None, mask_box(outline, *size_wh), size_wh)
    for doubt in doubts(place, made=isinstance(outline, dict)):
        if doubt.code == "box_off_mask":
            yield BadItem(doubt.code, doubt.text)


def _collector(found: list[BadItem]) -> Callable[..., Any]:
    """A function that calls a parser, and returns None and notes the mistake if it refuses."""

    def attempt(parse: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return parse(*arguments)
        except BadItem as bad:
            found.append(bad)
            return None

    return attempt


def _crowd_trap(annotation: dict[str, Any], crowded: bool) -> None:
    """A label marked as a crowd: trainers and evaluators ignore it silently."""
    if not annotation.get("iscrowd"):
        return
    label = "exits" in annotation or "score" in annotation
    if label or (crowded and isinstance(annotation.get("segmentation"), dict)):
        raise BadItem(
            "crowd_label",
            "a label with iscrowd 1, which trainers silently ignore; write iscrowd 0 for run"
            " lengths of a single object, too",
        )


def _extras(annotation: dict[str, Any]) -> None:
    """The "exits" dict of a label file: points in order, score from 0 to 1, flags a list."""
    extras = annotation.get("exits")
    if extras is None:
        return
    if not isinstance(extras, dict):
        raise BadItem("bad_extras", f"exits is {shown(extras)}; expected an object")
    score = finite_number(extras.get("score", 0))
    if score is None or not 0 <= score <= 1:
        raise BadItem("bad_score", f"exits.score is {shown(extras['score'])}; expected 0 to 1")
    flags = extras.get("flags", [])
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        raise BadItem("bad_extras", f"exits.flags is {shown(flags)}; expected a list of text")
    _in_role_order(extras.get("extreme_points"), "exits.extreme_points")


def _in_role_order(points: Any, name: str) -> None:
    """Checks points that claim to be in the order top, left, bottom, right."""
    if points is None:
        return
    rows = points if isinstance(points, list) and len(points) == 4 else [None]
    pairs = [finite_numbers(row) for row in rows]
    if any(pair is None or pair.size != 2 for pair in pairs):
        raise BadItem("bad_points", f"{name} is {shown(points)}; expected four points [x, y]")
    (_, top), (left, _), (_, bottom), (right, _) = pairs
    x, y = np.array(pairs).T
    if (top, left, bottom, right) != (y.min(), x.min(), y.max(), x.max()):
        raise BadItem(
            "points_order", f"{name} {shown(points)} are not in the order top, left, bottom, right"
        )


def _area_matches(
    annotation: dict[str, Any], runs: dict[str, Any], box_xyxy: Float[np.ndarray, "4"]
) -> None:
    """A mask without pixels, or an `area` that is the box's, or neither mask's nor polygons'."""
    if annotation.get("iscrowd"):
        return  # official crowd areas are rough
    segmentation, stated = annotation["segmentation"], annotation.get("area")
    pixels = int(coco_masks.area(runs))
    if pixels == 0 and (isinstance(segmentation, dict) or (stated or 0) >= 1):
        raise BadItem("empty_mask", "the segmentation covers no pixel")
    if stated is None:
        return
    width, height = box_xyxy[2:] - box_xyxy[:2]
    tolerance = AREA_TOLERANCE_PER_SIDE * (width + height) + AREA_TOLERANCE * pixels
    outlined = isinstance(segmentation, list) and abs(stated - _outlined(segmentation)) < 0.01
    if abs(stated - pixels) <= tolerance or outlined:
        return
    text = f"area is {stated:g}{{}}; the mask has {pixels} pixels"
    stated_wh = finite_numbers(annotation["bbox"])[2:]  # not clipped, as converters take it
    if np.isclose(stated, [width * height, np.prod(stated_wh)], rtol=AREA_TOLERANCE).any():
        trap = ", which is the box's area and files the object under the wrong size"
        raise BadItem("box_area", text.format(trap))
    raise BadItem("area_mismatch", text.format(""))


def _is_label(annotation: dict[str, Any]) -> bool:
    """Whether a program made the mask: people draw polygons, programs write run lengths."""
    made = isinstance(annotation["segmentation"], dict) or "exits" in annotation
    return made and not annotation.get("iscrowd")


def _misfits(
    annotation: dict[str, Any],
    runs: dict[str, Any],
    box_xyxy: Float[np.ndarray, "4"],
    points_xy: Float[np.ndarray, "4 2"] | None,
) -> Iterator[BadItem]:
    """Where a label does not fit its box and its points and its flags do not say so."""
    mask = decode_segmentation(runs, *runs["size"])
    if not mask.any():
        return  # already reported
    extras = annotation.get("exits") or {}
    if points_xy is None and extras.get("extreme_points"):
        points_xy = np.array(extras["extreme_points"], np.float64)
    height, width = mask.shape
    flags = fit_flags(mask, (0, 0, width, height), box_xyxy, points_xy, (height, width))
    for flag in flags:
        if flag not in extras.get("flags", []):
            yield BadItem(flag, f"the mask does not fit: {flag.replace('_', ' ')}")


def _outlined(polygons: list[list[float | int]]) -> float:
    """The area inside polygons by their corners, which is what COCO's own files state."""
    areas = (polygon_area(np.array(p, np.float64).reshape(-1, 2)) for p in polygons)
    return float(sum(areas))


def _role_names(annotation: dict[str, Any]) -> None:
    """Checks that points named top, left, bottom and right are just that."""
    given = annotation.get("extreme_points")
    if isinstance(given, dict) and all(given.get(role) is not None for role in ROLES):
        _in_role_order([given[role] for role in ROLES], "extreme_points")
