"""The one exception a user is meant to read."""

import textwrap
from typing import Any


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, an annotation.

    The message is one line that names the file or annotation, what was found, what was expected and
    what to do. The command line prints it without a traceback and exits with status 2.
    """


def one_line(value: Any) -> str:
    """Text of a library's error, or from a file, as it fits into a message: one short line."""
    text = str(value).encode("utf-8", "replace").decode()
    return textwrap.shorten(text, width=300, placeholder=" ...")
