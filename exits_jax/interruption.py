"""Stopping between two pieces of work instead of in the middle of one."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stop:
    """Whether somebody asked the program to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextlib.contextmanager
def stop_between_steps() -> Iterator[Stop]:
    """Turns the first Ctrl-C or SIGTERM into a request that the loop inside honours when it can.

    The loop looks at `requested` after each piece of work, saves and leaves; leaving the context
    then raises KeyboardInterrupt. A second Ctrl-C interrupts at once. Outside the main thread,
    where Python allows no signal handlers, nothing is changed.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop.requested:
        raise KeyboardInterrupt
