"""Prepared data sets: what was packed comes out again, bit for bit, and TensorFlow stays away."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from data_examples import make_instances

from exits_jax.annotations import Annotations, ImageRecord, Problem
from exits_jax.data import tfds_builder
from exits_jax.data.prepared_index import image_record, make_index
from exits_jax.data.source import file_source
from exits_jax.pseudo_labels.crop_plan import train_batches
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.pseudo_labels.settings import CropSettings
from exits_jax.system.errors import UserError

ROOT = pathlib.Path(__file__).parent.parent


def make_annotations(folder):
    folder.mkdir(exist_ok=True)
    instances = make_instances(folder)
    records = {x.image.id: x.image for x in instances}
    records[7] = ImageRecord(7, "no objects here.png", 5, 6, None)
    return Annotations(
        file=folder / "a.json",
        document={
            "images": [
                {"id": r.id, "file_name": r.file_name, "width": r.width, "height": r.height}
                for r in records.values()
            ],
            "annotations": [{"id": 1000, "segmentation": [[0.1, 2, 3, 4, 5, 6]], "x": "ü"}],
        },
        images=records,
        categories={1: "thing", 5: "other"},
        instances=instances,
        problems=[Problem("box", "left out", annotation_id=3)],
        notes=[Problem("sizes", "said", note=True)],
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    annotations = make_annotations(folder / "images")
    calls: list[int] = []
    out = tfds_builder.prepare(annotations, folder / "out", progress=calls.append)
    assert out == folder / "out"
    assert calls == [1, 1, 1]
    return annotations, out


def same_batches(left, right):
    left, right = list(left), list(right)
    assert len(left) == len(right) > 0
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_the_frame_of_an_image_is_kept(tmp_path):
    annotations = make_annotations(tmp_path / "images")
    first = dataclasses.replace(annotations.images[7], exif="stored")
    annotations.images[7] = first
    index = make_index(annotations, file_source(annotations.instances), b"")
    rows = json.loads(json.dumps(index))["images"]
    found = {record.id: record.exif for record in (image_record(row, {}) for row in rows)}
    assert found == {key: "stored" if key == 7 else "auto" for key in annotations.images}


def test_annotations_come_out_as_they_went_in(prepared):
    annotations, folder = prepared
    found, source = tfds_builder.read_prepared(folder, annotations.file.parent)
    assert found.document == annotations.document
    assert found.categories == annotations.categories
    assert found.problems == annotations.problems
    assert found.notes == annotations.notes
    assert list(found.images) == list(annotations.images)
    assert len(found.instances) == len(annotations.instances) == len(source)
    for a, b in zip(annotations.instances, found.instances, strict=True):
        for field in ("id", "index", "image", "category_id", "category", "points_source", "area"):
            assert getattr(a, field) == getattr(b, field), field
        np.testing.assert_array_equal(a.box_xyxy, b.box_xyxy)  # all 64 bits
        assert (a.points_xy is None) == (b.points_xy is None)
        if a.points_xy is not None:
            np.testing.assert_array_equal(a.points_xy, b.points_xy)
    bare, _ = tfds_builder.read_prepared(folder)
    assert {x.path for x in bare.images.values()} == {None}


def test_images_are_found_again_however_the_file_spells_them(prepared, tmp_path):
    annotations, folder = prepared
    first = next(iter(annotations.images.values()))
    for name in (first.path.name.upper(), first.path.name):
        image = tmp_path / name / name
        image.parent.mkdir()
        shutil.copyfile(first.path, image)
        found, _ = tfds_builder.read_prepared(folder, image.parent)
        assert found.images[first.id].path == image
    found, _ = tfds_builder.read_prepared(folder, tmp_path / "nowhere")
    assert {record.path for record in found.images.values()} == {None}


def test_both_sources_give_the_same_bytes(prepared):
    annotations, folder = prepared
    files = file_source(annotations.instances)
    _, records = tfds_builder.read_prepared(folder)
    for position, image in enumerate(files.images):
        content = records.read(position, records.images[position])
        assert content == image.path.read_bytes()
    options = {"crop_size": 16, "margin": 0.3, "batch_size": 4}
    same_batches(label_batches(annotations.instances, **options), label_batches(records, **options))
    options = {"batch_size": 4, "seed": 1, "steps": 5}
    augment = CropSettings(size=16)
    expected = list(train_batches(annotations.instances, augment, **options))
    for workers in (0, 1):
        batches = train_batches(records, augment, workers=workers, **options)
        same_batches(batches, expected)
        batches.close()


def test_a_part_of_a_prepared_set_reads_the_right_images(prepared):
    _, records = tfds_builder.read_prepared(prepared[1])
    part = records.take([5, 1])
    for row, whole in enumerate((5, 1)):
        np.testing.assert_array_equal(part[row]["image"], records[whole]["image"])
        assert part[row]["annotation_id"] == records[whole]["annotation_id"]


def test_the_records_stand_on_their_own(prepared):
    """Another program reads boxes and points of an image with nothing but TFDS."""
    import tensorflow_datasets as tfds

    annotations, folder = prepared
    builder = tfds.builder_from_directory(folder / "exits_instances" / "1.0.0")
    data = builder.as_data_source("images", decoders={"image": tfds.decode.SkipDecoding()})
    assert len(data) == 3
    example = data[2]
    assert example["file_name"] == b"2.png"
    members = [x for x in annotations.instances if x.image.file_name == "2.png"]
    assert example["instances"]["id"].tolist() == [x.id for x in members]
    np.testing.assert_array_equal(
        example["instances"]["box_xyxy"], np.stack([x.box_xyxy for x in members])
    )


def test_preparing_again_keeps_what_is_there(prepared):
    annotations, folder = prepared
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    tfds_builder.prepare(annotations, folder)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert before == after
    fewer = dataclasses.replace(annotations, instances=annotations.instances[:-1])
    with pytest.raises(UserError, match="holds something other"):
        tfds_builder.prepare(fewer, folder)


def test_an_unusable_image_stops_and_the_next_call_begins_anew(tmp_path):
    annotations = make_annotations(tmp_path / "images")
    broken = tmp_path / "images" / "1.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:-30])
    with pytest.raises(UserError, match=r"1\.png: "):
        tfds_builder.prepare(annotations, tmp_path / "out")
    with pytest.raises(UserError, match="not a prepared data set"):
        tfds_builder.read_prepared(tmp_path / "out")
    broken.write_bytes(content)
    (tmp_path / "out" / "exits_instances" / "incomplete.ABC_1.0.0").mkdir(parents=True)
    tfds_builder.prepare(annotations, tmp_path / "out")
    _, source = tfds_builder.read_prepared(tmp_path / "out")
    assert source[1]["image"].shape == (50, 25, 3)
    assert not list((tmp_path / "out").rglob("incomplete*"))


def test_foreign_folders_are_left_alone(tmp_path):
    annotations = make_annotations(tmp_path / "images")
    with pytest.raises(UserError, match="holds something other"):
        tfds_builder.prepare(annotations, tmp_path / "images")
    assert (tmp_path / "images" / "0.png").exists()


@pytest.mark.parametrize("name", ["document.json", "instances.npz", "exits_instances", "records"])
def test_damaged_folders_are_reported(tmp_path, name):
    annotations = make_annotations(tmp_path / "images")
    folder = tfds_builder.prepare(annotations, tmp_path / "out")
    if name == "records":  # another data set's records behind this one's index
        state = json.loads((folder / "prepared.json").read_text())
        state["images"][0], state["images"][1] = state["images"][1], state["images"][0]
        with np.load(folder / "instances.npz") as stored:
            columns = {key: stored[key] for key in stored.files}
        columns["image_id"] = columns["image_id"][::-1]
        np.savez(folder / "instances.npz", **columns)
    else:
        (folder / name).rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"out.*prepare it again"):
        tfds_builder.read_prepared(folder)[1][0]


CODE = """
import sys
import exits_jax
assert "tensorflow_datasets" not in sys.modules, "import exits_jax is not light"
assert "grain" not in sys.modules
import exits_jax.data
assert "grain" not in sys.modules and "tensorflow_datasets" not in sys.modules
import exits_jax.pseudo_labels.crop_plan, exits_jax.data.tfds_builder as builder
annotations, source = builder.read_prepared(sys.argv[1])
assert source[0]["image"].shape == (30, 40, 3)
import pathlib, dataclasses
records = {k: dataclasses.replace(r, path=pathlib.Path(sys.argv[2]) / r.file_name)
           for k, r in annotations.images.items()}
instances = [dataclasses.replace(x, image=records[x.image.id]) for x in annotations.instances]
builder.prepare(dataclasses.replace(annotations, instances=instances), sys.argv[3])
assert "tensorflow" not in sys.modules and "torch" not in sys.modules
"""


def test_tensorflow_is_never_imported(prepared, tmp_path):
    """A TensorFlow that refuses to be imported is put in the way."""
    for name in ("tensorflow", "torch"):
        (tmp_path / "trap" / name).mkdir(parents=True)
        trap = f"raise RuntimeError('{name} was imported')"
        (tmp_path / "trap" / name / "__init__.py").write_text(trap)
    annotations, folder = prepared
    paths = os.pathsep.join([str(tmp_path / "trap"), str(ROOT)])
    arguments = [str(folder), str(annotations.file.parent), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""
