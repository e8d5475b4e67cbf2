"""A COCO-style document in the making: what every reader of another tool's files fills.

What a reader walks past is counted here and said once, so that nothing is lost without a word.
"""

import pathlib
from collections.abc import Iterable
from typing import Any

from exits_jax.annotations.coco import Report
from exits_jax.annotations.image_files import measured, size_on_disk
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.image_names import name_parts
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.errors import one_line

MOST_KINDS = 12  # of things passed over that are told apart
LONGEST_PLACE = 80  # characters by which a place is named in a note


class PassedOver:
    """Counts of what a reader does not read, or reads otherwise than it stands there."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str) -> None:
        """Counts one more; `what` is a plural with what happens to it: "polylines are not read"."""
        if what not in self._found and len(self._found) >= MOST_KINDS:
            what = "other things are not read"
        count, first = self._found.get(what, (0, one_line(where)[:LONGEST_PLACE]))
        self._found[what] = (count + 1, first)

    def say(self, report: Report) -> None:
        """One note for all of it: of each kind how many there were, and where the first was."""
        kinds = [
            f"{what}: {count} (the first: {first})" for what, (count, first) in self._found.items()
        ]
        if kinds:
            report(Problem("passed_over", "; ".join(kinds), note=True))


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
          name: the file's, as it stands there: the image folder is searched by it.
          size: width and height in pixels.
          where: what of the annotations it stands in.

        Raises:
          BadItem: another entry has named this image, or it is no file name.
        """
        path = "/".join(name_parts(name))
        if path in self._named:
            text = f"{where} and {self._named[path]} both mean the image {shown(name)}"
            raise BadItem("duplicate_image", f"{text}; leave one of them out")
        self._named[path] = where
        image = {"id": len(self._images) + 1, "file_name": name}
        image |= {"width": size[0], "height": size[1]}
        self._images.append(image)
        return image

    def add_measured(self, name: str, path: pathlib.Path, exif: str, where: str) -> dict[str, Any]:
        """A new image whose size is that of the file; `exif` as `image_files.measured`.

        Raises:
          BadItem: as `add_image`, or it is no image.
        """
        size = measured(path, exif)
        image = self.add_image(name, (size["width"], size["height"]), where)
        image.update(size)
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


def image_size(name: str, images: ImageFolder | None) -> tuple[int, int]:
    """Width and height of an image whose annotations do not say them, from its file.

    Raises:
      BadItem: there is no image folder, or no such image in it.
    """
    if images is None:
        text = f"the size of {shown(name)} is not stated; give the image folder to take it from"
        raise BadItem("bad_size", text)
    return size_on_disk(images.find([name]), images.exif)
