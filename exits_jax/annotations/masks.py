"""Masks in files: polygons and run lengths, read and written."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco_masks
from scipy import ndimage

from exits_jax.annotations.numbers import finite_numbers, shown
from exits_jax.annotations.records import BadItem

EIGHT_CONNECTED = np.ones((3, 3), int)
# pycocotools takes 5 steps of some 16 bytes for every pixel of a polygon's outline. No outline of a
# real object is this long; a text of a few kilobytes that runs back and forth asks for gigabytes.
MAX_OUTLINE_PX = 2_000_000


def decode_segmentation(segmentation: Any, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """A COCO segmentation as a mask.

    Args:
      segmentation: a list of polygons ([x, y, x, y, ...] in continuous pixel coordinates, three
        corners or more each), or run lengths {"size": [h, w], "counts": ...} in column-major order,
        compressed (str, bytes) or not (list of int).
      height: of the image, in pixels.
      width: of the image, in pixels.

    Raises:
      UserError: the segmentation is malformed or belongs to an image of another size.
    """
    counts = run_lengths(segmentation, height, width)["counts"]
    ends = np.cumsum(_decompress(counts))
    column_major = np.zeros(width * height, bool)
    # Background and object alternate, background first.
    for start, end in zip(ends[:-1:2].tolist(), ends[1::2].tolist(), strict=True):
        column_major[start:end] = True
    return column_major.reshape(width, height).T


def run_lengths(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """A COCO segmentation as the compressed run lengths that pycocotools works on, validated.

    Validation matters: pycocotools reads and writes beyond its memory on malformed counts.

    Raises:
      UserError: as `decode_segmentation`.
    """
    if isinstance(segmentation, Mapping):
        runs = _valid_runs(segmentation, height, width)
        counts = segmentation["counts"]
        if isinstance(counts, list):
            plain = {"size": [height, width], "counts": runs.tolist()}
            return coco_masks.frPyObjects(plain, height, width)
        return {"size": [height, width], "counts": counts}
    if not isinstance(segmentation, list) or not segmentation:
        raise BadItem(
            "bad_segmentation",
            f"segmentation is {shown(segmentation)}; expected polygons or run lengths",
        )
    polygons = [_valid_polygon(polygon, height, width) for polygon in segmentation]
    outline = sum(_outline_px(polygon) for polygon in polygons)
    if outline > MAX_OUTLINE_PX:
        raise BadItem(
            "bad_polygon",
            f"the polygons' outlines are {outline:.0f} pixels long; at most {MAX_OUTLINE_PX} work",
        )
    return coco_masks.merge(coco_masks.frPyObjects(polygons, height, width))


def encode_rle(mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    """A mask as {"size": [h, w], "counts": str}: compressed, column-major, ready for JSON."""
    encoded = coco_masks.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in mask.shape], "counts": encoded["counts"].decode("ascii")}


def parts_and_holes(mask: Bool[np.ndarray, "h w"]) -> tuple[list[int], int]:
    """Areas of the 8-connected components in pixels, largest first, and the number of holes.

    A hole is a 4-connected piece of background that does not reach the border of the image.
    """
    labels, _ = ndimage.label(mask, structure=EIGHT_CONNECTED)
    areas = np.bincount(labels.ravel())[1:]
    return sorted(areas.tolist(), reverse=True), len(hole_areas(mask)[1])


def hole_areas(
    mask: Bool[np.ndarray, "h w"],
) -> tuple[Int[np.ndarray, "h w"], Int[np.ndarray, "holes"]]:
    """The holes of a mask, numbered from 1 on its pixels (0 elsewhere), and their areas in pixels.

    A component of the mask that lies in a hole does not belong to the hole.
    """
    # With a rim of background around it, everything outside is one piece: the first.
    background, _ = ndimage.label(~np.pad(mask, 1))
    holes = np.maximum(background[1:-1, 1:-1] - 1, 0)
    return holes, np.bincount(holes.ravel())[1:]


def _valid_runs(segmentation: Mapping, height: int, width: int) -> Int[np.ndarray, "runs"]:
    """Run lengths of an RLE dict, of the right size, not negative and covering the image."""
    size = segmentation.get("size")
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise BadItem(
            "rle_size",
            f"run lengths of size {shown(size)}; the image is [height, width] [{height}, {width}]",
        )
    counts = segmentation.get("counts")
    runs = _decompress(counts) if isinstance(counts, str | bytes) else _whole_numbers(counts)
    pixels = height * width
    # No run is longer than the image, so their sum cannot overflow.
    whole = runs is not None and runs.size and runs.min() >= 0 and runs.max() <= pixels
    if not whole or runs.sum() != pixels:
        raise BadItem(
            "bad_rle",
            f"counts {shown(counts)} are not run lengths of {height} x {width} = {pixels} pixels",
        )
    return runs


def _decompress(counts: str | bytes) -> Int[np.ndarray, "runs"] | None:
    """The numbers in pycocotools' compressed counts, None if the string is malformed.

    A number is written as groups of five bits, lowest first, one character (48 + group) each; 32
    marks that more follow, and the last group's bit 16 is the sign. From the fourth number on it
    is the difference to the number two places before.
    """
    raw = counts.encode("utf-8", "replace") if isinstance(counts, str) else counts
    codes = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # 35 bits: no image has such runs
        return None
    place = np.arange(codes.size) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << (5 * place), starts)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _whole_numbers(counts: Any) -> Int[np.ndarray, "runs"] | None:
    """A list of int as an array, None if it is anything else."""
    if not isinstance(counts, list) or not all(type(count) is int for count in counts):
        return None
    if any(abs(count) >= 2**31 for count in counts):
        return None
    return np.array(counts, np.int64)


def _valid_polygon(polygon: Any, height: int, width: int) -> list[float]:
    """One polygon, with three corners or more, none more than an image's size away."""
    numbers = finite_numbers(polygon)
    if numbers is None or numbers.size < 6 or numbers.size % 2:
        raise BadItem(
            "bad_polygon",
            f"polygon {shown(polygon)}; expected [x, y, x, y, ...] with three corners or more",
        )
    away = numbers.reshape(-1, 2) / (width, height)
    if away.min() < -1 or away.max() > 2:  # pycocotools walks along every edge in small steps
        raise BadItem(
            "bad_polygon",
            f"polygon {shown(polygon)} is far outside the image of {width} x {height} pixels",
        )
    return numbers.tolist()


def _outline_px(polygon: list[float]) -> float:
    """The length of a closed polygon, each edge by its longer coordinate."""
    corners = np.array(polygon).reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, -1, axis=0)).max(axis=1).sum())
