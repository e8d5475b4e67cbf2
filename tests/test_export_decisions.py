"""Decisions of a review: read or refused in one line, and honoured by every output alike."""

import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from exits_jax.app import command_line
from exits_jax.export import decisions
from exits_jax.export.decisions import Decision
from exits_jax.export.quality import Label
from exits_jax.system.errors import UserError
from tests.pictures import write_pictures

CONFIG = str(pathlib.Path(__file__).parent / "tiny_config.py")


def label(annotation_id, score=0.5, counts="abc"):
    return Label(annotation_id, {"size": [4, 5], "counts": counts}, 3, score, [])


def write(folder, content):
    file = folder / "decisions.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.mark.parametrize(
    "content",
    [
        {"decisions": {"12": "accept", "-3": "reject"}, "labels_sha256": "", "about": "x"},
        {"12": "accept", "-3": "reject"},
        '\ufeff{"decisions": {"12": "accept", "-3": "reject"}, "masks": {}}',
    ],
)
def test_the_file_of_the_page_and_one_by_hand_are_read(tmp_path, content):
    read = decisions.read_decisions(write(tmp_path, content))
    assert read == {12: Decision("accept"), -3: Decision("reject")}
    assert decisions.read_decisions(None) == {}


def test_what_the_page_saves_is_what_is_read(tmp_path):
    made = {7: Decision("reject", "aa"), 1: Decision("accept", None)}
    record = decisions.decisions_record(made, "digest")
    assert record["labels_sha256"] == "digest"
    assert decisions.read_decisions(write(tmp_path, record)) == made


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"decisions": {"12": "acc', "not valid JSON"),
        ("", "the file is empty"),
        ("[" * 100_000, "not valid JSON"),
        ([{"annotation_id": 12}], "expected {"),
        ("7", "holds 7; expected {"),
        ({"decisions": ["12"]}, "'decisions' is ['12']; expected {"),
        ({"decisions": {"12": "accept"}, "masks": 3}, "'masks' is 3"),
        ({"decisions": {"12": "maybe"}}, "the decision about annotation 12 is 'maybe'"),
        ({"decisions": {"12": ["accept"]}}, "the decision about annotation 12 is ['accept']"),
        ({"decisions": {"12": None}}, "the decision about annotation 12 is None"),
        ({"decisions": {"twelve": "accept"}}, "'twelve' is not an annotation id"),
        ({"decisions": {"1.5": "accept"}}, "'1.5' is not an annotation id"),
        ({"decisions": {"012": "accept"}}, "'012' is not an annotation id"),
        ({"decisions": {"9" * 5000: "accept"}}, "is not an annotation id"),
        ({"images": [], "annotations": []}, "'images' is not an annotation id"),
        ({"decisions": {"12": "accept"}, "masks": {"12": 5}}, "the mask of annotation 12 is 5"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, content, expected):
    file = write(tmp_path, content)
    with pytest.raises(UserError) as error:
        decisions.read_decisions(file)
    assert str(error.value).startswith(f"{file}: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_missing_file_is_an_error_only_where_it_was_asked_for(tmp_path, monkeypatch):
    usual = tmp_path / "review_decisions.json"
    assert decisions.decisions_file("", usual) is None
    asked = decisions.decisions_file("~/saved.json", usual)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert decisions.decisions_file("~/saved.json", usual) == tmp_path / "saved.json"
    with pytest.raises(UserError, match="cannot be read: No such file"):
        decisions.read_decisions(asked)
    usual.write_text("{}")
    assert decisions.decisions_file("", usual) == usual
    assert decisions.decisions_file("other.json", usual) == pathlib.Path("other.json")


def test_decisions_about_masks_of_before_do_not_count():
    labels = {1: label(1), 2: label(2, counts="new"), 3: label(3)}
    digest = decisions.mask_digest(labels[1].rle)
    made = {
        1: Decision("reject", digest),
        2: Decision("reject", digest),
        3: Decision("accept"),
        9: Decision("accept"),
    }
    standing, said = decisions.standing(made, labels)
    assert standing == {1: Decision("reject", digest), 3: Decision("accept", digest)}
    assert said[0] == "1 accepted, 1 rejected and left out"
    assert "the mask has changed since: 1, annotation 2 first" in said[1]
    assert said[2] == "ignored, because there is no such annotation: 1, 9 first"
    assert decisions.standing({3: Decision("accept")}, labels)[1] == [
        "1 accepted, 0 rejected and left out"
    ]


def test_a_digest_tells_masks_apart():
    masks = [("abc", [4, 5]), ("abd", [4, 5]), ("abc", [5, 4])]
    digests = {decisions.mask_digest({"size": size, "counts": c}) for c, size in masks}
    assert len(digests) == 3
    assert decisions.mask_digest({"counts": "abc", "size": [4, 5]}) in digests


def test_a_decision_comes_before_the_score():
    assert decisions.is_kept(label(1, 0.1), Decision("accept"), 0.5)
    assert not decisions.is_kept(label(1, 0.9), Decision("reject"), 0.5)
    assert not decisions.is_kept(label(1, 0.1), None, 0.5)
    assert decisions.is_kept(label(1, 0.5), None, 0.5)


def test_the_queue_keeps_what_was_decided():
    rows = [{"annotation_id": 1, "score": 0.1}, {"annotation_id": 2, "score": 0.2}]
    made = {2: Decision("reject", "aa")}
    marked = [*decisions.with_decisions(rows, made)]
    assert marked == [rows[0], rows[1] | {"decision": "reject", "mask": "aa"}]
    assert decisions.decided_in(marked) == made
    assert decisions.decided_in(rows) == {}
    assert decisions.why_left_out([1, 2], made, 5) == (
        "1 of 5 rejected in the review, 1 of 5 are below label.min_score"
    )
    assert decisions.why_left_out([2], made, 5) == "1 of 5 rejected in the review"


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Labelled and evaluated pictures: a workdir, and a function that runs a mode in it."""
    folder = tmp_path_factory.mktemp("review")
    write_pictures(folder)
    workdir = folder / "work"

    def run(mode, *arguments):
        return command_line.main(
            [
                "main.py",
                f"--config={CONFIG}",
                f"--workdir={workdir}",
                f"--mode={mode}",
                "--config.label.source=propagation",
                "--config.report.max_panels=0",
                f"--config.data.annotations={folder / 'annotations.json'}",
                f"--config.data.images={folder}",
                *map(str, arguments),
            ]
        )

    assert run("label") == 0
    assert run("evaluate") == 0
    return workdir, run


@pytest.fixture
def decided(work, tmp_path):
    """As the report of that run would save it: the best mask rejected, the worst accepted."""
    workdir, _ = work
    queue = json.loads((workdir / "review.json").read_text())
    worst, best = queue[0]["annotation_id"], queue[-1]["annotation_id"]
    masks = {entry["id"]: entry["mask"] for entry in page_data(workdir)["items"]}
    made = {worst: Decision("accept", masks[worst]), best: Decision("reject", masks[best])}
    return write(tmp_path, decisions.decisions_record(made, "")), worst, best


def page_data(workdir):
    page = (workdir / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found[1])


def test_every_output_agrees_with_the_review(work, decided, capsys):
    workdir, run = work
    file, worst, best = decided
    everything = {
        a["id"] for a in json.loads((workdir / "pseudo_labels.json").read_text())["annotations"]
    }
    formats = "--config.label.formats=('polygons', 'png', 'yolo')"
    settings = (f"--config.label.decisions={file}", formats)
    assert run("label", *settings) == 0
    assert f"{file}: 1 accepted, 1 rejected and left out" in capsys.readouterr().out
    kept = everything - {best}
    assert outputs(workdir) == [kept] * 3 + [len(kept)] * 2
    rows = {row["annotation_id"]: row for row in json.loads((workdir / "review.json").read_text())}
    assert {*rows} == everything  # a rejected one is not forgotten
    assert [rows[i].get("decision") for i in (worst, best)] == ["accept", "reject"]
    assert sum("decision" in row for row in rows.values()) == 2
    assert run("evaluate", *settings) == 0
    assert "1 of 8 rejected in the review: not measured" in capsys.readouterr().out
    assert json.loads((workdir / "evaluation.json").read_text())["n"] == len(kept)
    data = page_data(workdir)
    assert {entry["id"] for entry in data["items"]} == kept
    assert data["review"]["decisions"] == {str(worst): "accept", str(best): "reject"}
    assert set(data["review"]["masks"]) == {str(worst), str(best)}
    assert "1 accepted, 1 rejected" in (workdir / "report.html").read_text(encoding="utf-8")

    lowest = (*settings, "--config.label.min_score=1.0")
    assert run("label", *lowest) == 0
    assert outputs(workdir) == [{worst}] * 3 + [1] * 2
    assert run("evaluate", *lowest) == 0
    assert "1 of 8 rejected in the review, 6 of 8 are below" in capsys.readouterr().out

    assert run("label", formats) == 0  # without the review everything is back
    assert outputs(workdir) == [everything] * 3 + [len(everything)] * 2
    assert run("evaluate") == 0


def outputs(workdir):
    """Annotation ids in the three JSON files; how many objects the PNG and YOLO files hold."""
    labels = json.loads((workdir / "pseudo_labels.json").read_text())["annotations"]
    results = json.loads((workdir / "pseudo_labels.results.json").read_text())
    polygons = json.loads((workdir / "pseudo_labels.polygons.json").read_text())["annotations"]
    pixels = [np.unique(np.asarray(Image.open(f))) for f in (workdir / "png").rglob("*.png")]
    lines = [
        f.read_text().splitlines()
        for f in (workdir / "yolo").rglob("*.txt")
        if f.name != "classes.txt"
    ]
    ids = [{row["id"] for row in rows} for rows in (labels, results, polygons)]
    return [*ids, sum(len(p[p > 0]) for p in pixels), sum(map(len, lines))]


def test_the_file_in_the_workdir_is_found_and_stale_decisions_are_said(work, decided, capsys):
    workdir, run = work
    file, worst, best = decided
    usual = workdir / "review_decisions.json"
    record = json.loads(file.read_text())
    record["masks"][str(worst)] = "0" * 12
    record["decisions"]["777"] = "accept"
    usual.write_text(json.dumps(record))
    try:
        assert run("label") == 0
        said = capsys.readouterr().out
        labels = json.loads((workdir / "pseudo_labels.json").read_text())["annotations"]
        assert best not in {a["id"] for a in labels}
        assert f"{usual}: 0 accepted, 1 rejected" in said
        assert f"the mask has changed since: 1, annotation {worst} first; look again" in said
        assert "no such annotation: 1, 777 first" in said
    finally:
        usual.unlink()
    assert run("label") == 0


def test_a_bad_file_is_refused_before_anything_is_written(work, tmp_path, capsys):
    workdir, run = work
    before = {p: p.stat().st_mtime_ns for p in workdir.glob("*.json") if p.name != "config.json"}
    file = write(tmp_path, {"decisions": {"1": "perhaps"}})
    assert run("label", f"--config.label.decisions={file}") == 2
    out, error = capsys.readouterr()
    assert "masks (propagation)" not in out
    assert (
        error
        == f"error: {file}: the decision about annotation 1 is 'perhaps'; expected 'accept' or"
        " 'reject'\n"
    )
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_when_all_are_rejected_there_is_nothing_to_measure(work, tmp_path, capsys):
    workdir, run = work
    ids = [r["annotation_id"] for r in json.loads((workdir / "review.json").read_text())]
    file = write(tmp_path, {str(i): "reject" for i in ids})
    formats = "--config.label.formats=('polygons', 'png', 'yolo')"
    assert run("label", f"--config.label.decisions={file}", formats) == 0
    assert json.loads((workdir / "pseudo_labels.json").read_text())["annotations"] == []
    capsys.readouterr()
    assert run("evaluate", f"--config.label.decisions={file}") == 2
    error = capsys.readouterr().err
    assert f"no label to measure: {len(ids)} of {len(ids)} rejected in the review" in error
    assert run("label") == 0
