"""The propagation score end to end, on a crop of two halves that has a closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.retrieval.crops import crop_scores, score_inputs
from exits_jax.retrieval.score import Scores, propagation_score, similarity_matrix
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.errors import UserError

GRID = 4
LEFT = np.tile([1, 1, 0, 0], GRID).astype(bool)  # cells of the two left columns, row-major
WHOLE = np.float32([[0, 0, 1, 1]])
LEFT_HALF = np.float32([[0, 0, 0.5, 1]])
POINTS = np.float32([[[0.2, 0.1], [0.1, 0.6], [0.3, 0.9], [0.4, 0.4]]])


def _halves(within: float = 3.0, between: float = 1.0) -> np.ndarray:
    """Similarity of a crop whose left and right half look different; lambda is 1/2."""
    return np.where(LEFT[:, None] == LEFT, within, between).astype(np.float32)[None]


def _score(settings: RetrievalSettings, **changes: np.ndarray) -> Scores:
    arrays = {
        "similarity": _halves(),
        "points_xy": POINTS,
        "has_points": np.array([True]),
        "box_xyxy": LEFT_HALF,
        "valid_xyxy": WHOLE,
    }
    return propagation_score(**(arrays | changes), grid=GRID, settings=settings)


@pytest.mark.parametrize("form", ["applied", "kernel"])
@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_difference_closed_form(form: str, hops: int) -> None:
    """p (s_FG - s_BG) is 2 lambda^hops on the left and its negative on the right."""
    scores = _score(RetrievalSettings(hops=hops, form=form))
    np.testing.assert_allclose(scores.score[0], np.where(LEFT, 2, -2) * 0.5**hops, rtol=1e-5)
    np.testing.assert_array_equal(scores.inside_box[0], LEFT)
    np.testing.assert_array_equal(scores.background[0], ~LEFT)
    assert scores.foreground.sum() == 4


@pytest.mark.parametrize("hops", [1, 3])
def test_log_ratio_closed_form(hops: int) -> None:
    scores = _score(RetrievalSettings(hops=hops, decision="log_ratio"))
    ratio = np.log((1 + 0.5**hops) / (1 - 0.5**hops))
    np.testing.assert_allclose(scores.score[0], np.where(LEFT, ratio, -ratio), rtol=1e-4)


def test_absorbing_walk_keeps_a_share_on_the_seeds() -> None:
    """Off the seeds the walk is block-constant; a seed holds (1 - beta) / |X| of its own more."""
    beta, seeds, block = 0.25, 4, 8
    scores = _score(RetrievalSettings(form="absorbing", beta=beta))
    off = np.asarray(scores.score[0])[LEFT & (np.asarray(scores.foreground[0]) == 0)]
    on = np.asarray(scores.score[0])[np.asarray(scores.foreground[0]) == 1]
    # The swing between the halves without the seeds' own share, then the score off the seeds.
    swing = 2 * (1 - beta) / (1 - beta / 2)
    np.testing.assert_allclose((off.sum() + on.sum()) / block, swing, rtol=1e-5)
    np.testing.assert_allclose(on - off[0], 16 * (1 - beta) / seeds, rtol=1e-5)


def test_seeds_count_by_their_mean_not_their_number() -> None:
    once = _score(RetrievalSettings())
    same_cell = _score(RetrievalSettings(), points_xy=np.tile(POINTS[:, :1], (1, 4, 1)))
    np.testing.assert_allclose(once.score, same_cell.score, rtol=1e-5)


@pytest.mark.parametrize("decision", ["difference", "log_ratio"])
@pytest.mark.parametrize("rounds", [0, 2])
def test_box_only_knows_the_background_and_nothing_else(decision: str, rounds: int) -> None:
    rounds = rounds if decision == "log_ratio" else 0
    settings = RetrievalSettings(decision=decision, rounds=rounds, centring=0.4)
    scores = _score(settings, has_points=np.array([False]), points_xy=np.full((1, 4, 2), np.nan))
    assert not np.asarray(scores.score).any()
    assert not np.asarray(scores.foreground).any()
    np.testing.assert_array_equal(scores.background[0], ~LEFT)


def test_box_only_can_walk_from_the_middle_of_the_box() -> None:
    """Any seed within the left half gives the closed form; hard seeds there are none."""
    arrays = {"has_points": np.array([False]), "points_xy": np.full((1, 4, 2), np.nan)}
    scores = _score(RetrievalSettings(box_only="centre"), **arrays)
    np.testing.assert_allclose(scores.score[0], np.where(LEFT, 2, -2) * 0.5**3, rtol=1e-5)
    assert not np.asarray(scores.foreground).any()
    with_points = _score(RetrievalSettings(box_only="centre"))
    np.testing.assert_array_equal(with_points.score, _score(RetrievalSettings()).score)


def test_a_box_that_fills_the_crop_has_no_background_to_compare_with() -> None:
    """The difference takes s_BG as 0; the ratio compares with the uniform walk."""
    plain = _score(RetrievalSettings(), box_xyxy=WHOLE)
    ratio = _score(RetrievalSettings(decision="log_ratio"), box_xyxy=WHOLE)
    expected = np.where(LEFT, 1 + 0.5**3, 1 - 0.5**3)  # p s_FG
    np.testing.assert_allclose(plain.score[0], expected, rtol=1e-5)
    np.testing.assert_allclose(ratio.score[0], np.log(expected), rtol=1e-4)


def _random(seed: int, batch: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    low, high = rng.uniform(0.1, 0.4, (batch, 2)), rng.uniform(0.6, 0.9, (batch, 2))
    return {
        "similarity": rng.random((batch, 16, 16), np.float32) + 0.01,
        "points_xy": rng.uniform(0.2, 0.8, (batch, 4, 2)).astype(np.float32),
        "has_points": np.arange(batch) != 1,
        "box_xyxy": np.concatenate([low, high], 1).astype(np.float32),
        "valid_xyxy": np.tile(np.float32([[0.1, 0, 1, 1]]), (batch, 1)),
    }


SETTINGS = [
    RetrievalSettings(),
    RetrievalSettings(form="absorbing", symmetric=False, sinkhorn_iterations=1),
    RetrievalSettings(decision="log_ratio", centring=0.4, rounds=3),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_mirrored_crop_mirrors_the_score(settings: RetrievalSettings) -> None:
    arrays = _random(0)
    mirror = np.arange(16).reshape(4, 4)[:, ::-1].ravel()
    flipped = dict(arrays)
    flipped["similarity"] = arrays["similarity"][:, mirror][:, :, mirror]
    flipped["points_xy"] = arrays["points_xy"] * [-1, 1] + [1, 0]
    for name in ("box_xyxy", "valid_xyxy"):
        flipped[name] = arrays[name][:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [1, 0, 1, 0]
    flipped = {k: v.astype(arrays[k].dtype) for k, v in flipped.items()}
    plain, other = _score(settings, **arrays), _score(settings, **flipped)
    for one, two in zip(plain, other, strict=True):
        np.testing.assert_allclose(one, np.asarray(two)[:, mirror], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_crops_do_not_mix(settings: RetrievalSettings) -> None:
    arrays = _random(1)
    together = _score(settings, **arrays)
    for i in range(3):
        alone = _score(settings, **{k: v[i : i + 1] for k, v in arrays.items()})
        np.testing.assert_allclose(alone.score[0], together.score[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_one_trace_no_gradient(settings: RetrievalSettings) -> None:
    traces = []

    def total(similarity: jax.Array, arrays: dict[str, jax.Array]) -> jax.Array:
        traces.append(1)
        return jnp.sum(_score(settings, **arrays, similarity=similarity).score ** 2)

    compiled = jax.jit(jax.value_and_grad(total))
    for seed in range(3):
        arrays = _random(seed)
        similarity = arrays.pop("similarity")
        value, gradient = compiled(similarity, arrays)
        assert value > 0
        assert not np.asarray(gradient).any()
    assert len(traces) == 1


def test_settings_serve_as_a_static_argument() -> None:
    compiled = jax.jit(propagation_score, static_argnames=("grid", "settings"))
    for _ in range(2):
        compiled(**_random(0), grid=4, settings=RetrievalSettings(hops=2))
    assert compiled._cache_size() == 1


def test_similarity_source() -> None:
    rng = np.random.default_rng(0)
    out = {
        "attention": {10: rng.random((1, 17, 17), np.float32)},
        "keys": {9: np.ones((1, 17, 6), np.float32)},
    }
    attention = similarity_matrix(out, class_token=True, settings=RetrievalSettings())
    np.testing.assert_array_equal(attention, out["attention"][10][:, 1:, 1:])
    settings = RetrievalSettings(source="keys", layers=(9,), distance_sigma=1.0)
    keys = similarity_matrix(out, class_token=True, settings=settings)
    np.testing.assert_allclose(keys[0, 0, 5], np.exp(-2 / 2), rtol=1e-5)  # one cell diagonally


def test_crop_scores_asks_for_no_more_than_it_needs() -> None:
    asked = []

    def attend(params: np.ndarray, image: np.ndarray, **layers: tuple[int, ...]) -> dict:
        asked.append(layers)
        assert image.shape == (1, 8, 8, 3)
        keys = np.where(LEFT[:, None], [1.0, 0.0], [0.0, 1.0])[None] * params
        return {"keys": {i: keys for i in (1, 2)}, "attention": {2: _halves(), 1: _halves()}}

    batch = {
        "image": np.zeros((1, 8, 8, 3), np.uint8),
        "points_xy": POINTS,
        "has_points": np.array([True]),
        "box_xyxy": LEFT_HALF,
        "valid_xyxy": WHOLE,
        "window_xyxy": LEFT_HALF,
    }
    for settings, layers in (
        (RetrievalSettings(source="attention", layers=()), {"attention_layers": (1, 2)}),
        (RetrievalSettings(source="keys", layers=(2,)), {"key_layers": (2,)}),
    ):
        scores_of = crop_scores(attend, depth=2, class_token=False, grid=GRID, settings=settings)
        score = np.asarray(scores_of(np.float32(2.0), score_inputs(batch)).score[0])
        assert asked.pop() == layers
        assert (score[LEFT] > 0.2).all()
        assert (score[~LEFT] < -0.2).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"source": "features"}, "retrieval.source is 'features'"),
        ({"form": "inverse"}, "retrieval.form"),
        ({"decision": "ratio"}, "retrieval.decision"),
        ({"hops": -1}, "retrieval.hops is -1"),
        ({"beta": 1.0}, "retrieval.beta is 1.0, expected at least 0 and less than 1"),
        ({"rounds": 2}, "retrieval.rounds is 2"),
        ({"rounds": -1, "decision": "log_ratio"}, "retrieval.rounds is -1"),
        ({"box_only": "middle"}, "retrieval.box_only is 'middle'"),
        ({"temperature": 0.0}, "retrieval.temperature is 0.0"),
        ({"distance_sigma": -1.0}, "retrieval.distance_sigma is -1.0"),
        ({"sinkhorn_iterations": -1}, "retrieval.sinkhorn_iterations is -1"),
        ({"delta": -0.1}, "retrieval.delta is -0.1"),
    ],
)
def test_wrong_settings_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RetrievalSettings(), **wrong)
