"""The crops of training: a batch is a pure function of (seed, epoch, its number).

Which instance is where is a permutation drawn from (seed, epoch); how it is cropped and coloured is
drawn from (seed, epoch, index). So the batches are the same bytes for any number of threads and
worker processes, the position in the data is one number, and several hosts share one sequence of
global batches, each taking its rows.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from exits_jax.annotations import Instance
from exits_jax.data import crop
from exits_jax.data.iterator import PlannedBatches, batches_per_epoch
from exits_jax.data.rows import Row, stack
from exits_jax.data.source import Example, Source, as_source
from exits_jax.pseudo_labels.colour import change_colour
from exits_jax.pseudo_labels.crops import cut
from exits_jax.pseudo_labels.settings import CropSettings
from exits_jax.system.errors import UserError
from exits_jax.system.types import Batch


def train_row(example: Example, settings: CropSettings, rng: np.random.Generator) -> Row:
    """A random crop of an example: window, flip and, if asked for, colours, in this order."""
    window = crop.random_window(example["box_xyxy"], settings.train_margin, rng)
    flip = bool(rng.random() < settings.flip)
    row = cut(example, window, settings.size, flip)
    if settings.colour:
        row["student_image"] = change_colour(row["image"], rng)
    return row


@dataclass(frozen=True, eq=False)
class CropPlan:
    """The function from a batch's number to this host's rows of it."""

    source: Source
    settings: CropSettings
    batch_size: int
    seed: int
    shard: tuple[int, int]

    def __call__(self, number: int) -> Batch:
        host, hosts = self.shard
        count = len(self.source)
        epoch, within = divmod(int(number), batches_per_epoch(count, self.batch_size, hosts))
        first = (within * hosts + host) * self.batch_size
        order = epoch_order(count, self.seed, epoch)
        # A host whose rows all lie past the end still needs one to repeat.
        chosen = order[first : first + self.batch_size]
        rows = [self._row(epoch, int(index)) for index in (chosen if chosen.size else order[:1])]
        batch = stack(rows, self.batch_size)
        return batch if chosen.size else batch | {"valid": np.zeros(self.batch_size, bool)}

    def _row(self, epoch: int, index: int) -> Row:
        rng = np.random.default_rng([self.seed, epoch, index])
        return train_row(self.source[index], self.settings, rng)

    def fingerprint(self) -> dict[str, int | str]:
        """What must be equal for a saved position to mean the same batches."""
        return {
            "seed": self.seed,
            "global_batch_size": self.batch_size * self.shard[1],
            "instances": len(self.source),
            "content": self.source.fingerprint(),
        }


@functools.lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    """The order in which an epoch visits `count` instances."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def train_batches(
    examples: Source | Sequence[Instance],
    settings: CropSettings,
    *,
    batch_size: int,
    seed: int,
    steps: int,
    workers: int = 0,
    threads: int = 2,
    shard: tuple[int, int] = (0, 1),
) -> PlannedBatches:
    """`steps` batches of a `crop_plan`, whose arguments these are; the others `PlannedBatches`'."""
    plan = crop_plan(examples, settings, batch_size=batch_size, seed=seed, shard=shard)
    return PlannedBatches(plan, steps, workers=workers, threads=threads)


def crop_plan(
    examples: Source | Sequence[Instance],
    settings: CropSettings,
    *,
    batch_size: int,
    seed: int,
    shard: tuple[int, int] = (0, 1),
) -> CropPlan:
    """Endless reshuffled passes over the instances.

    Args:
      examples: a source, or instances whose images are files. Leave out unusable images first
        (`usable_instances`): here the first one stops the run.
      settings: how crops are made and coloured.
      batch_size: rows of a batch on this host.
      seed: of order and augmentation, not negative.
      shard: (index, count) of this host.

    Raises:
      UserError: nothing to train on; and, when called, an image that cannot be used.
    """
    source = as_source(examples)
    if not len(source):
        raise UserError("there is no instance to train on; check the annotations and the filters")
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard {shard}: expected (index, count) with 0 <= index < count")
    return CropPlan(source, settings, batch_size, seed, shard)
