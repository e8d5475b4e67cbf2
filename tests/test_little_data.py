"""Training on little data: how long it is, what it says, how it begins, and what own.py does."""

import dataclasses

import numpy as np
import pytest

from configs import base, coco_mini, demo, own
from exits_jax.app import fitting, labels, networks
from exits_jax.app.execute import pending
from exits_jax.app.run import Run, data_to_label
from exits_jax.app.settings import read_settings
from exits_jax.app.workdir import Workdir
from exits_jax.pseudo_labels.agreement import MARGIN, compare
from exits_jax.pseudo_labels.label import Labeller
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.pseudo_labels.predict import with_shape
from exits_jax.retrieval.prior import prior_logits
from exits_jax.training.schedule import rates, total_steps
from tests.real_backbone import require_backbone

CROPS = {"crop_size": 336, "margin": 0.3, "batch_size": 8}
LEAST = own.get_config().train.min_steps


@pytest.mark.parametrize("instances", [1, 11, 16, 56, 100])
def test_little_data_is_trained_on_for_the_least_steps(instances):
    config = read_settings(own.get_config())
    assert total_steps(config.train, instances) == LEAST
    rate = rates(config.train, instances, LEAST)
    peak = config.train.learning_rate * config.train.batch_size
    quarter = round(LEAST / 4)  # 0.1 of 0.4 epochs
    assert float(rate(0)) == 0.0
    assert float(rate(quarter)) == pytest.approx(peak)
    assert float(rate(quarter // 2)) == pytest.approx(peak * (quarter // 2) / quarter)
    assert float(rate(LEAST)) == pytest.approx(peak * config.train.final_rate)


def test_more_data_and_other_phases_are_left_alone():
    config = read_settings(coco_mini.get_config())
    assert total_steps(config.train, 1899) == 95
    rate = rates(config.train, 1899, 95)
    assert [n for n in range(95) if rate(n) == max(rate(m) for m in range(95))] == [24]
    config = read_settings(demo.get_config())
    assert total_steps(config.train, 56) == 42
    assert total_steps(config.warmup, 56) == 14
    config = read_settings(base.get_config())
    assert total_steps(config.warmup, 16) == 8
    assert total_steps(dataclasses.replace(config.train, min_steps=0), 16) == 10


@pytest.mark.parametrize(
    ("least", "instances", "expected"),
    [
        (
            40,
            16,
            "train: 0.4 epochs of 16 instances are 1 step of 8; 40 are taken (train.min_steps)",
        ),
        (0, 16, "train: 1 step of 8: too few to learn anything"),
        (2, 16, "train: 0.4 epochs of 16 instances are 1 step of 8; 2 are taken"),
        (0, 100, "train: 5 steps of 8: too few to learn anything"),
        (40, 5000, ""),
        (0, 5000, ""),
    ],
)
def test_the_run_says_so_before_it_trains(capsys, least, instances, expected):
    section = dataclasses.replace(read_settings(own.get_config()).train, min_steps=least)
    steps = total_steps(section, instances)
    fitting._say_length("train", section, instances, steps)
    out = capsys.readouterr().out
    assert out.startswith(expected) if expected else not out


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Predictors before a step, of the generator and of its map, and 8 of the demo's instances.

    The map is real; the network on it is small, because of it nothing is to be seen.
    """
    require_backbone()
    config = demo.get_config()
    config.generator.update(weights="random", size="Ti", patch=14)
    config.label.shape = 0.0
    settings = read_settings(config)
    run = Run(settings, Workdir(tmp_path_factory.mktemp("untrained")))
    network = networks.generator(settings)
    params = {
        "extractor": networks.extractor_params(settings, run.workdir),
        "generator": networks.initial_generator(settings, network),
    }
    pair = [labels.predictor(run, source, params) for source in ("generator", "propagation")]
    return pair, data_to_label(run).take(range(0, 56, 7))


def test_a_generator_of_no_steps_is_the_propagation_map(untrained):
    """Its logits are the map as prior, to the bit."""
    (generator, propagation), data = untrained
    batch = next(label_batches(data.source, **CROPS))
    logits, scores = generator(batch), propagation(batch)
    assert logits.shape == (8, 48, 48)
    assert np.abs(scores).max() > 4  # reaches the prior's limit, too
    np.testing.assert_array_equal(logits, prior_logits(scores.reshape(8, -1), 48, 1.0))


def test_masks_of_no_steps_are_propagation_s_but_for_the_finer_grid(untrained):
    """The map is enlarged twice in place of once, and limited.

    IoU over all 56 instances of the demo: mean 0.986, least 0.951.
    """
    pair, data = untrained
    made = [
        Labeller(with_shape(predict, 1.0), joint=True, **CROPS)(data.source, data.instances)
        for predict in pair
    ]
    found = compare(data.instances, *made)
    rows = zip(data.instances, *made, strict=True)
    ious = [compare(*([one] for one in row)).overlap for row in rows]
    assert min(ious) > 0.94
    assert found.overlap > 0.98
    assert abs(found.generator.fit - found.propagation.fit) < MARGIN
    assert not found.worse


def test_own_data_is_labelled_without_training_unless_asked(tmp_path):
    config = own.get_config()
    run = Run(read_settings(config), Workdir(tmp_path))
    assert [phase.name for phase in pending(run)] == ["label", "evaluate"]
    config.label.source = "generator"
    run = Run(read_settings(config), Workdir(tmp_path))
    assert [phase.name for phase in pending(run)] == ["train", "label", "evaluate"]
