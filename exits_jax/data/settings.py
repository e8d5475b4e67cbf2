"""The settings of crops."""

import dataclasses
from typing import ClassVar

from exits_jax.system.settings import UNIT, Affects, Section, at_least, setting


@dataclasses.dataclass(frozen=True)
class CropSettings(Section):
    """How a crop is cut around an object, and coloured."""

    NAME: ClassVar[str] = "crop"

    size: int = setting(
        512, "side of a crop, pixels", mark="S", affects=Affects.NETWORK, check=at_least(1)
    )
    train_margin: float = setting(
        1.2,
        "training: per side u * this * g of the box's half-size (`data.crop.random_window`)",
        mark="I",
        affects=Affects.PARAMETERS,
        check=at_least(0),
    )
    label_margin: float = setting(
        0.3,
        "labelling: this share of the box's half-size per side",
        mark="I",
        affects=Affects.LABELS,
        check=at_least(0),
    )
    flip: float = setting(
        0.5,
        "probability of a horizontal flip in training",
        mark="I",
        affects=Affects.PARAMETERS,
        check=UNIT,
    )
    colour: bool = setting(
        True,
        "jitter, grey and blur of the student's image in training (`data.colour`)",
        mark="I",
        affects=Affects.PARAMETERS,
    )
