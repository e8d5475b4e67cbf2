"""Many problems in few lines: a count by code, and the first of each."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from exits_jax.annotations.records import Problem, problem_line

FIRST = 3  # problems of a code that are printed if not all are
SHORT = 20  # up to this many problems are all printed


class Notes:
    """Notes grouped by code, so that each is printed once; only the first is kept in full."""

    def __init__(self) -> None:
        self._first: dict[str, Problem] = {}
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, note: Problem) -> None:
        """Another note."""
        self._first.setdefault(note.code, note)
        self._counts[note.code] += 1

    def said(self) -> list[Problem]:
        """A note for each code, with how many there were."""
        return [
            first
            if self._counts[code] == 1
            else dataclasses.replace(first, text=f"{first.text}; {self._counts[code] - 1:,} more")
            for code, first in self._first.items()
        ]


def counted(number: int, noun: str, plural: str = "") -> str:
    """ "1 image", "2,000 images"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def by_image(problems: Iterable[Problem]) -> list[Problem]:
    """The problems; the same problem of several annotations of an image becomes one."""
    alike: dict[tuple[str, str, int | None], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.code, problem.text, problem.image_id), []).append(problem)
    return [
        first
        if not more
        else dataclasses.replace(
            first,
            text=f"{first.text}; likewise for its {len(more) + 1:,} annotations",
            annotation_id=None,
        )
        for first, *more in alike.values()
    ]


def sum_by_code(problems: Iterable[Problem]) -> str:
    """ "12 bad_box, 3 absent_image": the most frequent first."""
    counts = collections.Counter(problem.code for problem in problems)
    return ", ".join(f"{count:,} {code}" for code, count in counts.most_common())


def problem_lines(
    file: str | pathlib.Path, problems: Sequence[Problem], *, everything: bool = False
) -> Iterator[str]:
    """One line per problem; of many, the first of each code and how many more there are.

    Args:
      file: where they are.
      problems: in the order in which they are printed.
      everything: leave none out.
    """
    seen: collections.Counter[str] = collections.Counter()
    limit = len(problems) if everything or len(problems) <= SHORT else FIRST
    for problem in problems:
        seen[problem.code] += 1
        if seen[problem.code] <= limit:
            yield problem_line(file, problem)
    for code, count in seen.most_common():
        if count > limit:
            yield f"{file}: {code}: {count - limit:,} more like these"
