"""The settings of the report."""

import dataclasses
from typing import ClassVar

from exits_jax.system.settings import Affects, Section, at_least, setting

NOTHING = Affects.NOTHING


@dataclasses.dataclass(frozen=True)
class ReportSettings(Section):
    """What report.html shows."""

    NAME: ClassVar[str] = "report"

    apart: str = setting(
        "",
        "a category to report apart from the rest, in a table of its own; empty: none",
        mark="?",
        affects=NOTHING,
    )
    max_items: int = setting(
        1200,
        "instances shown; if there are more, half are the worst and half are evenly chosen",
        mark="?",
        affects=NOTHING,
        check=at_least(0),
    )
    max_panels: int = setting(
        60,
        "how many of these, the worst, get the panel of every propagation hop",
        mark="?",
        affects=NOTHING,
        check=at_least(0),
    )
