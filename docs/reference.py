"""Writes the API reference from the docstrings: a page a module. `make docs` runs it.

Warnings are errors: a docstring that cannot be shown as it is meant is mended.
"""

import argparse
import importlib
import pathlib
import pkgutil
import warnings
from collections.abc import Iterator

import pdoc

import exits_jax


def module_names() -> Iterator[str]:
    """The modules pdoc is told of: it finds those of a package itself if that has no `__all__`."""
    yield exits_jax.__name__
    for found in pkgutil.walk_packages(exits_jax.__path__, "exits_jax."):
        package = importlib.import_module(found.name.rpartition(".")[0])
        if hasattr(package, "__all__"):
            yield found.name


def main() -> None:
    """Writes all pages into a folder; `index.html` is where to begin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, nargs="?", default="build/docs")
    folder = parser.parse_args().folder
    warnings.simplefilter("error", UserWarning)  # what pdoc warns by
    for name in exits_jax.__all__:  # loaded when first asked for: pdoc shows what is there
        setattr(exits_jax, name, getattr(exits_jax, name))
    pdoc.render.configure(docformat="google", math=True)
    pdoc.pdoc(*module_names(), output_directory=folder)
    print(f"wrote {folder / 'index.html'}: {len([*folder.rglob('*.html')])} pages")


if __name__ == "__main__":
    main()
