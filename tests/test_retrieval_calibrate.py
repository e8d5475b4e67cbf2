"""Thresholds from a share of empty crops."""

import numpy as np
import pytest

from exits_jax.retrieval.calibrate import calibrate_thresholds
from exits_jax.retrieval.points import retrieve_points
from exits_jax.retrieval.score import propagation_score
from exits_jax.retrieval.settings import RetrievalSettings


def _scores(crops: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(crops, 30)) * rng.lognormal(size=(crops, 1))
    return scores.astype(np.float32), rng.random((crops, 30)) < 0.5


@pytest.mark.parametrize("target", [0.0, 0.07, 0.5, 1.0])
@pytest.mark.parametrize("ratio", [(0.4, 0.15), (1.0, 1.0), (1.0, 3.0)])
def test_the_share_asked_for_comes_out(target: float, ratio: tuple[float, float]) -> None:
    scores, inside = _scores(400)
    tau_fg, tau_bg = calibrate_thresholds(scores, inside, target, ratio=ratio)
    assert tau_fg / tau_bg == pytest.approx(ratio[0] / ratio[1])
    none = np.zeros_like(inside)
    empty = retrieve_points(scores, inside, none, none, tau_fg=tau_fg, tau_bg=tau_bg)[2]
    assert np.asarray(empty).sum() == round(target * 400)


def test_closed_form() -> None:
    """Strengths 1, 2, 3, 4 in units of the ratio; a quarter empty lies halfway from 1 to 2."""
    scores = np.float32([[0.4, -0.1], [0.1, -0.3], [1.2, 0], [-0.6, 0]])
    tau = calibrate_thresholds(scores, np.ones((4, 2)), 0.25, ratio=(0.4, 0.15))
    np.testing.assert_allclose(tau, [0.6, 0.225], rtol=1e-6)


def test_crops_without_any_score_do_not_use_up_the_share() -> None:
    scores, inside = _scores(100)
    alone = calibrate_thresholds(scores, inside)
    padded = calibrate_thresholds(
        np.concatenate([scores, np.zeros((50, 30))]), np.concatenate([inside, inside[:50]])
    )
    assert alone == padded


def test_scores_outside_the_box_do_not_count() -> None:
    scores, inside = _scores(100)
    wild = np.where(inside, scores, 1e6)
    assert calibrate_thresholds(wild, inside) == calibrate_thresholds(scores, inside)


@pytest.mark.parametrize("form", ["applied", "absorbing"])
def test_a_walk_that_can_stay_is_calibrated_on_what_it_finds(form: str) -> None:
    """An absorbing walk is mostly where it began: the seeds' own scores are no measure."""
    rng = np.random.default_rng(0)
    similarity = rng.uniform(0.1, 1.0, (50, 36, 36)).astype(np.float32)
    points = np.tile(np.float32([[0.5, 0.2], [0.2, 0.5], [0.5, 0.8], [0.8, 0.5]]), (50, 1, 1))
    box, valid = (np.tile(np.float32(one), (50, 1)) for one in ([0.2, 0.2, 0.8, 0.8], [0, 0, 1, 1]))
    scores = propagation_score(
        similarity,
        points,
        np.ones(50, bool),
        box,
        valid,
        grid=6,
        settings=RetrievalSettings(form=form, delta=0.0),
    )
    tau_fg, tau_bg = calibrate_thresholds(scores.score, scores.retrievable, 0.1)
    cells = (scores.score, scores.inside_box, scores.foreground, scores.background)
    labels, weights, empty = retrieve_points(*cells, tau_fg=tau_fg, tau_bg=tau_bg)
    assert np.asarray(empty).sum() == 5
    assert np.any(weights > labels)
    assert np.any(labels > scores.foreground)


def test_nothing_to_calibrate_on_is_an_error() -> None:
    scores, inside = _scores(10)
    with pytest.raises(ValueError, match="no crop has a score"):
        calibrate_thresholds(0 * scores, inside)
    with pytest.raises(ValueError, match="out of range"):
        calibrate_thresholds(scores, inside, 1.5)
    with pytest.raises(ValueError, match="out of range"):
        calibrate_thresholds(scores, inside, ratio=(0.4, 0.0))
