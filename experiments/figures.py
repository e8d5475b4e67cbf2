"""Pictures of results."""

import io
import pathlib

from matplotlib.figure import Figure

from exits_jax.system.files import write_bytes


def write_figure(path: pathlib.Path, figure: Figure) -> None:
    """Writes a figure as PNG, whole or not at all."""
    file = io.BytesIO()
    figure.savefig(file, dpi=110)
    write_bytes(path, file.getvalue())
