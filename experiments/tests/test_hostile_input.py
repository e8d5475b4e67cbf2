"""Hostile files: refused with one clear line; nothing is run, nothing outside is touched.

The first test is the short form of `experiments.fuzz`; the others are single attacks.
"""

import json
import os
import struct
import sys
import time
import zipfile
import zlib

import hypothesis
import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from exits_jax.annotations import check_file, decode_segmentation, encode_rle, read_annotations
from exits_jax.annotations.image_files import size_on_disk
from exits_jax.annotations.records import Annotations, ImageRecord
from exits_jax.app.label_phase import pack
from exits_jax.data.images import decode_image
from exits_jax.export.formats import FORMATS, export_problems, format_paths, write_format
from exits_jax.models.params_io import load_params
from exits_jax.models.read_tensors import read_tensors
from exits_jax.system.errors import UserError, one_line
from experiments import fuzz_cases as cases
from experiments.fuzz_targets import TARGETS, prepare, run_case

SHORT_FORM = 200


def refuse(read, *arguments) -> str:
    """The one line with which something is refused, without memory having been asked for."""
    with pytest.raises(UserError) as caught:
        read(*arguments)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 2000
    error = caught.value
    while error is not None:
        assert not isinstance(error, MemoryError), "the size was not checked before"
        error = error.__cause__
    return line


@pytest.mark.parametrize("name", TARGETS)
def test_short_form_of_the_fuzzing(name, tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the writers' files are many
    accepted = [run_case(TARGETS[name], content, tmp_path) for content in TARGETS[name].seeds]

    @hypothesis.settings(
        max_examples=SHORT_FORM,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(TARGETS[name].cases)
    def run(content):
        accepted.append(run_case(TARGETS[name], content, tmp_path))

    run()
    assert len(accepted) >= SHORT_FORM
    # Cases that are all alike would show nothing. The checker lists and seldom refuses; without
    # PyTorch all of its files are refused.
    if name != "checker" and not (name == "pth" and not _torch_is_there()):
        assert 10 < sum(accepted) < len(accepted) - 10


def _torch_is_there() -> bool:
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


# --- weights ---------------------------------------------------------------------------------


def weights(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [cases.torch_archive(cases.HARMFUL), cases.HARMFUL])
@pytest.mark.parametrize("torch", ["absent", "as installed"])
def test_no_pickle_in_pth_is_executed(tmp_path, monkeypatch, content, torch):
    monkeypatch.chdir(tmp_path)
    if torch == "absent":
        monkeypatch.setitem(sys.modules, "torch", None)
    path = weights(tmp_path, "evil.pth", content)
    line = refuse(read_tensors, path)
    assert "pip install torch" in line or "more than weights" in line
    assert os.listdir(tmp_path) == ["evil.pth"]


def test_the_harmful_pickle_does_harm_where_it_is_run(tmp_path, monkeypatch):
    """Otherwise the tests beside this one would show nothing."""
    import pickle

    monkeypatch.chdir(tmp_path)
    pickle.loads(cases.HARMFUL)
    assert os.listdir(tmp_path) == [cases.CANARY]


def test_pth_that_repeats_a_small_storage(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: its own files are not read")
    bomb = cases.torch_file([(cases.op_text("a"), cases.torch_tensor((10**12,), (0,)))])
    assert "more than the file holds" in refuse(read_tensors, weights(tmp_path, "a.pth", bomb))
    found = read_tensors(weights(tmp_path, "b.pth", cases.TORCH_SEEDS[0]))
    assert {name: array.shape for name, array in found.items()} == {"a": (2, 3), "b": (6,)}


@pytest.mark.parametrize(
    "content",
    [
        cases.safetensors_file(cases.SAFETENSORS_HEADER, length=10**15),
        cases.safetensors_file(cases.SAFETENSORS_HEADER, length=2**64 - 1),
        cases.safetensors_file(
            cases.SAFETENSORS_HEADER
            | {"c": {"dtype": "F32", "shape": [4], "data_offsets": [16, 32]}}
        ),
        cases.safetensors_file(
            {"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}}
        ),
        cases.safetensors_file({"a": {"dtype": "F4", "shape": [80], "data_offsets": [0, 40]}}),
        cases.safetensors_file(
            cases.SAFETENSORS_HEADER | {"__metadata__": {"made_with": "[" * 100_000}}
        ),
        cases.safetensors_file(cases.SAFETENSORS_HEADER | {"__metadata__": {"made_with": "[1]"}}),
    ],
    ids=["10^15", "2^64-1", "overlap", "beyond the end", "a type", "deep", "no settings"],
)
def test_safetensors(tmp_path, content):
    path = weights(tmp_path, "a.safetensors", content)
    assert str(path) in refuse(read_tensors, path)
    assert str(path) in refuse(load_params, path)


def test_safetensors_whose_names_are_arrays_and_groups(tmp_path):
    header = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * k, 8 * k + 8]}
        for k, name in enumerate(["a", "a/b/c"])
    }
    path = weights(tmp_path, "a.safetensors", cases.safetensors_file(header, bytes(16)))
    assert "'a' is an array and holds another" in refuse(load_params, path)


def tensor(**fields):
    return TensorProto(**({"name": "x", "data_type": TensorProto.FLOAT} | fields))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (tensor(dims=[10**15], raw_data=bytes(8)), "1000000000000000"),
        (tensor(dims=[2**62, 2**62, 0]), "claims"),
        (tensor(dims=[-1], raw_data=bytes(8)), "claims [-1]"),
        (tensor(dims=[3], raw_data=bytes(8)), "cannot be read"),
        (tensor(dims=[2], data_type=99, raw_data=bytes(8)), "cannot be read"),
        (tensor(dims=[2], raw_data=bytes(8), name="\ufffd"), "not UTF-8"),
        (tensor(dims=[1], data_type=TensorProto.STRING, string_data=[b"x"]), "not real numbers"),
    ],
)
def test_onnx_claims(tmp_path, content, found):
    path = weights(
        tmp_path, "a.onnx", cases.onnx_file([content]).replace(b"\xef\xbf\xbd", b"\xff" * 3)
    )
    assert found in refuse(read_tensors, path)


@pytest.mark.parametrize("location", ["../secret.bin", "inside.bin", "/etc/passwd", "{secret}"])
def test_onnx_reads_no_other_file(tmp_path, monkeypatch, location):
    (tmp_path / "model").mkdir()
    for name in ("secret.bin", "model/inside.bin"):
        (tmp_path / name).write_bytes(bytes(8))
    location = location.format(secret=tmp_path / "secret.bin")
    path = weights(tmp_path, "model/a.onnx", cases.onnx_file([cases.external(location)]))
    monkeypatch.chdir(tmp_path / "model")
    assert "is in another file" in refuse(read_tensors, path)


def deflated(member: bytes) -> bytes:
    return cases.zipped([("a.npy", member)], zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (cases.zipped([("a.npy", cases.NPY_OBJECT)]), "objects"),
        (deflated(cases.npy(cases.NPY_HEADER.replace("(2, 3)", "(10**15,)"))), "npz"),
        (deflated(cases.npy(cases.NPY_HEADER.replace("2, 3", "1" + 15 * "0" + ","))), "claims"),
        (
            deflated(cases.npy(cases.NPY_HEADER.replace("2, 3", "20000000,"), bytes(8 * 10**7))),
            "bomb",
        ),
        (cases.zipped([("a.npy", b"no array")]), "npz"),
        (cases.zipped([("a.npy", cases.npy(cases.NPY_HEADER))], zipfile.ZIP_LZMA), "method"),
        (cases.NPY_OBJECT, "npz"),
        (cases.npy(cases.NPY_HEADER), "npz"),
        (b"", "npz"),
    ],
    ids=["objects", "a call", "10^15", "bomb", "no array", "LZMA", ".npy objects", ".npy", "empty"],
)
def test_npz(tmp_path, monkeypatch, content, found):
    monkeypatch.chdir(tmp_path)
    assert found in refuse(read_tensors, weights(tmp_path, "a.npz", content))
    assert os.listdir(tmp_path) == ["a.npz"]


def test_npz_that_is_compressed_is_read(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.eye(3, dtype="f2"))}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_tensors(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


# --- images ----------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be of some size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_image_bombs(tmp_path):
    assert Image.MAX_IMAGE_PIXELS == 1024**3 // 4 // 3, "Pillow's own limit is kept"
    bomb = weights(tmp_path, "a.png", png(100_000, 100_000))
    assert "Pillow's limit" in refuse(decode_image, bomb)
    assert "decompression bomb" in refuse(size_on_disk, bomb)
    document = cases.coco_document()
    document["images"] = document["images"][:1]
    file = weights(tmp_path, "a.json", cases.as_json(document))
    problems = check_file(file, tmp_path)
    assert ["bomb" in p.text for p in problems if p.code == "unreadable_image"] == [True]


def test_programs_in_image_files_are_not_run(tmp_path):
    """Pillow knows a file by its content and would start Ghostscript for this one."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n%%EOF\n"
    path = weights(tmp_path, "a.png", eps)
    assert "EPS is not opened" in refuse(decode_image, path)
    assert "EPS is not opened" in refuse(size_on_disk, path)


# --- paths -----------------------------------------------------------------------------------

OUTSIDE = (
    *("../secret.png", "sub/../../secret.png", "..", "/etc/passwd", "//secret.png", "\\secret.png"),
    *("..\\secret.png", "C:\\secret.png", "C:/secret.png", ".", "./", "", " /../x", "{secret}"),
    *("a\nb.png", "a\u2028.png", "\udc80.png", "x" * 2000),
)


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: repr(name[:12]))
@pytest.mark.parametrize("key", ["file_name", "coco_url"])
def test_no_file_name_leads_out_of_the_images(tmp_path, name, key):
    (tmp_path / "images").mkdir()
    for path in (tmp_path / "secret.png", tmp_path / "images" / "b.png"):
        Image.new("RGB", (cases.WIDTH, cases.HEIGHT)).save(path)
    document = cases.coco_document()
    document["images"][0].pop("file_name")
    document["images"][0][key] = name.format(secret=tmp_path / "secret.png")
    file = weights(tmp_path, "a.json", json.dumps(document).encode())
    read = read_annotations(file, tmp_path / "images", on_error="skip")
    for record in read.images.values():
        assert ".." not in record.path.parts
        assert tmp_path / "images" in record.path.parents
    if key == "file_name":
        assert list(read.images) == [2]
        refuse(read_annotations, file, tmp_path / "images")
    assert check_file(file, tmp_path / "images")


def labelled(*names):
    """A label document with one object on each image, and the images."""
    mask = np.zeros((cases.HEIGHT, cases.WIDTH), bool)
    mask[3:9, 4:20] = True
    images = {
        k: ImageRecord(k, name, cases.WIDTH, cases.HEIGHT, None) for k, name in enumerate(names)
    }
    annotations = [
        {"id": 1 + k, "image_id": k, "category_id": 3, "segmentation": encode_rle(mask)}
        | {"area": 96, "iscrowd": 0, "exits": {"score": 0.5, "flags": []}}
        for k in images
    ]
    return {"categories": [{"id": 3, "name": "cat"}], "annotations": annotations}, images


@pytest.mark.parametrize("name", ["...png", "a/..b/c", "-rf", "~root.png", "a b\\c.jpg", ".png"])
def test_odd_file_names_are_written_inside(tmp_path, name):
    document, images = labelled(name)
    for form in FORMATS:
        write_format(form, tmp_path / "case", document, images)
    assert [path.name for path in tmp_path.iterdir()] == ["case"]
    written = {path.name for path in (tmp_path / "case").iterdir()}
    assert written == {path for form in FORMATS for path in format_paths(form)}
    for folder, ending in (("png", ".png"), ("yolo/labels", ".txt"), ("voc/Annotations", ".xml")):
        files = [path for path in (tmp_path / "case" / folder).rglob(f"*{ending}")]
        assert len(files) == 1, folder


@pytest.mark.parametrize(
    "names", [("a.png", "a.png"), ("a.png", "a.jpg", "a.png.png"), ("x//a.png", "x/a.png")]
)
def test_no_label_file_overwrites_another(tmp_path, names):
    document, images = labelled(*names)
    for form in ("png", "yolo", "voc"):
        write_format(form, tmp_path, document, images)
    for folder, ending in (("png", ".png"), ("yolo/labels", ".txt"), ("voc/Annotations", ".xml")):
        assert len([*(tmp_path / folder).rglob(f"*{ending}")]) == len(names), folder


def test_what_reading_leaves_out_does_not_break_writing(tmp_path):
    document, images = labelled("a.png")
    document["categories"] = ["text", {"name": "x"}, {"id": [1]}, {"id": 3, "name": "\ud800 cat"}]
    crowds = [{"iscrowd": 1, "image_id": [0]}, {"iscrowd": 1, "image_id": 0}]
    document["annotations"] += crowds
    for form in FORMATS:
        write_format(form, tmp_path, document, images)
    assert (tmp_path / "yolo" / "classes.txt").read_text() == "? cat\n"
    assert (tmp_path / "yolo" / "labels" / "a.txt").read_text().startswith("0 ")
    document["annotations"][-1] |= {"id": 9, "segmentation": {"size": [1, 1], "counts": "11"}}
    (problem,) = export_problems(["png"], document, images)
    assert (problem.code, problem.annotation_id) == ("rle_size", 9)


# --- annotations -----------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [cases.BOMB_XML, cases.OUTSIDE_XML])
def test_xml_entities_are_refused_in_every_encoding(tmp_path, coding, text):
    content = text.encode(coding)
    file = weights(tmp_path, "a.xml", content)
    line = refuse(lambda: read_annotations(file, kind="voc"))
    assert "entities" in line
    assert "root:" not in line


def test_a_polygon_that_runs_to_and_fro(tmp_path):
    """Fifty kilobytes of text that would take pycocotools gigabytes and minutes."""
    polygon = cases.scribble(5000, 60_000, 2900)
    start = time.perf_counter()
    assert "outlines" in refuse(decode_segmentation, [polygon], 2900, 60_000)
    assert "outlines" in refuse(decode_segmentation, [polygon[:90]] * 200, 2900, 60_000)
    assert time.perf_counter() - start < 5


def test_runs_whose_sum_overflows():
    counts = "o" * 6 + "n1"  # a run of 2^33 and more, again and again
    for text in (counts * 50, counts * 4001):
        refuse(decode_segmentation, {"size": [10, 12], "counts": text}, 10, 12)


def test_the_checker_takes_points_of_some_sides_only(tmp_path):
    document = cases.coco_document()
    document["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [5, 5, 20, 10], "iscrowd": 0}
        | {"extreme_points": {"top": [15, 5], "left": None}}
    ]
    assert check_file(weights(tmp_path, "a.json", cases.as_json(document))) == []


def test_a_class_description_that_is_no_csv(tmp_path):
    prepare(tmp_path)
    folder = tmp_path / "case" / "Annotations"
    (folder / "class-descriptions-boxable.csv").write_text("z" * 200_000)
    file = weights(folder, "boxes.csv", cases.as_csv(cases.OPEN_IMAGES[:2]))
    assert "class-descriptions" in refuse(read_annotations, file, tmp_path / "case" / "images")


@pytest.mark.parametrize("value", ["1e308", "-5", "nan", "inf"])
def test_open_images_coordinates_are_shares(tmp_path, value):
    prepare(tmp_path)
    rows = [list(row) for row in cases.OPEN_IMAGES[:2]]
    rows[1][5] = value
    file = weights(tmp_path, "boxes.csv", cases.as_csv(rows))
    assert "bad_number" in refuse(read_annotations, file, tmp_path / "case" / "images")


@pytest.mark.parametrize("info", [float("nan"), cases.DEEP])
def test_a_document_that_cannot_be_written_again_is_refused_before_the_work(tmp_path, info):
    document = cases.coco_document()
    if info == cases.DEEP:
        for _ in range(100_000):
            info = [info]
    document["info"] = info
    read = Annotations(tmp_path / "a.json", document, {}, {}, [], [])
    assert "a.json" in refuse(pack, read)


def test_a_text_of_many_lines_becomes_one():
    assert one_line("a\nb\u2028 c\ud800") == "a b c?"
    assert len(one_line("word " * 1000)) <= 300
