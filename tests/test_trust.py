"""A generator is compared with propagation before it makes labels, and refused if worse."""

import json

import jax.numpy as jnp
import pytest

from exits_jax.annotations import decode_segmentation
from exits_jax.app import command_line, networks, trust
from exits_jax.app.run import Run, data_to_label
from exits_jax.app.settings import read_settings
from exits_jax.app.workdir import Workdir
from exits_jax.models.params_io import save_params
from tests import tiny_config
from tests.pictures import write_pictures

# With these even a random extractor finds red ellipses on grey: propagation has no flag.
FINER = {
    "crop.size": 128,
    "extractor.patch": 8,
    "retrieval.source": "keys",
    "retrieval.layers": (1,),
    "retrieval.decision": "log_ratio",
    "retrieval.rounds": 3,
    "retrieval.centring": 0.3,
    "label.shape": 1.0,
}


def finer_config():
    config = tiny_config.get_config()
    config.update_from_flattened_dict(FINER)
    return config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder)
    return folder


def run(workdir, data, *arguments, mode="label", accept=False):
    return command_line.main(
        [
            "main.py",
            f"--config={tiny_config.__file__}",
            f"--workdir={workdir}",
            f"--mode={mode}",
            f"--config.data.annotations={data / 'annotations.json'}",
            f"--config.data.images={data}",
            f"--config.label.accept_worse={accept}",
            *(f"--config.{name}={value}" for name, value in FINER.items()),
            *arguments,
        ]
    )


def generator_saying(logit, path):
    """A file of a generator without the map, whose every logit is the same."""
    settings = read_settings(finer_config())
    network = networks.generator(settings)
    params = networks.initial_generator(settings, network)
    for head, layer in (("pixel", "conv4"), ("prototype", "fc2")):
        params["decoder"][head][layer] = {
            name: jnp.zeros_like(leaf) for name, leaf in params["decoder"][head][layer].items()
        }
    width = params["decoder"]["pixel"]["conv4"]["bias"].size
    params["decoder"]["pixel"]["conv4"]["bias"] = jnp.full(width, logit / width)
    params["decoder"]["prototype"]["fc2"]["bias"] = jnp.ones(width)
    save_params(path, params, networks.made_with(settings, None))
    return f"--config.generator.params={path}"


@pytest.mark.parametrize("logit", [-5.0, 5.0])
def test_a_generator_of_no_masks_or_of_boxes_is_refused(data, tmp_path, capsys, logit):
    generator = generator_saying(logit, tmp_path / "g.safetensors")
    assert run(tmp_path / "w", data, generator) == 2
    out, error = capsys.readouterr()
    assert error.count("\n") == 1
    assert "the generator's masks fit worse than propagation's" in error
    assert "--config.label.source=propagation" in error
    assert "--config.label.accept_worse=True" in error
    assert "extreme points near the mask" in out
    assert not (tmp_path / "w" / "pseudo_labels.json").exists()
    found = json.loads((tmp_path / "w" / "training_check.json").read_text())
    assert found["worse"]
    assert found["instances"] == 8
    assert found["generator"]["shaped"] == 0.0
    assert found["generator"]["fit"] == (0.75 if logit > 0 else 0.0)
    assert found["propagation"]["fit"] == 1.0


def test_it_is_taken_all_the_same_if_asked_for_and_the_report_says_so(data, tmp_path, capsys):
    generator = generator_saying(5.0, tmp_path / "g.safetensors")
    assert run(tmp_path / "w", data, generator) == 2
    made = sorted((tmp_path / "w" / "label_parts").glob("*/part-*"))
    stamps = [part.stat().st_mtime_ns for part in made]
    assert run(tmp_path / "w", data, generator, accept=True) == 0
    labels = json.loads((tmp_path / "w" / "pseudo_labels.json").read_text())["annotations"]
    for row in labels:
        x, y, w, h = map(int, row["bbox"])
        assert decode_segmentation(row["segmentation"], 96, 96)[y : y + h, x : x + w].all()
    # What was made for the comparison are the labels: nothing is made twice.
    assert [part.stat().st_mtime_ns for part in made] == stamps
    assert sorted((tmp_path / "w" / "label_parts").glob("*/part-*")) == made
    capsys.readouterr()
    assert run(tmp_path / "w", data, generator, mode="evaluate", accept=True) == 0
    assert "fit to points, boxes and flags" in (tmp_path / "w" / "report.html").read_text()


def test_at_most_a_sample_is_compared(data, tmp_path, monkeypatch):
    monkeypatch.setattr(trust, "SAMPLE", 3)
    generator = generator_saying(-5.0, tmp_path / "g.safetensors")
    assert run(tmp_path / "w", data, generator) == 2
    assert json.loads((tmp_path / "w" / "training_check.json").read_text())["instances"] == 3


def test_the_sample_is_spread_over_all_in_order(data, tmp_path, monkeypatch):
    config = finer_config()
    config.data.annotations, config.data.images = str(data / "annotations.json"), str(data)
    everything = data_to_label(Run(read_settings(config), Workdir(tmp_path)))
    assert trust.sampled(everything).instances == everything.instances
    monkeypatch.setattr(trust, "SAMPLE", 3)
    ids = [instance.id for instance in trust.sampled(everything).instances]
    assert ids == [1, 5, 8]
    assert len(trust.sampled(everything).source) == 3


def test_without_the_extractor_s_weights_it_is_said_and_labelled(data, tmp_path, capsys):
    """A generator without the map needs none."""
    generator = generator_saying(5.0, tmp_path / "g.safetensors")
    absent = f"--config.extractor.weights={tmp_path / 'none.npz'}"
    assert run(tmp_path / "w", data, generator, absent) == 0
    out = capsys.readouterr().out
    assert "note: the generator is not compared with propagation" in out
    assert "none.npz" in out
    assert not (tmp_path / "w" / "training_check.json").exists()


def test_propagation_is_compared_with_nothing(data, tmp_path, capsys):
    assert run(tmp_path / "w", data, "--config.label.source=propagation") == 0
    assert "judged" not in capsys.readouterr().out
    assert not (tmp_path / "w" / "training_check.json").exists()
