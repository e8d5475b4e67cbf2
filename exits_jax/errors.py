"""The one exception a user is meant to read."""


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, an annotation.

    The message is one line that names the file or annotation, what was found, what was expected and
    what to do. The command line prints it without a traceback and exits with status 2.
    """
