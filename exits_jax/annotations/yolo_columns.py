"""What the columns of YOLO's lines hold, judged over a whole data set.

A line of numbers does not say what it is: keypoints after a box (pose) may be as many numbers as a
polygon, and a box with confidence and track is as long as a triangle.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from exits_jax.annotations.records import BadItem

SLACK = 0.01  # how far over 0 and 1 a share may be, as Ultralytics allows it
IN_BOX = 0.55  # how far from the middle of its box, in the box's sides, a key point may lie
NEARLY_ALL = 0.9  # of lines have all key points in their boxes, ...
NO_OUTLINE = 0.6  # ... and this many are not outlines that anyone would draw: they have ...
FAR = 2.0  # ... a corner so many sides away from the others, or sides that cross
FEWEST_LINES, FEWEST_POINTS = 5, 10  # by which that is certain
MORE = 0.25  # of lines that fit in another order of columns
SAME = 0.005  # how far a box in front of an outline may be off it, in shares of the image, ...
MOSTLY = 0.5  # ... in so many lines: no outline begins so, and nothing is a rectangle, by chance
SQUARE = 0.02  # how far from a right angle, as a cosine, the corners of a turned box may be
MOST_LINES = 2000  # looked at
# Numbers of a key point, and numbers behind all of them: confidence, or confidence and track.
SHAPES = tuple((step, behind) for behind in (0, 1, 2) for step in (3, 2))

Numbers = Float[np.ndarray, "_"]
Table = Float[np.ndarray, "lines n"]
Lines = Bool[np.ndarray, "lines"]


class Columns(NamedTuple):
    """What follows the class in the lines of a data set.

    Attributes:
      keypoints: how many numbers of keypoints follow each box, 0 if not known.
      outlines: whether each outline comes after its box.
      tracks: whether a track's number follows an even count of numbers.
      doubt: what the lines may be instead, in words for a note; empty without a doubt.
    """

    keypoints: int = 0
    outlines: bool = False
    tracks: bool = False
    doubt: str = ""


def columns_of(lines: list[Numbers], sizes: list[tuple[int, int]], keypoints: int = 0) -> Columns:
    """The columns of a data set.

    Args:
      lines: what follows the class in each of its lines.
      sizes: width and height of each line's image.
      keypoints: as `Columns`, where a data.yaml states it.

    Raises:
      BadItem: the confidence is not at the end but before the box.
    """
    _refuse_confidence_first([line for line in lines if len(line) == 5])
    long = [line for line in lines if len(line) >= 6]  # than a box with a confidence
    if keypoints or not long:
        return Columns(keypoints)
    one_length = len({len(line) for line in long}) == 1
    if _are_boxed(long):  # points of one number each may be key points: their boxes are certain
        return Columns(_points_behind(long[0]) if one_length else 0, outlines=not one_length)
    turned = one_length and _are_turned_boxes(lines, sizes)
    if one_length and len(long[0]) >= 8 and not turned:
        table = np.stack(long[:MOST_LINES])
        if _have_visibility(table):
            return Columns(table.shape[1] - 4)
        found, odd = _keypoints_by_place(table)
        several = len(table) >= FEWEST_LINES and len(table) * found >= 2 * FEWEST_POINTS
        if found and odd >= NO_OUTLINE and several:
            return Columns(found)
        if found and odd >= NO_OUTLINE / 2:
            return Columns(doubt="polygons may be keypoints (kpt_shape in a data.yaml says so)")
    return Columns(tracks=_have_tracks([line for line in long if len(line) % 2 == 0]))


def _refuse_confidence_first(lines: list[Numbers]) -> None:
    """Raises BadItem if the numbers after the first one are boxes, and the first four are not."""
    if not lines:
        return
    table = np.stack(lines)
    fits, others = boxes_inside(table).sum(), boxes_inside(table[:, 1:]).sum()
    if others >= NEARLY_ALL * len(lines) and others - fits >= MORE * len(lines):
        raise BadItem(
            "confidence_first",
            f"as [class, x, y, width, height, confidence] {fits} of {len(lines)} lines are boxes in"
            f" their images, as [class, confidence, x, y, width, height] {others} are: write the"
            " confidence at the end",
        )


def _points_behind(line: Numbers) -> int:
    """How many numbers of points follow a box, before a confidence if there is one."""
    return (len(line) - 4) // 2 * 2


def _are_boxed(lines: list[Numbers]) -> bool:
    """Whether lines begin with exactly the box around the points after it, three or more.

    A box may be that of an object that is not written in full: it then holds the points.
    """
    over = []  # by how much the box reaches over its points
    for line in lines[:MOST_LINES]:
        if len(line) < 10:
            return False
        points = line[4 : 4 + _points_behind(line)].reshape(-1, 2)
        half = line[2:4] / 2
        low, high = points.min(axis=0), points.max(axis=0)
        over.append([*low - (line[:2] - half), *line[:2] + half - high])
    held, tight = np.array(over) >= -SAME, np.abs(over) <= SAME
    return bool(held.all(axis=1).mean() >= NEARLY_ALL and tight.all(axis=1).mean() >= MOSTLY)


def _are_turned_boxes(lines: list[Numbers], sizes: list[tuple[int, int]]) -> bool:
    """Whether the long lines of a data set are rectangles, with or without confidence and track."""
    both = [both for both in zip(lines, sizes, strict=True) if len(both[0]) in (8, 9, 10)]
    if not both:
        return False
    corners = np.stack([line[:8].reshape(4, 2) * size for line, size in both[:MOST_LINES]])
    return bool(are_rectangles(corners).mean() >= MOSTLY)


def are_rectangles(corners_xy: Float[np.ndarray, "n 4 2"]) -> Bool[np.ndarray, "n"]:
    """Whether four corners in pixels, in their order, are a rectangle, rotated or not."""
    sides = np.roll(corners_xy, -1, axis=1) - corners_xy
    lengths = np.linalg.norm(sides, axis=2)
    directions = sides / np.maximum(lengths, np.finfo(float).tiny)[..., None]
    cosines = (directions * np.roll(directions, -1, axis=1)).sum(axis=2)
    return (np.abs(cosines).max(axis=1) < SQUARE) & (lengths.min(axis=1) > 0)


def _have_visibility(table: Table) -> bool:
    """Whether every third number after a box is a visibility: 2, the usual one, is not a share."""
    behind = table[:, 4:]
    seen = behind[:, 2::3]
    whole = behind.shape[1] % 3 == 0 and np.isin(seen, (0, 1, 2)).all()
    return bool(whole and (seen == 2).any())


def _keypoints_by_place(table: Table) -> tuple[int, float]:
    """How many numbers of keypoints follow boxes, by position, and how many are not outlines.

    Corners of small polygons in the middle of an image lie in "the box" of the first two by chance;
    but then the second is close to the others, which a box's width and height are not, and the
    sides do not cross, as lines between keypoints do.

    Returns:
      0 for outlines; the share of lines that no one would draw as outlines.
    """
    fits = {shape: _in_boxes(table, *shape).mean() for shape in SHAPES if _may_be(table, *shape)}
    best = max(fits, key=lambda shape: fits[shape], default=None)
    if best is None or fits[best] < NEARLY_ALL:
        return 0, 0.0
    corners = table[:, : table.shape[1] // 2 * 2].reshape(len(table), -1, 2)
    odd = (_second_far(corners) | _cross(corners)).mean()
    return table.shape[1] - 4 - best[1], float(odd)


def _may_be(table: Table, step: int, behind: int) -> bool:
    """Whether lines can be a box, two keypoints or more, and this many numbers after them."""
    count = table.shape[1] - 4 - behind
    whole = behind < 2 or bool((table[:, -1] % 1 == 0).all())
    return count >= 2 * step and count % step == 0 and whole


def _in_boxes(table: Table, step: int, behind: int) -> Lines:
    """Whether boxes lie in the image, and their keypoints, if any, in the boxes."""
    centre, size = table[:, None, :2], table[:, None, 2:4]
    points = table[:, 4 : table.shape[1] - behind].reshape(len(table), -1, step)[..., :2]
    inside = (np.abs(points - centre) <= size * IN_BOX) | (points == 0).all(axis=2, keepdims=True)
    return inside.all(axis=(1, 2)) & boxes_inside(table)


def boxes_inside(table: Table) -> Lines:
    """Whether the first four numbers are a box in the image."""
    centre, half = table[:, :2], table[:, 2:4] / 2
    inside = (centre - half >= -SLACK) & (centre + half <= 1 + SLACK) & (half > 0)
    return inside.all(axis=1)


def _second_far(corners: Float[np.ndarray, "lines n 2"]) -> Lines:
    """Whether the second corner is far from those after it.

    Those at (0, 0), which are keypoints without a label, do not count.
    """
    rest = corners[:, 2:]
    rest = np.where((rest == 0).all(axis=2, keepdims=True), corners[:, :1], rest)
    low, high = rest.min(axis=1), rest.max(axis=1)
    reach = FAR * (high - low).max(axis=1, keepdims=True)
    near = (corners[:, 1] >= low - reach) & (corners[:, 1] <= high + reach)
    return ~near.all(axis=1)


def _cross(corners: Float[np.ndarray, "lines n 2"]) -> Lines:
    """Whether sides of a polygon cross."""
    ends = np.roll(corners, -1, axis=1)
    sides = ends - corners

    def left_of(points: Float[np.ndarray, "lines n 2"]) -> Float[np.ndarray, "lines n n"]:
        apart = points[:, None] - corners[:, :, None]
        return sides[:, :, None, 0] * apart[..., 1] - sides[:, :, None, 1] * apart[..., 0]

    parted = left_of(corners) * left_of(ends) < 0
    return (parted & parted.transpose(0, 2, 1)).any(axis=(1, 2))


def _have_tracks(lines: list[Numbers]) -> bool:
    """Whether a confidence and the number of a track end the lines of even counts of numbers.

    A number above 1 is not a share. Where all are 1, these are boxes, and not triangles, if they
    lie in the image.
    """
    last = np.array([line[-1] for line in lines])
    if not lines or (last % 1).any() or last.min() < 1:
        return False
    rest = np.concatenate([line[:-1] for line in lines])
    if rest.min() < -SLACK or rest.max() > 1 + SLACK:
        return False
    boxes = all(len(line) == 6 for line in lines) and boxes_inside(np.stack(lines)).all()
    return bool(last.max() > 1 or boxes)
