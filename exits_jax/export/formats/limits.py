"""What a format could not hold, found before any mask is made."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exits_jax.annotations.masks import run_lengths
from exits_jax.annotations.records import BadItem, ImageRecord, Problem
from exits_jax.export.formats.names import class_names
from exits_jax.export.formats.rows import id_in, is_label

MOST_OBJECTS = {"png": 65_534, "voc": 254}  # in an image: one value is background, one void
MOST_CLASSES = {"voc": 254}
BY_NAME = ("voc", "label_studio", "label_studio_polygons")  # identify categories only by name
DRAW_CROWDS = ("png", "voc")
BACKGROUND, VOID = "background", "ignored"  # what VOC folders call 0 and 255
RESERVED = {"voc": (BACKGROUND, VOID)}


def export_problems(
    formats: Sequence[str], document: Mapping[str, Any], images: Mapping[int, ImageRecord]
) -> list[Problem]:
    """What the formats could not hold, known from the annotations alone.

    Args:
      formats: of `FORMATS`.
      document: as read, `Annotations.document`.
      images: `Annotations.images`.
    """
    found = [*_category_problems(formats, [*class_names(document).values()])]
    if set(formats) & set(MOST_OBJECTS):
        found += _object_problems(formats, document["annotations"], images)
    if set(formats) & set(DRAW_CROWDS):
        found += _crowd_problems(document["annotations"], images)
    return found


def _category_problems(formats: Sequence[str], names: Sequence[str]) -> Iterator[Problem]:
    uses = collections.Counter(names)
    for name in formats:
        twice = [word for word, count in uses.items() if count > 1]
        if twice and name in BY_NAME:
            yield Problem(
                "one_name_twice",
                f"{uses[twice[0]]} categories are called '{twice[0]}', and format '{name}' "
                "identifies categories only by name; rename them",
            )
        for word in {*RESERVED.get(name, ())} & uses.keys():
            yield Problem(
                "reserved_name",
                f"a category is called '{word}', which format '{name}' reserves for pixels "
                "without an object; rename it",
            )
        if uses.total() > MOST_CLASSES.get(name, uses.total()):
            yield Problem(
                "too_many_categories",
                f"{uses.total()} categories; format '{name}' holds {MOST_CLASSES[name]}",
            )


def _object_problems(
    formats: Sequence[str], rows: Sequence[Any], images: Mapping[int, ImageRecord]
) -> Iterator[Problem]:
    labels = (row for row in rows if isinstance(row, dict) and is_label(row))
    counts = collections.Counter(id_in(row, "image_id") for row in labels)
    for image_id, count in counts.items():
        for name in formats:
            most = MOST_OBJECTS.get(name, count)
            if count > most and image_id in images:
                yield Problem(
                    "too_many_objects",
                    f"{images[image_id].file_name} has {count} objects; format '{name}' holds"
                    f" {most} in an image",
                    image_id=image_id,
                )


def _crowd_problems(rows: Sequence[Any], images: Mapping[int, ImageRecord]) -> Iterator[Problem]:
    """Crowds are not checked on reading: their masks are needed only here."""
    for row in rows:
        if not isinstance(row, dict) or is_label(row) or not row.get("segmentation"):
            continue
        image = images.get(id_in(row, "image_id"))
        if image is None:
            continue
        try:
            run_lengths(row["segmentation"], image.height, image.width)
        except BadItem as bad:
            yield Problem(bad.code, f"crowd region: {bad.text}", row.get("id"), image.id)
