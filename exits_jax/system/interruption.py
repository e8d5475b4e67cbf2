"""Stopping between two pieces of work instead of in the middle of one."""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# Seconds after which the callback that swallowed an interruption has ended.
AGAIN_AFTER = 0.05


@contextlib.contextmanager
def heard_again() -> Iterator[None]:
    """A Ctrl-C that Python drops is raised again while the context is open.

    A Ctrl-C during a callback of the garbage collector (JAX has one) cannot be raised there: Python
    prints it as ignored, and the program would go on as if nobody had asked it to stop.
    """
    ignored = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN_AFTER, _thread.interrupt_main).start()
        else:
            ignored(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = ignored


class Stop:
    """Whether somebody asked the program to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextlib.contextmanager
def on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM go to `handler` while the context is open.

    Outside the main thread, where Python allows no signal handlers, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def stop_between_steps() -> Iterator[Stop]:
    """Turns the first Ctrl-C or SIGTERM into a request that the loop inside honours when it can.

    The loop looks at `requested` after each piece of work, saves and leaves; leaving the context
    then raises KeyboardInterrupt. A second Ctrl-C interrupts at once.
    """
    stop = Stop()

    def request(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    with on_signals(request):
        yield stop
    if stop.requested:
        raise KeyboardInterrupt
