"""Work done part by part, by every device of a process, so that nothing is lost or made twice."""

import collections
import pathlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from exits_jax.export.parts import Share, is_whole, taking_order, write_part
from exits_jax.export.unfinished import (
    Predicted,
    Unfinished,
    unfinished_files,
    unfinished_path,
)
from exits_jax.system.progress import Tracker

# (positions of a part's items, the batches of it that are made, a function that takes every other
# batch when it is made) -> the part's rows.
Maker = Callable[[range, Sequence[Any], Callable[[Any], None]], Sequence[Any]]


class Stopped(Exception):
    """The work was asked to end between two batches."""


class PartsToMake:
    """The missing parts, for every device's thread to take from.

    Parts that exist, whoever made them, are not made again, nor are the finished batches of a part
    that a kill left unfinished (`unfinished`). Batches never reach beyond a part, so rows depend
    neither on where an earlier run stopped nor on who else is working.

    Fields:
      parts: positions of the items of each.
      folder: where parts are kept (`parts`).
      share: which of the processes this is.
      progress: told of each batch.
      stop: asked after each batch; True ends the work.
      kind: of the batches of an unfinished part, see `Unfinished`.
    """

    def __init__(
        self,
        parts: Sequence[range],
        folder: pathlib.Path,
        *,
        share: Share,
        progress: Tracker,
        stop: Callable[[], bool] = lambda: False,
        kind: type = Predicted,
    ) -> None:
        self._parts, self._folder, self._kind = parts, folder, kind
        self._share, self._progress, self._stop = share, progress, stop
        self._waiting = collections.deque(taking_order(len(self._parts), share))
        self._begun = unfinished_files(folder)
        self._lock = threading.Lock()  # of `_waiting` and `_progress`

    def make(self, makers: Sequence[Maker]) -> None:
        """Makes all parts, or as many as there is time for until `stop`.

        Args:
          makers: one for each device; they work side by side.
        """
        if len(makers) == 1:
            return self._work(makers[0])
        with ThreadPoolExecutor(len(makers)) as pool:
            for done in [pool.submit(self._work, maker) for maker in makers]:
                done.result()

    def _work(self, maker: Maker) -> None:
        try:
            while not self._stop() and (number := self._taken()) is not None:
                self._make(maker, number)
        except Stopped:
            return
        except BaseException:
            self._waiting.clear()  # the other devices end with the part they are at
            raise

    def _taken(self) -> int | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _make(self, maker: Maker, number: int) -> None:
        positions = self._parts[number]
        if is_whole(self._folder, number):
            return self._count(self._progress.skip, len(positions))
        path = unfinished_path(self._folder, number, self._share.index)
        unfinished = Unfinished(path, self._begun.get(number, ()), self._kind)
        counted = sum(len(batch.index) for batch in unfinished.batches)
        self._count(self._progress.skip, counted)

        def keep(batch: Any) -> None:
            nonlocal counted
            counted += len(batch.index)
            unfinished.keep(batch)
            self._count(self._progress.advance, len(batch.index))
            if self._stop():
                raise Stopped

        try:
            write_part(self._folder, number, maker(positions, unfinished.batches, keep))
        except BaseException:
            unfinished.flush()
            raise
        unfinished.remove()
        self._count(self._progress.skip, len(positions) - counted)  # of unusable images

    def _count(self, report: Callable[[int], None], amount: int) -> None:
        with self._lock:
            report(amount)
