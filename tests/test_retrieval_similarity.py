"""Similarity of points from attention and from keys."""

import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.retrieval.similarity import attention_similarity, key_similarity


def _attention(tokens: int, layers: tuple[int, ...], seed: int = 0) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {layer: rng.random((2, tokens, tokens), np.float32) for layer in layers}


def test_one_layer_is_taken_unchanged() -> None:
    attention = _attention(4, (8, 10))
    similarity = attention_similarity(attention, 10, class_token=False)
    np.testing.assert_array_equal(similarity, attention[10])


def test_class_token_row_and_column_go() -> None:
    attention = _attention(5, (10,))
    similarity = attention_similarity(attention, 10, class_token=True)
    np.testing.assert_array_equal(similarity, attention[10][:, 1:, 1:])


def test_several_layers_and_all_are_means() -> None:
    attention = _attention(4, (3, 7, 9))
    some = attention_similarity(attention, (3, 9), class_token=False)
    every = attention_similarity(attention, "all", class_token=False)
    np.testing.assert_allclose(some, (attention[3] + attention[9]) / 2, rtol=1e-6)
    np.testing.assert_allclose(every, sum(attention.values()) / 3, rtol=1e-6)


def test_bfloat16_is_cast_before_the_mean() -> None:
    attention = {1: jnp.full((1, 4, 4), 1.0, jnp.bfloat16), 2: jnp.full((1, 4, 4), 2**-9)}
    similarity = attention_similarity(attention, "all", class_token=False)
    assert similarity.dtype == jnp.float32
    assert float(similarity[0, 0, 0]) == (1.0 + 2**-9) / 2  # bfloat16 would give 0.5


def test_missing_layer_names_itself_and_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"\[10\] asked for, found only \[2, 3\]"):
        attention_similarity(_attention(4, (3, 2)), (3, 10), class_token=False)
    with pytest.raises(ValueError, match="found only"):
        attention_similarity({}, "all", class_token=False)


def test_keys_closed_form() -> None:
    """Right angles at temperature 0.5 give exp(-2); equal directions give 1, at any length."""
    keys = {9: np.float32([[[9, 9], [2, 0], [0, 3], [5, 0], [-1, 0]]])}
    similarity = key_similarity(keys, 9, class_token=True, temperature=0.5)
    expected = np.exp([[0, -2, 0, -4], [-2, 0, -2, -2], [0, -2, 0, -4], [-4, -2, -4, 0]])
    np.testing.assert_allclose(similarity[0], expected, rtol=1e-5)


def test_layers_of_keys_weigh_the_same_at_any_length() -> None:
    """Cosine 1 in one layer and 0 in the other is 0.5 together, however long the keys are."""
    keys = {1: np.float32([[[1, 0], [1, 0]]]), 2: np.float32([[[99, 0], [0, 99]]])}
    similarity = key_similarity(keys, (1, 2), class_token=False, temperature=1.0)
    np.testing.assert_allclose(similarity[0, 0, 1], np.exp(-0.5), rtol=1e-6)


def test_distance_is_in_cells_of_the_square_grid() -> None:
    keys = {1: np.ones((1, 9, 2), np.float32)}
    similarity = key_similarity(keys, 1, class_token=False, distance_sigma=2.0)
    row = [0, 1, 4, 1, 2, 5, 4, 5, 8]  # squared distances from the corner of a 3 x 3 grid
    np.testing.assert_allclose(similarity[0, 0], np.exp(-np.array(row) / 8), rtol=1e-5)


def test_keys_with_a_class_token_left_are_refused() -> None:
    keys = {1: np.ones((1, 10, 2), np.float32)}
    with pytest.raises(ValueError, match="10 points do not form a square grid"):
        key_similarity(keys, 1, class_token=False, distance_sigma=2.0)


def test_zero_keys_stay_finite() -> None:
    similarity = key_similarity({1: np.zeros((1, 4, 3), np.float32)}, 1, class_token=False)
    assert np.isfinite(similarity).all()
