"""Moving scores from one crop of an instance to another."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped


def resample_score(
    score: Float[ArrayLike, "b M M"],
    from_window: Float[ArrayLike, "b 4"],
    to_window: Float[ArrayLike, "b 4"],
    flip: Shaped[ArrayLike, "b"],
    *,
    grid: int | None = None,
) -> Float[Array, "b N N"]:
    """The score of one window of the image, read at the cells of another.

    One propagation per instance then serves every random crop of it (not given in the paper).
    Bilinear between cell centres, separable; beyond the outermost centres the edge is repeated.

    Args:
      score: on the grid of `from_window`, which is not flipped.
      from_window: xyxy in image coordinates.
      to_window: xyxy in image coordinates.
      flip: whether the target crop is mirrored left to right.
      grid: N, cells per side of the target; None means as many as the source has.
    """
    score, source, target = (
        jnp.asarray(value, jnp.float32) for value in (score, from_window, to_window)
    )
    cells = score.shape[-1]
    grid = grid or cells
    centre = jnp.broadcast_to((jnp.arange(grid) + 0.5) / grid, (score.shape[0], grid))
    mirrored = jnp.where(jnp.asarray(flip, bool)[:, None], 1.0 - centre, centre)
    rows = _interpolation(centre, source[:, 1::2], target[:, 1::2], cells)
    columns = _interpolation(mirrored, source[:, 0::2], target[:, 0::2], cells)
    return jnp.einsum("bij,bjk,blk->bil", rows, score, columns, precision="highest")


def _interpolation(
    place: Float[Array, "b N"],
    source: Float[Array, "b 2"],
    target: Float[Array, "b 2"],
    cells: int,
) -> Float[Array, "b N M"]:
    """Weights [target cell, source cell] of linear interpolation along one axis.

    Args:
      place: where to read, as shares of the target window.
      source: first and last coordinate of the window read from.
      target: first and last coordinate of the window written to.
      cells: M, cells of the source along the axis.
    """
    coordinate = target[:, :1] + place * (target[:, 1:] - target[:, :1])
    cell = (coordinate - source[:, :1]) / (source[:, 1:] - source[:, :1]) * cells - 0.5
    distance = jnp.abs(jnp.clip(cell, 0, cells - 1)[..., None] - jnp.arange(cells))
    return jnp.maximum(1.0 - distance, 0.0)
