"""Training batches through grain: a batch is a pure function of (seed, epoch, its number).

Which instance is where is a permutation drawn from (seed, epoch); how it is cropped and coloured is
drawn from (seed, epoch, index). So the batches are the same bytes for any number of threads and
worker processes, the position in the data is one number, and several hosts share one sequence of
global batches, each taking its rows.
"""

import functools
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np
from absl import flags
from jaxtyping import Int

from exits_jax.annotations import Instance
from exits_jax.data import crop
from exits_jax.data.batches import Batch, Row, cut, stack
from exits_jax.data.colour import change_colour
from exits_jax.data.labelling import label_batches
from exits_jax.data.settings import CropSettings
from exits_jax.data.source import Example, Source, as_source
from exits_jax.system.errors import UserError

__all__ = ["TrainBatches", "batches_per_epoch", "label_batches", "train_batches"]


def train_row(example: Example, settings: CropSettings, rng: np.random.Generator) -> Row:
    """A random crop of an example: window, flip and, if asked for, colours, in this order."""
    window = crop.random_window(example["box_xyxy"], settings.train_margin, rng)
    flip = bool(rng.random() < settings.flip)
    row = cut(example, window, settings.size, flip)
    if settings.colour:
        row["student_image"] = change_colour(row["image"], rng)
    return row


def batches_per_epoch(instances: int, batch_size: int, hosts: int = 1) -> int:
    """Batches each host takes in one pass; the last global batch is padded."""
    return -(-instances // (batch_size * hosts))


@dataclass(frozen=True, eq=False)
class BatchPlan:
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
        """What has to be the same for a saved position to mean the same batches."""
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
    epochs: int | None = None,
    steps: int | None = None,
    workers: int = 0,
    threads: int = 2,
    shard: tuple[int, int] = (0, 1),
) -> "TrainBatches":
    """Endless reshuffled passes over the instances, cut to `epochs` or to `steps` batches.

    Args:
      examples: a source, or instances whose images are files. Leave out unusable images first
        (`usable_instances`): here the first one stops the run.
      settings: how crops are cut and coloured.
      batch_size: rows of a batch on this host.
      seed: of order and augmentation, not negative.
      epochs: passes over the data; give this or `steps`.
      steps: batches in all.
      workers: processes that make batches; 0 for threads of this process.
      threads: batches made at a time in this process when there are no workers; 0 makes each when
        it is asked for. Neither number changes the batches.
      shard: (index, count) of this host.

    Raises:
      UserError: nothing to train on; and, from the iterator, an image that cannot be used.
    """
    if (epochs is None) == (steps is None):
        raise ValueError("give either epochs or steps")
    source = as_source(examples)
    if not len(source):
        raise UserError("there is no instance to train on; check the annotations and the filters")
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard {shard}: expected (index, count) with 0 <= index < count")
    total = steps
    if total is None:
        total = epochs * batches_per_epoch(len(source), batch_size, shard[1])
    return TrainBatches(
        BatchPlan(source, settings, batch_size, seed, shard),
        total,
        workers=workers,
        threads=threads,
    )


class TrainBatches(grain.DatasetIterator):
    """A checkpointable iterator over batches 0, 1, ... `total` - 1 of a plan.

    Derived from grain's iterator because `grain.checkpoint` saves nothing else. Its state is the
    number of batches delivered, so a run may be resumed with another number of workers or threads.
    """

    def __init__(self, plan: BatchPlan, total: int, *, workers: int, threads: int) -> None:
        super().__init__()
        self._plan, self._total = plan, total
        self._workers, self._threads = workers, threads
        self._delivered = 0
        self._inner: grain.DatasetIterator | None = None

    def __len__(self) -> int:
        return self._total

    def __next__(self) -> Batch:
        self._assert_not_closed()
        if self._delivered >= self._total:
            self._stop()
            raise StopIteration
        self.start_prefetch()
        try:
            batch = next(self._inner)
        except Exception:
            self._stop()  # what was made ahead is lost: asked again, begin at this batch again
            raise
        self._delivered += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """The position, and what it is a position in: JSON."""
        return {"delivered": self._delivered, **self._plan.fingerprint()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Moves to a saved position.

        Raises:
          UserError: it was saved with other data, another seed or batch size; names them.
        """
        here = self._plan.fingerprint()
        differ = [f"{k} was {state.get(k)}, is {v}" for k, v in here.items() if state.get(k) != v]
        if differ:
            raise UserError(
                f"the saved position in the data does not fit: {'; '.join(differ)}; resume with "
                "the same data and settings, or start anew"
            )
        self._stop()
        self._delivered = int(state["delivered"])

    def start_prefetch(self) -> None:
        """Starts threads or workers, if they are not running yet."""
        if self._inner is None:
            self._inner = self._open()
            self._inner.start_prefetch()

    def close(self) -> None:
        """Ends threads and workers; the iterator cannot be used afterwards."""
        super().close()
        self._stop()

    def _stop(self) -> None:
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    def _open(self) -> grain.DatasetIterator:
        numbers = grain.MapDataset.range(self._delivered, self._total)
        threads = 1 if self._workers else self._threads
        reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        batches = numbers.map(self._plan).to_iter_dataset(reading)
        if self._workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # grain hands its flags on to the worker processes
            options = grain.MultiprocessingOptions(self._workers, per_worker_buffer_size=2)
            batches = batches.mp_prefetch(options, worker_init_fn=_ignore_interrupts)
        return iter(batches)


def _ignore_interrupts(worker: int, workers: int) -> None:
    """Ctrl-C reaches all processes of a terminal; only the main one is to act on it."""
    del worker, workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
