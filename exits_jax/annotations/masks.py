"""Masks in files: polygons and run lengths, both ways."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco_masks
from scipy import ndimage

from exits_jax.annotations.numbers import finite_numbers, shown
from exits_jax.annotations.records import BadItem

EIGHT_CONNECTED = np.ones((3, 3), int)
# pycocotools takes 5 steps of some 16 bytes for every pixel of a polygon's outline. No outline of a
# real object is this long; a text of a few kilobytes that runs to and fro asks for gigabytes.
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
    # Background and object take turns, background first.
    for start, end in zip(ends[:-1:2].tolist(), ends[1::2].tolist(), strict=True):
        column_major[start:end] = True
    return column_major.reshape(width, height).T


def run_lengths(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """A COCO segmentation as the compressed run lengths that pycocotools works on, validated.

    The validation matters: pycocotools reads and writes beyond its memory on malformed counts.

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
    """Areas of the 8-connected parts in pixels, largest first, and the number of holes.

    A hole is a 4-connected piece of background that does not reach the border of the image.
    """
    labels, _ = ndimage.label(mask, structure=EIGHT_CONNECTED)
    areas = np.bincount(labels.ravel())[1:]
    # With a rim of background around it, everything outside is one piece.
    _, background = ndimage.label(~np.pad(mask, 1))
    return sorted(areas.tolist(), reverse=True), background - 1


def mask_to_polygons(mask: Bool[np.ndarray, "h w"]) -> tuple[list[list[float]], int, float]:
    """The outline of every part as a COCO polygon along the pixels' edges.

    Polygons cannot say holes, so holes are filled; how much that costs is reported. Without holes
    the polygons give back the very mask, one-pixel parts included.

    Returns:
      the polygons [x, y, x, y, ...] (none for an empty mask), the number of holes, and the IoU of
      the polygons, drawn by pycocotools, with the mask (1 for an empty mask).
    """
    labels, count = ndimage.label(mask, structure=EIGHT_CONNECTED)
    polygons = []
    for part, (rows, columns) in enumerate(ndimage.find_objects(labels, count), start=1):
        filled = ndimage.binary_fill_holes(labels[rows, columns] == part)
        corners = _outline(filled) + np.array([columns.start, rows.start])
        polygons.append(corners.astype(float).ravel().tolist())
    holes = parts_and_holes(mask)[1]
    if not polygons:
        return polygons, holes, 1.0
    drawn = decode_segmentation(polygons, *mask.shape)
    return polygons, holes, float((drawn & mask).sum() / (drawn | mask).sum())


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
            f"counts {shown(counts)} are no run lengths of {height} x {width} = {pixels} pixels",
        )
    return runs


def _decompress(counts: str | bytes) -> Int[np.ndarray, "runs"] | None:
    """The numbers in pycocotools' compressed counts, None where the string is malformed.

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
    """A list of int as an array, None where it is anything else."""
    if not isinstance(counts, list) or not all(type(count) is int for count in counts):
        return None
    if any(abs(count) >= 2**31 for count in counts):
        return None
    return np.array(counts, np.int64)


def _valid_polygon(polygon: Any, height: int, width: int) -> list[float]:
    """One polygon, with three corners or more, none further than an image's size away."""
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


def mask_rings(mask: Bool[np.ndarray, "h w"]) -> list[Int[np.ndarray, "corners 2"]]:
    """Corners xy of every closed line along the mask's edge: around each part, around each hole.

    Drawn together with the even-odd rule they are the mask, pixel by pixel.
    """
    exits = _boundary_steps(mask)
    corners = sorted(exits, key=lambda corner: corner[::-1])
    return [_ring(exits, corner) for corner in corners if corner in exits]


def _outline(filled: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "corners 2"]:
    """Corners xy of the outline of one 8-connected part without holes, along pixel edges."""
    exits = _boundary_steps(filled)
    return _ring(exits, min(exits, key=lambda corner: corner[::-1]))


def _ring(
    exits: dict[tuple[int, int], list[tuple[int, int]]], first: tuple[int, int]
) -> Int[np.ndarray, "corners 2"]:
    """Takes one closed line out of the steps that are left, from their topmost leftmost corner.

    Walks with the object on its right hand; where two pixels touch only at a corner it turns left,
    across to the other pixel, so that the part stays in one piece.
    """
    corner, step, corners = first, (0, -1), []
    while corner in exits:  # only one step leaves the first corner, so coming back ends the line
        steps = exits[corner]
        left = (step[1], -step[0])
        following = left if left in steps else steps[0]
        steps.remove(following)
        if not steps:
            del exits[corner]
        if following != step:
            corners.append(corner)
        step = following
        corner = (corner[0] + step[0], corner[1] + step[1])
    return np.array(corners)


def _boundary_steps(
    filled: Bool[np.ndarray, "h w"],
) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """The unit steps along the boundary that leave each corner of the pixel grid."""
    rim = np.pad(filled, 1)
    sides: Sequence[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = (
        # the neighbour's direction, the corner of the pixel where the step starts, the step
        ((0, -1), (0, 0), (1, 0)),
        ((1, 0), (1, 0), (0, 1)),
        ((0, 1), (1, 1), (-1, 0)),
        ((-1, 0), (0, 1), (0, -1)),
    )
    height, width = filled.shape
    exits: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (nx, ny), (cx, cy), step in sides:
        neighbour = rim[1 + ny : 1 + ny + height, 1 + nx : 1 + nx + width]
        rows, columns = np.nonzero(filled & ~neighbour)
        for x, y in zip((columns + cx).tolist(), (rows + cy).tolist(), strict=True):
            exits.setdefault((x, y), []).append(step)
    return exits
