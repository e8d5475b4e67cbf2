"""The checker: clean files come out clean, every broken copy is caught by its code."""

import re

import numpy as np
import pytest
from annotations_samples import HEIGHT, WIDTH, disc, document, save, save_images
from PIL import Image

from exits_jax.annotations import check_file, encode_rle, problem_line, read_annotations
from exits_jax.annotations.check import inspect_file
from exits_jax.system.errors import UserError

POINTS = [[20, 4], [10, 10], [22, 20], [30, 12]]  # top, left, bottom, right


def codes(file, images=None, **settings) -> list[str]:
    return [problem.code for problem in check_file(file, images, **settings)]


MISFITS = {11: ["misses_left", "misses_right"], 12: ["misses_point_right"], 13: []}


def label_file() -> dict:
    """`document()` as it comes out labelled: run lengths, areas in pixels, extras."""
    content = document()
    for annotation, mask in zip(
        content["annotations"], (disc(15, 10, 5), disc(20, 12, 8), disc(5, 6, 4)), strict=True
    ):
        flags = [*MISFITS[annotation["id"]], "parts:2"]
        extras = {"extreme_points": None, "score": 0.9312, "flags": flags}
        annotation.update(segmentation=encode_rle(mask), area=int(mask.sum()), exits=extras)
    content["annotations"][1]["exits"]["extreme_points"] = POINTS
    return content


def results() -> list[dict]:
    return [
        {"image_id": 1, "category_id": 3, "score": 0.5, "segmentation": encode_rle(disc())},
        {"image_id": 2, "category_id": 7, "score": -2.5, "bbox": [1, 2, 3, 4]},
    ]


def test_clean_files(tmp_path):
    images = save_images(tmp_path / "images")
    for content in (document(), label_file(), results()):
        file = save(tmp_path, content)
        assert check_file(file) == []
        assert check_file(file, images) == []


@pytest.mark.parametrize("ours", [True, False])
def test_a_label_that_does_not_fit_and_does_not_say_so_is_found(tmp_path, ours):
    content = label_file()
    for annotation in content["annotations"]:
        if ours:
            annotation["exits"]["flags"] = []
        else:
            del annotation["exits"]
    assert codes(save(tmp_path, content)) == [flag for flags in MISFITS.values() for flag in flags]
    outside = encode_rle(disc(15, 10, 9))
    content["annotations"][0].update(segmentation=outside, area=int(disc(15, 10, 9).sum()))
    assert codes(save(tmp_path, content)) == ["outside_box", *MISFITS[12]]


def test_official_files_are_clean(coco_mini):
    file = coco_mini / "annotations" / "instances_val2017.json"
    assert check_file(file, coco_mini / "val2017") == []


EMPTY = encode_rle(np.zeros((HEIGHT, WIDTH), bool))
TRIANGLE = [[5, 5, 25, 5, 5, 15]]


@pytest.mark.parametrize(
    ("index", "change", "code", "found"),
    [
        (1, {"area": 25}, "area_mismatch", "area is 25; the mask has"),
        (0, {"segmentation": TRIANGLE, "area": 150}, "area_mismatch", "area is 150; the mask has"),
        (0, {"segmentation": EMPTY, "area": 0}, "empty_mask", "no pixel"),
        (0, {"segmentation": {"size": [HEIGHT, WIDTH], "counts": "!"}}, "bad_rle", "'!'"),
        (0, {"segmentation": {"size": [WIDTH, HEIGHT], "counts": "x"}}, "rle_size", "[30, 40]"),
        (0, {"iscrowd": 1}, "crowd_label", "iscrowd 0"),
        (0, {"bbox": [5, 5, 40, 10]}, "box_over_border", "reaches 5 pixels"),
        (1, {"extreme_points": [[20, 9], *POINTS[1:]]}, "point_off_box", "the top point"),
        (1, {"extreme_points": [*POINTS[:3], [37, 12]]}, "point_off_box", "the right point"),
        (
            1,
            {"extreme_points": dict(zip(("bottom", "left", "top", "right"), POINTS, strict=True))},
            "points_order",
            "top, left, bottom, right",
        ),
        (1, {"exits": {"extreme_points": POINTS[::-1]}}, "points_order", "exits.extreme_points"),
        (1, {"exits": {"extreme_points": POINTS[:3]}}, "bad_points", "four"),
        (1, {"exits": {"score": 1.5}}, "bad_score", "1.5"),
        (1, {"exits": {"flags": "empty_mask"}}, "bad_extras", "'empty_mask'"),
        (1, {"exits": []}, "bad_extras", "[]"),
        (2, {"segmentation": None, "bbox": None}, "nothing_given", "no extreme points"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_every_broken_label_is_caught(tmp_path, index, change, code, found):
    content = label_file()
    content["annotations"][index].update(change)
    file = save(tmp_path, content)
    problems = check_file(file)
    assert [problem.code for problem in problems] == [code]
    line = problem_line(file, problems[0])
    assert re.match(re.escape(f"{file}: annotation {11 + index}: {code}: "), line)
    assert found in line


def test_the_box_s_area_is_one_note_for_the_file(tmp_path):
    """Most converters write it; where there is no mask it is all that is known."""
    content = document()
    first, _, third = content["annotations"]
    first.update(segmentation=TRIANGLE, area=200)
    other, last = {**first, "id": 12, "image_id": 2}, {**third, "id": 14, "bbox": [20, 20, 8, 9]}
    content["annotations"] = [first, other, {**third, "area": 72}, {**last, "area": 5}]
    checked = inspect_file(save(tmp_path, content))
    assert checked.problems == []
    (note,) = checked.notes
    assert note.code == "box_area"
    assert "area is 200, which is the box's area" in note.text
    assert note.text.endswith("; 1 more")


def test_tolerances_are_not_boundless_nor_naught(tmp_path):
    content = label_file()
    pixels = content["annotations"][1]["area"]
    for area, expected in ((pixels + 10, []), (pixels + 60, ["area_mismatch"])):
        content["annotations"][1]["area"] = area
        assert codes(save(tmp_path, content)) == expected
    content["annotations"][1]["area"] = pixels
    for top, expected in ((6.5, []), (8.0, ["point_off_box"])):
        content["annotations"][1]["extreme_points"] = [[20, top], *POINTS[1:]]
        assert codes(save(tmp_path, content)) == expected


def test_a_polygons_area_by_its_corners_is_right_even_where_its_pixels_differ(tmp_path):
    content = document()
    square = content["annotations"][0]["segmentation"][0]
    content["annotations"][0]["segmentation"] = [square, square]  # 200 pixels, corners give 396
    for area, expected in ((396, []), (330, ["area_mismatch"]), (200, [])):
        content["annotations"][0]["area"] = area
        assert codes(save(tmp_path, content)) == expected


def test_polygons_too_small_for_a_pixel(tmp_path):
    content = document()
    speck = [3.1, 3.1, 3.2, 3.1, 3.2, 3.2]
    for area, expected in ((0.005, []), (9, ["empty_mask"])):
        content["annotations"][0].update(segmentation=[speck], area=area)
        assert codes(save(tmp_path, content)) == expected


def test_two_mistakes_in_one_annotation_are_both_listed(tmp_path):
    content = label_file()
    content["annotations"][0].update(area=150, category_id=99)
    content["annotations"][2]["bbox"] = [1, 2, -3, 4]
    assert codes(save(tmp_path, content)) == ["absent_category", "area_mismatch", "empty_box"]


def test_a_file_of_nothing_but_crowds(tmp_path):
    content = label_file()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
        del annotation["exits"]
    assert codes(save(tmp_path, content)) == ["crowd_label"] * 3
    content["annotations"][0]["iscrowd"] = content["annotations"][1]["iscrowd"] = 0
    # One crowd among objects is as it should be; what is found is about the other two.
    assert codes(save(tmp_path, content)) == [*MISFITS[11], *MISFITS[12]]


def test_absent_ids_are_one_finding(tmp_path):
    content = document()
    for annotation in content["annotations"]:
        del annotation["id"]
    assert codes(save(tmp_path, content)) == ["absent_id"]
    content = document()
    for annotation in content["annotations"]:
        annotation["ID"] = annotation.pop("id")
    assert codes(save(tmp_path, content)) == codes(save(tmp_path, document()))


def test_image_files(tmp_path):
    images = save_images(tmp_path / "images")
    file = save(tmp_path, document())
    (images / "a.png").unlink()
    assert codes(file, images) == ["missing_image"]
    (images / "a.png").write_bytes(b"")
    assert codes(file, images) == ["unreadable_image"]
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(noise).save(images / "a.jpg")
    whole = (images / "a.jpg").read_bytes()
    (images / "a.png").write_bytes(whole)  # Pillow looks at the content, not the name
    assert codes(file, images) == []
    (images / "a.png").write_bytes(whole[: len(whole) // 2])
    assert codes(file, images) == ["unreadable_image"]
    Image.new("RGB", (WIDTH + 1, HEIGHT)).save(images / "a.png")
    problems = check_file(file, images)
    assert [problem.code for problem in problems] == ["image_size"]
    assert problem_line(file, problems[0]).startswith(f"{file}: image 1: image_size: ")
    assert "41 x 30" in problems[0].text


def test_the_size_of_a_turned_photograph_is_that_after_turning(tmp_path):
    images = save_images(tmp_path / "images")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(images / "a.jpg", exif=exif)
    content = document()
    content["images"][0]["file_name"] = "a.jpg"
    assert codes(save(tmp_path, content), images) == []
    content["images"][0].update(width=HEIGHT, height=WIDTH)
    assert codes(save(tmp_path, content), images) == []  # annotated on the pixels as stored
    content["images"][0].update(width=WIDTH, height=HEIGHT + 1)
    assert "image_size" in codes(save(tmp_path, content), images)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"score": None}, "bad_score"),
        ({"score": float("nan")}, "bad_score"),
        ({"image_id": "1"}, "bad_id"),
        ({"category_id": None}, "bad_id"),
        ({"segmentation": None}, "nothing_given"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6]]}, "bad_segmentation"),
        ({"segmentation": {"size": [0, 5], "counts": "0"}}, "bad_size"),
        ({"segmentation": {"size": [3, 5], "counts": "0"}}, "bad_rle"),
        ({"segmentation": EMPTY}, "empty_mask"),
        ({"bbox": [1, 2, 3]}, "bad_box"),
    ],
)
def test_broken_results(tmp_path, change, code):
    content = results()
    content[0].update(change)
    problems = check_file(save(tmp_path, content))
    assert [(problem.code, problem.annotation_id) for problem in problems] == [(code, 1)]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_detector_s_results_by_file_names_are_told_how_to_be_used(tmp_path, wrapped):
    rows = [
        {"image_id": name, "category_id": 0, "bbox": [1, 2, 3, 4], "score": 0.5}
        for name in ("a", "b", 5)
    ]
    file = save(tmp_path, {"predictions": rows} if wrapped else rows)
    checked = inspect_file(file)
    assert (checked.problems, checked.read) == ([], "3 results")
    (note,) = checked.notes
    assert (
        "a detector's 3 boxes; image_id is the name of a file for 2 of them, like 'a'" in note.text
    )
    assert "--config.data.boxes=FILE" in note.text
    with pytest.raises(UserError, match=r"a list of detections.*data\.boxes"):
        read_annotations(file)
    rows[1]["image_id"] = " "
    assert codes(save(tmp_path, rows)) == ["bad_id"]


def test_the_check_is_told_what_labelling_is_told(tmp_path):
    content = document()
    for entry in content["annotations"]:
        x, y, width, height = entry["bbox"]
        entry["bbox"] = [x, y, x + width, y + height]
    file = save(tmp_path, content)
    assert codes(file)
    assert check_file(file, box_form="xyxy") == []
    content = document()
    content["annotations"][0]["iscrowd"] = 1
    file = save(tmp_path, content)
    for crowds, annotations in (("pass", 2), ("label", 3)):
        assert len(read_annotations(file, crowds=crowds).instances) == annotations
        assert inspect_file(file, crowds=crowds).notes[0].code == "crowds"
    with pytest.raises(UserError, match="exif is 'turned', expected auto or displayed"):
        check_file(file, exif="turned")
    rows = [{"image_id": "b", "category_id": 3, "bbox": [1, 2, 8, 9], "score": 0.5}]
    boxes = save(tmp_path, rows, "boxes.json")
    assert check_file(file, boxes=boxes) == []
    rows[0]["image_id"] = "c"
    assert codes(file, boxes=save(tmp_path, rows, "boxes.json"))[0] == "absent_image"


def test_results_that_are_none(tmp_path):
    assert codes(save(tmp_path, [])) == ["no_annotations"]
    assert codes(save(tmp_path, ["text", *results()])) == ["bad_annotation"]


def test_a_form_of_boxes_is_told_to_the_reader_that_needs_it(tmp_path):
    """VOC's own form counts from 1: the check and labelling read another form in the same way."""
    Image.new("RGB", (90, 60)).save(tmp_path / "a.png")
    sides = zip(("xmin", "ymin", "xmax", "ymax"), (50, 30, 30, 20), strict=True)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    size = "<size><width>90</width><height>60</height></size>"
    (tmp_path / "a.xml").write_text(
        f"<annotation><filename>a.png</filename>{size}"
        f"<object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
    )
    checked = inspect_file(tmp_path / "a.xml", tmp_path, box_form="xywh")
    assert checked.problems == []
    (instance,) = read_annotations(tmp_path / "a.xml", tmp_path, box_form="xywh").instances
    assert instance.box_xyxy.tolist() == [50, 30, 80, 50]
