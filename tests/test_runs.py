"""Whole runs of the program on small pictures, by the command line."""

import copy
import hashlib
import json
import pathlib
import re

import numpy as np
import pytest
from pycocotools.coco import COCO

from exits_jax.annotations import decode_segmentation, encode_rle
from exits_jax.app import command_line, phases
from exits_jax.evaluation.summary import METRICS
from exits_jax.export.formats import FORMATS, format_paths
from exits_jax.training.logs import CLOCKED
from tests.pictures import SIZE, write_document, write_pictures

CONFIG = str(pathlib.Path(__file__).parent / "tiny_config.py")


def program(*arguments):
    return command_line.main(["main.py", *map(str, arguments)])


def run(workdir, data, *arguments, mode="run"):
    return program(
        f"--config={CONFIG}",
        f"--workdir={workdir}",
        f"--mode={mode}",
        f"--config.data.annotations={data / 'annotations.json'}",
        f"--config.data.images={data}",
        *arguments,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """A run of every phase."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    assert run(workdir, data) == 0
    return workdir


def test_a_run_leaves_everything_the_workdir_promises(finished):
    for name in (
        "config.json",
        "metrics.jsonl",
        "params/similarity_extractor.safetensors",
        "params/generator.safetensors",
        "training_check.json",
        "pseudo_labels.json",
        "pseudo_labels.results.json",
        "evaluation.json",
        "report.html",
        "figures/training.png",
        "figures/image_1.png",
        "figures/instance_1.png",
    ):
        assert (finished / name).stat().st_size > 0, name
    assert list((finished / "checkpoints" / "train").iterdir())
    assert list((finished / "tensorboard" / "train").iterdir())
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["phase"] == "warmup"] == [1, 2, 3, 4]
    assert [r["step"] for r in rows if r["phase"] == "train"] == [1, 2, 3, 4]
    assert all(np.isfinite(r["loss"]) and "point" in r and "mil" in r for r in rows)
    assert all("crf" in r for r in rows if r["phase"] == "train")


def test_pseudo_labels_are_the_input_with_masks(finished, data):
    given = json.loads((data / "annotations.json").read_text())
    labels = json.loads((finished / "pseudo_labels.json").read_text())
    for key in ("info", "licenses", "images", "categories"):
        assert labels[key] == given[key]
    for before, after in zip(given["annotations"], labels["annotations"], strict=True):
        changed = {k for k in before if before[k] != after[k]}
        assert changed <= {"segmentation", "area"}
        mask = decode_segmentation(after["segmentation"], SIZE, SIZE)
        assert mask.sum() == after["area"] > 0
        x, y, w, h = before["bbox"]
        assert not mask[:y].any()
        assert not mask[y + h :].any()
        assert not mask[:, :x].any()
        assert not mask[:, x + w :].any()
        assert set(after["exits"]) == {"extreme_points", "extreme_points_source", "score", "flags"}
        assert after["exits"]["extreme_points_source"] == "mask"
    coco = COCO(str(finished / "pseudo_labels.json"))
    found = coco.loadRes(str(finished / "pseudo_labels.results.json"))
    assert len(found.anns) == len(given["annotations"])


def test_evaluation_has_the_keys_of_its_contract(finished):
    record = json.loads((finished / "evaluation.json").read_text())
    assert set(METRICS) <= set(record)
    assert set(record["baselines"]) == {"filled_box", "propagation_only"}
    assert record["n"] == 8
    assert record["n_separated"] == 0
    assert record["miou_separated"] is None
    assert record["miou_large"] is None
    box = record["baselines"]["filled_box"]["miou"]
    assert box == pytest.approx(np.pi / 4, abs=0.02)  # an ellipse in its box


def test_running_again_does_nothing(finished, data, capsys):
    stamp = (finished / "pseudo_labels.json").stat().st_mtime_ns
    assert run(finished, data) == 0
    assert (finished / "pseudo_labels.json").stat().st_mtime_ns == stamp
    assert "train" not in capsys.readouterr().out


def test_another_config_in_the_same_workdir_is_refused(finished, data, capsys):
    assert run(finished, data, "--config.seed=3", "--config.loss.mil=2.0") == 2
    error = capsys.readouterr().err
    assert "loss.mil = 10.0, now 2.0" in error
    assert "seed = 0, now 3" in error
    assert error.count("\n") == 1


def test_a_failed_first_attempt_does_not_bind_the_workdir(data, tmp_path, capsys):
    source = "--config.label.source=propagation"
    wrong = "--config.data.annotations=typo.json"
    assert run(tmp_path / "w", data, source, wrong, mode="label") == 2
    assert run(tmp_path / "w", data, source, mode="label") == 0
    assert run(tmp_path / "w", data, source, "--config.report.max_items=3", mode="label") == 0
    assert run(tmp_path / "w", data, source, "--config.seed=3", mode="label") == 2
    assert "seed = 0, now 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("seed=-1", "0 or more"),
        ("extractor.size='X'", "Ti or S or B or L"),
        ("generator.normalise='none'", "imagenet or half"),
        ("retrieval.layers=(13,)", "layers 1 to 12"),
        ("retrieval.hops=-1", "hops"),
        ("label.part_size=0", "1 or more"),
        ("train.log_every=0", "1 or more"),
        ("warmup.batch_size=0", "1 or more"),
        ("label.formats=('bmp',)", "polygons, png, voc, yolo, label_studio"),
        ("data.exif='turned'", "auto or displayed or stored"),
        ("label.simplify=-1.0", "0 or more"),
        ("label.fill_holes=2.0", "between 0 and 1"),
        ("label.source='oracle'", "generator or propagation"),
        ("generator.prior=1.0", "log_ratio"),
        ("crop.size=60", "patches of 16"),
    ],
)
def test_settings_that_cannot_work(data, tmp_path, capsys, setting, expected):
    assert run(tmp_path, data, f"--config.{setting}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error
    assert not (tmp_path / "params").exists()


def test_best_retrieval_is_one_thing():
    from configs import coco_mini
    from exits_jax.app.settings import read_settings
    from exits_jax.retrieval.settings import RESEEDED_KEYS

    assert read_settings(coco_mini.get_config()).retrieval == RESEEDED_KEYS


def test_labels_follow_edited_annotations(data, tmp_path):
    """Parts of another set of points are not taken for those of this one."""
    for image in data.glob("*.png"):
        (tmp_path / image.name).write_bytes(image.read_bytes())
    document = json.loads((data / "annotations.json").read_text())
    write_document(tmp_path, document)
    source = "--config.label.source=propagation"
    assert run(tmp_path / "w", tmp_path, source, mode="label") == 0
    before = json.loads((tmp_path / "w" / "pseudo_labels.json").read_text())
    document["annotations"][0]["bbox"] = [20, 25, 15, 15]
    document["annotations"][0]["extreme_points"] = [[27, 25], [20, 32], [27, 40], [35, 32]]
    write_document(tmp_path, document)
    assert run(tmp_path / "w", tmp_path, source, mode="label") == 0
    after = json.loads((tmp_path / "w" / "pseudo_labels.json").read_text())
    assert after["annotations"][0]["segmentation"] != before["annotations"][0]["segmentation"]
    assert after["annotations"][1]["segmentation"] == before["annotations"][1]["segmentation"]


def test_two_runs_in_one_workdir_are_refused(tmp_path, data, capsys):
    from exits_jax.app.workdir import Workdir

    with Workdir(tmp_path / "w").locked():
        assert run(tmp_path / "w", data) == 2
    assert "another run is working in this folder" in capsys.readouterr().err


class Killed(Exception):
    """Stands for a kill: nothing in the program catches it."""


@pytest.mark.parametrize("steps_before", [3, 7])  # in the warm-up, in the training of 4 and 4
def test_interrupted_training_resumes_bit_for_bit(
    finished, data, tmp_path, monkeypatch, steps_before
):
    from exits_jax.training import loop

    look, steps = loop._Watch.look, []

    def killed(self, number, logs, ids):
        steps.append(number)
        if len(steps) == steps_before:
            raise Killed
        return look(self, number, logs, ids)

    monkeypatch.setattr(loop._Watch, "look", killed)
    workdir = tmp_path / "w"
    with pytest.raises(Killed):
        run(workdir, data)
    monkeypatch.undo()
    assert run(workdir, data) == 0
    for name in (
        "params/similarity_extractor.safetensors",
        "params/generator.safetensors",
        "pseudo_labels.json",
        "pseudo_labels.results.json",
    ):
        assert (workdir / name).read_bytes() == (finished / name).read_bytes(), name

    def lines(folder):
        rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        return [{k: v for k, v in r.items() if k not in CLOCKED} for r in rows]

    assert lines(workdir) == lines(finished)


def test_interrupted_labelling_keeps_finished_parts(finished, data, tmp_path, monkeypatch):
    from exits_jax.export import in_parts

    write, written = in_parts.write_part, []

    def killed(folder, number, labels):
        if len(written) == 1:
            raise Killed
        written.append(number)
        write(folder, number, labels)

    generator = f"--config.generator.params={finished / 'params/generator.safetensors'}"
    monkeypatch.setattr(in_parts, "write_part", killed)
    with pytest.raises(Killed):
        run(tmp_path / "w", data, generator, mode="label")
    monkeypatch.undo()
    part = next((tmp_path / "w" / "label_parts").glob("generator-*/part-*.jsonl"))
    stamp = part.stat().st_mtime_ns
    assert run(tmp_path / "w", data, generator, mode="label") == 0
    assert part.stat().st_mtime_ns == stamp
    labels = (tmp_path / "w" / "pseudo_labels.json").read_bytes()
    assert labels == (finished / "pseudo_labels.json").read_bytes()


def test_no_ground_truth_mask_influences_a_label(data, tmp_path):
    """Masks replaced by garbage once the points are out: the same bytes."""
    document = json.loads((data / "annotations.json").read_text())
    folders = []
    for name, garbage in (("true", False), ("garbage", True)):
        folder = tmp_path / name
        folder.mkdir()
        changed = copy.deepcopy(document)
        rng = np.random.default_rng(1)
        for annotation in changed["annotations"]:
            mask = decode_segmentation(annotation["segmentation"], SIZE, SIZE)
            from exits_jax.annotations import extreme_points

            annotation["extreme_points"] = extreme_points(mask).tolist()
            if garbage:
                annotation["segmentation"] = encode_rle(rng.random((SIZE, SIZE)) > 0.5)
        for image in data.glob("*.png"):
            (folder / image.name).write_bytes(image.read_bytes())
        write_document(folder, changed)
        for mode in ("warmup", "train", "label"):
            assert run(tmp_path / f"w_{name}", folder, mode=mode) == 0
            check = tmp_path / f"w_{name}" / "training_check.json"
            assert check.exists() == (mode != "warmup")
        folders.append(tmp_path / f"w_{name}")
    for name in ("params/generator.safetensors", "training_check.json", "pseudo_labels.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_propagation_labels_an_empty_workdir(data, tmp_path):
    arguments = ("--config.label.source=propagation",)
    assert run(tmp_path / "w", data, *arguments, mode="label") == 0
    assert not (tmp_path / "w" / "params").exists()
    labels = json.loads((tmp_path / "w" / "pseudo_labels.json").read_text())
    assert len(labels["annotations"]) == 8


def test_prepared_data_gives_the_same_labels(data, tmp_path):
    shared = (
        f"--config.data.prepared={tmp_path / 'prepared'}",
        "--config.label.source=propagation",
    )
    assert run(tmp_path / "a", data, *shared, mode="prepare") == 0
    assert run(tmp_path / "b", data, *shared, mode="label") == 0
    assert run(tmp_path / "c", data, *shared, "--config.data.source=tfds", mode="label") == 0
    a, b = (tmp_path / x / "pseudo_labels.json" for x in "bc")
    assert a.read_bytes() == b.read_bytes()


def test_further_formats(data, tmp_path, capsys):
    shared = (f"--config.label.formats={FORMATS}", "--config.label.source=propagation")
    assert run(tmp_path, data, *shared, mode="label") == 0
    out = capsys.readouterr().out
    for name in FORMATS:
        assert f"{name}: " in out
        assert all((tmp_path / path).exists() for path in format_paths(name))
    polygons = json.loads((tmp_path / "pseudo_labels.polygons.json").read_text())
    assert all(isinstance(a["segmentation"], list) for a in polygons["annotations"])
    assert len(list((tmp_path / "png").glob("*.png"))) == 4
    photographs = list((tmp_path / "yolo" / "images").iterdir())
    assert len(photographs) == 4
    assert all((data / path.name).samefile(path) for path in photographs)
    # The labels stay: only how they are written changes.
    before = (tmp_path / "pseudo_labels.json").read_bytes()
    assert run(tmp_path, data, *shared, "--config.label.simplify=1.0", mode="label") == 0
    assert "(corners within 1 pixels)" in capsys.readouterr().out
    assert (tmp_path / "pseudo_labels.json").read_bytes() == before
    # These masks are boxes, without a corner to spare.
    assert json.loads((tmp_path / "pseudo_labels.polygons.json").read_text()) == polygons


def test_dry_run_writes_nothing(data, tmp_path, capsys):
    assert run(tmp_path / "w", data, "--dry_run") == 0
    assert not (tmp_path / "w").exists()
    out = capsys.readouterr().out
    assert "8 instances" in out
    assert "nothing was done" in out


def test_points_without_masks_are_reported_without_measures(tmp_path, capsys):
    write_pictures(tmp_path, count=1, points=True)
    arguments = ("--config.label.source=propagation",)
    assert run(tmp_path / "w", tmp_path, *arguments) == 0
    assert "nothing to measure" in capsys.readouterr().out
    assert (tmp_path / "w" / "report.html").exists()
    assert not (tmp_path / "w" / "evaluation.json").exists()


def test_images_that_cannot_be_read(data, tmp_path, capsys):
    """Stop names the file; skip labels with the box, flags it, lists it, and goes on."""
    for image in data.glob("*.png"):
        (tmp_path / image.name).write_bytes(image.read_bytes())
    (tmp_path / "annotations.json").write_bytes((data / "annotations.json").read_bytes())
    (tmp_path / "1.png").write_bytes((data / "1.png").read_bytes()[:200])
    (tmp_path / "2.png").unlink()
    source = "--config.label.source=propagation"
    assert run(tmp_path / "stop", tmp_path, source, mode="label") == 2
    error = capsys.readouterr().err
    assert "1.png" in error
    assert error.count("\n") == 1
    skip = "--config.data.on_error=skip"
    assert run(tmp_path / "skip", tmp_path, source, skip, mode="label") == 0
    labels = json.loads((tmp_path / "skip" / "pseudo_labels.json").read_text())
    flagged = [a["id"] for a in labels["annotations"] if "item_error" in a["exits"]["flags"]]
    assert flagged == [3, 4, 5, 6]
    listed = (tmp_path / "skip" / "skipped.txt").read_text()
    assert "1.png" in listed
    assert "2.png" in listed


def with_boxes_alone(text, bbox):
    """An annotation file whose objects have this box, and nothing that tells of a better one."""
    content = json.loads(text)
    for annotation in content["annotations"]:
        annotation |= {"bbox": bbox, "segmentation": None, "extreme_points": None}
    return content


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text[: len(text) // 2], "JSON"),
        (lambda text: text.replace('"image_id": 2', '"image_id": 99'), "99"),
        (lambda text: json.dumps(with_boxes_alone(text, [9, 9, -4, 0])), "bbox"),
        (lambda text: text.replace('"id": 2,', '"id": 1,'), "duplicate"),
        (lambda text: text.replace('"category_id": 5', '"category_id": 77'), "77"),
        (lambda text: json.dumps({**json.loads(text), "annotations": []}), "annotations"),
    ],
)
def test_faulty_annotation_files_are_one_clear_line(data, tmp_path, capsys, change, expected):
    path = tmp_path / "annotations.json"
    path.write_text(change((data / "annotations.json").read_text()))
    status = run(
        tmp_path / "w",
        data,
        f"--config.data.annotations={path}",
        "--config.label.source=propagation",
        mode="label",
    )
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert expected in error
    assert "annotations.json" in error


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[float("nan"), 1], [1, 2], [3, 4], [5, 6]], "points"),
        ([[500, 1], [1, 2], [3, 4], [5, 6]], "outside"),
        ([[1, 1], [1, 2], [3, 4], [5, 6], [7, 8]], "points"),
    ],
)
def test_faulty_points_are_one_clear_line(tmp_path, capsys, points, expected):
    document = write_pictures(tmp_path, count=1, points=True)
    document["annotations"][1]["extreme_points"] = points
    write_document(tmp_path, document)
    arguments = ("--config.label.source=propagation",)
    assert run(tmp_path / "w", tmp_path, *arguments, mode="label") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "annotation 2" in error
    assert expected in error


def test_two_equal_points_and_crops_bigger_than_the_image_work(tmp_path):
    document = write_pictures(tmp_path, count=1, points=True)
    document["annotations"][0]["extreme_points"] = [[40.5, 40.5]] * 4
    document["annotations"][0].pop("bbox")
    document["annotations"][1]["extreme_points"] = [[48, 0], [0, 48], [48, 96], [96, 48]]
    document["annotations"][1]["bbox"] = [0, 0, 96, 96]
    write_document(tmp_path, document)
    arguments = ("--config.label.source=propagation",)
    assert run(tmp_path / "w", tmp_path, *arguments, mode="label") == 0
    labels = json.loads((tmp_path / "w" / "pseudo_labels.json").read_text())
    assert all(a["area"] > 0 for a in labels["annotations"])


def test_checkpoint_of_another_architecture_is_named(finished, data, tmp_path, capsys):
    generator = f"--config.generator.params={finished / 'params/generator.safetensors'}"
    other = "--config.generator.class_token=True"
    assert run(tmp_path, data, generator, other, mode="label") == 2
    error = capsys.readouterr().err
    assert "generator.safetensors" in error
    assert "class_token" in error
    assert error.count("\n") == 1


def test_generator_of_other_settings_is_refused(finished, data, tmp_path, capsys):
    generator = f"--config.generator.params={finished / 'params/generator.safetensors'}"
    other = "--config.generator.normalise=half"
    assert run(tmp_path, data, generator, other, mode="label") == 2
    assert "generator.normalise = 'imagenet', now 'half'" in capsys.readouterr().err


def test_labels_below_the_least_score_are_left_out_and_can_be_had_back(data, tmp_path, capsys):
    """What follows the first command needs no more than the workdir."""
    assert run(tmp_path, data, "--config.label.source=propagation") == 0
    queue = json.loads((tmp_path / "review.json").read_text())
    scores = [row["score"] for row in queue]
    assert scores == sorted(scores)
    least = scores[-1]
    assert least > scores[0]

    def labels():
        return json.loads((tmp_path / "pseudo_labels.json").read_text())["annotations"]

    assert program(f"--workdir={tmp_path}", f"--config.label.min_score={least}") == 0
    assert {a["id"] for a in labels()} == {r["annotation_id"] for r in queue if r["score"] >= least}
    assert len(json.loads((tmp_path / "review.json").read_text())) == len(queue)
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["n"] == len(labels())
    digest = hashlib.sha256((tmp_path / "pseudo_labels.json").read_bytes()).hexdigest()
    assert evaluation["labels_sha256"] == digest
    assert len([*(tmp_path / "figures").glob("instance_*.png")]) == len(labels())
    out = capsys.readouterr().out
    assert "are below label.min_score" in out
    assert f"wrote {tmp_path / 'report.html'}" in out
    workdir = f"--workdir={tmp_path}"
    assert program(workdir, "--mode=label", "--config.label.min_score=0") == 0
    assert len(labels()) == len(queue)
    out = capsys.readouterr().out
    assert "removed (of other labels, or not asked for): evaluation.json" in out
    assert (
        f"look first at {tmp_path}/review.json; pictures: --mode=evaluate --workdir={tmp_path}"
        in out
    )
    for name in ("report.html", "evaluation.json", "figures"):
        assert not (tmp_path / name).exists()
    assert program(workdir, "--mode=evaluate") == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["n"] == len(queue)
    assert program(workdir) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_boxes_of_a_detector_are_labelled_and_measured(data, tmp_path, capsys):
    document = json.loads((data / "annotations.json").read_text())
    boxes = [
        {key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        for a in document["annotations"]
        if not a.get("iscrowd")
    ]
    file = tmp_path / "detections.json"
    file.write_text(json.dumps(boxes))
    arguments = ("--config.label.source=propagation", f"--config.data.boxes={file}")
    assert run(tmp_path / "w", data, *arguments) == 0
    labels = json.loads((tmp_path / "w" / "pseudo_labels.json").read_text())["annotations"]
    assert [a["id"] for a in labels] == list(range(1, len(boxes) + 1))
    assert all(a["exits"]["extreme_points_source"] == "box" for a in labels)
    results = json.loads((tmp_path / "w" / "pseudo_labels.results.json").read_text())
    assert all(r["score"] == a["exits"]["score"] / 2 for r, a in zip(results, labels, strict=True))
    figures = json.loads((tmp_path / "w" / "evaluation.json").read_text())
    assert figures["boxes, as boxes"]["ap"] == pytest.approx(1.0)  # they are the true ones
    assert 0 < figures["propagation only"]["ap"] < 1

    boxes[1]["bbox"] = [0, 0, -1, 5]
    file.write_text(json.dumps(boxes))
    assert run(tmp_path / "v", data, *arguments) == 2
    assert "detections.json: bbox [0, 0, -1, 5]: width and height" in capsys.readouterr().err


def test_full_disk_is_one_clear_line_and_loses_nothing(data, tmp_path, capsys, monkeypatch):
    import errno
    import os
    import threading

    source = "--config.label.source=propagation"
    replace, parts, lock = os.replace, [], threading.Lock()

    def full(temporary, path):
        with lock:  # every device writes its parts
            if str(path).endswith(".jsonl"):
                if parts:
                    raise OSError(errno.ENOSPC, "No space left on device")
                parts.append(path)
            replace(temporary, path)

    monkeypatch.setattr(os, "replace", full)
    assert run(tmp_path, data, source, mode="label") == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    failed = re.search(r"part-\d{5}\.jsonl(?=: cannot be written)", error)
    assert failed
    assert failed[0] != parts[0].name
    monkeypatch.undo()
    assert list(tmp_path.glob("label_parts/*/*.jsonl")) == parts
    written = parts[0].stat().st_mtime_ns
    assert run(tmp_path, data, source, mode="label") == 0
    assert parts[0].stat().st_mtime_ns == written


def test_a_loss_that_is_not_finite_stops_with_its_batch(data, tmp_path, capsys):
    assert run(tmp_path, data, "--config.warmup.learning_rate=1e30", mode="warmup") == 2
    error = capsys.readouterr().err
    assert "not finite" in error
    assert "ids of the batch" in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--config=configs/none.py", "--workdir=w"), "configs/none.py"),
        ((f"--config={CONFIG}", "--workdir=w", "--config.loss.pint=1"), "pint"),
        ((f"--config={CONFIG}", "--workdir=w", "--config.seed=x"), "seed"),
        ((f"--config={CONFIG}", "--workdir=w", "--mode=paint"), "paint"),
        ((f"--config={CONFIG}", "--workdir=w", "--nonsense"), "nonsense"),
        ((f"--config={CONFIG}", "--workdir=w", "file.json"), "file.json"),
        ((f"--config={CONFIG}",), "--workdir"),
        (("--workdir=w",), "--config"),
        ((f"--config={CONFIG}", "--workdir=w"), "annotations"),
        (("--mode=check",), "check"),
    ],
)
def test_mistakes_on_the_command_line(arguments, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert program(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert expected in error


def test_help(capsys):
    assert program("--help") == 0
    out = capsys.readouterr().out
    for mode in phases.modes():
        assert f"  {mode} " in out


def test_check_finds_and_passes(finished, data, tmp_path, capsys):
    assert program("--mode=check", finished / "pseudo_labels.json", f"--images={data}") == 0
    document = json.loads((finished / "pseudo_labels.json").read_text())
    document["annotations"][0]["area"] = 99999
    path = write_document(tmp_path, document)
    assert program("--mode=check", path) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{path}: annotation 1: area_mismatch: ")


def test_a_list_of_images_with_a_detectors_boxes_is_labelled_and_reported(tmp_path, capsys):
    """Without categories, images by their stems: nothing to measure against, and no failure."""
    document = write_pictures(tmp_path, count=2)
    boxes = [
        {"image_id": f"{a['image_id'] - 1}.png", "category_id": a["category_id"]}
        | {"bbox": a["bbox"], "score": 90}
        for a in document["annotations"]
        if not a.get("iscrowd")
    ]
    write_document(tmp_path, {"images": document["images"]})
    (tmp_path / "predictions.json").write_text(json.dumps(boxes))
    workdir = tmp_path / "run"
    arguments = (
        "--config.label.source=propagation",
        f"--config.data.boxes={tmp_path / 'predictions.json'}",
    )
    for mode in ("label", "evaluate"):
        assert run(workdir, tmp_path, *arguments, mode=mode) == 0
    said = capsys.readouterr().out
    assert "by_name: " in said
    assert "n/a" in said
    labels = json.loads((workdir / "pseudo_labels.json").read_text())
    assert {c["name"] for c in labels["categories"]} == {
        f"category {box['category_id']}" for box in boxes
    }
    assert [a["score"] for a in labels["annotations"]] == [0.9] * len(boxes)
    for label, box in zip(labels["annotations"], boxes, strict=True):
        assert f"{label['image_id'] - 1}.png" == box["image_id"]
    figures = json.loads((workdir / "evaluation.json").read_text())
    assert figures.pop("labels_sha256")
    assert set(figures) == {"boxes, as boxes", "filled box", "propagation only"}
    assert all(value is None for row in figures.values() for value in row.values())
    assert "category 3" in (workdir / "report.html").read_text()
    assert command_line.main(["main.py", "--mode=check", str(tmp_path / "annotations.json")]) == 1
    assert "no_annotations" in capsys.readouterr().out
