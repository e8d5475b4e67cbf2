"""Work done ahead of its consumer, in order."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Done = TypeVar("Item"), TypeVar("Done")


def in_order(work: Callable[[Item], Done], items: Iterable[Item], threads: int) -> Iterator[Done]:
    """`map(work, items)` with `threads` items worked on ahead of the consumer; 0: none."""
    if not threads:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads)
    ahead: collections.deque = collections.deque()
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:  # also when the consumer stops early
        pool.shutdown(cancel_futures=True)
