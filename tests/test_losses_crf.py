"""Mean field against a slow loop; the dice on its outcome."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.losses import crf_loss, mean_field
from exits_jax.losses.crf import HIGHEST, LOWEST, _sweep, colour_kernel


def _reference(
    probability: np.ndarray,
    image: np.ndarray,
    box: np.ndarray,
    inside: np.ndarray,
    sweeps: int,
    sigma: float = 0.1,
) -> np.ndarray:
    """One crop's mean field pixel by pixel, in float64, never stopping early."""
    height, width = box.shape
    likely = np.clip(probability * box * inside, 0.1, 0.9)
    both = np.stack([likely, 1 - likely])
    for _ in range(sweeps):
        votes = np.ones((2, height, width))
        for y in range(height):
            for x in range(width):
                for v in range(max(y - 1, 0), min(y + 2, height)):
                    for u in range(max(x - 1, 0), min(x + 2, width)):
                        if not (inside[y, x] and inside[v, u]):
                            continue
                        distance = np.sum((image[y, x] - image[v, u]) ** 2)
                        weight = np.exp(-distance / (2 * sigma**2))
                        votes[:, y, x] *= np.exp(weight * np.log(both[:, v, u]))
        votes[0] *= box * inside
        both = np.clip(votes / (1e-6 + votes.sum(0)), 0.1, 0.9)
    return (both[0] > 0.5).astype(np.float32)


def _scene(seed: int, contrast: float = 0.15) -> tuple[np.ndarray, ...]:
    """Two random crops of 6 x 7 whose neighbours' colours differ by about sigma."""
    rng = np.random.default_rng(seed)
    probability = rng.random((2, 6, 7)).astype(np.float32)
    image = (contrast * rng.standard_normal((2, 6, 7, 3))).astype(np.float32)
    box = np.zeros((2, 6, 7), np.float32)
    box[0, 1:5, 1:6], box[1, 0:6, 2:7] = 1.0, 1.0
    return probability, image, box


@pytest.mark.parametrize("sweeps", [0, 1, 2, 100])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_loop(seed: int, sweeps: int) -> None:
    probability, image, box = _scene(seed)
    refined = mean_field(probability, image, box, sweeps=sweeps)
    for i in range(2):
        expected = _reference(probability[i], image[i], box[i], np.ones((6, 7)), sweeps)
        np.testing.assert_array_equal(refined[i], expected)
    assert 0 < np.asarray(refined).mean() < 1  # the scene is not a trivial one


def test_sigma_is_used() -> None:
    probability, image, box = _scene(0)
    for sigma in (0.02, 0.5):
        refined = mean_field(probability, image, box, sweeps=3, sigma=sigma)
        expected = _reference(probability[0], image[0], box[0], np.ones((6, 7)), 3, sigma)
        np.testing.assert_array_equal(refined[0], expected)


def test_padding_is_nobodys_neighbour() -> None:
    """The loop with a hole in the image; what stands in the padding does not matter."""
    probability, image, box = _scene(4)
    valid = np.ones((2, 6, 7), np.float32)
    valid[:, :, 4:] = 0.0
    refined = mean_field(probability, image, box, valid=valid)
    for i in range(2):
        expected = _reference(probability[i], image[i], box[i], valid[i], 100)
        np.testing.assert_array_equal(refined[i], expected)
    narrow = mean_field(probability[:, :, :4], image[:, :, :4], box[:, :, :4])
    np.testing.assert_array_equal(refined[:, :, :4], narrow)
    assert not np.asarray(refined)[:, :, 4:].any()
    probability[:, :, 4:], image[:, :, 4:] = np.nan, 7.0
    np.testing.assert_array_equal(mean_field(probability, image, box, valid=valid), refined)


def test_one_colour_follows_the_majority() -> None:
    """On a plain image a lone wrong pixel on either side is outvoted by its eight neighbours."""
    probability = np.full((1, 9, 9), 0.2, np.float32)
    probability[:, :, :4] = 0.8
    probability[0, 4, 1], probability[0, 4, 7] = 0.2, 0.8
    refined = mean_field(probability, np.zeros((1, 9, 9, 3)), np.ones((1, 9, 9)))
    expected = np.zeros((1, 9, 9), np.float32)
    expected[:, :, :4] = 1.0
    np.testing.assert_array_equal(refined, expected)


def test_different_colours_keep_to_themselves() -> None:
    """A checkerboard of far colours: neighbours of a pixel's own colour are the diagonal ones."""
    board = np.indices((6, 6)).sum(0) % 2
    image = np.repeat(board[None, ..., None], 3, -1).astype(np.float32)
    probability = np.where(board, 0.7, 0.3)[None].astype(np.float32)
    refined = mean_field(probability, image, np.ones((1, 6, 6)))
    np.testing.assert_array_equal(refined[0], board)


def test_nothing_leaves_the_box() -> None:
    box = np.zeros((1, 16, 16), np.float32)
    box[:, 2:14, 3:15] = 1.0
    refined = np.asarray(mean_field(np.ones((1, 16, 16)), np.zeros((1, 16, 16, 3)), box))
    assert (refined <= box).all()
    assert refined[0, 5:11, 6:12].all()  # only corners fall to the background around them


@pytest.mark.parametrize("sweeps", [5, 100])
@pytest.mark.parametrize("contrast", [0.0, 0.15])
def test_stopping_early_changes_nothing(contrast: float, sweeps: int) -> None:
    """The same sweeps in a loop that cannot stop; and a batch is the same as its crops alone."""
    probability, image, box = map(jnp.asarray, _scene(5, contrast))
    kernel = colour_kernel(image, box >= 0, 0.1)
    start = jnp.clip(probability * box, LOWEST, HIGHEST)
    both = jax.lax.fori_loop(
        0, sweeps, lambda _, x: _sweep(x, kernel, box), jnp.stack([start, 1 - start])
    )
    refined = mean_field(probability, image, box, sweeps=sweeps)
    np.testing.assert_array_equal(refined, both[0] > 0.5)
    for i in range(2):
        alone = mean_field(probability[i : i + 1], image[i : i + 1], box[i : i + 1], sweeps=sweeps)
        np.testing.assert_array_equal(alone[0], refined[i])


def test_stops_at_the_fixed_point() -> None:
    """A billion sweeps end at once, because a fixed point ends them."""
    probability, image, box = _scene(0, contrast=0.0)
    refined = mean_field(probability, image, box, sweeps=10**9)
    np.testing.assert_array_equal(refined, mean_field(probability, image, box, sweeps=200))


def test_no_gradient_and_one_trace() -> None:
    traces = []

    @jax.jit
    def loss(probability: jax.Array, image: jax.Array, box: jax.Array) -> jax.Array:
        traces.append(1)
        return mean_field(probability, image, box).sum()

    for seed in range(2):
        probability, image, box = _scene(seed)
        assert loss(probability, image, box) == mean_field(probability, image, box).sum()
    assert len(traces) == 1
    assert not np.asarray(jax.grad(loss)(probability, image, box)).any()


def test_dice_closed_forms() -> None:
    mask = np.zeros((1, 4, 4), np.float32)
    mask[:, :2] = 1.0
    np.testing.assert_allclose(crf_loss(mask, mask), [0.0], atol=1e-4)
    np.testing.assert_array_equal(crf_loss(1 - mask, mask), [1.0])
    np.testing.assert_allclose(crf_loss(mask / 2, mask), [1 - 8 / (2 + 8 + 1e-3)], rtol=1e-5)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_dice_gradients_are_finite_and_reach_the_probability_alone(level: float) -> None:
    probability, refined = jnp.full((1, 4, 4), level), jnp.zeros((1, 4, 4))
    for target in (refined, 1 - refined):
        towards, constant = jax.grad(lambda p, r: crf_loss(p, r).sum(), argnums=(0, 1))(
            probability, target
        )
        assert np.isfinite(towards).all()
        assert not np.asarray(constant).any()


def test_dice_of_an_empty_refinement_is_one_without_gradient() -> None:
    loss, gradient = jax.value_and_grad(lambda p: crf_loss(p, jnp.zeros((1, 4, 4))).sum())(
        jnp.full((1, 4, 4), 0.3)
    )
    assert loss == 1.0
    assert not np.asarray(gradient).any()
