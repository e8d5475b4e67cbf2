"""YOLO data sets, read by the rules that Ultralytics documents (by itself: `make interop`)."""

import dataclasses
import os

import numpy as np
import pytest
import yaml
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
from PIL import Image, ImageDraw

from exits_jax.export.formats import write_format
from exits_jax.export.formats.yolo import join_parts


def label_path(image_path):
    """Where the loader looks for the labels of an image."""
    before, after = str(image_path).rsplit(f"{os.sep}images{os.sep}", 1)
    return f"{before}{os.sep}labels{os.sep}{after}".rsplit(".", 1)[0] + ".txt"


def loaded(folder):
    """Lines by image: the images that the loader finds below `train`, and their labels."""
    facts = yaml.safe_load((folder / "data.yaml").read_text())
    found = {}
    for path in sorted((folder / facts["train"]).rglob("*.*")):
        with open(label_path(path)) as file:
            found[path.relative_to(folder / "images").as_posix()] = file.read().splitlines()
    return facts, found


def drawn(line):
    """The pixels whose centres a line's polygon covers, drawn eight times as fine."""
    numbers = np.array(line.split()[1:], float).reshape(-1, 2) * [WIDTH * 8, HEIGHT * 8]
    canvas = Image.new("1", (WIDTH * 8, HEIGHT * 8))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in numbers], fill=1)
    return np.asarray(canvas)[4::8, 4::8]


def test_lines_give_masks_and_classes_back(tmp_path):
    crowd = entry(6, RING, iscrowd=1)
    blob = np.add.outer((np.arange(40) - 20) ** 2, (np.arange(60) - 30) ** 2) < 200
    given = document(
        entry(1, blob, category_id=7), crowd, entry(2, PAIR), entry(3, RING, image_id=3)
    )
    said = write_format("yolo", tmp_path, given, with_photographs(tmp_path / "photographs"))
    assert said == "2 label files, 2 photographs; data.yaml names them"
    facts, found = loaded(tmp_path / "yolo")
    assert facts == {"train": "images", "val": "images", "names": {0: "cat", 1: "toy car"}}
    assert list(found) == ["a.jpg", "b.jpg"]
    first, second = found["a.jpg"]
    assert (first.split()[0], second.split()[0]) == ("1", "0")
    assert np.array_equal(drawn(first), blob)
    apart = drawn(second) ^ PAIR  # the seam between the parts may be drawn one pixel wide
    assert apart.sum() <= 25
    assert (drawn(second) & PAIR).sum() == PAIR.sum()
    assert np.array_equal(drawn(found["b.jpg"][0]), rectangle(5, 5, 25, 25))
    assert (tmp_path / "yolo" / "classes.txt").read_text() == "cat\ntoy car\n"


def test_photographs_are_linked_under_the_ending_they_have(tmp_path):
    images = with_photographs(tmp_path / "photographs")
    images[1] = dataclasses.replace(images[1], file_name="set/a")
    write_format("yolo", tmp_path, document(entry(1, RING)), images)
    put = tmp_path / "yolo" / "images" / "a.jpg"
    assert put.samefile(images[1].path)
    Image.open(put).verify()


@pytest.mark.parametrize("failing", [("link",), ("link", "symlink")])
def test_where_links_fail_the_next_best_is_done(failing, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("no links here")

    images = with_photographs(tmp_path / "photographs")
    for name in failing:
        monkeypatch.setattr(os, name, fail)
    write_format("yolo", tmp_path, document(entry(1, RING)), images)
    put = tmp_path / "yolo" / "images" / "a.jpg"
    assert put.read_bytes() == images[1].path.read_bytes()
    assert put.is_symlink() == (failing == ("link",))


def test_a_photograph_that_loaders_rewrite_is_a_copy(tmp_path):
    images = with_photographs(tmp_path / "photographs")
    with images[1].path.open("ab") as file:
        file.write(b"a phone's own data")
    write_format("yolo", tmp_path, document(entry(1, RING)), images)
    put = tmp_path / "yolo" / "images" / "a.jpg"
    assert put.read_bytes() == images[1].path.read_bytes()
    assert not put.is_symlink()
    assert not put.samefile(images[1].path)


def test_without_photographs_the_labels_are_there_and_it_is_said(tmp_path):
    said = write_format("yolo", tmp_path, document(entry(1, RING)), IMAGES)
    assert "1 photographs are missing: put them into images/" in said
    assert (tmp_path / "yolo" / "labels" / "a.txt").is_file()


def test_images_of_one_stem_or_one_name_in_two_folders_keep_their_labels(tmp_path):
    images = {
        1: dataclasses.replace(IMAGES[1], file_name="train/images/a.jpg"),
        2: dataclasses.replace(IMAGES[2], file_name="train/images/a.png"),
        3: dataclasses.replace(IMAGES[3], file_name="images/a.jpg"),
    }
    images = with_photographs(tmp_path / "photographs", images)
    rows = [entry(key, rectangle(key, 1, 20, 9), image_id=key) for key in images]
    write_format("yolo", tmp_path, document(*rows), images)
    _, found = loaded(tmp_path / "yolo")
    assert list(found) == ["a.png.png", "images_a.jpg", "train_images_a.jpg.jpg"]
    lefts = [float(lines[0].split()[1]) * WIDTH for lines in found.values()]
    assert lefts == pytest.approx([2, 3, 1], abs=1e-3)
    for name, key in zip(found, (2, 3, 1), strict=True):
        assert (tmp_path / "yolo" / "images" / name).samefile(images[key].path)


def test_classes_count_from_0_whatever_the_category_ids(tmp_path):
    """Id 0, a negative one, gaps, and names that YAML would take for something else."""
    given = document(*(entry(n, RING, category_id=c) for n, c in enumerate([0, -3, 900], start=0)))
    given["categories"] = [
        {"id": 900, "name": "no"},
        {"id": 0, "name": "12: #\u007f"},
        {"id": -3, "name": "Łódź 東京 🙂"},
    ]
    write_format("yolo", tmp_path, given, with_photographs(tmp_path / "photographs"))
    facts, found = loaded(tmp_path / "yolo")
    assert facts["names"] == {0: "no", 1: "12: #", 2: "Łódź 東京 🙂"}
    assert [line.split()[0] for line in found["a.jpg"]] == ["1", "2", "0"]


def area(polygon):
    x, y = np.array(polygon).reshape(-1, 2).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_joined_parts_have_the_sum_of_the_areas_and_every_corner():
    corner = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    squares = [(corner + place).ravel().tolist() for place in ((0, 0), (9, 1), (3, 20))]
    joined = join_parts(squares)
    assert area(joined) == 48
    corners = {tuple(point) for point in np.array(joined).reshape(-1, 2).tolist()}
    assert corners == {
        tuple(p) for s in squares for p in np.array(s, float).reshape(-1, 2).tolist()
    }
    assert join_parts(squares[:1]) == squares[0]
