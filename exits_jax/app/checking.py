"""The mode `check`: what is wrong with annotation or label files, in few lines."""

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from exits_jax.annotations import problem_line
from exits_jax.annotations.check import checked_files, inspect_file
from exits_jax.annotations.summary import SHORT, counted, problem_lines, sum_by_code
from exits_jax.app.workdir import RECORDS
from exits_jax.system.errors import UserError

SETTINGS = ("kind", "boxes", "boxes_by", "box_form", "crowds", "exif")  # of data, as for labelling


def check(
    files: Sequence[str],
    images: str | None,
    everything: bool = False,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Lints annotation or label files.

    Findings and notes go to standard output, one line each; of many the first of each code and a
    count. What was read and the sum go to standard error.

    Args:
      files: files, or folders of them.
      images: the image folder, for the checks of images.
      everything: print every line.
      settings: of `SETTINGS`, by name.

    Returns:
      1 if there is any finding, else 0.
    """
    chosen = checked_files(files, RECORDS)
    found = [_check_any(file, images, everything, settings) for file in chosen]
    return max(found)


def _check_any(file: str, images: str | None, everything: bool, settings: Mapping[str, str]) -> int:
    """Lints one of several files; one that cannot be read does not stop the others."""
    try:
        return check_one(file, images, everything, settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def check_one(file: str, images: str | None, everything: bool, settings: Mapping[str, str]) -> int:
    """Lints one file, as `check`."""
    result = inspect_file(file, images, **settings)
    for line in problem_lines(file, result.problems, everything=everything):
        print(line)
    for note in result.notes:
        print(f"note: {problem_line(file, note)}")
    read = result.read or "nothing could be read"
    total = f"{counted(len(result.problems), 'finding')}: {sum_by_code(result.problems)}"
    print(f"{file}: {read}; {total if result.problems else 'no findings'}", file=sys.stderr)
    if result.problems and not everything and len(result.problems) > SHORT:
        print(f"{file}: --all lists every finding", file=sys.stderr)
    return 1 if result.problems else 0
