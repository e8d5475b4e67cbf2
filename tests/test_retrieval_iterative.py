"""Tightness centring and reseeding."""

import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.retrieval.decision import centre_score, decide, mean_seed
from exits_jax.retrieval.iterative import reseed
from exits_jax.retrieval.propagation import transition_matrix

LOG_EPS = 1e-6


def test_mean_seed_of_nothing_is_nothing() -> None:
    seeds = jnp.array([[1.0, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(mean_seed(seeds), [[0.5, 0, 0.5, 0], [0, 0, 0, 0]])


def test_centring_takes_the_quantile_of_row_and_column_maxima() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=(1, 64)).astype(np.float32)
    inside = np.zeros((8, 8), bool)
    inside[1:7, 2:8] = True
    boxed = score.reshape(8, 8)[1:7, 2:8]
    maxima = np.concatenate([boxed.max(0), boxed.max(1)])
    expected = score - 0.4 * np.quantile(maxima, 0.05)
    centred = centre_score(jnp.asarray(score), jnp.asarray(inside.reshape(1, 64)), 0.4)
    np.testing.assert_allclose(centred, expected, rtol=1e-5, atol=1e-6)


def test_centring_at_full_strength_lets_the_object_touch_its_box() -> None:
    """A map that is right up to a shift is shifted back: its weakest row maximum ends at 0."""
    score = jnp.full((1, 16), -5.0).at[0, jnp.array([0, 5, 10, 15])].set(-2.0)
    centred = centre_score(score, jnp.ones((1, 16), bool), 1.0)
    np.testing.assert_allclose(centred[0, ::5], 0.0, atol=1e-6)
    assert (np.asarray(centred[0, 1]) == -3.0).all()


@pytest.mark.parametrize(("level", "shift"), [(-50.0, -3.0), (50.0, 4.0)])
def test_centring_is_limited(level: float, shift: float) -> None:
    centred = centre_score(jnp.full((1, 16), level), jnp.ones((1, 16), bool), 0.5)
    np.testing.assert_allclose(centred, level - 0.5 * shift, rtol=1e-6)


def test_centring_of_a_box_without_cells_or_at_strength_zero_changes_nothing() -> None:
    score = jnp.arange(16.0)[None]
    np.testing.assert_array_equal(centre_score(score, jnp.zeros((1, 16), bool), 0.4), score)
    np.testing.assert_array_equal(centre_score(score, jnp.ones((1, 16), bool), 0.0), score)


def _chain() -> tuple[np.ndarray, ...]:
    """4 x 4 cells: an object of two like parts in the box's left, other stuff everywhere else."""
    kind = np.array([[2, 2, 2, 2], [2, 0, 3, 2], [2, 1, 3, 2], [2, 2, 2, 2]]).ravel()
    like = np.array(
        [[1, 0.6, 0.01, 0.01], [0.6, 1, 0.05, 0.08], [0.01, 0.05, 1, 0.3], [0.01, 0.08, 0.3, 1]]
    )
    similarity = like[kind][:, kind].astype(np.float32)[None]
    inside = np.isin(kind, (0, 1, 3))[None]
    return kind, similarity, inside, (kind == 0).astype(np.float32)[None]


def _reference(
    score: np.ndarray,
    transition: np.ndarray,
    foreground: np.ndarray,
    inside: np.ndarray,
    shown: np.ndarray,
    rounds: int,
) -> np.ndarray:
    """One crop's rounds without centring, in float64."""
    points = score.size
    for _ in range(rounds):
        share = inside / (1 + np.exp(-score))
        rest = shown * (1 - share)
        likely = 0.8 * share / share.sum() + 0.2 * foreground / foreground.sum()
        towards, away = transition @ likely, transition @ rest / rest.sum()
        score = np.log(points * towards + LOG_EPS) - np.log(points * away + LOG_EPS)
    return score


@pytest.mark.parametrize("rounds", [1, 3])
def test_reseeding_against_plain_numpy(rounds: int) -> None:
    rng = np.random.default_rng(2)
    _, similarity, inside, foreground = _chain()
    transition = transition_matrix(similarity)
    score = rng.normal(size=(1, 16)).astype(np.float32)
    shown = np.ones((1, 16), bool)
    shown[0, :4] = False
    arrays = (score, transition, foreground, inside, shown)
    found = reseed(*map(jnp.asarray, arrays), rounds=rounds, centring=0.0)
    arrays = [np.asarray(array, np.float64) for array in arrays]
    expected = _reference(*(a[0] for a in arrays), rounds=rounds)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)


def test_reseeding_finds_the_part_the_seeds_did_not_see() -> None:
    """Seeds on one part only; rounds widen the gap between its other part and the stuff beside."""
    kind, similarity, inside, foreground = _chain()
    transition = transition_matrix(similarity)
    background = (~inside).astype(np.float32)
    walked = np.einsum(
        "pq,kq->kp", transition[0], np.stack([foreground[0], background[0] / background.sum()])
    )
    score = decide(*(16 * jnp.asarray(walked)[:, None]), "log_ratio")
    shown = np.ones((1, 16), bool)

    def gap(values: np.ndarray) -> float:
        return float(values[0, kind == 1][0] - values[0, kind == 3].max())

    arrays = map(jnp.asarray, (score, transition, foreground, inside, shown))
    refined = np.asarray(reseed(*arrays, rounds=3, centring=0.4))
    assert gap(refined) > 0
    assert refined[0, kind == 1] > 0 > refined[0, kind == 3].max()


def test_reseeding_stays_finite_on_certain_scores_and_without_seeds() -> None:
    _, similarity, inside, foreground = _chain()
    transition = transition_matrix(similarity)
    shown = jnp.ones((1, 16), bool)
    for level in (-500.0, 500.0):
        for seeds in (foreground, 0 * foreground):
            score = jnp.full((1, 16), level)
            arrays = (score, transition, jnp.asarray(seeds), jnp.asarray(inside), shown)
            assert np.isfinite(reseed(*arrays, rounds=2, centring=0.4)).all()
