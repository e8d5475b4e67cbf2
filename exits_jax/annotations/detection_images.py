"""Which image a detector's box is on: by the image's id, or by its file name or stem.

Ultralytics writes the stem of the file name, as a whole number where it is all digits, whatever the
image's id is; so a number may be an id or a name, and only the whole file can tell.
"""

import functools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from exits_jax.annotations.coco import Report
from exits_jax.annotations.image_names import originals
from exits_jax.annotations.lvis import image_file_names
from exits_jax.annotations.numbers import LONGEST, id_key, is_nan, shown, whole_number
from exits_jax.annotations.records import BadItem, Detection, Problem

ImageId = int | str  # text ids are numbered later, by `identities`
IMAGES_BY = ("auto", "id", "name")
DEEPEST = 8  # folders of a file name that are compared
BOTH = "; give each box a file_name, or say which with --config.data.boxes_by=id or name"
TWINS = "; give each box a file_name with its folders, or the image's id (and data.boxes_by=id)"


class Key(NamedTuple):
    """What a box says about its image."""

    image_id: int | float | str | None
    file_name: str | None


def key_of(detection: Detection) -> Key:
    """What a box says about its image; None for what is neither number nor text."""
    image_id = detection.row.get("image_id")
    if type(image_id) not in (int, float, str) or is_nan(image_id):
        image_id = None
    return Key(image_id, detection.file_name)


def read_image_ids(
    images: Any, found: list[Detection], report: Report, images_by: str = "auto"
) -> Callable[[Detection], ImageId]:
    """How the images of a file's boxes are found; a note says if it is by name.

    Args:
      images: the list of a COCO-style document, still unchecked.
      found: the `Detection`s of the file.
      report: takes the note.
      images_by: "id", "name", or "auto": ids win, unless only names fit all boxes, or each box
        gives a file name.

    Returns:
      A function from a detection to its image's id, which raises BadItem where there is no image.

    Raises:
      BadItem: two images share a name that is used, or numbers may be ids of some images and names
        of others.
    """
    known = KnownImages(images if isinstance(images, list) else [])
    counts = Counter(map(key_of, found))
    ids = {key: known.with_id(key.image_id) for key in counts}
    chosen = {key: [image] for key, image in ids.items() if image is not None}
    if images_by != "id":
        names = known.named([*counts])
        chosen = names if images_by == "name" else _chosen(known, chosen, names)
    if images_by == "auto":
        _refuse_shift(known, [k for k in counts if chosen.get(k, []) in ([], [ids[k]])])
    for key, meant in chosen.items():
        if len(meant) > 1:
            first, second = (f"{known.names[image]} (image {image})" for image in meant[:2])
            raise BadItem("ambiguous_image", f"{_said(key)} may be {first} or {second}{TWINS}")
    reading = {key: meant[0] for key, meant in chosen.items() if meant}
    _refuse_taken(known, reading)
    _note_names(known, reading, ids, counts, report)

    def image_id(detection: Detection) -> ImageId:
        key = key_of(detection)
        if key not in reading:
            raise BadItem("absent_image", f"{_said(key)} is neither an id nor a name of an image")
        return reading[key]

    return image_id


def _chosen(
    known: "KnownImages", ids: dict[Key, list[ImageId]], names: dict[Key, list[ImageId]]
) -> dict[Key, list[ImageId]]:
    """The images meant by each key, ids or names.

    Raises:
      BadItem: both are possible, and differ.
    """
    all_named = all(names.values())
    stated = all(key.file_name for key in names)
    if all_named and (stated or len(ids) < len(names)):
        return names
    differ = [key for key in ids if names[key] and names[key] != ids[key]]
    if differ and (all_named or any(names[key] for key in names if key not in ids)):
        key = differ[0]
        by_id, by_name = known.names[ids[key][0]], known.names[names[key][0]]
        raise BadItem(
            "ambiguous_image", f"{_said(key)} is the id of {by_id} and the name of {by_name}{BOTH}"
        )
    return names | ids


def _refuse_shift(known: "KnownImages", by_id: list[Key]) -> None:
    """Refuses ids that are counted from 0 where the file's are from 1, or the other way round.

    Only the numbers at the ends are then not ids: all other boxes would be on a neighbouring image.

    Raises:
      BadItem: they are.
    """
    used = {number for key in by_id if (number := whole_number(key.image_id)) is not None}
    count = {number for number in known.names if isinstance(number, int)}
    for step, end in ((1, 0), (-1, max(count, default=0) + 1)):
        if end in used - count and {number + step for number in used} <= count:
            first, other = (0, 1) if step == 1 else (1, 0)
            text = f"image_id {end} is none of the file's: are the boxes' counted from {first}, and"
            raise BadItem("absent_image", f"{text} the file's from {other}{BOTH}")


def _refuse_taken(known: "KnownImages", reading: dict[Key, ImageId]) -> None:
    """Refuses two names that mean one image once a tool's additions are removed: copies may differ.

    Raises:
      BadItem: there are two.
    """
    names: dict[ImageId, dict[str, Key]] = {}
    for key, image in reading.items():
        names.setdefault(image, {}).setdefault(_last_part(_value(key)), key)
    for image, found in names.items():
        if len(found) > 1 and known.loose & found.keys():
            first, second = [*map(_said, found.values())][:2]
            raise BadItem(
                "image_taken",
                f"{first} and {second} would both be {known.names[image]} without a tool's "
                "additions to the name: the copies that it made may differ",
            )


def _note_names(
    known: "KnownImages",
    reading: dict[Key, ImageId],
    ids: dict[Key, ImageId | None],
    counts: Counter[Key],
    report: Report,
) -> None:
    """Notes how many boxes name their image by something other than its id."""
    named = [key for key, image in reading.items() if ids[key] != image]
    if named:
        text = (
            f"the image is found by its file name for {sum(counts[key] for key in named):,} of"
            f" {counts.total():,} boxes: {_said(named[0])} is"
            f" {known.names[reading[named[0]]]} (image {reading[named[0]]})"
        )
        report(Problem("by_name", text, note=True))


def _value(key: Key) -> int | float | str | None:
    """What a box names its image by."""
    return key.image_id if key.file_name is None else key.file_name


def _last_part(value: int | float | str | None) -> str:
    return _plain(str(value)).casefold().rpartition("/")[2]


def _said(key: Key) -> str:
    if key.file_name is None:
        return f"image_id {shown(key.image_id)}"
    return f"image_id {shown(key.image_id)} with file_name {shown(key.file_name)}"


class KnownImages:
    """The images of a document by id and by every spelling of their names.

    Attributes:
      names: the first file name by id.
      loose: names, folded and without folders, that were found without a tool's additions.
    """

    def __init__(self, images: list[Any]) -> None:
        self._all: dict[ImageId, list[str]] = {}
        self.loose: set[str] = set()
        for image in images:
            number = id_key(image.get("id")) if isinstance(image, dict) else None
            if number is not None:
                self._all.setdefault(number, [_plain(name) for name in image_file_names(image)])
        self.names = {number: (names or ["?"])[0] for number, names in self._all.items()}

    def with_id(self, value: int | float | str | None) -> ImageId | None:
        """The id that a value means, however it is written; None if no image has it."""
        number = id_key(value)
        if number not in self._all:
            return None
        padded = isinstance(value, str) and value.strip() != str(number) and value.isdecimal()
        name = self._named(value) if padded else []  # "000123" is a name
        return None if name and name != [number] else number

    def named(self, keys: list[Key]) -> dict[Key, list[ImageId]]:
        """The ids of the images that each key may name, by its file name if it has one."""
        values = {key: _value(key) for key in keys}
        texts = [_plain(value) for value in values.values() if isinstance(value, str)]
        if len(texts) == len(values) and any("/" in text for text in texts):
            whole = {key: self._whole.get(_plain(value), []) for key, value in values.items()}
            if all(whole.values()):  # names with their folders: "a.jpg" is not "sub/a.jpg"
                return whole
        return {key: self._named(value) for key, value in values.items()}

    def _named(self, value: int | float | str | None) -> list[ImageId]:
        number = whole_number(value)
        if not isinstance(value, str):
            return [] if number is None else self._numbers.get(number, [])
        text = _plain(value)
        exact = _both(self._suffixes, self._whole, text)
        exact = exact or self._loosely(text)
        return exact or (self._numbers.get(int(text), []) if _is_number(text) else [])

    def _loosely(self, text: str) -> list[ImageId]:
        """The images of a name in any case, also without what tools add to names."""
        folder, slash, name = text.casefold().rpartition("/")
        added = [*originals(name).values(), *originals(f"{name}.jpg").values()]  # of a stem, too
        for spelling in (name, *added):
            whole = f"{folder}{slash}{spelling}"
            if found := _both(self._folded_suffixes, self._folded_whole, whole):
                if spelling != name:
                    self.loose.add(name)
                return found
        return []

    @functools.cached_property
    def _whole(self) -> dict[str, list[ImageId]]:
        """By the name, with and without its extension."""
        return self._by(_endings)

    @functools.cached_property
    def _suffixes(self) -> dict[str, list[ImageId]]:
        """By the name without some or all of its folders, with and without its extension."""
        return self._by(lambda name: (end for part in _shorter(name) for end in _endings(part)))

    @functools.cached_property
    def _folded_whole(self) -> dict[str, list[ImageId]]:
        return _folded(self._whole)

    @functools.cached_property
    def _folded_suffixes(self) -> dict[str, list[ImageId]]:
        return _folded(self._suffixes)

    @functools.cached_property
    def _numbers(self) -> dict[int, list[ImageId]]:
        """By the stem, as a number."""
        return self._by(_stem_numbers)

    def _by(self, spellings: Callable[[str], Iterator[Any]]) -> dict[Any, list[ImageId]]:
        table: dict[Any, list[ImageId]] = {}
        for image, names in self._all.items():
            for spelling in dict.fromkeys(s for name in names for s in spellings(name)):
                table.setdefault(spelling, []).append(image)
        return table


def _both(
    suffixes: dict[str, list[ImageId]], whole: dict[str, list[ImageId]], text: str
) -> list[ImageId]:
    """Images whose names end with the text, or with whose whole names the text ends."""
    hits = [*suffixes.get(text, [])]
    for shorter in [*_shorter(text)][1:]:
        hits += whole.get(shorter, [])
    return [*dict.fromkeys(hits)]


def _plain(name: str) -> str:
    """A name in one spelling of its separators and letters."""
    text = unicodedata.normalize("NFC", name).replace("\\", "/")
    return text.removeprefix("./")


def _shorter(name: str) -> Iterator[str]:
    """The name, and without its first folder, the first two, and so on."""
    yield name
    for _ in range(DEEPEST):
        _, found, name = name.partition("/")
        if not found:
            return
        yield name


def _endings(name: str) -> Iterator[str]:
    """The name with and without its extension."""
    yield name
    stem, dot, ending = name.rpartition(".")
    if dot and stem and "/" not in ending and not stem.endswith("/"):
        yield stem


def _stem_numbers(name: str) -> Iterator[int]:
    return (int(stem) for stem in _endings(name.rpartition("/")[2]) if _is_number(stem))


def _is_number(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= LONGEST


def _folded(table: dict[str, list[ImageId]]) -> dict[str, list[ImageId]]:
    folded: dict[str, list[ImageId]] = {}
    for spelling, images in table.items():
        folded.setdefault(spelling.casefold(), []).extend(images)
    return {spelling: [*dict.fromkeys(images)] for spelling, images in folded.items()}
