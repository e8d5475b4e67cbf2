"""A COCO-style document -> instances. Every file kind ends here, once it is such a document."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.extreme import jitter_points
from exits_jax.annotations.fields import is_crowd, locate, stated_area
from exits_jax.annotations.image_files import check_file_name, stated_size
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.lvis import image_file_names
from exits_jax.annotations.numbers import shown, small_id, whole_id
from exits_jax.annotations.records import BadItem, ImageRecord, Instance, Problem
from exits_jax.progress import track

LONG = 20_000  # annotations that take more than a few seconds to read ...
STRIDE = 1_000  # ... and how many the progress bar takes at a time

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
            names[category_id] = _category_name(category.get("name", category_id))
        except BadItem as bad:
            report(Problem(bad.code, bad.text))
    return names


def _category_name(name: Any) -> str:
    """A name as text that any file takes; lone surrogates become question marks."""
    text = name if isinstance(name, str) else shown(name)
    return text.encode("utf-8", "replace").decode()


def image_records(
    document: dict[str, Any], images: ImageFolder | None, report: Report
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


def image_record(image: dict[str, Any], images: ImageFolder | None) -> ImageRecord:
    """One entry of `images`, with its file looked up in the image folder.

    Raises:
      UserError: size or file name is missing or cannot be.
    """
    width, height = stated_size(image)
    names = image_file_names(image)
    if not names:
        raise BadItem("no_file_name", f"file_name is {shown(image.get('file_name'))}")
    for name in names:
        check_file_name(name)
    path = images.find(names) if images else None
    return ImageRecord(image["id"], names[0], width, height, path)


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


def identified_annotations(
    document: dict[str, Any], report: Report
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The annotations that are objects with an id of their own, and their positions.

    COCO's own crowd ids are beyond 32 bits; as crowds are passed through, only their uniqueness
    matters. Everything else must fit, because batches carry the ids as int32.
    """
    seen: set[int] = set()
    for index, annotation in enumerate(_shown(document["annotations"])):
        annotation_id = None
        try:
            if not isinstance(annotation, dict):
                raise BadItem("bad_annotation", f"annotation {index} is {shown(annotation)}")
            annotation_id = whole_id(annotation.get("id"), f"the id of annotation {index}")
            if annotation_id in seen:
                raise BadItem("duplicate_id", f"annotation id {annotation_id} appears twice")
            seen.add(annotation_id)
            if not is_crowd(annotation):
                small_id(annotation_id, "annotation id")
        except BadItem as bad:
            report(Problem(bad.code, bad.text, annotation_id))
        else:
            yield index, annotation


def _shown(annotations: list[Any]) -> Iterator[Any]:
    """The annotations one after the other, with a progress bar if they take more than seconds."""
    if len(annotations) < LONG:
        yield from annotations
        return
    with track("read annotations", len(annotations)) as progress:
        for first in range(0, len(annotations), STRIDE):
            part = annotations[first : first + STRIDE]
            yield from part
            progress.advance(len(part))


def read_instances(
    document: dict[str, Any],
    images: dict[int, ImageRecord],
    categories: dict[int, str],
    rule: PointRule,
    report: Report,
) -> list[Instance]:
    """The non-crowd annotations as instances, in document order; mistakes go to `report`."""
    instances: list[Instance] = []
    for index, annotation in identified_annotations(document, report):
        if is_crowd(annotation):
            continue
        try:
            image = image_of(annotation, images)
            category_id = category_of(annotation, categories)
            box, points, source = locate(annotation, image.width, image.height, rule.rule)
            area = stated_area(annotation, box)
        except BadItem as bad:
            report(annotation_problem(bad, annotation, images))
            continue
        if points is not None:
            points = _with_noise(points, annotation["id"], image, rule)
        category = categories[category_id]
        # A number of its own: sharing the row's would pin the memory that `PackedRows` gives back.
        instance_id = annotation["id"] + 0
        instances.append(
            Instance(instance_id, index, image, category_id, category, box, points, source, area)
        )
    return instances


def image_of(annotation: dict[str, Any], images: dict[int, ImageRecord]) -> ImageRecord:
    """The image an annotation is on.

    Raises:
      UserError: there is no such image, or it was left out for a mistake of its own.
    """
    image_id = annotation.get("image_id")
    if type(image_id) is not int or image_id not in images:
        raise BadItem("absent_image", f"image_id {shown(image_id)} is not among the usable images")
    return images[image_id]


def category_of(annotation: dict[str, Any], categories: dict[int, str]) -> int:
    """The category id of an annotation.

    Raises:
      UserError: there is no such category.
    """
    category_id = annotation.get("category_id")
    if type(category_id) is not int or category_id not in categories:
        raise BadItem("absent_category", f"category_id {shown(category_id)} is not in categories")
    return category_id


def annotation_problem(
    bad: BadItem, annotation: dict[str, Any], images: dict[int, ImageRecord]
) -> Problem:
    """A mistake in an annotation as a problem that names the annotation and its image."""
    image_id = annotation.get("image_id")
    if type(image_id) is not int or image_id not in images:
        return Problem(bad.code, bad.text, annotation["id"])
    text = f"{bad.text} (image {images[image_id].file_name})"
    return Problem(bad.code, text, annotation["id"], image_id)


def _with_noise(
    points_xy: Float[np.ndarray, "4 2"], annotation_id: int, image: ImageRecord, rule: PointRule
) -> Float[np.ndarray, "4 2"]:
    """Points with the rule's click noise, the same whatever else is in the file."""
    if rule.click_noise == 0:
        return points_xy
    rng = np.random.default_rng([rule.seed % 2**32, annotation_id % 2**32])
    bounds = np.array([0.0, 0.0, image.width, image.height])
    return jitter_points(points_xy, bounds, rule.click_noise, rng)


def _kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "missing"
    return {dict: "an object", list: "a list", str: "text"}.get(type(value), "a single value")
