"""Choosing the retrieval thresholds without any mask."""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped


def calibrate_thresholds(
    scores: Float[ArrayLike, "n p"],
    retrievable: Shaped[ArrayLike, "n p"],
    target_empty: float = 0.07,
    *,
    ratio: tuple[float, float] = (0.4, 0.15),
) -> tuple[float, float]:
    """The pair (tau_fg, tau_bg) that leaves a given share of crops without a retrieved point.

    The paper's thresholds are not published; that about 7 % of its images retrieve nothing is
    (EXITS supplement, B). One number cannot fix two thresholds, so their ratio is given and their
    scale is found: each crop is empty from some scale on, where its strongest retrievable point
    falls short, and the scale sought is a quantile of these over the crops. No mask is read.

    Args:
      scores: of training crops; one row per crop.
      retrievable: cells in the box that are not seeds: a seed's own score says nothing about what
        is found, and in an absorbing walk it is a hundred times the others (at the paper's beta).
      target_empty: share of crops to leave empty, 0 to 1. Crops whose score is 0 in all these cells
        (box only, or a box that is all seeds) are empty at any threshold; they are not counted.
      ratio: tau_fg and tau_bg, up to scale; not given in the paper.

    Returns:
      tau_fg, tau_bg.

    Raises:
      ValueError: a share outside [0, 1], a ratio that is not positive, or no crop with a score.
    """
    tau_fg, tau_bg = ratio
    if not 0.0 <= target_empty <= 1.0 or min(ratio) <= 0.0:
        raise ValueError(f"target_empty {target_empty} or ratio {ratio} is out of range")
    scores = np.asarray(scores, np.float64)
    strength = np.maximum(scores / tau_fg, -scores / tau_bg)
    strongest = np.max(np.where(np.asarray(retrievable) != 0, strength, 0.0), axis=1)
    strongest = np.sort(strongest[strongest > 0.0])
    if not strongest.size:
        raise ValueError("no crop has a score other than 0 besides its seeds to calibrate on")
    # Halfway between two crops, so that rounding in the scores cannot move one across.
    edges = np.concatenate([[0.0], strongest, [2.0 * strongest[-1]]])
    empty = round(target_empty * strongest.size)
    scale = (edges[empty] + edges[empty + 1]) / 2.0
    return float(scale * tau_fg), float(scale * tau_bg)
