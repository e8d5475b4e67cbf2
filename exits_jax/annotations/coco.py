"""A COCO-style document -> instances. Every file kind ends here, once it is such a document."""

import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.extreme import extreme_points, jitter_points, order_points, tight_box
from exits_jax.annotations.lvis import image_file_names
from exits_jax.annotations.masks import decode_segmentation
from exits_jax.annotations.numbers import finite_number, finite_numbers, shown, small_id, whole_id
from exits_jax.annotations.records import BadItem, ImageRecord, Instance, Problem

ROLES = ("top", "left", "bottom", "right")
EDGE_TOLERANCE_PX = 1.0  # a click this far outside the image still means its edge
MAX_SIDE = 65_535  # the largest a JPEG can say
MAX_PIXELS = 178_956_970  # where Pillow refuses an image as a decompression bomb

Report = Callable[[Problem], None]  # raises (stop) or lists (skip)


@dataclass(frozen=True)
class PointRule:
    """How points come to be where a file has only masks.

    Attributes:
      rule: "exact" or "extremenet", see `extreme.extreme_points`.
      click_noise: standard deviation in pixels of noise on every point, 0 for none.
      seed: of that noise, together with the annotation's id.
    """

    rule: str = "exact"
    click_noise: float = 0.0
    seed: int = 0


def check_structure(document: Any) -> None:
    """The lists a COCO-style document must have, and at least one annotation.

    Raises:
      UserError: a list is missing or empty.
    """
    if not isinstance(document, dict):
        raise BadItem(
            "bad_document",
            f"the file holds {_kind_of(document)}; expected an object with the lists"
            " images, annotations and categories",
        )
    for name in ("images", "annotations", "categories"):
        if not isinstance(document.get(name), list):
            raise BadItem(
                "bad_document", f"{name!r} is {_kind_of(document.get(name))}; expected a list"
            )
    if not document["annotations"]:
        raise BadItem("no_annotations", "the list of annotations is empty: nothing to label")


def category_names(document: dict[str, Any], report: Report) -> dict[int, str]:
    """Name by category id; a category without a name is called by its number."""
    names: dict[int, str] = {}
    for position, category in enumerate(document["categories"]):
        try:
            if not isinstance(category, dict):
                raise BadItem("bad_category", f"category {position} is {shown(category)}")
            category_id = whole_id(category.get("id"), f"the id of category {position}")
            if category_id in names:
                raise BadItem("duplicate_id", f"category id {category_id} appears twice")
            names[category_id] = str(category.get("name", category_id))
        except BadItem as bad:
            report(Problem(bad.code, bad.text))
    return names


def image_records(
    document: dict[str, Any], images: pathlib.Path | None, report: Report
) -> dict[int, ImageRecord]:
    """The images by id; a second image of an id is reported and left out."""
    records: dict[int, ImageRecord] = {}
    for position, image in enumerate(document["images"]):
        image_id = None
        try:
            if not isinstance(image, dict):
                raise BadItem("bad_image", f"image {position} is {shown(image)}")
            image_id = whole_id(image.get("id"), f"the id of image {position}")
            small_id(image_id, "image id")
            if image_id in records:
                raise BadItem("duplicate_id", f"image id {image_id} appears twice")
            records[image_id] = image_record(image, images)
        except BadItem as bad:
            report(Problem(bad.code, bad.text, image_id=image_id))
    return records


def image_record(image: dict[str, Any], images: pathlib.Path | None) -> ImageRecord:
    """One entry of `images`, with its file looked up in the image folder.

    Raises:
      UserError: size or file name is missing or cannot be.
    """
    width, height = image_size(image)
    names = image_file_names(image)
    if not names:
        raise BadItem("no_file_name", f"file_name is {shown(image.get('file_name'))}")
    for name in names:
        check_file_name(name)
    path = find_image(names, images) if images else None
    return ImageRecord(image["id"], names[0], width, height, path)


def image_size(image: dict[str, Any]) -> tuple[int, int]:
    """Width and height in pixels that an image entry states.

    Raises:
      UserError: they are missing, or no image is like that.
    """
    sides = [image.get("width"), image.get("height")]
    if any(type(side) is not int or not 0 < side <= MAX_SIDE for side in sides):
        raise BadItem(
            "bad_size",
            f"width is {shown(sides[0])} and height {shown(sides[1])};"
            f" expected whole numbers of pixels from 1 to {MAX_SIDE}",
        )
    if sides[0] * sides[1] > MAX_PIXELS:
        raise BadItem("bad_size", f"{sides[0]} x {sides[1]} pixels; at most {MAX_PIXELS} work")
    return sides[0], sides[1]


def check_file_name(name: str) -> None:
    """A file name must stay inside the image folder.

    Raises:
      UserError: it is absolute, climbs out of the folder or cannot be a name.
    """
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or parts[0].endswith(":") or "\0" in name:
        raise BadItem(
            "unsafe_file_name", f"file_name {shown(name)} must be relative to the image folder"
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise BadItem("unsafe_file_name", f"file_name {shown(name)} is no file name") from None


def find_image(names: list[str], images: pathlib.Path) -> pathlib.Path:
    """The first of the names that exists in the folder, with or without its own folders.

    Where none exists, the path of the first name: whoever opens it can say what is missing.
    """
    candidates = [*names, *(os.path.basename(name) for name in names)]
    for name in candidates:
        path = os.path.join(images, name)
        if os.path.isfile(path):
            return pathlib.Path(path)
    return images / names[0]


def number_annotations(annotations: list[Any]) -> None:
    """Fills in absent annotation ids: 1, 2, ... in document order, past the ids in use."""
    entries = [entry for entry in annotations if isinstance(entry, dict)]
    without = [entry for entry in entries if entry.get("id") is None]
    if not without:
        return
    used = {entry["id"] for entry in entries if type(entry.get("id")) is int}
    following = 1
    for entry in without:
        while following in used:
            following += 1
        entry["id"] = following
        following += 1


def read_instances(
    document: dict[str, Any],
    images: dict[int, ImageRecord],
    categories: dict[int, str],
    rule: PointRule,
    report: Report,
) -> list[Instance]:
    """The non-crowd annotations as instances, in document order; mistakes go to `report`."""
    instances: list[Instance] = []
    seen: set[int] = set()
    for index, annotation in enumerate(document["annotations"]):
        annotation_id = None
        try:
            if not isinstance(annotation, dict):
                raise BadItem("bad_annotation", f"annotation {index} is {shown(annotation)}")
            annotation_id = whole_id(annotation.get("id"), f"the id of annotation {index}")
            if annotation_id in seen:
                raise BadItem("duplicate_id", f"annotation id {annotation_id} appears twice")
            seen.add(annotation_id)
            if not is_crowd(annotation):  # COCO's own crowd ids are beyond 32 bits
                small_id(annotation_id, "annotation id")
                instances.append(read_instance(annotation, index, images, categories, rule))
        except BadItem as bad:
            report(Problem(bad.code, bad.text, annotation_id))
    return instances


def is_crowd(annotation: dict[str, Any]) -> bool:
    """Whether an annotation is a region of many objects, which is passed through unlabelled.

    Raises:
      UserError: `iscrowd` is neither 0 nor 1.
    """
    crowd = annotation.get("iscrowd") or 0
    if type(crowd) not in (int, bool) or crowd not in (0, 1):
        raise BadItem("bad_crowd", f"iscrowd is {shown(crowd)}; expected 0 or 1")
    return bool(crowd)


def read_instance(
    annotation: dict[str, Any],
    index: int,
    images: dict[int, ImageRecord],
    categories: dict[int, str],
    rule: PointRule,
) -> Instance:
    """One annotation as an instance: given points, else points of its mask, else its box.

    Raises:
      UserError: anything in it that is used is missing or cannot be.
    """
    image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
    if type(image_id) is not int or image_id not in images:
        raise BadItem("absent_image", f"image_id {shown(image_id)} is not among the images")
    if type(category_id) is not int or category_id not in categories:
        raise BadItem("absent_category", f"category_id {shown(category_id)} is not in categories")
    image = images[image_id]
    box, points, source = locate(annotation, image.width, image.height, rule.rule)
    if points is not None and rule.click_noise > 0:
        rng = np.random.default_rng([rule.seed, annotation["id"] & 0xFFFFFFFF])
        bounds = np.array([0.0, 0.0, image.width, image.height])
        points = jitter_points(points, bounds, rule.click_noise, rng)
    return Instance(
        id=annotation["id"],
        index=index,
        image=image,
        category_id=category_id,
        category=categories[category_id],
        box_xyxy=box,
        points_xy=points,
        points_source=source,
        area=stated_area(annotation, box),
    )


def locate(
    annotation: dict[str, Any], width: int, height: int, rule: str
) -> tuple[Float[np.ndarray, "4"], Float[np.ndarray, "4 2"] | None, str]:
    """Box, extreme points and where the points are from: "given", "mask" or "box".

    A stated box wins over the points' bounding box. A mask is only drawn where no points are given.

    Raises:
      UserError: there is nothing to go by, or it is malformed.
    """
    box = stated_box(annotation, width, height)
    points = given_points(annotation)
    if points is not None:
        points = inside_image(points, width, height)
        return (points_box(points, width, height) if box is None else box), points, "given"
    segmentation = annotation.get("segmentation")
    if segmentation:
        mask = decode_segmentation(segmentation, height, width)
        if mask.any():
            points = extreme_points(mask, rule)
            return (tight_box(mask) if box is None else box), points, "mask"
    if box is None:
        raise BadItem(
            "nothing_given", "found no extreme points, no pixel in a segmentation and no bbox"
        )
    return box, None, "box"


def given_points(annotation: dict[str, Any]) -> Float[np.ndarray, "4 2"] | None:
    """The extreme points an annotation states, in the order top, left, bottom, right.

    Looks for `extreme_points` ([[x, y] x 4], flat [x, y, x, y, ...], {"top": [x, y], ...}), then
    for exactly four `keypoints` triplets (x, y, visibility). Other keypoints, like a person's 17,
    are not extreme points. None where neither is there.

    Raises:
      UserError: they are not four finite points.
    """
    given = annotation.get("extreme_points")
    if given is None or given == []:
        return _four_keypoints(annotation.get("keypoints"))
    values = [given.get(role) for role in ROLES] if isinstance(given, dict) else given
    if isinstance(values, list) and len(values) == 4:
        values = [xy for pair in values for xy in (pair if isinstance(pair, list) else [pair])]
    numbers = finite_numbers(values)
    if numbers is None or numbers.size != 8:
        raise BadItem(
            "bad_points", f"extreme_points is {shown(given)}; expected four finite points [x, y]"
        )
    return order_points(numbers.reshape(4, 2))


def inside_image(
    points_xy: Float[np.ndarray, "4 2"], width: int, height: int
) -> Float[np.ndarray, "4 2"]:
    """Points clipped to the image, where they are no more than a pixel outside it.

    Raises:
      UserError: a point is further out.
    """
    clipped = np.clip(points_xy, 0.0, (width, height))
    worst = int(np.argmax(np.abs(points_xy - clipped).max(axis=1)))
    if np.abs(points_xy - clipped).max() > EDGE_TOLERANCE_PX:
        raise BadItem(
            "point_outside_image",
            f"extreme point {points_xy[worst].tolist()} is outside the image of"
            f" {width} x {height} pixels",
        )
    return clipped


def stated_box(
    annotation: dict[str, Any], width: int, height: int
) -> Float[np.ndarray, "4"] | None:
    """The annotation's `bbox` [x, y, width, height] as xyxy clipped to the image; None without one.

    Raises:
      UserError: it is no box, has no area or lies wholly outside the image.
    """
    stated = annotation.get("bbox")
    if stated is None or stated == []:
        return None
    numbers = finite_numbers(stated)
    if numbers is None or numbers.size != 4:
        raise BadItem("bad_box", f"bbox is {shown(stated)}; expected [x, y, width, height]")
    if numbers[2:].min() <= 0:
        raise BadItem("empty_box", f"bbox {shown(stated)}: width and height must be positive")
    with np.errstate(over="ignore"):
        corners = np.concatenate([numbers[:2], numbers[:2] + numbers[2:]])
    box = np.clip(corners, 0.0, (width, height, width, height))
    if (box[2:] - box[:2]).min() <= 0:
        raise BadItem(
            "box_outside_image",
            f"bbox {shown(stated)} is outside the image of {width} x {height} pixels",
        )
    return box


def points_box(
    points_xy: Float[np.ndarray, "4 2"], width: int, height: int
) -> Float[np.ndarray, "4"]:
    """The bounding box of extreme points, widened to one pixel where they coincide."""
    low, high = points_xy.min(axis=0), points_xy.max(axis=0)
    lacking = np.maximum(1.0 - (high - low), 0.0)
    low, high = low - lacking / 2, high + lacking / 2
    # Widening at the image's edge: push back inside.
    shift = np.maximum(-low, 0.0) - np.maximum(high - (width, height), 0.0)
    return np.concatenate([low + shift, high + shift])


def stated_area(annotation: dict[str, Any], box_xyxy: Float[np.ndarray, "4"]) -> float:
    """The annotation's `area`, or its box's where it has none.

    Raises:
      UserError: the area is not a finite number from 0.
    """
    stated = annotation.get("area")
    if stated is None:
        return float(np.prod(box_xyxy[2:] - box_xyxy[:2]))
    area = finite_number(stated)
    if area is None or area < 0:
        raise BadItem("bad_area", f"area is {shown(stated)}; expected square pixels")
    return area


def _four_keypoints(keypoints: Any) -> Float[np.ndarray, "4 2"] | None:
    """Four keypoint triplets as extreme points; None for any other number of them."""
    if not isinstance(keypoints, list) or len(keypoints) != 12 or not any(keypoints):
        return None
    triplets = finite_numbers(keypoints)
    if triplets is None or triplets[2::3].min() <= 0:
        raise BadItem(
            "bad_points", f"keypoints {shown(keypoints)}: four finite, labelled points expected"
        )
    return order_points(triplets.reshape(4, 3)[:, :2])


def _kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "missing"
    return {dict: "an object", list: "a list", str: "text"}.get(type(value), "a single value")
