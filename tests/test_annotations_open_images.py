"""Open Images box CSV: shares of the image, clicks in any order, groups, mistakes."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from exits_jax.annotations import Problem, check_file, read_annotations
from exits_jax.system.errors import UserError

HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,"
    "IsDepiction,IsInside,XClick1X,XClick2X,XClick3X,XClick4X,XClick1Y,XClick2Y,XClick3Y,XClick4Y"
)
CLICKED = "aa,xclick,/m/01,1,0.1,0.5,0.2,0.6,1,0,0,0,0,0.5,0.1,0.3,0.2,0.4,0.3,0.2,0.6"
DRAWN = "aa,activemil,/m/02,1,0.0,1.0,0.25,0.75,0,0,0,0,0,-1,-1,-1,-1,-1,-1,-1,-1"
GROUP = "bb,xclick,/m/01,1,0.1,0.5,0.2,0.6,0,0,1,0,0,-1,-1,-1,-1,-1,-1,-1,-1"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (200, 100)).save(folder / "aa.jpg")
    Image.new("RGB", (50, 80)).save(folder / "bb.jpg")
    return folder


def save_csv(folder, *rows: str):
    path = folder / "boxes.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_clicks_boxes_and_groups(tmp_path, images):
    file = save_csv(tmp_path, CLICKED, DRAWN, GROUP)
    read = read_annotations(file, images)
    clicked, drawn = read.instances
    np.testing.assert_allclose(clicked.points_xy, [[60, 20], [20, 30], [40, 60], [100, 40]])
    np.testing.assert_allclose(clicked.box_xyxy, [20, 20, 100, 60])
    assert (clicked.points_source, drawn.points_source) == ("given", "box")
    np.testing.assert_allclose(drawn.box_xyxy, [0, 25, 200, 75])
    assert (drawn.area, clicked.category) == (10000, "/m/01")
    assert clicked.image.path == images / "aa.jpg"
    assert [a["iscrowd"] for a in read.document["annotations"]] == [0, 0, 1]
    assert read.document["annotations"][0]["attributes"]["IsOccluded"] == 1
    assert (read.images[2].width, read.images[2].height) == (50, 80)
    assert check_file(file, images) == []


def test_a_file_without_click_columns(tmp_path, images):
    columns = HEADER.split(",").index("XClick1X")
    file = tmp_path / "boxes.csv"
    rows = [",".join(row.split(",")[:columns]) for row in (HEADER, CLICKED)]
    file.write_text("\n".join(rows))
    assert read_annotations(file, images).instances[0].points_source == "box"


def test_names_from_the_class_descriptions(tmp_path, images):
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/01,Tortoise\n/m/09,Other\n")
    read = read_annotations(save_csv(tmp_path, CLICKED, DRAWN), images)
    assert read.categories == {1: "Tortoise", 2: "/m/02"}
    assert [note.text for note in read.notes] == [
        "labels have no class description and stay as they are: 1 (the first: /m/02)"
    ]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (CLICKED.replace("aa,", "cc,"), "missing_image"),
        (CLICKED.replace("aa,", "../zz,"), "unsafe_file_name"),
        (CLICKED.replace(",0.1,0.5,", ",x,0.5,"), "bad_number"),
        (CLICKED.replace(",0.1,0.5,", ",nan,0.5,"), "bad_number"),
        (CLICKED.replace(",0.1,0.5,", ",0.5,0.5,"), "empty_box"),
        (CLICKED.replace(",0.5,0.1,0.3,0.2,", ",0.5,,0.3,0.2,"), "bad_number"),
        (CLICKED.replace(",0.5,0.1,0.3,0.2,", ",0.5,x,0.3,0.2,"), "bad_number"),
        (CLICKED.replace(",0.5,0.1,0.3,0.2,", ",1.5,0.1,0.3,0.2,"), "point_outside_image"),
    ],
)
def test_bad_lines_stop_or_are_skipped(tmp_path, images, row, code):
    file = save_csv(tmp_path, DRAWN, row)
    with pytest.raises(UserError, match=f": {code}: "):
        read_annotations(file, images)
    read = read_annotations(file, images, on_error="skip")
    assert [problem.code for problem in read.problems] == [code]
    assert len(read.instances) == 1
    assert code in [problem.code for problem in check_file(file, images)]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"ImageID,LabelName,XMin\naa,/m/01,0.1\n", "bad_csv: .*YMin, XMax, YMax"),
        (HEADER.encode() + b"\naa,xclick\n", "bad_csv: line 2 is truncated"),
        (HEADER.encode() + b"\n\xff\xfe\n", "bad_csv: byte 0xff at"),
        (HEADER.encode() + b"\n", "no_annotations"),
    ],
)
def test_bad_files_always_stop(tmp_path, images, content, code):
    file = tmp_path / "boxes.csv"
    file.write_bytes(content)
    with pytest.raises(UserError, match=code):
        read_annotations(file, images, on_error="skip")
    assert [problem.code for problem in check_file(file, images)] == [code.split(":")[0]]


def test_the_image_folder_is_needed(tmp_path):
    file = save_csv(tmp_path, CLICKED)
    with pytest.raises(UserError, match=r"no_image_folder: .*sizes"):
        read_annotations(file)


def test_a_file_cut_anywhere_only_ever_raises_user_errors(tmp_path, images):
    file = save_csv(tmp_path, CLICKED, DRAWN)
    content = file.read_bytes()
    for end in range(0, len(content), 5):
        file.write_bytes(content[:end])
        with contextlib.suppress(UserError):
            assert read_annotations(file, images, on_error="skip").instances
        assert all(isinstance(problem, Problem) for problem in check_file(file, images))
