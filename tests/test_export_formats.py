"""Polygons, index PNGs, VOC folders and what no format can hold."""

import json
import pathlib
from xml.etree import ElementTree

import numpy as np
import pytest
from labels_document import (
    HEIGHT,
    IMAGES,
    PAIR,
    RING,
    WIDTH,
    document,
    entry,
    rectangle,
    with_photographs,
)
from PIL import Image

from exits_jax.annotations import decode_segmentation, read_annotations
from exits_jax.annotations.records import ImageRecord
from exits_jax.export.formats import FORMATS, export_problems, format_paths, limits, write_format
from exits_jax.export.formats.names import safe_name, unique_stems
from exits_jax.export.formats.png import voc_palette


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_writes_where_it_says_and_leaves_the_document_alone(name, tmp_path):
    given = document(entry(1, RING), entry(4, rectangle(0, 0, 9, 9), iscrowd=1), entry(2, PAIR))
    before = json.dumps(given)
    images = with_photographs(tmp_path / "photographs")
    (path,) = format_paths(name)
    assert write_format(name, tmp_path / "run", given, images)
    assert json.dumps(given) == before
    assert [one.name for one in (tmp_path / "run").iterdir()] == [path]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "polygons"])
def test_what_an_earlier_run_wrote_is_gone(name, tmp_path):
    both = document(entry(1, RING), entry(2, PAIR, image_id=3))
    write_format(name, tmp_path, both, IMAGES)
    before = {path for path in tmp_path.rglob("*") if path.stem == "b"}
    write_format(name, tmp_path, document(entry(1, RING)), IMAGES)
    assert not any(path.exists() for path in before)


def test_polygons_keep_every_part_and_report_holes(tmp_path):
    crowd = entry(4, rectangle(0, 0, 9, 9), iscrowd=1)
    given = document(entry(1, RING), crowd, entry(2, PAIR))
    said = write_format("polygons", tmp_path, given, IMAGES)
    output = json.loads((tmp_path / "pseudo_labels.polygons.json").read_text())
    assert {**output, "annotations": 0} == {**given, "annotations": 0}
    ring, kept, pair = output["annotations"]
    assert kept == crowd
    assert len(pair["segmentation"]) == 2
    assert np.array_equal(decode_segmentation(pair["segmentation"], HEIGHT, WIDTH), PAIR)
    assert ring["exits"] == {"score": 0.5, "flags": [], "polygon_holes": 1, "polygon_iou": 0.75}
    assert pair["exits"]["polygon_iou"] == 1.0
    assert said.startswith("2, 1 with holes that polygons cannot show, IoU with the masks 0.875")
    assert write_format("polygons", tmp_path, document(), IMAGES).startswith("0, 0 with holes")


def test_a_tolerance_makes_fewer_corners_and_its_loss_is_said(tmp_path):
    blob = np.add.outer((np.arange(40) - 20) ** 2, (np.arange(60) - 30) ** 2) < 200
    corners, losses = [], []
    for tolerance in (0.0, 1.0):
        said = write_format("polygons", tmp_path, document(entry(1, blob)), {}, simplify=tolerance)
        (row,) = json.loads((tmp_path / "pseudo_labels.polygons.json").read_text())["annotations"]
        corners.append(len(row["segmentation"][0]) // 2)
        losses.append(row["exits"]["polygon_iou"])
        assert f"lowest {losses[-1]:.3f}" in said
    assert corners[1] < corners[0] / 3
    assert losses[0] == 1 > losses[1] > 0.95
    assert said.endswith("(corners within 1 pixels)")


def test_index_pngs_number_objects_with_the_smaller_on_top(tmp_path):
    large, small = rectangle(0, 0, 30, 30), rectangle(10, 10, 15, 15)
    crowd = entry(6, rectangle(20, 20, 40, 35), iscrowd=1)
    given = document(entry(8, small), entry(9, large), crowd, entry(3, PAIR, image_id=3))
    assert write_format("png", tmp_path, given, IMAGES) == "2 images"
    image = Image.open(tmp_path / "png" / "set" / "a.png")
    pixels = np.asarray(image)
    assert image.mode == "P"
    assert np.array_equal(pixels == 1, small)
    assert np.array_equal(pixels == 2, large & ~small)
    assert np.array_equal(pixels == 255, rectangle(20, 20, 40, 35) & ~large)
    colours = np.asarray(image.convert("RGB"))
    assert colours[12, 12].tolist() == [128, 0, 0]
    assert colours[0, 0].tolist() == [0, 128, 0]
    index = json.loads((tmp_path / "png" / "index.json").read_text())
    assert index["images"] == {"set/a.png": [8, 9], "b.png": [3]}


def test_the_palette_is_vocs():
    """Colours of classes 0 to 20 and of void as the VOC development kit has them."""
    known = {0: (0, 0, 0), 1: (128, 0, 0), 5: (128, 0, 128), 11: (192, 128, 0)}
    known |= {15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    for number, colour in known.items():
        assert tuple(voc_palette()[number].tolist()) == colour
    assert len(np.unique(voc_palette(), axis=0)) == 256


def test_index_pngs_of_many_objects_are_16_bit_and_names_never_clash(tmp_path):
    crowded = [
        entry(n + 1, rectangle(n % WIDTH, n // WIDTH, n % WIDTH + 1, n // WIDTH + 1))
        for n in range(300)
    ]
    other = entry(1000, PAIR, image_id=2)
    crowd = entry(1001, rectangle(0, 39, 60, 40), iscrowd=1)
    write_format("png", tmp_path, document(*crowded, other, crowd), IMAGES)
    pixels = np.asarray(Image.open(tmp_path / "png" / "set" / "a.jpg.png"))
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels.ravel()[:300], np.arange(1, 301))
    assert (pixels[39] == 65535).all()
    other_pixels = np.asarray(Image.open(tmp_path / "png" / "set" / "a.png.png"))
    assert (other_pixels == 1).sum() == PAIR.sum()


@pytest.mark.parametrize("name", ["png", "voc"])
def test_objects_wholly_under_others_are_counted(name, tmp_path):
    given = document(entry(1, RING), entry(2, RING), entry(3, PAIR))
    said = write_format(name, tmp_path, given, IMAGES)
    assert "1 objects lie wholly under smaller ones" in said


def test_voc_folders_are_read_back_by_the_package(tmp_path):
    large, small = rectangle(0, 0, 30, 30), rectangle(10, 10, 15, 15)
    crowd = entry(6, rectangle(20, 20, 40, 35), iscrowd=1)
    boxed = entry(8, small, bbox=[9.6, 10.0, 5.0, 5.2], difficult=1, category_id=7)
    given = document(boxed, entry(9, large), crowd, entry(3, PAIR, image_id=3, bbox=None))
    images = with_photographs(tmp_path / "photographs")
    write_format("voc", tmp_path, given, images)
    read = read_annotations(tmp_path / "voc", tmp_path / "voc" / "JPEGImages")
    found = {(i.image.file_name, i.category): i for i in read.instances}
    assert set(found) == {("a.jpg", "toy car"), ("a.jpg", "cat"), ("b.jpg", "cat")}
    rows = read.document["annotations"]
    masks = {
        key: decode_segmentation(rows[i.index]["segmentation"], HEIGHT, WIDTH)
        for key, i in found.items()
    }
    assert np.array_equal(masks["a.jpg", "toy car"], small)
    assert np.array_equal(masks["a.jpg", "cat"], large & ~small)
    assert np.array_equal(masks["b.jpg", "cat"], PAIR)
    assert found["a.jpg", "toy car"].box_xyxy.tolist() == [9, 10, 15, 16]
    assert found["b.jpg", "cat"].box_xyxy.tolist() == [2, 2, 55, 38]  # had none: the mask's
    assert rows[found["a.jpg", "toy car"].index]["difficult"] == 1
    assert found["b.jpg", "cat"].image.path.is_file()
    classes = np.asarray(Image.open(tmp_path / "voc" / "SegmentationClass" / "a.png"))
    assert np.array_equal(classes == 2, small)
    assert np.array_equal(classes == 255, rectangle(20, 20, 40, 35) & ~large)  # no border besides
    labels = (tmp_path / "voc" / "labelmap.txt").read_text().splitlines()
    assert labels[:3] == ["background:0,0,0::", "cat:128,0,0::", "toy car:0,128,0::"]
    assert labels[3:] == ["ignored:224,224,192::"]
    lists = tmp_path / "voc" / "ImageSets"
    assert (lists / "Segmentation" / "train.txt").read_text() == "a\nb\n"
    tree = ElementTree.parse(tmp_path / "voc" / "Annotations" / "a.xml")
    assert tree.findtext("size/width") == str(WIDTH)


def problems(formats, given, images=IMAGES):
    return [(p.code, p.annotation_id, p.image_id) for p in export_problems(formats, given, images)]


def test_what_a_format_cannot_hold_is_known_before_a_mask_is_made(monkeypatch):
    many = [{"id": n, "image_id": 1, "category_id": 30} for n in range(1, 256)]
    assert problems(FORMATS, document(*many)) == [("too_many_objects", None, 1)]  # voc's alone
    assert problems(["png", "yolo", "label_studio"], document(*many)) == []
    assert problems(["voc"], document(*many[1:])) == []
    assert limits.MOST_OBJECTS["png"] == 2**16 - 2
    monkeypatch.setitem(limits.MOST_OBJECTS, "png", 254)
    assert problems(["png"], document(*many)) == [("too_many_objects", None, 1)]
    crowds = [{**row, "iscrowd": 1, "segmentation": []} for row in many]
    assert problems(["voc"], document(*crowds)) == []


@pytest.mark.parametrize(
    ("segmentation", "code"),
    [
        ({"size": [WIDTH, HEIGHT], "counts": [WIDTH * HEIGHT]}, "rle_size"),
        ({"size": [HEIGHT, WIDTH], "counts": [7]}, "bad_rle"),
        ([[1, 2, 3]], "bad_polygon"),
    ],
)
def test_a_crowd_that_cannot_be_drawn_is_known_before_and_costs_nothing(
    segmentation, code, tmp_path
):
    crowd = entry(6, RING, iscrowd=1) | {"segmentation": segmentation}
    given = document(entry(1, PAIR), crowd)
    assert problems(["polygons", "png"], given) == [(code, 6, 1)]
    assert problems(["polygons", "yolo", "label_studio"], given) == []
    for name in ("png", "voc"):  # with data.on_error=skip
        write_format(name, tmp_path, given, IMAGES)
    pixels = np.asarray(Image.open(tmp_path / "png" / "set" / "a.png"))
    assert np.array_equal(pixels == 1, PAIR)


def test_names_that_a_format_cannot_keep_apart_are_known_before():
    twice = {"annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": " a\n"}]}
    for name in ("voc", "label_studio", "label_studio_polygons"):
        assert problems([name], twice) == [("one_name_twice", None, None)]
    assert problems(["polygons", "png", "yolo"], twice) == []
    reserved = {"annotations": [], "categories": [{"id": 1, "name": "background"}]}
    assert problems(FORMATS, reserved) == [("reserved_name", None, None)]
    many = {"annotations": [], "categories": [{"id": n, "name": f"{n}"} for n in range(255)]}
    assert problems(FORMATS, many) == [("too_many_categories", None, None)]


def record(number, name):
    return ImageRecord(number, name, 4, 4, None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("../../etc/b.jpg", "etc/b.jpg"),
        ("/data/b.jpg", "data/b.jpg"),
        ("C:\\data\\b.jpg", "data/b.jpg"),
        ("https://host/a/b.jpg", "host/a/b.jpg"),
        ("./b.jpg", "b.jpg"),
        ("a//b .jpg", "a/b .jpg"),
        ("..", "7"),
    ],
)
def test_an_output_is_never_named_out_of_its_folder(given, kept):
    assert safe_name(record(7, given)) == kept
    assert not pathlib.PurePosixPath(kept).is_absolute()


def test_no_two_outputs_are_one_file_on_any_system():
    names = ["a.jpg", "A.png", "a.jpg.png", "caf\u00e9.jpg", "cafe\u0301.png", "b.jpg", "a.jpg.tif"]
    stems = unique_stems([record(n, name) for n, name in enumerate(names, start=1)])
    assert stems == {
        1: "a.jpg",
        2: "A.png",
        3: "a.jpg.png",
        4: "caf\u00e9.jpg",
        5: "cafe\u0301.png",
        6: "b",
        7: "a.jpg.tif",
    }
    same = unique_stems([record(1, "x/a.jpg"), record(2, "x\\a.jpg"), record(3, "x/a.jpg")])
    assert same == {1: "x/a.jpg", 2: "x/a.jpg-2", 3: "x/a.jpg-3"}


def test_flat_names_take_their_folders_in_where_they_must():
    names = ["train/1.jpg", "val/1.jpg", "2.jpg", "x/2.png", "x/3.jpg", "x_3.jpg", "3.tif"]
    images = [record(n, name) for n, name in enumerate(names, start=1)]
    assert unique_stems(images, flat=True) == {
        1: "train_1",
        2: "val_1",
        3: "2.jpg",
        4: "2.png",
        5: "3.jpg",
        6: "x_3.jpg",
        7: "3.tif",
    }
