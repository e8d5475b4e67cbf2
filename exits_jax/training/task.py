"""What is trained: the description that every phase of every model gives to the one trainer."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from exits_jax.data.iterator import Plan
from exits_jax.system.types import Batch, Params

ITEMS = "items"  # what every batch counts: its rows that are not padding


class Sums(NamedTuple):
    """Sums over the rows of a batch that count.

    Attributes:
      loss: the terms of the loss by name, weighted.
      shown: other numbers for the log.
    """

    loss: dict[str, Float[Array, ""]]
    shown: dict[str, Float[Array, ""]]


# (trained parameters, teacher's or {}, frozen parameters, batch) -> Sums
Objective = Callable[[Params, Params, Params, Batch], Sums]
# The same, row by row: (loss [b], {part: [b]})
RowObjective = Callable[
    [Params, Params, Params, Batch], tuple[Float[Array, " b"], dict[str, Float[Array, " b"]]]
]
# batch -> {name: what the sum of that name is divided by}, from the batch alone. `ITEMS` is what
# sums without a count of their own are divided by.
Counts = Callable[[Batch], dict[str, Float[Array, ""]]]

Pictures = Callable[[Params], Mapping[str, UInt8[np.ndarray, "_h _w 3"]]]


@dataclasses.dataclass(frozen=True)
class Task:
    """A network's training, as the trainer sees it.

    Counts are added over microbatches, devices and processes before the gradient is scaled by them,
    so a loss is exact under padding and for any number of devices, with one denominator or several.

    Attributes:
      plan: of the batches. Rows are named by `id` and say in `valid` whether they count;
        `id` and `index` stay on the host.
      objective: the sums of a batch.
      counts: what they are divided by.
      trained: the parameters that learn.
      frozen: the other parameters that the objective reads.
      teacher_rate: of the moving average of the parameters that the objective reads as teacher;
        None: there is none, and no copy of the parameters.
      extend: adds to a batch, on the host, what the plan does not provide.
      offsets: what is added, once, to the count of a name over everything.
      pictures: what TensorBoard shows of the trained parameters at each checkpoint, by title.
    """

    plan: Plan
    objective: Objective
    counts: Counts
    trained: Params
    frozen: Params
    teacher_rate: float | None = None
    extend: Callable[[Batch], Batch] = dict
    offsets: Mapping[str, float] = dataclasses.field(default_factory=dict)
    pictures: Pictures | None = None


def over_rows(objective: RowObjective) -> Objective:
    """The sums of an objective that gives its loss row by row."""

    def sums(params: Params, teacher: Params, frozen: Params, batch: Batch) -> Sums:
        losses, parts = objective(params, teacher, frozen, batch)
        parts = {"loss": losses, **parts}
        total = {name: jnp.sum(jnp.where(batch["valid"], part, 0)) for name, part in parts.items()}
        return Sums({"loss": total.pop("loss")}, total)

    return sums


def count_rows(batch: Batch) -> dict[str, Float[Array, ""]]:
    """The counts of such an objective: its valid rows, so that the loss is a mean over them."""
    return {ITEMS: jnp.sum(batch["valid"].astype(jnp.float32))}
