"""A resumable iterator over the batches of any plan, through grain."""

import signal
from typing import Any, Protocol, runtime_checkable

import grain
from absl import flags

from exits_jax.system.errors import UserError
from exits_jax.system.types import Batch


@runtime_checkable
class Plan(Protocol):
    """The function from a batch's number to this process's rows of it."""

    def __call__(self, number: int) -> Batch:
        """The rows of a batch; pure, so that threads and worker processes may call it."""

    def fingerprint(self) -> dict[str, int | str]:
        """What must be equal for a saved position to mean the same batches."""


def batches_per_epoch(items: int, batch_size: int, hosts: int = 1) -> int:
    """Batches that each host gets in one pass; the last global batch is padded."""
    return -(-items // (batch_size * hosts))


class PlannedBatches(grain.DatasetIterator):
    """A checkpointable iterator over batches 0, 1, ... `total` - 1 of a plan.

    Derived from grain's iterator because `grain.checkpoint` saves nothing else. Its state is the
    number of batches delivered, so a run may be resumed with another number of workers or threads.
    """

    def __init__(self, plan: Plan, total: int, *, workers: int = 0, threads: int = 2) -> None:
        """Nothing is made before the first batch is asked for, or `start_prefetch` is called.

        Args:
          plan: from a batch's number to the batch; gives its `fingerprint`.
          total: batches in all.
          workers: processes that make batches; 0 for threads of this process.
          threads: batches made at a time in this process when there are no workers; 0 makes each
            when it is asked for. Neither number changes the batches.
        """
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
            self._stop()  # batches made ahead are lost: the next call begins at this batch again
            raise
        self._delivered += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """The position and the plan it belongs to, as JSON."""
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
                "the same data and settings, or start again"
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
    """Ctrl-C reaches all processes of a terminal; only the main one shall act on it."""
    del worker, workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
