"""Masks as polygons: along the pixels' edges, or with fewer corners, to a tolerance."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from exits_jax.annotations.extreme import tight_box
from exits_jax.annotations.geometry import polygon_area
from exits_jax.annotations.masks import EIGHT_CONNECTED, decode_segmentation, hole_areas

Corners = Float[np.ndarray, "_ 2"]  # xy

BLOCK = 256  # edges that are compared with all others at a time


def mask_to_polygons(
    mask: Bool[np.ndarray, "h w"], tolerance: float = 0.0
) -> tuple[list[list[float]], int, float]:
    """The outline of every component as a COCO polygon.

    Polygons cannot express holes, so holes are filled; what that costs is reported. A component in
    another one's hole is in that one's filled outline, and left out: drawn twice, readers that fill
    by parity would cut it out again.

    Args:
      mask: of one object.
      tolerance: pixels. 0: along the pixels' edges, which gives back exactly the mask (holes
        aside), one-pixel components included. More: as few corners as keep within this distance of
        the outline, see `simplified`.

    Returns:
      the polygons [x, y, x, y, ...] (none for an empty mask), the number of holes, and the IoU of
      the polygons, drawn by pycocotools, with the mask (1 for an empty mask).
    """
    if not mask.any():
        return [], 0, 1.0
    left, top, right, bottom = tight_box(mask).astype(int)
    place = np.array([left, top])
    mask = mask[top:bottom, left:right]
    holes, areas = hole_areas(mask)
    labels, count = ndimage.label(mask | (holes > 0), structure=EIGHT_CONNECTED)
    polygons = []
    for part, (rows, columns) in enumerate(ndimage.find_objects(labels, count), start=1):
        corners = _outline(labels[rows, columns] == part).astype(float)
        if tolerance:
            corners = simplified(corners, tolerance)
        polygons.append(corners + np.array([columns.start, rows.start]))
    drawn = decode_segmentation([one.ravel().tolist() for one in polygons], *mask.shape)
    iou = float((drawn & mask).sum() / (drawn | mask).sum())
    return [(one + place).ravel().tolist() for one in polygons], len(areas), iou


def mask_rings(mask: Bool[np.ndarray, "h w"]) -> list[Int[np.ndarray, "corners 2"]]:
    """Corners xy of every closed line along the mask's edge: around each component and each hole.

    Drawn together with the even-odd rule they are the mask, pixel by pixel.
    """
    exits = _boundary_steps(mask)
    corners = sorted(exits, key=lambda corner: corner[::-1])
    return [_ring(exits, corner) for corner in corners if corner in exits]


def simplified(corners: Corners, tolerance: float) -> Corners:
    """The outline of a component with fewer corners, by the Douglas-Peucker method.

    It first runs through the middles of the pixels' edges, which turns staircases into slopes: what
    is lost at one step is gained at the next. A thin component gets a smaller tolerance, a quarter
    of its mean width, so that none shrinks to a line. Where the outline would cross itself the
    tolerance is halved. Where no corner is saved, as of a box, the outline stays as it was.

    Args:
      corners: along pixels' edges, in order.
      tolerance: pixels by which the outline through the middles may be missed.
    """
    middles = _edge_middles(corners)
    tolerance = min(tolerance, polygon_area(corners) / len(middles) / 2)
    for _ in range(4):
        fewer = middles[_kept(middles, tolerance)]
        if 2 < len(fewer) < len(corners) and not crosses_itself(fewer):
            return fewer
        tolerance /= 2
    return corners


def crosses_itself(corners: Corners) -> bool:
    """Whether two edges of a closed polygon cross; touching is not crossing."""
    starts, ends = corners, np.roll(corners, -1, axis=0)
    for first in range(0, len(corners), BLOCK):
        some = slice(first, first + BLOCK)
        apart = _side(starts[some], ends[some], starts) * _side(starts[some], ends[some], ends)
        across = _side(starts, ends, starts[some]).T * _side(starts, ends, ends[some]).T
        if ((apart < 0) & (across < 0)).any():
            return True
    return False


def _side(starts: Corners, ends: Corners, points: Corners) -> Float[np.ndarray, "edges points"]:
    """On which side of each edge each point lies: the sign of twice the triangle's area."""
    along, off = (ends - starts)[:, None], points[None] - starts[:, None]
    return along[..., 0] * off[..., 1] - along[..., 1] * off[..., 0]


def _edge_middles(corners: Corners) -> Corners:
    """The middle of every pixel edge that an outline along pixels' edges follows, in order."""
    steps = np.roll(corners, -1, axis=0) - corners
    lengths = np.abs(steps).sum(axis=1).astype(int)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = np.arange(lengths.sum()) - first + 0.5
    unit = np.repeat(np.sign(steps), lengths, axis=0)
    return np.repeat(corners, lengths, axis=0) + unit * place[:, None]


def _kept(points: Corners, tolerance: float) -> Bool[np.ndarray, "_"]:
    """Which points of a closed line remain, so that none of the others is further from it.

    The line is split in two at its first point and the one farthest from there.
    """
    farthest = int(np.square(points - points[0]).sum(axis=1).argmax())
    kept = np.zeros(len(points) + 1, bool)
    kept[[0, farthest, -1]] = True
    closed = np.concatenate([points, points[:1]])
    stretches = [(0, farthest), (farthest, len(points))]
    while stretches:
        low, high = stretches.pop()
        distance = _distances(closed[low + 1 : high], closed[low], closed[high])
        if len(distance) and distance.max() > tolerance:
            middle = low + 1 + int(distance.argmax())
            kept[middle] = True
            stretches += [(low, middle), (middle, high)]
    return kept[:-1]


def _distances(
    points: Corners, start: Float[np.ndarray, "2"], end: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "_"]:
    """Distances of points from the line segment between two others."""
    along = end - start
    share = np.clip((points - start) @ along / max(along @ along, 1e-12), 0, 1)
    return np.linalg.norm(points - start - share[:, None] * along, axis=1)


def _outline(filled: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "corners 2"]:
    """Corners xy of the outline of one 8-connected component without holes, along pixel edges."""
    exits = _boundary_steps(filled)
    return _ring(exits, min(exits, key=lambda corner: corner[::-1]))


def _ring(
    exits: dict[tuple[int, int], list[tuple[int, int]]], first: tuple[int, int]
) -> Int[np.ndarray, "corners 2"]:
    """Removes one closed line from the remaining steps, from their topmost leftmost corner.

    Walks with the object on its right hand; where two pixels touch only at a corner it turns left,
    across to the other pixel, so that the component stays in one piece.
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
