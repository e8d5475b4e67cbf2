"""`--mode=segment` whole, on pictures that a tiny network learns in seconds."""

import json
import pathlib
import re

import numpy as np
import pytest

from exits_jax.app import command_line, segment_phase
from exits_jax.app.run import Run
from exits_jax.app.settings import read_settings
from exits_jax.app.workdir import Workdir
from exits_jax.models.params_io import load_params, read_made_with
from exits_jax.training import loop
from exits_jax.training.logs import CLOCKED
from tests import tiny_stage2
from tests.pictures import write_document, write_pictures

CONFIG = str(pathlib.Path(__file__).parent / "tiny_stage2.py")
STEPS = 6  # as many epochs of four pictures


def segment(workdir, data, *arguments, mode="segment"):
    return command_line.main(
        [
            "main.py",
            f"--config={CONFIG}",
            f"--workdir={workdir}",
            f"--mode={mode}",
            f"--config.data.annotations={data / 'annotations.json'}",
            f"--config.data.images={data}",
            f"--config.segmentation.annotations={data / 'annotations.json'}",
            f"--config.segmentation.images={data}",
            f"--config.segmentation.epochs={STEPS}",
            "--config.segmentation.canvases=((96,96),)",  # of which each is compiled for
            "--config.segmentation.batch_size=4",  # of four faked devices
            "--config.train.checkpoint_every=2",
            "--config.train.log_every=1",
            *arguments,
        ]
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    workdir = tmp_path_factory.mktemp("finished")
    assert segment(workdir, data) == 0
    return workdir


def metrics(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in CLOCKED} for row in rows]


def parameters(workdir):
    return workdir / "params" / "segmentation.safetensors"


def test_it_leaves_a_model_metrics_and_pictures(finished):
    rows = metrics(finished)
    assert [row["step"] for row in rows] == [*range(1, STEPS + 1)]
    assert all(row["phase"] == "segment" and row["cells"] > 0 for row in rows)
    assert all(row["objects"] == 2 and row["objects_without_cell"] >= 0 for row in rows)
    facts = read_made_with(parameters(finished))
    assert facts["classes"]["names"] == ["ellipse", "blob"]
    assert set(load_params(parameters(finished))) == {"encoder", "neck", "head"}
    (events,) = (finished / "tensorboard" / "segment").iterdir()
    written = events.read_bytes()
    assert written.count(b"\x89PNG") == 4 * STEPS / 2  # of four images, at every checkpoint
    assert b"segment/0_png" in written or b"segment/0.png" in written


class Killed(Exception):
    """Stands for a kill: nothing in the program catches it."""


def test_a_killed_training_goes_on_to_the_same_bytes(finished, data, tmp_path, monkeypatch):
    look = loop._Watch.look

    def killed(self, number, logs, ids):
        if number == 3:  # behind the first checkpoint
            raise Killed
        return look(self, number, logs, ids)

    monkeypatch.setattr(loop._Watch, "look", killed)
    with pytest.raises(Killed):
        segment(tmp_path, data)
    monkeypatch.undo()
    assert not parameters(tmp_path).exists()
    assert segment(tmp_path, data) == 0
    assert parameters(tmp_path).read_bytes() == parameters(finished).read_bytes()
    assert metrics(tmp_path) == metrics(finished)


def test_a_loss_that_is_not_finite_stops_with_step_and_images(data, tmp_path, capsys):
    assert segment(tmp_path, data, "--config.segmentation.learning_rate=1e30") == 2
    error = capsys.readouterr().err
    assert re.search(r"segment step \d: not finite", error)
    assert "ids of the batch: " in error
    assert not parameters(tmp_path).exists()


def test_new_labels_ask_for_a_new_model(data, tmp_path, monkeypatch, capsys):
    """Of the workdir's own labels; a run that was not told to relabel keeps its model."""
    own = ("--config.segmentation.annotations=", "--config.segmentation.images=")
    workdir = Workdir(tmp_path)
    (tmp_path / "pseudo_labels.json").write_bytes((data / "annotations.json").read_bytes())
    assert segment(tmp_path, data, *own) == 0
    config = tiny_stage2.get_config()
    config.data.images = str(data)
    run = Run(read_settings(config), workdir)
    assert segment_phase.is_trained(run)
    before = parameters(tmp_path).read_bytes()
    document = json.loads((data / "annotations.json").read_text())
    del document["annotations"][0]
    write_document(tmp_path, document).rename(tmp_path / "pseudo_labels.json")
    assert not segment_phase.is_trained(run)
    capsys.readouterr()
    assert segment(tmp_path, data, *own) == 0
    assert "labels have changed" in capsys.readouterr().out
    assert parameters(tmp_path).read_bytes() != before
    assert segment_phase.is_trained(run)


def test_mode_run_goes_from_points_to_detections(data, tmp_path, capsys):
    changed = ("label.source=propagation", "warmup.epochs=0", "segmentation.annotations=")
    assert segment(tmp_path, data, *(f"--config.{c}" for c in changed), mode="run") == 0
    for name in ("pseudo_labels.json", "params/segmentation.safetensors", "predictions.json"):
        assert (tmp_path / name).exists()
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert {"miou", "segmentation"} <= figures.keys()
    assert figures["segmentation"]["ap"] is not None
    capsys.readouterr()
    assert segment(tmp_path, data, *(f"--config.{c}" for c in changed), mode="run") == 0
    assert "nothing to do" in capsys.readouterr().out


def test_what_is_missing_is_said_before_anything_is_done(data, tmp_path, capsys):
    absent = f"--config.segmentation.annotations={tmp_path / 'none.json'}"
    assert segment(tmp_path / "w", data, absent, mode="run") == 2
    assert "none.json: no such file (segmentation.annotations)" in capsys.readouterr().err
    weights = ("--config.segmentation.norm=frozen", "--config.segmentation.weights=none.pth")
    assert segment(tmp_path / "w", data, *weights, mode="run") == 2
    assert "none.pth: no such file" in capsys.readouterr().err
    assert not (tmp_path / "w" / "pseudo_labels.json").exists()


@pytest.mark.parametrize(
    "wrong", ["grids=(40,36,24,16)", "ranges=((1.0,96.0),)", "canvases=((450,600),)"]
)
def test_settings_that_cannot_work_are_one_line(wrong, data, tmp_path, capsys):
    assert segment(tmp_path, data, f"--config.segmentation.{wrong}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"segmentation.{wrong.partition('=')[0]}" in error


def test_more_instances_than_fit_are_counted_aloud(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(segment_phase, "train_segmenter", lambda *given: {"a": np.zeros(1)})
    assert segment(tmp_path, data, "--config.segmentation.max_instances=1") == 0
    text = capsys.readouterr().out
    assert "4 of the 4 images that --mode=predict will search are learnt from" in text
    assert "4 images with more than 1 instances" in text


def test_what_it_would_take(data, tmp_path, capsys):
    assert segment(tmp_path, data, "--dry_run") == 0
    text = capsys.readouterr().out
    assert f"{STEPS} steps of 4" in text
    assert not parameters(tmp_path).exists()


@pytest.mark.parametrize("rows", [[], [{"iscrowd": 1}]], ids=["no annotations", "crowds"])
def test_nothing_to_train_on(rows, tmp_path, capsys):
    document = write_pictures(tmp_path)
    rows = [{**one, **changes} for changes in rows for one in document["annotations"]]
    write_document(tmp_path, document | {"annotations": rows})
    assert segment(tmp_path / "w", tmp_path) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / "annotations.json") in error
