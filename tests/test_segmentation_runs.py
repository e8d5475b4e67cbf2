"""Predictions and their evaluation by the command line, with a tiny network that knows nothing."""

import contextlib
import io
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import exits_jax
from exits_jax import api
from exits_jax.annotations import decode_segmentation, encode_rle
from exits_jax.app import command_line, phases, predict_phase
from exits_jax.app.run import Run
from exits_jax.app.settings import read_settings
from exits_jax.app.workdir import Workdir
from exits_jax.evaluation.coco_ap import DETECTION_FIGURES
from exits_jax.export import in_parts
from exits_jax.models.params_io import save_params
from exits_jax.segmentation.build import build_segmenter, initial_params
from exits_jax.segmentation.classes import Classes
from exits_jax.segmentation.predict import detecting
from exits_jax.segmentation.trained import load_trained, made_with
from tests import tiny_stage2
from tests.pictures import SIZE, write_document, write_pictures

CONFIG = str(pathlib.Path(__file__).parent / "tiny_stage2.py")
CLASSES = Classes((3, 0), ("ellipse", "other"), rest=True)


def program(*arguments):
    return command_line.main(["main.py", *map(str, arguments)])


def run(workdir, data, *arguments, mode="predict"):
    return program(
        f"--config={CONFIG}",
        f"--workdir={workdir}",
        f"--mode={mode}",
        f"--config.data.annotations={data / 'annotations.json'}",
        f"--config.data.images={data}",
        *arguments,
    )


def rows_of(workdir):
    return json.loads((workdir / "predictions.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four pictures of two ellipses, and one of nothing."""
    folder = tmp_path_factory.mktemp("data")
    document = write_pictures(folder)
    Image.fromarray(np.full((SIZE, SIZE, 3), 90, np.uint8)).save(folder / "empty.png")
    empty = {"id": 9, "file_name": "empty.png", "width": SIZE, "height": SIZE}
    write_document(folder, document | {"images": [*document["images"], empty]})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The file of a fresh network, which finds a lot that is not there."""
    settings = read_settings(tiny_stage2.get_config()).segmentation
    network = build_segmenter(settings, len(CLASSES))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    params = initial_params(settings, network, seed=3)
    save_params(path, params, made_with(settings, CLASSES))
    return path


@pytest.fixture(scope="module", autouse=True)
def compiled(model):
    """The network is compiled once for all tests."""
    settings = read_settings(tiny_stage2.get_config()).segmentation
    detect = detecting(load_trained(model, settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_phase, "detecting", lambda model, device: detect)
        patch.setattr(api, "detecting", lambda model: detect)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data, model):
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    assert run(workdir, data, f"--config.segmentation.params={model}") == 0
    return workdir


def test_predictions_are_results_of_every_image(finished, data):
    rows = rows_of(finished)
    assert {row["image_id"] for row in rows} == {1, 2, 3, 4, 9}
    assert {row["category_id"] for row in rows} <= {3, 0}
    for row in rows:
        assert row.keys() == {"image_id", "category_id", "score", "segmentation"}
        assert decode_segmentation(row["segmentation"], SIZE, SIZE).any()
        assert 0 < row["score"] == round(row["score"], 4)
    scores = [row["score"] for row in rows if row["image_id"] == 1]
    assert scores == sorted(scores, reverse=True)
    document = json.loads((data / "annotations.json").read_text())
    coco = COCO()
    coco.dataset = document
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        loaded = [*coco.loadRes(str(finished / "predictions.json")).anns.values()]
        assert len(loaded) == len(rows)
        for row in loaded[:5]:
            area = decode_segmentation(row["segmentation"], SIZE, SIZE).sum()
            assert row["area"] == area  # beside a bbox it would be the box's


def test_again_it_writes_the_same_and_makes_nothing_anew(finished, data, model, monkeypatch):
    before = (finished / "predictions.json").read_bytes()
    monkeypatch.setattr(in_parts, "write_part", None)
    assert run(finished, data, f"--config.segmentation.params={model}") == 0
    assert (finished / "predictions.json").read_bytes() == before


class Killed(BaseException):
    """Stands for a signal."""


def test_a_killed_prediction_goes_on_to_the_same_bytes(
    finished, data, model, tmp_path, monkeypatch
):
    write, written = in_parts.write_part, []

    def killed(folder, number, rows):
        if written:
            raise Killed
        written.append(number)
        write(folder, number, rows)

    params = f"--config.segmentation.params={model}"
    monkeypatch.setattr(in_parts, "write_part", killed)
    with pytest.raises(Killed):
        run(tmp_path / "w", data, params)
    monkeypatch.setattr(in_parts, "write_part", write)
    (part,) = (tmp_path / "w" / "prediction_parts").glob("*/part-*.jsonl")
    stamp = part.stat().st_mtime_ns
    assert run(tmp_path / "w", data, params) == 0
    assert part.stat().st_mtime_ns == stamp
    same = [(w / "predictions.json").read_bytes() for w in (tmp_path / "w", finished)]
    assert same[0] == same[1]
    assert not list((tmp_path / "w" / "prediction_parts").glob("*/*.begun"))


def test_two_processes_write_the_same_bytes(finished, data, model, tmp_path, capsys):
    several = [f"--config.segmentation.params={model}", "--num_processes=2"]
    assert run(tmp_path, data, *several, "--process_id=1") == 0
    assert "process 0 puts them together" in capsys.readouterr().out
    assert not (tmp_path / "predictions.json").exists()
    assert run(tmp_path, data, *several, "--process_id=0") == 0
    assert (tmp_path / "predictions.json").read_bytes() == (
        finished / "predictions.json"
    ).read_bytes()


def test_a_bare_folder_and_a_single_image_need_no_more(
    finished, data, model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("0.png", "empty.png"):
        pathlib.Path("photos").mkdir(exist_ok=True)
        shutil.copy(data / name, "photos")
    settings = [f"--config.segmentation.{k}" for k in ("score_floor=0", "min_score=0.0001")]
    given = [f"--params={model}", *settings, "--config.segmentation.max_detections=10"]
    given.append("--config.segmentation.candidates=30")
    assert program("predict", "photos", *given) == 0
    rows = rows_of(pathlib.Path("runs/photos_predictions"))
    masks = {image: [row["segmentation"] for row in rows if row["image_id"] == image]
             for image in {row["image_id"] for row in rows}}  # fmt: skip
    expected = [row["segmentation"] for row in rows_of(finished) if row["image_id"] == 1]
    assert masks.keys() == {1, 2}
    assert masks[1] == expected
    assert program("predict", "photos/0.png", *given, "--workdir=one") == 0
    assert [row["segmentation"] for row in rows_of(pathlib.Path("one"))] == expected
    assert program("evaluate", "--workdir=one") == 0
    assert not pathlib.Path("one/evaluation.json").exists()
    assert pathlib.Path("one/report.html").exists()


def test_in_python_it_finds_the_same(finished, data, model, tmp_path):
    (tmp_path / "params").mkdir()
    shutil.copy(model, tmp_path / "params" / "segmentation.safetensors")
    expected = [row for row in rows_of(finished) if row["image_id"] == 1]
    for place in (model, tmp_path):
        masks, classes, scores = exits_jax.segment_image(data / "0.png", place, min_score=0.0)
        assert [encode_rle(mask) for mask in masks] == [row["segmentation"] for row in expected]
        names = {3: "ellipse", 0: "other"}
        assert classes == [names[row["category_id"]] for row in expected]
        assert scores.round(4).tolist() == pytest.approx([row["score"] for row in expected])
    least = expected[2]["score"]
    masks, _, scores = exits_jax.segment_image(data / "0.png", model, min_score=least + 1e-4)
    assert len(masks) == len(scores) <= 2


def refused(capsys, *arguments, **options):
    """The one line that a mistake is answered with."""
    capsys.readouterr()
    assert run(*arguments, **options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_without_a_model_or_with_another_it_is_refused(data, model, tmp_path, capsys):
    assert "run --mode=segment first" in refused(capsys, tmp_path / "a", data)
    params = f"--config.segmentation.params={model}"
    classes = "--config.segmentation.classes=('person',)"
    assert "'ellipse', 'other'" in refused(capsys, tmp_path / "a", data, params, classes)
    no_stage2 = "--config.segmentation.epochs=0"
    text = refused(capsys, tmp_path / "a", data, no_stage2, mode="segment")
    assert "segmentation.epochs is 0" in text
    with pytest.raises(exits_jax.system.errors.UserError, match="no trained model"):
        exits_jax.segment_image(data / "0.png", tmp_path)


def test_the_short_name_of_a_model_is_predict_s_alone(data, model, tmp_path, capsys):
    params = f"--params={model}"
    text = refused(capsys, tmp_path, data, params, mode="label")
    assert "--params is for --mode=predict" in text
    text = refused(capsys, tmp_path, data, params, f"--config.segmentation.params={model}")
    assert "given twice" in text
    assert program("check", params) == 2
    assert program("predict", tmp_path / "none", params, f"--workdir={tmp_path / 'w'}") == 2
    assert f"{tmp_path / 'none'}" in capsys.readouterr().err


def test_an_image_that_cannot_be_decoded_stops_or_is_left_out(data, model, tmp_path, capsys):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    (folder / "1.png").write_bytes(b"\x89PNG no picture")
    params = f"--config.segmentation.params={model}"
    assert "1.png" in refused(capsys, tmp_path / "w", folder, params)
    skip = "--config.data.on_error=skip"
    assert run(tmp_path / "s", folder, params, skip) == 0
    assert re.search(r"image 2: .*1\.png", capsys.readouterr().out)
    assert {row["image_id"] for row in rows_of(tmp_path / "s")} == {1, 3, 4, 9}
    assert "1.png" in (tmp_path / "s" / "skipped.txt").read_text()


def test_nothing_found_is_no_mistake(data, model, tmp_path, monkeypatch):
    known = predict_phase.detecting

    def blind(model, device):
        found = known(model, device)
        return lambda *batch: found(*batch)._replace(scores=np.zeros((len(batch[0]), 10)))

    monkeypatch.setattr(predict_phase, "detecting", blind)
    nothing = (f"--config.segmentation.params={model}",)
    assert run(tmp_path, data, *nothing) == 0
    assert rows_of(tmp_path) == []
    assert run(tmp_path, data, *nothing, mode="evaluate") == 0
    figures = json.loads((tmp_path / "evaluation.json").read_text())["segmentation"]
    assert figures["ap"] == figures["ap_small"] == 0.0
    assert figures["ap_large"] is None
    assert figures["per_category"] == {"ellipse": 0.0, "other": 0.0}


def shifted_truth(document):
    """Detections that are the truth moved a little, some of them of the wrong class or image."""
    rng = np.random.default_rng(5)
    rows = []
    for k, annotation in enumerate(document["annotations"]):
        mask = decode_segmentation(annotation["segmentation"], SIZE, SIZE)
        moved = np.roll(mask, rng.integers(-4, 5, 2), axis=(0, 1))
        row = {
            "image_id": 9 if k == 3 else annotation["image_id"],
            "category_id": 3 if (annotation["category_id"] == 3) != (k == 2) else 0,
            "score": 0.9 if k == 3 else round(float(rng.random()), 4),
            "bbox": [0, 0, SIZE, SIZE],
            "segmentation": encode_rle(moved),
        }
        rows.append(row)
    return rows


def plain_pycocotools(document, rows):
    """The figures of the released evaluation, all but ellipses being one class."""
    coco = COCO()
    other = [{**a, "category_id": 3 if a["category_id"] == 3 else 0}
             for a in document["annotations"]]  # fmt: skip
    coco.dataset = document | {"annotations": other, "categories": [{"id": 3}, {"id": 0}]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        found = coco.loadRes([{k: v for k, v in row.items() if k != "bbox"} for row in rows])
        figures, each = COCOeval(coco, found, "segm"), {}
        for categories in ([0, 3], [3], [0]):
            figures.params.catIds = categories
            figures.evaluate()
            figures.accumulate()
            figures.summarize()
            each[tuple(categories)] = [None if x < 0 else x for x in figures.stats[:6]]
    return each


def test_evaluation_is_plain_pycocotools_in_the_model_s_classes(
    finished, data, model, tmp_path, capsys
):
    params = f"--config.segmentation.params={model}"
    document = json.loads((data / "annotations.json").read_text())
    rows = shifted_truth(document)
    workdir = shutil.copytree(finished, tmp_path / "w")
    (workdir / "predictions.json").write_text(json.dumps(rows))
    assert run(workdir, data, params, mode="evaluate") == 0
    figures = json.loads((workdir / "evaluation.json").read_text())["segmentation"]
    expected = plain_pycocotools(document, rows)
    assert [figures[name] for name in DETECTION_FIGURES] == pytest.approx(expected[0, 3])
    assert figures["per_category"]["ellipse"] == pytest.approx(expected[3,][0])
    assert figures["per_category"]["other"] == pytest.approx(expected[0,][0])
    assert 0.05 < figures["ap"] < 0.95
    out = capsys.readouterr().out
    assert f"{figures['ap']:.3f}" in out
    assert "ellipse" in out
    page = (workdir / "report.html").read_text()
    assert 'href="#predictions"' in page
    assert 'id="predictions"' in page
    assert f"{figures['ap']:.3f}" in page
    assert (workdir / "figures" / "prediction_9.png").exists()  # something was found there


def test_predictions_of_other_images_or_classes_are_refused(
    finished, data, model, tmp_path, capsys
):
    params = f"--config.segmentation.params={model}"
    document = json.loads((data / "annotations.json").read_text())
    other = tmp_path / "other"
    shutil.copytree(data, other)
    renamed = [{"id": 3, "name": "circle"}, {"id": 5, "name": "blob"}]
    write_document(other, document | {"categories": renamed})
    assert run(tmp_path / "w", other, params) == 0  # to find objects no categories are needed
    text = refused(capsys, tmp_path / "w", other, params, mode="evaluate")
    assert "category 3 is 'circle', the network's is 'ellipse'" in text
    rows = rows_of(finished)
    (tmp_path / "w" / "predictions.json").write_text(json.dumps([{**rows[0], "image_id": 77}]))
    text = refused(capsys, tmp_path / "w", other, params, mode="evaluate")
    assert "image 77" in text
    (tmp_path / "w" / "predictions.json").write_text('[{"image_id": 1}]')
    assert "damaged" in refused(capsys, tmp_path / "w", other, params, mode="evaluate")


def test_detections_go_on_in_other_formats(finished, data, model, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "w")
    params = f"--config.segmentation.params={model}"
    score = sorted(row["score"] for row in rows_of(finished))[-4]
    shown = f"--config.segmentation.shown_score={score}"
    formats = "--config.segmentation.formats=('yolo','png')"
    assert run(tmp_path / "w", data, params, shown, formats) == 0
    assert "png: " in capsys.readouterr().out
    kept = [row for row in rows_of(finished) if row["score"] >= score]
    labels = tmp_path / "w" / "predictions" / "yolo" / "labels"
    assert sum(len(file.read_text().splitlines()) for file in labels.iterdir()) == len(kept)
    names = (tmp_path / "w" / "predictions" / "yolo" / "classes.txt").read_text()
    assert names.split() == ["ellipse", "other"]
    index = json.loads((tmp_path / "w" / "predictions" / "png" / "index.json").read_text())
    assert sum(map(len, index["images"].values())) == len(kept)
    assert run(tmp_path / "w", data, params) == 0
    assert not (tmp_path / "w" / "predictions").exists()
    same = [(w / "predictions.json").read_bytes() for w in (tmp_path / "w", finished)]
    assert same[0] == same[1]


def test_mode_run_has_a_second_stage_where_one_is_asked_for(tmp_path):
    config = tiny_stage2.get_config()
    asked = Run(read_settings(config), Workdir(tmp_path))
    config.segmentation.epochs = 0.0
    alone = Run(read_settings(config), Workdir(tmp_path))
    stage2 = ["segment", "predict"]

    def pending(run):
        return [p.name for p in phases.in_mode("run") if p.name in stage2 and not p.result(run)]

    assert pending(asked) == stage2
    assert pending(alone) == []
