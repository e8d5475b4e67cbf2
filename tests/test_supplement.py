"""The supplement's tables: the driver resumes, verdicts say what the figures say."""

import numpy as np
import pytest

from exits_jax.models import Generator, build_vit
from experiments.retrieval_measures import Examples, auc, object_share
from experiments.supplement import decoder
from experiments.supplement.a5_cost import parameters, relative
from experiments.supplement.ledger import Ledger
from experiments.supplement.page import ordering, over_seeds, spread
from experiments.supplement.protocol import Crops


def test_a_stopped_driver_goes_on_where_it_was(tmp_path):
    path, executed = tmp_path / "runs.csv", []

    def execute(layer, seed):
        if len(executed) == 2:
            raise KeyboardInterrupt
        executed.append((layer, seed))
        return {"iou": layer / 10 + seed / 1000}

    runs = [(layer, seed) for layer in (8, 10) for seed in (0, 1)]
    with pytest.raises(KeyboardInterrupt):
        Ledger(path, ("layer", "seed")).fill("runs", runs, execute)
    assert path.read_text() == "layer,seed,iou\n8,0,0.8\n8,1,0.801\n"
    ledger, before = Ledger(path, ("layer", "seed")), list(executed)
    executed.clear()
    ledger.fill("runs", runs, lambda layer, seed: executed.append((layer, seed)) or {"iou": 0.5})
    assert before + executed == runs
    assert Ledger(path, ("layer", "seed"))[8, 1]["iou"] == "0.801"
    np.testing.assert_allclose(over_seeds(ledger, (8,), "iou", (0, 1)), [0.8, 0.801])
    assert spread(np.array([0.1, 0.3])) == "0.200 +- 0.141"


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ({"1": 0.5, "2": 0.6, "3": 0.7}, "is confirmed"),
        ({"1": 0.5, "2": 0.7, "3": 0.6}, "is confirmed in part"),
        ({"1": 0.7, "2": 0.6, "3": 0.5}, "is not confirmed"),
        ({"1": 0.5, "2": 0.6, "3": 0.605}, "is confirmed in part"),
        ({"1": 0.5, "2": 0.505, "3": 0.505}, "is not confirmed"),
    ],
)
def test_what_is_said_of_the_papers_ordering(ours, verdict):
    line = ordering(ours, {"1": 34.0, "2": 36.1, "3": 40.4}, noise=0.01)
    assert f"{verdict} here" in line


def test_parameters_are_the_papers():
    assert round(parameters(build_vit("B", 16)) / 1e6, 1) == 85.8
    generator = Generator(build_vit("B", 16, class_token=False, stem="conv"))
    assert round(parameters(generator) / 1e6, 1) == 93.1
    assert relative({"warm-up": 1.0, "generator": 13.0}) == {"warm-up": 2.0, "generator": 26.0}


def test_measures_of_points():
    assert auc(np.array([3.0, 2.0, 1.0]), np.array([True, False, True])) == 0.5
    mask = np.zeros((8, 8), bool)
    mask[:4, :2] = True
    share = object_share(mask, np.array([0.0, 0.0, 8.0, 8.0]), 2)
    np.testing.assert_allclose(share, [0.5, 0, 0, 0])


def test_the_small_generator_learns_what_its_points_say():
    """Features that show the object: right points teach the mask, wrong ones its opposite."""
    rng, grid, count = np.random.default_rng(0), 8, 24
    truth = np.zeros((count, grid, grid), bool)
    for row, (top, left) in zip(truth, rng.integers(1, 4, (count, 2)), strict=True):
        row[top : top + 4, left : left + 3] = True
    features = rng.normal(size=(count, grid, grid, 12)) + 2.0 * truth[..., None]
    box = np.tile(np.float32([1 / 8, 1 / 8, 7 / 8, 7 / 8]), (count, 1))
    batch = {
        "image": np.repeat((200 * truth.repeat(14, 1).repeat(14, 2))[..., None], 3, -1).astype(
            "u1"
        ),
        "box_xyxy": box,
        "valid_xyxy": np.tile(np.float32([0, 0, 1, 1]), (count, 1)),
        "valid": np.ones(count, bool),
    }
    crops = Crops(features.astype(np.float16), batch)
    inside = np.zeros((grid, grid), bool)
    inside[1:7, 1:7] = True
    inside = np.tile(inside.ravel(), (count, 1))
    nothing = np.zeros((count, grid * grid), np.float32)

    def share_right(score):
        scores = decoder.Scores(score, nothing, (~inside).astype(np.float32), inside)
        params = decoder.train(crops, scores, (0.5, 0.5), epochs=20, rate=3e-3)
        mask = decoder.logits(params, crops)[:, ::2, ::2] > 0
        return (mask == truth)[inside.reshape(count, grid, grid)].mean()

    score = np.where(truth, 1.0, -1.0).reshape(count, -1).astype(np.float32)
    assert share_right(score) > 0.9
    assert share_right(-score) < 0.5


def test_examples_are_taken_in_order():
    chosen = Examples(["a", "b", "c"], [1, 2, 3]).take(range(2, 0, -1))
    assert chosen == (["c", "b"], [3, 2])
