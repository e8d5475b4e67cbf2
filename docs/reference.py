"""Writes the API reference from the docstrings, one page per module. `make docs` runs it.

Warnings are errors, so that a docstring that pdoc cannot render is noticed.
"""

import argparse
import importlib
import pathlib
import pkgutil
import warnings

import pdoc

import exits_jax


def show_everything() -> None:
    """Adds a package's modules to the names it exports, because pdoc lists only those names.

    Names that are loaded lazily are loaded: pdoc shows only what is there.
    """
    for found in [None, *pkgutil.walk_packages(exits_jax.__path__, "exits_jax.")]:
        package = exits_jax if found is None else importlib.import_module(found.name)
        for name in getattr(package, "__all__", ()):
            setattr(package, name, getattr(package, name))
        if hasattr(package, "__all__") and hasattr(package, "__path__"):
            inside = {module.name for module in pkgutil.iter_modules(package.__path__)}
            package.__all__ = [*package.__all__, *sorted(inside - {*package.__all__})]


def main() -> None:
    """Writes all pages into a folder; start at `index.html`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, nargs="?", default="build/docs")
    folder = parser.parse_args().folder
    warnings.simplefilter("error", UserWarning)  # pdoc's warnings
    show_everything()
    pdoc.render.configure(docformat="google", math=True)
    pdoc.pdoc("exits_jax", output_directory=folder)
    print(f"wrote {folder / 'index.html'}: {len([*folder.rglob('*.html')])} pages")


if __name__ == "__main__":
    main()
