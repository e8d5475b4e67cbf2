"""Seeds in, labelled points out (EXITS supplement, B; seeds and thresholds on the point grid).

Crop coordinates are continuous and run from 0 to 1 over the crop's side; the point grid has
`grid` x `grid` cells in row-major order, and cell (row, column) covers
[column, column + 1] x [row, row + 1] / grid.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

# Shares of a cell. A border that lies on a grid line, up to rounding, does not cross the cell.
CELL_TOLERANCE = 1e-3

# Shares of the box's sides; not given in the paper. Flat from 0.3 to 0.7 (train2017).
CENTRE_SIGMA = 0.4


def seed_points(
    points_xy: Float[ArrayLike, "b 4 2"],
    box_xyxy: Float[ArrayLike, "b 4"],
    valid_xyxy: Float[ArrayLike, "b 4"],
    *,
    grid: int,
    delta: float | int,
    has_points: Shaped[ArrayLike, "b"] | None = None,
) -> tuple[Float[Array, "b p"], Float[Array, "b p"]]:
    """The points known before any propagation.

    Foreground: the cells of the four extreme points, each moved by `delta` along the vector to the
    box centre and never past it (supplement, B: pushed "toward the center of the object"). Points
    in one cell are one seed. Background: cells wholly outside the tight box and wholly inside the
    image; cells that a border crosses are neither. Where the two meet, foreground wins.

    Args:
      points_xy: extreme points in crop coordinates.
      box_xyxy: the tight box in crop coordinates.
      valid_xyxy: the part of the crop that shows the image, in crop coordinates.
      grid: cells per side.
      delta: in crop coordinates; the paper's 24 pixels on COCO are 24 / 512.
      has_points: False for instances known by their box alone: no foreground; None: all have.

    Returns:
      foreground, background: float32 [b, p], 0 or 1.
    """
    points_xy, box_xyxy, valid_xyxy = (
        jnp.asarray(value, jnp.float32) for value in (points_xy, box_xyxy, valid_xyxy)
    )
    centre = (box_xyxy[:, None, :2] + box_xyxy[:, None, 2:]) / 2.0
    to_centre = centre - points_xy
    distance = jnp.linalg.norm(to_centre, axis=-1, keepdims=True)
    step = jnp.minimum(delta, distance) / jnp.where(distance > 0.0, distance, 1.0)
    cell_xy = jnp.clip(jnp.floor((points_xy + step * to_centre) * grid), 0, grid - 1)
    cell = (cell_xy[..., 1] * grid + cell_xy[..., 0]).astype(jnp.int32)
    foreground = jnp.any(cell[..., None] == jnp.arange(grid * grid), axis=1)
    foreground &= ~_wholly_outside(valid_xyxy, grid)
    if has_points is not None:
        foreground &= jnp.asarray(has_points, bool)[:, None]
    background = _wholly_outside(box_xyxy, grid) & _wholly_inside(valid_xyxy, grid) & ~foreground
    return foreground.astype(jnp.float32), background.astype(jnp.float32)


def centre_seed(
    box_xyxy: Float[ArrayLike, "b 4"], valid_xyxy: Float[ArrayLike, "b 4"], grid: int
) -> Float[Array, "b p"]:
    """A soft seed for a box without extreme points (not given in the paper).

    Objects fill the middle of their boxes more often than the corners: a Gaussian about the box
    centre, `CENTRE_SIGMA` of the box's side wide along each axis, limited to the cells in the box.

    Args:
      box_xyxy: the tight box in crop coordinates.
      valid_xyxy: the part of the crop that shows the image, in crop coordinates.
      grid: cells per side.
    """
    x0, y0, x1, y1 = _edges(box_xyxy)
    cell = (jnp.arange(grid, dtype=jnp.float32) + 0.5) / grid
    along_x, along_y = (
        jnp.exp(-0.5 * ((cell - (low + high) / 2) / (CENTRE_SIGMA * (high - low))) ** 2)
        for low, high in ((x0, x1), (y0, y1))
    )
    seed = (along_y[:, :, None] * along_x[:, None, :]).reshape(-1, grid * grid)
    return jnp.where(inside_box(box_xyxy, valid_xyxy, grid), seed, 0.0)


def inside_box(
    box_xyxy: Float[ArrayLike, "b 4"], valid_xyxy: Float[ArrayLike, "b 4"], grid: int
) -> Bool[Array, "b p"]:
    """Cells whose centre lies in the tight box and in the image: where points are retrieved.

    Args:
      box_xyxy: the tight box in crop coordinates.
      valid_xyxy: the part of the crop that shows the image, in crop coordinates.
      grid: cells per side.
    """
    centre = (jnp.arange(grid, dtype=jnp.float32) + 0.5) / grid
    inside = jnp.ones((jnp.shape(box_xyxy)[0], grid, grid), bool)
    for x0, y0, x1, y1 in (_edges(box_xyxy), _edges(valid_xyxy)):
        columns = (centre >= x0) & (centre < x1)
        rows = (centre >= y0) & (centre < y1)
        inside &= rows[:, :, None] & columns[:, None, :]
    return inside.reshape(-1, grid * grid)


def retrieve_points(
    score: Float[ArrayLike, "b p"],
    inside_box: Shaped[ArrayLike, "b p"],
    foreground: Shaped[ArrayLike, "b p"],
    background: Shaped[ArrayLike, "b p"],
    *,
    tau_fg: float | int | Float[Array, ""],
    tau_bg: float | int | Float[Array, ""],
) -> tuple[Float[Array, "b p"], Float[Array, "b p"], Bool[Array, "b"]]:
    """Turns the propagation score into labelled points (supplement, B and D).

    Foreground is retrieved where the score exceeds `tau_fg` in the box, background where it lies
    below -`tau_bg` in the box. Seeds join the retrieved points and overrule them; they are known,
    so their own scores, which are the highest of all in a walk that can stay, retrieve nothing.

    Args:
      score: positive speaks for the object.
      inside_box: cells that may be retrieved (`inside_box`); padding is not among them.
      foreground: seeds, 0 or 1 (`seed_points`).
      background: seeds, 0 or 1.
      tau_fg: threshold on the score.
      tau_bg: threshold on the negative score.

    Returns:
      labels: float32 [b, p], 1 foreground, 0 anything else.
      weights: float32 [b, p], 1 where there is a label to learn, 0 elsewhere.
      empty: bool [b], nothing was retrieved; judged without the seeds.
    """
    score = jnp.asarray(score, jnp.float32)
    inside, foreground, background = (
        jnp.asarray(value) != 0 for value in (inside_box, foreground, background)
    )
    found_object = inside & (score > tau_fg)
    found_rest = inside & (score < -tau_bg) & ~found_object
    empty = ~jnp.any((found_object | found_rest) & ~foreground, axis=-1)
    labels = foreground | (found_object & ~background)
    weights = labels | background | found_rest
    return labels.astype(jnp.float32), weights.astype(jnp.float32), empty


def _edges(box_xyxy: Float[ArrayLike, "b 4"]) -> list[Float[Array, "b 1"]]:
    """x0, y0, x1, y1 as columns that broadcast against a row of cells."""
    return jnp.split(jnp.asarray(box_xyxy, jnp.float32), 4, axis=-1)


def _wholly_outside(box_xyxy: Float[Array, "b 4"], grid: int) -> Bool[Array, "b p"]:
    """Cells that share no area with the box."""
    x0, y0, x1, y1 = _edges(box_xyxy * grid)
    low, high = jnp.arange(grid) + CELL_TOLERANCE, jnp.arange(1, grid + 1) - CELL_TOLERANCE
    columns = (high <= x0) | (low >= x1)
    rows = (high <= y0) | (low >= y1)
    return (rows[:, :, None] | columns[:, None, :]).reshape(-1, grid * grid)


def _wholly_inside(box_xyxy: Float[Array, "b 4"], grid: int) -> Bool[Array, "b p"]:
    """Cells the box covers completely."""
    x0, y0, x1, y1 = _edges(box_xyxy * grid)
    low, high = jnp.arange(grid) + CELL_TOLERANCE, jnp.arange(1, grid + 1) - CELL_TOLERANCE
    columns = (low >= x0) & (high <= x1)
    rows = (low >= y0) & (high <= y1)
    return (rows[:, :, None] & columns[:, None, :]).reshape(-1, grid * grid)
