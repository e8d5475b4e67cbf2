"""Writes the API reference from the docstrings: a page a module. `make docs` runs it.

Warnings are errors: a docstring that cannot be shown as it is meant is mended.
"""

import argparse
import importlib
import pathlib
import pkgutil
import warnings

import pdoc

import exits_jax


def show_everything() -> None:
    """Adds to the names that a package hands on its modules, for pdoc lists those names alone.

    What is loaded when it is first asked for is loaded: pdoc shows what is there.
    """
    for found in [None, *pkgutil.walk_packages(exits_jax.__path__, "exits_jax.")]:
        package = exits_jax if found is None else importlib.import_module(found.name)
        for name in getattr(package, "__all__", ()):
            setattr(package, name, getattr(package, name))
        if hasattr(package, "__all__") and hasattr(package, "__path__"):
            inside = {module.name for module in pkgutil.iter_modules(package.__path__)}
            package.__all__ = [*package.__all__, *sorted(inside - {*package.__all__})]


def main() -> None:
    """Writes all pages into a folder; `index.html` is where to begin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, nargs="?", default="build/docs")
    folder = parser.parse_args().folder
    warnings.simplefilter("error", UserWarning)  # what pdoc warns by
    show_everything()
    pdoc.render.configure(docformat="google", math=True)
    pdoc.pdoc("exits_jax", output_directory=folder)
    print(f"wrote {folder / 'index.html'}: {len([*folder.rglob('*.html')])} pages")


if __name__ == "__main__":
    main()
