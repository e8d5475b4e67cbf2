"""Keys of a COCO-style document's rows that are spelled otherwise: imageId, filename, isCrowd."""

from collections.abc import Iterator
from typing import Any

from exits_jax.annotations.records import Problem

KEYS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": (
        *("id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd"),
        *("extreme_points", "keypoints"),
    ),
    "categories": ("id", "name"),
}
OTHERWISE = {"annotations": {"box": "bbox", "boundingbox": "bbox"}}


def plain_keys(document: dict[str, Any]) -> Iterator[Problem]:
    """Gives keys COCO's spelling, in place, in rows that lack the key so spelled.

    Yields:
      a note of those that were spelled otherwise.
    """
    said: dict[str, int] = {}
    for name, keys in KEYS.items():
        known = {_folded(key): key for key in keys} | OTHERWISE.get(name, {})
        spelled: dict[tuple[str, ...], dict[str, str]] = {}  # rows of a file have the same keys
        for row in document[name]:
            if not isinstance(row, dict):
                continue
            found = tuple(row)
            if found not in spelled:
                spelled[found] = _spelled(found, known)
            for other, key in spelled[found].items():
                row[key] = row.pop(other)
                said[f"{other} is {key}"] = said.get(f"{other} is {key}", 0) + 1
    if said:
        rows = ", ".join(f"{count:,} x {what}" for what, count in said.items())
        yield Problem("other_keys", f"keys read as those they mean: {rows}", note=True)


def _spelled(found: tuple[str, ...], known: dict[str, str]) -> dict[str, str]:
    """COCO's names for keys of a row, where no other key of the row can be meant."""
    meant: dict[str, list[str]] = {}
    for key in found:
        if (name := known.get(_folded(key))) is not None:
            meant.setdefault(name, []).append(key)
    single = {name: others[0] for name, others in meant.items() if len(others) == 1}
    return {other: name for name, other in single.items() if other != name}


def _folded(key: str) -> str:
    return key.replace("_", "").replace("-", "").replace(" ", "").lower()
