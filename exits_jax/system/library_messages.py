"""Messages of libraries, as one line of ours or not at all."""

import contextlib
import logging
import os
import pathlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from exits_jax.system.errors import one_line

# Of no use to whoever runs the program: an image is refused or read whatever Pillow thinks of its
# size, and deprecations are for developers.
UNSAID = ("DecompressionBombWarning", "DeprecationWarning", "FutureWarning", "ResourceWarning")
SITE_PACKAGES = ("site-packages", "dist-packages")


@contextlib.contextmanager
def in_our_words() -> Iterator[None]:
    """Python warnings and log lines of libraries become `note: LIBRARY: text`, each said once.

    XLA's C++ information and warnings are silenced; errors still appear. What the user says
    in TF_CPP_MIN_LOG_LEVEL has the last word.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    said: set[str] = set()
    handler = _Notes(said)
    root, show = logging.getLogger(), warnings.showwarning

    def showwarning(message: Any, category: type, filename: str, *_: Any) -> None:
        if category.__name__ not in UNSAID:
            _note(said, _library(filename), str(message))

    warnings.showwarning = showwarning
    root.addHandler(handler)
    try:
        yield
    finally:
        warnings.showwarning = show
        root.removeHandler(handler)


class _Notes(logging.Handler):
    """Warnings and errors that libraries log."""

    def __init__(self, said: set[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        _note(self._said, record.name.partition(".")[0], record.getMessage())


def _note(said: set[str], library: str, text: str) -> None:
    line = f"note: {library}: {one_line(text)}"
    if line not in said:
        said.add(line)
        print(line, file=sys.stderr, flush=True)


def _library(filename: str) -> str:
    """The package that a file is part of."""
    parts = pathlib.PurePath(filename).parts
    for folder in SITE_PACKAGES:
        if folder in parts[:-1]:
            return parts[parts.index(folder) + 1].removesuffix(".py")
    return pathlib.PurePath(filename).stem
