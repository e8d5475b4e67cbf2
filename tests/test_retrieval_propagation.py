"""Sinkhorn normalisation and the walk, against closed forms."""

import jax
import numpy as np
import pytest

from exits_jax.retrieval.propagation import (
    absorbing_kernel,
    power_kernel,
    propagate,
    propagate_absorbing,
    transition_matrix,
)

P = 8  # points of the two-block matrix, four a block


def _two_blocks(within: float, between: float) -> np.ndarray:
    """Similarity `within` two groups of points and `between` them."""
    group = np.repeat([0, 1], P // 2)
    return np.where(group[:, None] == group, within, between).astype(np.float32)[None]


def _random(points: int = 9, seed: int = 0, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, points, points), np.float32) + 0.01


def test_one_iteration_is_columns_then_rows() -> None:
    similarity = np.float32([[[1, 3], [1, 1]]])
    transition = transition_matrix(similarity, iterations=1, symmetric=False)
    # columns: [[1/2, 3/4], [1/2, 1/4]]; rows: sums 5/4 and 3/4
    np.testing.assert_allclose(transition[0], [[2 / 5, 3 / 5], [2 / 3, 1 / 3]], rtol=1e-6)


def test_no_iteration_leaves_the_similarity() -> None:
    similarity = _random()
    np.testing.assert_array_equal(
        transition_matrix(similarity, iterations=0, symmetric=False), similarity
    )


def test_many_iterations_make_rows_and_columns_one() -> None:
    transition = transition_matrix(_random(), iterations=50)
    np.testing.assert_allclose(transition.sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(transition.sum(2), 1.0, atol=1e-5)
    np.testing.assert_array_equal(transition, transition.swapaxes(1, 2))


def test_symmetric_is_the_mean_with_the_transpose() -> None:
    plain = transition_matrix(_random(), symmetric=False)
    np.testing.assert_allclose(plain.sum(2), 1.0, atol=1e-6)
    np.testing.assert_allclose(transition_matrix(_random()), (plain + plain.mT) / 2, rtol=1e-6)


def test_zero_rows_and_columns_stay_zero() -> None:
    similarity = _random()
    similarity[0, 3, :] = 0.0
    similarity[0, :, 5] = 0.0
    similarity[1] = 0.0
    transition = transition_matrix(similarity, symmetric=False)
    assert np.isfinite(transition).all()
    assert not transition[0, 3].any()
    assert not transition[0, :, 5].any()
    assert not transition[1].any()


@pytest.mark.parametrize("hops", [0, 1, 2, 3, 7])
def test_two_blocks_closed_form(hops: int) -> None:
    """Block-constant walk: its one other eigenvalue is (within - between) / (within + between)."""
    transition = transition_matrix(_two_blocks(3.0, 1.0))
    ratio = 0.5**hops
    seeds = np.repeat([1.0, 0.0], P // 2).astype(np.float32)[None, :, None] / (P / 2)
    expected = np.repeat([1 + ratio, 1 - ratio], P // 2) / P
    np.testing.assert_allclose(propagate(transition, seeds, hops)[0, :, 0], expected, rtol=1e-5)


def test_two_blocks_absorbing_closed_form() -> None:
    beta, ratio = 0.25, 0.5
    transition = transition_matrix(_two_blocks(3.0, 1.0))
    seeds = np.repeat([1.0, 0.0], P // 2).astype(np.float32)[None, :, None] / (P / 2)
    swing = (1 - beta) / (1 - beta * ratio)
    expected = np.repeat([1 + swing, 1 - swing], P // 2) / P
    reached = propagate_absorbing(transition, seeds, beta)
    np.testing.assert_allclose(reached[0, :, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("hops", [0, 1, 3, 4])
def test_applied_form_is_the_kernel_on_seeds(hops: int) -> None:
    transition = transition_matrix(_random())
    seeds = np.random.default_rng(1).random((2, 9, 3), np.float32)
    applied = propagate(transition, seeds, hops)
    np.testing.assert_allclose(power_kernel(transition, hops) @ seeds, applied, rtol=2e-6)


@pytest.mark.parametrize("beta", [0.0, 0.25, 0.6])
def test_absorbing_is_the_geometric_series(beta: float) -> None:
    transition = transition_matrix(_random())
    series = sum(beta**hops * power_kernel(transition, hops) for hops in range(60))
    np.testing.assert_allclose(
        absorbing_kernel(transition, beta), (1 - beta) * series, rtol=1e-5, atol=1e-7
    )


def test_absorbing_kernel_on_seeds_is_the_applied_form() -> None:
    transition = transition_matrix(_random())
    seeds = np.random.default_rng(1).random((2, 9, 2), np.float32)
    np.testing.assert_allclose(
        absorbing_kernel(transition, 0.25) @ seeds,
        propagate_absorbing(transition, seeds, 0.25),
        rtol=1e-5,
    )


def test_beta_zero_gives_the_seeds_back() -> None:
    seeds = np.random.default_rng(1).random((2, 9, 2), np.float32)
    np.testing.assert_array_equal(propagate_absorbing(_random(), seeds, 0.0), seeds)


def test_walk_keeps_the_mass_of_doubly_stochastic_transitions() -> None:
    transition = transition_matrix(_random(), iterations=50)
    seeds = np.zeros((2, 9, 1), np.float32)
    seeds[:, 4] = 1.0
    for reached in (propagate(transition, seeds, 5), propagate_absorbing(transition, seeds, 0.5)):
        np.testing.assert_allclose(reached.sum(1), 1.0, rtol=1e-5)


def test_numbering_of_points_does_not_matter() -> None:
    similarity, order = _random(), np.random.default_rng(2).permutation(9)
    seeds = np.random.default_rng(1).random((2, 9, 2), np.float32)
    shuffled = transition_matrix(similarity[:, order][:, :, order])
    for walk, length in ((propagate, 3), (propagate_absorbing, 0.25)):
        plain = walk(transition_matrix(similarity), seeds, length)
        np.testing.assert_allclose(
            walk(shuffled, seeds[:, order], length), plain[:, order], rtol=1e-5
        )


@pytest.mark.parametrize("beta", [-0.1, 1.0, 2.0])
def test_beta_out_of_range_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="expected 0 <= beta < 1"):
        absorbing_kernel(_random(), beta)


def test_negative_hops_are_refused() -> None:
    seeds = np.zeros((2, 9, 1), np.float32)
    with pytest.raises(ValueError, match="hops is -1"):
        power_kernel(_random(), -1)
    with pytest.raises(ValueError, match="hops is -1"):
        propagate(_random(), seeds, -1)


def test_one_trace_serves_every_batch() -> None:
    traces = []

    @jax.jit
    def both(similarity: jax.Array, seeds: jax.Array) -> tuple[jax.Array, jax.Array]:
        traces.append(1)
        transition = transition_matrix(similarity)
        return propagate(transition, seeds, 3), propagate_absorbing(transition, seeds, 0.25)

    for seed in range(3):
        similarity = _random(seed=seed)
        seeds = np.random.default_rng(seed).random((2, 9, 2), np.float32)
        transition = transition_matrix(similarity)
        finite, endless = both(similarity, seeds)
        np.testing.assert_allclose(finite, propagate(transition, seeds, 3), rtol=1e-5)
        np.testing.assert_allclose(endless, propagate_absorbing(transition, seeds, 0.25), rtol=1e-5)
    assert len(traces) == 1


def test_float64_and_bfloat16_come_out_as_float32() -> None:
    seeds = np.zeros((2, 9, 1))
    for similarity in (_random().astype(np.float64), jax.numpy.asarray(_random(), "bfloat16")):
        transition = transition_matrix(similarity)
        assert transition.dtype == np.float32
        assert propagate(transition, seeds, 2).dtype == np.float32
        assert propagate_absorbing(transition, seeds, 0.25).dtype == np.float32
