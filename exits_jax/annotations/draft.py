"""A COCO-style document in the making: what every reader of another tool's files fills.

What a reader walks past is counted here and said once, so that nothing is lost without a word.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from jaxtyping import Float
from pycocotools import mask as coco_masks

from exits_jax.annotations.coco import Report
from exits_jax.annotations.image_files import MAX_SIDE, size_on_disk
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.masks import run_lengths
from exits_jax.annotations.numbers import finite_numbers, shown
from exits_jax.annotations.records import BadItem, Problem

FAR_PX = 10 * MAX_SIDE  # no coordinate of a shape on an image is beyond this
RING_CORNERS = 72  # of a circle drawn as a polygon: within 0.1 % of its radius


class PassedOver:
    """Counts of what a reader does not read, or reads otherwise than it stands there."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str) -> None:
        """Counts one more; `what` is a plural with what happens to it: "polylines are not read"."""
        count, first = self._found.get(what, (0, where))
        self._found[what] = (count + 1, first)

    def say(self, report: Report) -> None:
        """One note for each kind, with how many there were and the first of them."""
        for what, (count, first) in self._found.items():
            report(Problem("passed_over", f"{count} {what}; the first: {first}", note=True))


class Draft:
    """Images and objects as they are read; `document` numbers them.

    Attributes:
      passed: what is counted instead of read.
    """

    def __init__(self, report: Report) -> None:
        self.passed = PassedOver()
        self._report = report
        self._images: list[dict[str, Any]] = []
        self._objects: list[tuple[str, dict[str, Any]]] = []
        self._named: dict[str, str] = {}

    def add_image(self, name: str, size: tuple[int, int], where: str) -> dict[str, Any]:
        """A new image.

        Args:
          name: the file's, relative to the image folder.
          size: width and height in pixels.
          where: what of the annotations it stands in.

        Raises:
          BadItem: another entry has named this image.
        """
        if name in self._named:
            text = f"{where} and {self._named[name]} both mean the image {shown(name)}"
            raise BadItem("duplicate_image", f"{text}; leave one of them out")
        self._named[name] = where
        image = {"id": len(self._images) + 1, "file_name": name}
        image |= {"width": size[0], "height": size[1]}
        self._images.append(image)
        return image

    def add(self, image: dict[str, Any], category: str, entry: dict[str, Any]) -> None:
        """An object of a category on an image."""
        self._objects.append((category, {"image_id": image["id"], "iscrowd": 0, **entry}))

    def refuse(self, bad: BadItem, where: str, image: dict[str, Any] | None = None) -> None:
        """Reports a mistake in one item, which is left out."""
        image_id = None if image is None else image["id"]
        self._report(Problem(bad.code, f"{where}: {bad.text}", image_id=image_id))

    def document(self, names: Iterable[str] = ()) -> dict[str, Any]:
        """The document, and a word on everything that was passed over.

        Args:
          names: categories in the order in which the tool lists them; those that only objects
            name follow in alphabetical order.
        """
        self.passed.say(self._report)
        used = sorted({category for category, _ in self._objects})
        numbers = {name: k for k, name in enumerate(dict.fromkeys([*names, *used]), start=1)}
        return {
            "images": self._images,
            "annotations": [
                {"id": k, "category_id": numbers[category], **entry}
                for k, (category, entry) in enumerate(self._objects, start=1)
            ],
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        }


def relative_name(name: str) -> str:
    """A file's name as other tools write it, made relative to an image folder.

    Addresses lose their scheme and host, paths their drive and what climbs; what is left are the
    components by which the image folder is searched.
    """
    if re.match(r"[A-Za-z][\w+.-]+://", name):
        try:
            name = unquote(urlsplit(name).path)
        except ValueError:  # "http://["
            name = name.split("://", 1)[1]
    parts = re.sub(r"^[A-Za-z]:", "", name).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def image_size(name: str, images: ImageFolder | None) -> tuple[int, int]:
    """Width and height of an image whose annotations do not say them, from its file.

    Raises:
      BadItem: there is no image folder, or no such image in it.
    """
    if images is None:
        text = f"the size of {shown(name)} is not stated; give the image folder to take it from"
        raise BadItem("bad_size", text)
    return size_on_disk(images.find([name]))


def coordinates(values: Any, what: str, count: int | None = None) -> Float[np.ndarray, "n"]:
    """Numbers of a shape as float64, all of them finite and not absurdly far from any image.

    Raises:
      BadItem: they are something else, or not `count` of them.
    """
    numbers = finite_numbers(values)
    right = numbers is not None and count in (None, numbers.size)
    if not right or np.abs(numbers).max(initial=0) > FAR_PX:
        expected = "numbers" if count is None else f"{count} numbers"
        raise BadItem("bad_number", f"{what}: found {shown(values)}; expected {expected}")
    return numbers


def corners(values: Any, what: str) -> Float[np.ndarray, "n 2"]:
    """Corners [[x, y], ...] of a shape, one at least.

    Raises:
      BadItem: they are something else.
    """
    pairs = values if isinstance(values, list | tuple) and values else [None]
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise BadItem("bad_number", f"{what}: found {shown(values)}; expected corners [x, y]")
    return coordinates([side for pair in pairs for side in pair], what).reshape(-1, 2)


def box_entry(low_high: Float[np.ndarray, "n 2"]) -> dict[str, Any]:
    """The box around points: [x, y, width, height] and its area.

    Raises:
      BadItem: it has no area.
    """
    low, high = low_high.min(axis=0), low_high.max(axis=0)
    if (high <= low).any():
        raise BadItem("empty_box", f"a box from {low.tolist()} to {high.tolist()} has no area")
    return {"bbox": [*low.tolist(), *(high - low).tolist()], "area": float(np.prod(high - low))}


def outline_entry(parts: Sequence[Float[np.ndarray, "_ 2"]]) -> dict[str, Any]:
    """An object of one or more polygons: segmentation, the box around them, their area.

    Raises:
      BadItem: a polygon has fewer than three corners, or there is no area.
    """
    if min(len(part) for part in parts) < 3:
        raise BadItem("bad_polygon", "a polygon with fewer than three corners")
    area = sum(_polygon_area(part) for part in parts)
    entry = box_entry(np.concatenate(parts)) | {"area": area}
    return {"segmentation": [part.ravel().tolist() for part in parts], **entry}


def mask_entry(segmentations: Sequence[Any], height: int, width: int) -> dict[str, Any]:
    """An object whose parts are masks, or masks and polygons: their union as run lengths.

    Raises:
      BadItem: a part is malformed, or they cover no pixel.
    """
    runs = coco_masks.merge([run_lengths(part, height, width) for part in segmentations])
    area = int(coco_masks.area(runs))
    if area == 0:
        raise BadItem("empty_mask", "the mask covers no pixel")
    counts = runs["counts"]
    counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {
        "segmentation": {"size": [height, width], "counts": counts},
        "bbox": coco_masks.toBbox(runs).tolist(),
        "area": area,
    }


def turned_box(
    box_xywh: Float[np.ndarray, "4"], degrees: float, about_xy: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "4 2"]:
    """The corners of a box turned clockwise, as one sees it, about a point."""
    x, y, width, height = box_xywh
    around = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    return _turned(around, degrees, about_xy)


def ellipse(
    centre_xy: Float[np.ndarray, "2"], radii_xy: Float[np.ndarray, "2"], degrees: float = 0.0
) -> Float[np.ndarray, "n 2"]:
    """An ellipse as a polygon that touches its own box, turned clockwise about its centre."""
    angles = np.arange(RING_CORNERS) * (2 * math.pi / RING_CORNERS)
    ring = centre_xy + radii_xy * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _turned(ring, degrees, centre_xy)


def _turned(
    points_xy: Float[np.ndarray, "n 2"], degrees: float, about_xy: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "n 2"]:
    angle = math.radians(degrees % 360)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (points_xy - about_xy) @ turn + about_xy


def _polygon_area(polygon_xy: Float[np.ndarray, "n 2"]) -> float:
    x, y = polygon_xy.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
