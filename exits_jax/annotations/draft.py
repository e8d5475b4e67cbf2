"""A COCO-style document in the making, filled by every reader of another tool's files.

What a reader passes over is counted here and noted once, so that nothing is lost silently.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.coco import Report
from exits_jax.annotations.extreme import order_points
from exits_jax.annotations.geometry import may_be_extreme, points_fit, within
from exits_jax.annotations.image_files import BY_REACH, FRAME_UNCLEAR, measured
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.image_names import name_parts
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.annotations.summary import counted
from exits_jax.system.errors import one_line

MOST_KINDS = 12  # of things passed over that are told apart
LONGEST_PLACE = 80  # characters by which a place is named in a note


class PassedOver:
    """Counts of what a reader does not read, or reads otherwise than it is written."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str) -> None:
        """Counts one more; `what` is a plural with what happens to it: "polylines are not read"."""
        if what not in self._found and len(self._found) >= MOST_KINDS:
            what = "other things are not read"
        count, first = self._found.get(what, (0, one_line(where)[:LONGEST_PLACE]))
        self._found[what] = (count + 1, first)

    def say(self, report: Report) -> None:
        """One note for all of it: how many there were of each kind, and where the first was."""
        kinds = [
            f"{what}: {count} (the first: {first})" for what, (count, first) in self._found.items()
        ]
        if kinds:
            report(Problem("passed_over", "; ".join(kinds), note=True))


@dataclasses.dataclass
class _Object:
    """An object as it was read, and the points that a tool keeps with it."""

    category: str
    entry: dict[str, Any]
    points_xy: Float[np.ndarray, "n 2"]
    where: str

    @property
    def place(self) -> tuple[int, str]:
        return self.entry["image_id"], self.category

    @property
    def xyxy(self) -> Float[np.ndarray, "4"]:
        x, y, width, height = self.entry["bbox"]
        return np.array([x, y, x + width, y + height])

    def fits(self, points_xy: Float[np.ndarray, "n 2"]) -> bool:
        """Whether points can be its extreme points; with a mask they are not needed."""
        if len(points_xy) != 4 or "segmentation" in self.entry:
            return False
        if "bbox" in self.entry:
            return points_fit(order_points(points_xy), self.xyxy)
        return may_be_extreme(points_xy)


class Draft:
    """Images and objects as they are read; `document` numbers them.

    Attributes:
      passed: what is counted instead of read.
    """

    def __init__(self, report: Report) -> None:
        self.passed = PassedOver()
        self._report = report
        self._images: list[dict[str, Any]] = []
        self._objects: list[_Object] = []
        self._joined: list[tuple[int, str]] = []
        self._named: dict[str, tuple[str, dict[str, Any], bool]] = {}  # where, image, `again`

    def add_image(
        self,
        name: str,
        size: tuple[int, int],
        where: str,
        *,
        again: bool = False,
        unclear: bool | str = False,
    ) -> dict[str, Any]:
        """A new image, or the one of that name.

        Args:
          name: the file's, as written: the image folder is searched by it.
          size: width and height in pixels.
          where: the place in the annotations that names it.
          again: several entries may mean one image, which is noted.
          unclear: whether its frame is, a value of `FRAME_UNCLEAR`.

        Raises:
          BadItem: another entry has named this image, with another size where it may, or it is not
            a file name.
        """
        path = "/".join(name_parts(name))
        if path in self._named:
            other, image, may = self._named[path]
            sizes = "{} x {} and {} x {}".format(image["width"], image["height"], *size)
            same = (image["width"], image["height"]) == size
            both = f"{where} and {other} both" if where != other else f"two entries, {where},"
            text = f"{both} mean the image {shown(name)}"
            if again and may and same:
                self._report(Problem("image_twice", text, image_id=image["id"], note=True))
                return image
            text += "" if same else f", with the sizes {sizes}"
            raise BadItem("duplicate_image", f"{text}; leave one of them out")
        image = {"id": len(self._images) + 1, "file_name": name}
        image |= {"width": size[0], "height": size[1]}
        image |= {FRAME_UNCLEAR: unclear} if unclear else {}
        self._images.append(image)
        self._named[path] = where, image, again
        return image

    def add_measured(
        self,
        name: str,
        path: pathlib.Path,
        exif: str,
        where: str,
        *,
        again: bool = False,
        pixels: bool = False,
    ) -> dict[str, Any]:
        """A new image whose size is that of the file; `exif` as `image_files.measured`.

        Args:
          name, where, again: as `add_image`.
          path: the file.
          exif: as `image_files.measured`.
          pixels: whether its boxes are certainly in pixels: they may then tell its frame.

        Raises:
          BadItem: as `add_image`, or it is not an image.
        """
        size = measured(path, exif)
        unclear = BY_REACH if pixels and size[FRAME_UNCLEAR] else size[FRAME_UNCLEAR]
        sides = size["width"], size["height"]
        return self.add_image(name, sides, where, again=again, unclear=unclear)

    def add_unsized(
        self,
        name: str,
        images: ImageFolder | None,
        where: str,
        *,
        again: bool = True,
        pixels: bool = True,
    ) -> dict[str, Any]:
        """A new image, or the one of that name, whose size is not stated; as `add_measured`.

        Raises:
          BadItem: there is no image folder, or no such image in it.
        """
        if images is None:
            text = f"the size of {shown(name)} is not stated; give the image folder to take it from"
            raise BadItem("bad_size", text)
        path = images.find([name])
        return self.add_measured(name, path, images.exif, where, again=again, pixels=pixels)

    def add(
        self,
        image: dict[str, Any],
        category: str,
        entry: dict[str, Any],
        points_xy: Float[np.ndarray, "n 2"] | None = None,
        where: str = "",
    ) -> None:
        """An object of a category on an image.

        Args:
          image: of `add_image`.
          category: its name.
          entry: its COCO annotation; empty if there are only points.
          points_xy: beside it; they are read or counted by `_with_points`.
          where: the place in the annotations that holds the points.
        """
        points = np.zeros((0, 2)) if points_xy is None else points_xy
        entry = {"image_id": image["id"], "iscrowd": 0, **entry}
        self._objects.append(_Object(category, entry, points, where))

    def refuse(self, bad: BadItem, where: str, image: dict[str, Any] | None = None) -> None:
        """Reports a mistake in one item, which is left out."""
        image_id = None if image is None else image["id"]
        self._report(Problem(bad.code, f"{where}: {bad.text}", image_id=image_id))

    def count_points(self, points: Sized, where: str) -> None:
        """Counts points that are not read."""
        for _ in range(len(points)):
            self.passed.add("points are not read (four at the sides of an object are)", where)

    def count_joined(self, shapes: int, where: str) -> None:
        """Counts the outlines that become one object, if there are several."""
        if shapes > 1:
            self._joined.append((shapes, where))

    def document(self, names: Iterable[str] = ()) -> dict[str, Any]:
        """The document; notes what was passed over.

        Args:
          names: categories in the order in which the tool lists them; those that only objects
            name follow in alphabetical order.
        """
        objects = [*self._with_points()]
        self.passed.say(self._report)
        if self._joined:
            shapes, places = zip(*self._joined, strict=True)
            first, count = one_line(places[0])[:LONGEST_PLACE], counted(len(places), "object")
            text = f"{sum(shapes):,} shapes of one label and group are joined into {count}"
            text += f" (the first: {first})"
            self._report(Problem("shapes_joined", text, note=True))
        used = sorted({one.category for one in objects})
        numbers = {name: k for k, name in enumerate(dict.fromkeys([*names, *used]), start=1)}
        return {
            "images": self._images,
            "annotations": [
                {"id": k, "category_id": numbers[one.category], **one.entry}
                for k, one in enumerate(objects, start=1)
            ],
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        }

    def _with_points(self) -> Iterator[_Object]:
        """The objects, with the points that can be their extreme points; the others are counted.

        Tools do not say what points are for. Four at the sides of a box are its extreme points, and
        so are four drawn alone, where no box of their category is around them.
        """
        boxes = collections.defaultdict(list)
        for one in self._objects:
            if "bbox" in one.entry:
                boxes[one.place].append(one)
        kept = []
        for one in self._objects:
            alone = len(one.points_xy) and "bbox" not in one.entry
            around = [box for box in boxes[one.place] if alone and within(one.points_xy, box.xyxy)]
            theirs = [box for box in around if not len(box.points_xy) and box.fits(one.points_xy)]
            if len(theirs) == 1:
                theirs[0].points_xy, theirs[0].where = one.points_xy, one.where
            elif around:
                self.count_points(one.points_xy, one.where)
            else:
                kept.append(one)
        for one in kept:
            if one.fits(one.points_xy):
                one.entry["extreme_points"] = one.points_xy.tolist()
                text = f"{one.where}: four points are read as extreme points"
                self._report(Problem("keypoints_used", text, note=True))
            else:
                self.count_points(one.points_xy, one.where)
            if {"bbox", "extreme_points"} & one.entry.keys() or not len(one.points_xy):
                yield one
