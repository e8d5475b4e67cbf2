"""Files of one run belong together: what was made from other labels does not stay beside them."""

import dataclasses
import hashlib
import json
import os
import re

import pytest

from exits_jax.annotations import read_annotations
from exits_jax.app import label_files
from exits_jax.app.label_files import labels_are_written, write_labels
from exits_jax.app.outputs import LABELS, REPORT, Outputs, file_digest, summary
from exits_jax.app.report_files import evaluate, report_is_written
from exits_jax.app.run import Run
from exits_jax.app.settings import free_settings, read_settings
from exits_jax.app.workdir import Workdir
from exits_jax.export.quality import box_label
from exits_jax.report.settings import ReportSettings
from exits_jax.system.errors import UserError
from tests import tiny_config
from tests.pictures import write_pictures

OWN = ("pseudo_labels.json", "pseudo_labels.results.json", "review.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder, count=2)
    return folder


@pytest.fixture
def make(data, tmp_path):
    """The run with these settings of labels, in one folder."""

    def run(**settings):
        config = tiny_config.get_config()
        config.data.update(annotations=str(data / "annotations.json"), images=str(data))
        config.label.update(source="propagation", **settings)
        return Run(read_settings(config), Workdir(tmp_path / "w"))

    return run


@pytest.fixture
def written(make, data):
    """Writes labels of four instances, scored 0.2, 0.4, 0.6, 0.8; returns the run."""

    def write(**settings):
        run = make(**settings)
        annotations = read_annotations(data / "annotations.json", data)
        scored = zip(annotations.instances, (0.2, 0.4, 0.6, 0.8), strict=True)
        labels = {i.id: dataclasses.replace(box_label(i, ()), score=score) for i, score in scored}
        write_labels(run, annotations, labels)
        return run

    return write


def files(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def listed(run):
    return {file for entry in entries(run).values() for file in entry["files"]}


def entries(run):
    return json.loads(run.workdir.outputs.read_text())


def ids(run):
    rows = json.loads(run.workdir.labels.read_text())["annotations"]
    return [row["id"] for row in rows if "exits" in row]


def test_every_file_is_listed_with_what_it_was_made_from(written):
    run = written(formats=("polygons", "png"), min_score=0.5)
    folder = run.workdir.folder
    assert files(folder) == listed(run) | {"outputs.json"}
    assert set(entries(run)) == {LABELS, "polygons", "png"}
    digest = hashlib.sha256(run.workdir.labels.read_bytes()).hexdigest()
    for entry in entries(run).values():
        assert entry["labels_sha256"] == digest
        assert entry["settings"]["label.min_score"] == 0.5
        assert entry["settings"]["label.formats"] == ["polygons", "png"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", entry["made"])
        assert not entry["unfinished"]
    about = json.loads((folder / "pseudo_labels.polygons.json").read_text())["exits"]
    assert about["labels_sha256"] == digest
    assert "exits" not in json.loads(run.workdir.labels.read_text())


def test_another_least_score_leaves_no_file_of_the_one_before(written, capsys):
    run = written(formats=("polygons", "png", "yolo"))
    assert ids(run) == [1, 2, 3, 4]
    run = written(formats=("polygons", "png", "yolo"), min_score=0.5)
    folder = run.workdir.folder
    assert ids(run) == [3, 4]  # of the second picture
    pictures = {file for file in files(folder) if file.endswith(".png")}
    assert pictures == {"png/1.png", "yolo/images/1.png"}
    assert files(folder) == listed(run) | {"outputs.json"}
    polygons = json.loads((folder / "pseudo_labels.polygons.json").read_text())
    assert [row["id"] for row in polygons["annotations"]] == [3, 4]
    assert labels_are_written(run)


def test_formats_not_asked_for_any_more_are_removed_and_named(written, capsys):
    run = written(formats=("polygons", "png"))
    (run.workdir.folder / "png" / "mine.txt").write_text("a user's own")
    capsys.readouterr()
    run = written(formats=("yolo",))
    said = capsys.readouterr().out
    left = files(run.workdir.folder)
    assert {f for f in left if f.startswith(("png", "pseudo_labels.pol"))} == {"png/mine.txt"}
    removed = next(line for line in said.splitlines() if line.startswith("removed"))
    assert "png/ (3 files)" in removed
    assert "pseudo_labels.polygons.json" in removed
    assert f"wrote {run.workdir.folder}/pseudo_labels.json" in said
    assert f"wrote {run.workdir.folder}/yolo/ (6 files)" in said


def fake_report(run):
    """Stands for evaluation: writes what is of a report, through the same book-keeping."""
    outputs, workdir = Outputs(run.workdir.outputs), run.workdir
    workdir.figures.mkdir()
    for path in (workdir.report, workdir.evaluation, workdir.figures / "image_1.png"):
        path.write_text("of these labels")
    names = ["report.html", "evaluation.json", "figures/image_1.png"]
    settings = free_settings(run.config, "report")
    outputs.finish(REPORT, names, file_digest(workdir.labels), settings)


def test_a_report_of_other_labels_goes_and_one_of_these_stays(written, capsys):
    run = written()
    fake_report(run)
    assert report_is_written(run)
    run = written(formats=("png",))  # the same labels
    assert run.workdir.report.exists()
    assert report_is_written(run)
    fewer = dataclasses.replace(run.config, report=ReportSettings(max_items=3))
    assert not report_is_written(dataclasses.replace(run, config=fewer))
    (run.workdir.figures / "mine.png").write_text("a user's own")
    run = written(min_score=0.5)
    assert not run.workdir.report.exists()
    assert files(run.workdir.folder) == {*OWN, "outputs.json", "figures/mine.png"}
    assert not report_is_written(run)
    assert "report.html" in capsys.readouterr().out


def test_a_report_of_nobody_knows_which_labels_is_named_and_kept(written, capsys, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "report.html").write_text("of another version")
    run = written()
    assert run.workdir.report.read_text() == "of another version"
    assert "nothing says which labels" in capsys.readouterr().out
    assert not report_is_written(run)


@pytest.mark.parametrize("failing", ["polygons", "png"])
def test_a_format_that_fails_costs_nothing_else(written, make, monkeypatch, failing):
    written(formats=("polygons", "png"))
    write = label_files.write_format

    def fails(name, folder, *rest, simplify=0.0):
        if name == failing:
            (folder / "png").mkdir(parents=True)
            (folder / "png" / "half.png").write_text("half")
            raise UserError("no room for this format")
        return write(name, folder, *rest)

    monkeypatch.setattr(label_files, "write_format", fails)
    with pytest.raises(UserError, match="no room for this format"):
        written(formats=("polygons", "png"), min_score=0.5)
    monkeypatch.undo()
    run = make(formats=("polygons", "png"), min_score=0.5)
    folder, other = run.workdir.folder, {"polygons": "png/", "png": "pseudo_labels.polygons.json"}
    assert ids(run) == [3, 4]
    left = files(folder) - {*OWN, "outputs.json"}
    assert left  # the other format
    assert all(file.startswith(other[failing]) for file in left)
    assert not labels_are_written(run)
    assert labels_are_written(written(formats=("polygons", "png"), min_score=0.5))


def test_nothing_of_somebody_elses_is_written_over(written):
    run = written()
    folder = run.workdir.folder
    (folder / "png").mkdir()
    (folder / "png" / "0.png").write_text("a user's own")
    with pytest.raises(UserError, match=r"png/0.png: is in the way of 'png'.*move it away"):
        written(formats=("png", "polygons"))
    assert (folder / "png" / "0.png").read_text() == "a user's own"
    assert files(folder) == {*OWN, "outputs.json", "png/0.png", "pseudo_labels.polygons.json"}


def test_labels_that_somebody_changed_are_kept(written, capsys):
    run = written()
    text = run.workdir.labels.read_text().replace('"x":0', '"x":1')
    run.workdir.labels.write_text(text)
    assert labels_are_written(run)  # --mode=run leaves them alone
    run = written(min_score=0.5)
    kept = [*run.workdir.folder.glob("pseudo_labels.edited-*.json")]
    assert [path.read_text() for path in kept] == [text]
    assert str(kept[0]) in capsys.readouterr().out
    assert ids(run) == [3, 4]
    written(min_score=0.4)
    assert len([*run.workdir.folder.glob("pseudo_labels.edited-*.json")]) == 1


class Killed(BaseException):
    """Stands for a signal: nothing in the program catches it."""


@pytest.mark.parametrize("nth", range(12))
def test_a_kill_between_any_two_files_is_made_good(written, make, monkeypatch, nth):
    """Whatever replaces a file dies at the nth one; the same command gives what it should."""
    written(formats=("polygons", "yolo"))
    replace, count = os.replace, []

    def killed(*paths):
        count.append(paths)
        if len(count) > nth:
            raise Killed
        replace(*paths)

    settings = {"formats": ("polygons", "png"), "min_score": 0.5}
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(Killed):
        written(**settings)
    monkeypatch.undo()
    run = make(**settings)
    assert not labels_are_written(run)  # --mode=run does it again
    assert len(ids(run)) in (2, 4)  # whole, before or after
    run.workdir.sweep(alone=True)
    written(**settings)
    assert labels_are_written(run)
    assert files(run.workdir.folder) == listed(run) | {"outputs.json"}
    assert ids(run) == [3, 4]


def test_labelling_that_was_cut_off_is_not_evaluated(written, make):
    Outputs(written().workdir.outputs).begin(LABELS)
    with pytest.raises(UserError, match=r"was stopped.*run --mode=label again"):
        evaluate(make())


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"png": 3}',
        '{"png": {"files": ["../../precious"], "unfinished": false}}',
        '{"png": {"files": ["/precious"], "unfinished": false}}',
        '{"png": {"files": [3], "unfinished": false}}',
    ],
)
def test_a_damaged_list_is_one_clear_line(tmp_path, content):
    (tmp_path / "outputs.json").write_text(content)
    with pytest.raises(UserError, match=r"outputs.json: damaged"):
        Outputs(tmp_path / "outputs.json")


def test_files_in_few_words():
    names = ["review.json", "png/a.png", "png/b/c.png", "voc/x"]
    assert summary(names) == ["review.json", "png/ (2 files)", "voc/ (1 file)"]
