"""Arms against each other: AP over seeds and drawn images, differences and ratios of it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.stage2.detections import Found
from experiments.stage2.resampled_ap import interval

Seeds = Mapping[int, Found]  # of one arm, by seed


class Value(NamedTuple):
    """A figure of all images, and the middle 95 % over drawn ones."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """With its interval; n/a where there is nothing to say."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})" if self.known else "n/a"

    def signed(self) -> str:
        """A difference with its interval."""
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})" if self.known else "n/a"

    @property
    def known(self) -> bool:
        """Whether anything can be said."""
        return not np.isnan(self.value)

    def is_outside(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def value_of(drawn: Float[np.ndarray, " r"]) -> Value:
    """A figure by set of images, the first set being all of them."""
    return Value(float(drawn[0]), *interval(drawn[1:]))


def mean_over_seeds(seeds: Seeds, figure: str = "ap") -> Float[np.ndarray, " r"]:
    """Mean over the networks of an arm, by set of images."""
    return np.mean([getattr(found, figure) for found in seeds.values()], axis=0)


def seed_deviation(seeds: Seeds) -> float:
    """Standard deviation of AP over the networks of an arm; nan of fewer than two."""
    values = [float(found.ap[0]) for found in seeds.values()]
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def compared(
    first: Seeds, second: Seeds, how: Callable[[np.ndarray, np.ndarray], np.ndarray], figure: str
) -> Value | None:
    """Two arms on the same sets of images and the seeds that both have; None where they share none.

    Args:
      first, second: the arms.
      how: `np.subtract`, or `ratio`.
      figure: "ap", "ap50" or "ap75".
    """
    both = [seed for seed in first if seed in second]
    if not both:
        return None
    means = [mean_over_seeds({seed: arm[seed] for seed in both}, figure) for arm in (first, second)]
    return value_of(how(*means))


def ratio(first: Float[np.ndarray, " r"], second: Float[np.ndarray, " r"]) -> np.ndarray:
    """Their quotient; nan over nothing."""
    return np.divide(first, second, out=np.full(len(first), np.nan), where=second > 0)
