"""Settings, each written down once: its default, source, meaning, check and what it changes.

A section of the config is a frozen dataclass whose fields are made by `setting`. The config, its
help, its checks and the comparison of runs all walk these fields; nobody lists them again.
"""

import dataclasses
import enum
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, TypeVar

from exits_jax.system.errors import UserError


class Affects(enum.Enum):
    """What a change of a setting changes."""

    NOTHING = "neither parameters nor masks"
    LABELS = "masks"
    PARAMETERS = "what is trained"
    NETWORK = "what trained parameters mean"
    MAP = "the propagation map"


# Where a value comes from.
MARKS = {
    "S": "the paper's supplement",
    "P": "public summaries of the paper",
    "I": "inferred from the paper's closest relatives",
    "?": "not published: ours, chosen or measured",
}


class Check(NamedTuple):
    """Whether a value can work, and what to say where it cannot."""

    right: Callable[[Any], bool]
    expected: str

    def holds(self, value: Any) -> bool:
        """Whether a value can work; one of another type, which cannot be compared, cannot."""
        try:
            return bool(self.right(value))
        except TypeError:
            return False


def one_of(*allowed: str) -> Check:
    """One of these words."""
    return Check(lambda value: value in allowed, " or ".join(allowed))


def some_of(*allowed: str) -> Check:
    """A list of any of these words."""
    return Check(lambda value: {*value} <= {*allowed}, f"any of {', '.join(allowed)}")


def at_least(least: int) -> Check:
    """A lower bound."""
    return Check(lambda value: value >= least, f"{least} or more")


ANY = Check(lambda value: True, "anything")
UNIT = Check(lambda value: 0 <= value <= 1, "between 0 and 1")
POSITIVE = Check(lambda value: value > 0, "more than 0")


def setting(
    default: Any, words: str, *, mark: str, affects: Affects, check: Check = ANY, path: bool = False
) -> Any:
    """A field of a section.

    Args:
      default: its value where a config does not give one.
      words: what it means, with its unit.
      mark: where the default comes from, a key of `MARKS`.
      affects: what changes with it.
      check: of its values.
      path: whether it is, or may be, a path.
    """
    about = {"words": words, "mark": mark, "affects": affects, "check": check, "path": path}
    return dataclasses.field(default=default, metadata=about)


def again(section: type, name: str, default: Any, **about: Any) -> Any:
    """A field of a base section with another default, or changed in another way."""
    known = next(field for field in dataclasses.fields(section) if field.name == name)
    return dataclasses.field(default=default, metadata={**known.metadata, **about})


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the config; refuses values that cannot work when it is made.

    Attributes:
      NAME: of the section in a config; empty for the top.
    """

    NAME: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Raises UserError for the first value that cannot work, saying what is expected."""
        for field in settings_in(type(self)):
            value, check = getattr(self, field.name), field.metadata["check"]
            left_open = value is None and field.default is None
            if not left_open and not check.holds(value):
                key = f"{self.NAME}.{field.name}" if self.NAME else field.name
                raise UserError(f"{key} is {value!r}, expected {check.expected}")


def tuples(value: Any) -> Any:
    """A JSON value as settings have it: tuples for its lists, also in each other."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


Made = TypeVar("Made", bound=Section)


def settings_in(section: type[Section]) -> Iterator[dataclasses.Field]:
    """The fields of a section that are settings."""
    return (field for field in dataclasses.fields(section) if "affects" in field.metadata)


def affected(section: type[Section], *what: Affects) -> list[str]:
    """The names of a section's settings that change one of these."""
    return [field.name for field in settings_in(section) if field.metadata["affects"] in what]
