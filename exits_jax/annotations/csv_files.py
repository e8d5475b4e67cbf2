"""Tables as text: separated by commas, semicolons or tabs, the columns named in the first line."""

import csv
import pathlib
from collections.abc import Iterator

from exits_jax.annotations.recognise import delimiter_of, not_utf8
from exits_jax.annotations.records import BadItem


def column_names(line: str) -> list[str]:
    """The names in the first line of a table; empty if it is not a table."""
    try:
        cells = next(csv.reader([line], delimiter=delimiter_of(line)), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


def csv_rows(file: pathlib.Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a table by their columns, with their numbers.

    Raises:
      BadItem: it is not a table, lacks one of the columns, or a line is truncated.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            names = column_names(first)
            lacking = [name for name in needed if name not in names]
            if lacking:
                raise BadItem("bad_csv", f"the first line lacks the columns {', '.join(lacking)}")
            for row in (reader := csv.DictReader(stream, names, delimiter=delimiter_of(first))):
                line = reader.line_num + 1
                if any(row[name] is None for name in needed):
                    raise BadItem("bad_csv", f"line {line} is truncated")
                yield line, row
    except OSError as error:
        raise BadItem("unreadable_file", f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadItem("bad_csv", not_utf8(error)) from error
    except csv.Error as error:
        raise BadItem("bad_csv", f"not valid CSV: {error}") from error
