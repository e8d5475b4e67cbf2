"""Labelling part by part, by every device of a process, so that nothing is lost or made twice."""

import collections
import pathlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from exits_jax.annotations import Instance
from exits_jax.data.source import Source
from exits_jax.export.parts import Share, is_whole, part_positions, taking_order, write_part
from exits_jax.export.quality import Label
from exits_jax.export.unfinished import (
    Predicted,
    Unfinished,
    unfinished_files,
    unfinished_path,
)
from exits_jax.system.progress import Tracker

Labelling = Callable[..., list[Label]]  # a `Labeller`, or a function around one


class Stopped(Exception):
    """The work was asked to end between two batches."""


class PartsToMake:
    """The missing parts, for every device's thread to take from.

    Parts that exist, whoever made them, are not made again, nor are the finished batches of a part
    that a kill left unfinished (`unfinished`). Batches never reach beyond a part, and neighbours on
    one image are never separated, so labels depend neither on where an earlier run stopped nor on
    who else is working.

    Fields:
      source: where the images come from.
      instances: those of `source`, in document order.
      folder: where parts are kept (`parts`).
      part_size: annotations in a part, or more to the end of an image.
      share: which of the processes this is.
      progress: told of each batch.
      stop: asked after each batch; True ends the work.
    """

    def __init__(
        self,
        source: Source,
        instances: Sequence[Instance],
        folder: pathlib.Path,
        *,
        part_size: int,
        share: Share,
        progress: Tracker,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._source, self._instances, self._folder = source, instances, folder
        self._share, self._progress, self._stop = share, progress, stop
        self._parts = part_positions(instances, part_size)
        self._waiting = collections.deque(taking_order(len(self._parts), share))
        self._begun = unfinished_files(folder)
        self._lock = threading.Lock()  # of `_waiting` and `_progress`

    def make(self, labellers: Sequence[Labelling]) -> None:
        """Makes all parts, or as many as there is time for until `stop`.

        Args:
          labellers: one for each device; they work side by side.
        """
        if len(labellers) == 1:
            return self._work(labellers[0])
        with ThreadPoolExecutor(len(labellers)) as pool:
            for done in [pool.submit(self._work, labeller) for labeller in labellers]:
                done.result()

    def _work(self, labeller: Labelling) -> None:
        try:
            while not self._stop() and (number := self._taken()) is not None:
                self._make(labeller, number)
        except Stopped:
            return
        except BaseException:
            self._waiting.clear()  # the other devices end with the part they are at
            raise

    def _taken(self) -> int | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _make(self, labeller: Labelling, number: int) -> None:
        positions = self._parts[number]
        if is_whole(self._folder, number):
            return self._count(self._progress.skip, len(positions))
        path = unfinished_path(self._folder, number, self._share.index)
        unfinished = Unfinished(path, self._begun.get(number, ()))
        counted = sum(len(batch.index) for batch in unfinished.batches)
        self._count(self._progress.skip, counted)

        def keep(batch: Predicted) -> None:
            nonlocal counted
            counted += len(batch.index)
            unfinished.keep(batch)
            self._count(self._progress.advance, len(batch.index))
            if self._stop():
                raise Stopped

        chosen = [self._instances[i] for i in positions]
        try:
            labels = labeller(self._source.take(positions), chosen, unfinished.batches, keep)
            write_part(self._folder, number, labels)
        except BaseException:
            unfinished.flush()
            raise
        unfinished.remove()
        self._count(self._progress.skip, len(positions) - counted)  # of unusable images

    def _count(self, report: Callable[[int], None], amount: int) -> None:
        with self._lock:
            report(amount)
