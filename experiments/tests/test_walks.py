"""Walks that would save memory say what the matrix says."""

import jax
import numpy as np
import pytest

from experiments.walks import LAYERS, key_walk, streamed_key_walk, top_k_key_walk


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    points = 20 * 20  # streamed in 25 parts
    keys = rng.normal(size=(2, points + 1, LAYERS * 12)).astype(np.float32)
    seeds = rng.uniform(size=(2, points, 2)).astype(np.float32)
    return keys, seeds


def test_streamed_is_the_matrix(problem):
    np.testing.assert_allclose(
        jax.jit(streamed_key_walk)(*problem), jax.jit(key_walk)(*problem), rtol=1e-4
    )


def test_all_entries_are_the_matrix_and_few_are_not(problem):
    exact = key_walk(*problem)
    np.testing.assert_allclose(top_k_key_walk(*problem, count=400), exact, rtol=1e-5)
    assert float(abs(top_k_key_walk(*problem, count=4) - exact).max()) > 0.01
