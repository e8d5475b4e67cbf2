"""Which cell of which grid an object belongs to: what SOLOv2 is trained on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.system.types import Batch

NO_CLASS = -1


class Targets(NamedTuple):
    """The targets of a batch; n cells, those of all levels one after the other, row by row.

    Attributes:
      classes: of each cell, or NO_CLASS.
      weight: of each cell's object; 1 for a cell without one.
      cell, instance: of each pair of a cell and an object whose mask the cell's kernel learns.
      share: the object's weight in the mask loss; 0: there is no such pair.
      without_cell: how many objects own no cell: what is learnt of them is nothing.
    """

    classes: Int[Array, "b n"]
    weight: Float[Array, "b n"]
    cell: Int[Array, "b k"]
    instance: Int[Array, "b k"]
    share: Float[Array, "b k"]
    without_cell: Int[Array, " b"]


def assign(batch: Batch, canvas: tuple[int, int], settings: SegmentationSettings) -> Targets:
    """The targets of images.

    An object belongs to the levels whose range its size is in. There it claims the cells that the
    middle of its box, `settings.centre` of its width and height round its centre of mass, touches:
    at most the nine round the centre's own. Of two objects that claim a cell the smaller owns it,
    or with `owners="both"` the later names its class and both masks are learnt, as in the released
    code.

    Args:
      batch: `centre_xy`, `size_wh`, `area`, `classes`, `weight` (0: no object) of the instances;
        `draw`, a number per image that the choice among too many pairs is drawn from.
      canvas: rows and columns, pixels.
      settings: grids, ranges, centre, owners and positives.
    """
    return jax.vmap(lambda row: _assign_image(row, canvas, settings))(
        {name: batch[name] for name in (*_COLUMNS, "draw")}
    )


_COLUMNS = ("centre_xy", "size_wh", "area", "classes", "weight")


def claims(
    centre_xy: Float[Array, "g 2"],
    size_wh: Float[Array, "g 2"],
    canvas: tuple[int, int],
    grid: int,
    size_range: tuple[float, float],
    centre: float,
) -> Bool[Array, "g n"]:
    """The cells of a level that each object claims, n = grid * grid."""
    size = jnp.sqrt(size_wh[:, 0] * size_wh[:, 1])
    inside = (size >= size_range[0]) & (size <= size_range[1])
    ranges = []
    for axis, extent in ((0, canvas[1]), (1, canvas[0])):
        middle = centre_xy[:, axis] - 0.5  # the released code counts in pixel indices
        half = 0.5 * centre * size_wh[:, axis]
        own = _cell_of(middle, extent, grid)
        first = jnp.maximum(jnp.maximum(_cell_of(middle - half, extent, grid), 0), own - 1)
        last = jnp.minimum(jnp.minimum(_cell_of(middle + half, extent, grid), grid - 1), own + 1)
        cells = jnp.arange(grid)
        ranges.append((cells >= first[:, None]) & (cells <= last[:, None]))
    columns, rows = ranges
    claimed = rows[:, :, None] & columns[:, None, :] & inside[:, None, None]
    return claimed.reshape(len(claimed), -1)


def _cell_of(place: Float[Array, "g"], extent: int, grid: int) -> Int[Array, "g"]:
    return jnp.floor(place * (grid / extent)).astype(jnp.int32)


def _assign_image(row: Batch, canvas: tuple[int, int], settings: SegmentationSettings) -> Targets:
    there = row["weight"] > 0
    levels = zip(settings.grids, settings.ranges, strict=True)
    claimed = jnp.concatenate(
        [
            claims(row["centre_xy"], row["size_wh"], canvas, grid, bounds, settings.centre)
            for grid, bounds in levels
        ],
        axis=1,
    )
    claimed &= there[:, None]
    taken = jnp.any(claimed, axis=0)
    smallest = jnp.argmin(jnp.where(claimed, row["area"][:, None], jnp.inf), axis=0)
    if settings.owners == "smaller":
        named, pairs = smallest, _owned(claimed, smallest)
    else:
        order = jnp.arange(len(claimed))[:, None]
        named, pairs = jnp.argmax(jnp.where(claimed, order, -1), axis=0), claimed
    cell, instance, chosen = _choice(pairs, settings.positives, row["draw"], settings.owners)
    return Targets(
        classes=jnp.where(taken, row["classes"][named], NO_CLASS),
        weight=jnp.where(taken, row["weight"][named], 1.0),
        cell=cell,
        instance=instance,
        share=jnp.where(chosen, row["weight"][instance], 0.0),
        without_cell=jnp.sum(there & ~jnp.any(pairs, axis=1)),
    )


def _owned(claimed: Bool[Array, "g n"], owner: Int[Array, "n"]) -> Bool[Array, "g n"]:
    return claimed & (jnp.arange(len(claimed))[:, None] == owner)


def _choice(
    pairs: Bool[Array, "g n"], count: int, draw: Array, owners: str
) -> tuple[Int[Array, "k"], Int[Array, "k"], Bool[Array, "k"]]:
    """(cell, instance, whether there is one) of `count` pairs; of more a random choice."""
    if owners == "smaller":  # one pair a cell at most: the choice is among cells
        instances, there = jnp.argmax(pairs, axis=0), jnp.any(pairs, axis=0)
        cell, chosen = _drawn(there, count, draw)
        return cell, instances[cell], chosen
    place, chosen = _drawn(pairs.reshape(-1), count, draw)
    instance, cell = jnp.divmod(place, pairs.shape[1])
    return cell, instance, chosen


def _drawn(
    there: Bool[Array, "m"], count: int, draw: Array
) -> tuple[Int[Array, "k"], Bool[Array, "k"]]:
    """The places of `count` of those that are there, at random, and whether there were as many."""
    lot = jax.random.uniform(jax.random.key(draw), there.shape, minval=0.5)
    found, place = jax.lax.top_k(jnp.where(there, lot, 0.0), min(count, len(there)))
    return place, found > 0
