"""The supplement's tables: the driver resumes, verdicts say what the figures say."""

from types import SimpleNamespace

import numpy as np
import pytest

from exits_jax.models.generator import Generator
from exits_jax.models.vit import build_vit
from experiments.retrieval_measures import Examples, auc, object_share
from experiments.supplement import decoder
from experiments.supplement.a5_cost import parameters, relative
from experiments.supplement.kept import Crops, path_of
from experiments.supplement.ledger import Ledger
from experiments.supplement.page import over_seeds, spread, verdict
from experiments.supplement.protocol import TUNE, split


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
    lines = path.read_text().splitlines()
    assert lines[0] == "layer,seed,iou,settings,machine"
    assert [line.split(",")[:3] for line in lines[1:]] == [["8", "0", "0.8"], ["8", "1", "0.801"]]
    ledger, before = Ledger(path, ("layer", "seed")), list(executed)
    executed.clear()
    ledger.fill("runs", runs, lambda layer, seed: executed.append((layer, seed)) or {"iou": 0.5})
    assert before + executed == runs
    assert Ledger(path, ("layer", "seed"))[8, 1]["iou"] == "0.801"
    np.testing.assert_allclose(over_seeds(ledger, (8,), "iou", (0, 1)), [0.8, 0.801])
    assert spread(np.array([0.1, 0.3])) == "0.200 +- 0.141"
    assert (8, 0) not in Ledger(path, ("layer", "seed"), facts="other settings")


def test_a_result_may_not_have_the_name_of_a_key(tmp_path):
    ledger = Ledger(tmp_path / "runs.csv", ("tau_fg", "seed"))
    with pytest.raises(ValueError, match="tau_fg"):
        ledger.fill("runs", [(0.5, 0)], lambda tau_fg, seed: {"tau_fg": 0.2, "iou": 0.5})


@pytest.mark.parametrize(
    ("ours", "word"),
    [
        ((0.5, 0.6, 0.7), "confirmed"),
        ((0.5, 0.7, 0.6), "confirmed in part"),
        ((0.7, 0.6, 0.5), "not confirmed"),
        ((0.5, 0.6, 0.605), "confirmed in part"),
        ((0.5, 0.505, 0.505), "not confirmed"),
    ],
)
def test_what_is_said_of_the_papers_ordering(ours, word):
    seeds = np.array([-0.01, 0.0, 0.01])  # noise .01
    rows = {name: iou + seeds for name, iou in zip("123", ours, strict=True)}
    assert f"is {word} here" in verdict(rows, {"1": 34.0, "2": 36.1, "3": 40.4})


def test_no_photograph_is_in_two_sets():
    image = [SimpleNamespace(image=SimpleNamespace(id=i // 3), id=i) for i in range(3 * TUNE)]
    train, tune = split(Examples(image, [None] * len(image)))
    assert len(tune.instances) == TUNE
    assert len(train.instances) > TUNE
    seen = [{instance.image.id for instance in one.instances} for one in (train, tune)]
    assert not seen[0] & seen[1]


def test_other_settings_are_kept_elsewhere(tmp_path):
    paths = {path_of(tmp_path, "scores", facts) for facts in (([1], 0.3), ([1], 0.4), ([2], 0.3))}
    assert len(paths) == 3


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
