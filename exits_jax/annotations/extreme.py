"""Extreme points: extracted from a mask, put in order, perturbed like a person's clicks."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from exits_jax.system.errors import UserError

EXTREMENET_BAND = 0.02  # share of the box's side


def extreme_points(mask: Bool[np.ndarray, "h w"], rule: str = "exact") -> Float[np.ndarray, "4 2"]:
    """The extreme points of a mask: xy of pixel centres, rows top, left, bottom, right.

    Both rules return pixels of the mask.

    Args:
      mask: the object.
      rule: "exact" takes, among the pixels of the outermost row or column, the median one (the
        lower of two). "extremenet" imitates where people click on a side that is nearly flat: it
        follows the object from that pixel along the side for as long as it stays within 2 % of
        the box's side from the border, and takes the outermost pixel in the middle of that
        stretch (after the way ExtremeNet made its training points; not given in the paper).

    Raises:
      ValueError: the mask is empty.
      UserError: the rule is neither of the two.
    """
    if rule not in ("exact", "extremenet"):
        raise UserError(f"extreme-point rule {rule!r}: expected 'exact' or 'extremenet'")
    pick = _median_on_side if rule == "exact" else _middle_of_stretch
    x0, y0, x1, y1 = tight_box(mask).astype(int)
    inside = mask[y0:y1, x0:x1]
    top_x, top_y = pick(inside)
    left_y, left_x = pick(inside.T)
    bottom_x, bottom_up = pick(inside[::-1])
    right_y, right_back = pick(inside.T[::-1])
    pixels = [
        (top_x, top_y),
        (left_x, left_y),
        (bottom_x, inside.shape[0] - 1 - bottom_up),
        (inside.shape[1] - 1 - right_back, right_y),
    ]
    return np.array(pixels, np.float64) + np.array([x0 + 0.5, y0 + 0.5])


def tight_box(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "4"]:
    """The smallest box around a mask, xyxy: [xmin, ymin, xmax + 1, ymax + 1].

    Raises:
      ValueError: the mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        raise ValueError("an empty mask has neither a box nor extreme points")
    y0, y1 = rows[0], rows[-1] + 1
    columns = np.flatnonzero(mask[y0:y1].any(axis=0))
    return np.array([columns[0], y0, columns[-1] + 1, y1], np.float64)


def order_points(points_xy: Float[np.ndarray, "4 2"]) -> Float[np.ndarray, "4 2"]:
    """Four points in any order -> top (least y), left (least x), bottom, right.

    Where several points tie for a role, the choice that uses the most different points wins, so
    the four corners of a box fill one role each. A point may fill two roles. The result does not
    depend on the order of the input.
    """
    points = points_xy[np.lexsort(points_xy.T)]
    x, y = points.T
    candidates = [np.flatnonzero(tie) for tie in (y == y[0], x == x.min(), y == y[3], x == x.max())]
    chosen = max(itertools.product(*candidates), key=lambda roles: len(set(roles)))
    return points[list(chosen)]


def complete_points(
    points_xy: Float[np.ndarray, "k 2"],
    box_xyxy: Float[np.ndarray, "4"],
    sides: Sequence[int] | None = None,
) -> Float[np.ndarray, "4 2"]:
    """One to three extreme points and a box -> top, left, bottom, right.

    Each point is given the side of the box that it is nearest to, no side twice, so that the sum of
    the distances is least; a side without a point gets its middle. Not given in the paper. (On
    train2017 a missing point costs .017 mean IoU, whether it is the middle or left out.)

    Args:
      points_xy: the known points, at most four.
      box_xyxy: the tight box, in the same coordinates.
      sides: which side each point is of (0 top, 1 left, 2 bottom, 3 right), where that is known.
    """
    x0, y0, x1, y1 = box_xyxy
    if sides is None:
        x, y = points_xy.T
        distance = np.abs(np.stack([y, x, y, x], axis=1) - [y0, x0, y1, x1])  # [point, side]
        choices = itertools.permutations(range(4), len(points_xy))
        sides = min(choices, key=lambda roles: distance[range(len(roles)), roles].sum())
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    complete = np.array([[middle_x, y0], [x0, middle_y], [middle_x, y1], [x1, middle_y]])
    complete[list(sides)] = points_xy
    return complete


def jitter_points(
    points_xy: Float[np.ndarray, "4 2"],
    bounds_xyxy: Float[np.ndarray, "4"],
    sigma_px: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "4 2"]:
    """A model of careless clicks: Gaussian noise on both coordinates, then clipped to the bounds.

    Our own model, not given in the paper. Roles are kept: a person who aims at the top and misses
    still means the top.

    Args:
      points_xy: continuous pixel coordinates.
      bounds_xyxy: where a click can land, normally the whole image [0, 0, width, height].
      sigma_px: standard deviation in pixels.
      rng: source of the noise.
    """
    moved = points_xy + rng.normal(0.0, sigma_px, points_xy.shape)
    return np.clip(moved, bounds_xyxy[:2], bounds_xyxy[2:])


def _median_on_side(inside: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """Column and row of the median pixel in the first row of a tightly cut mask."""
    columns = np.flatnonzero(inside[0])
    return int(columns[(columns.size - 1) // 2]), 0


def _middle_of_stretch(inside: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """Column and row of the pixel in the middle of the stretch that runs along the first row."""
    start, _ = _median_on_side(inside)
    depth = int(EXTREMENET_BAND * inside.shape[0]) + 1
    labels, _ = ndimage.label(inside[:depth], structure=np.ones((3, 3)))
    stretch = labels == labels[0, start]
    columns = np.flatnonzero(stretch.any(axis=0))
    middle = int(columns[(columns.size - 1) // 2])
    return middle, int(np.argmax(stretch[:, middle]))
