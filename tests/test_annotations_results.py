"""A detector's boxes (`data.boxes`): their images, categories and scores, and what is said."""

import json

import numpy as np
import pytest
from annotations_samples import HEIGHT, WIDTH, save

from exits_jax.annotations import check_file, read_annotations
from exits_jax.annotations.detection_categories import by_position
from exits_jax.system.errors import UserError

BOXES = [[1, 2, 8, 9], [12, 4, 20, 16], [5, 6, 7, 8], [20, 12, 10, 11]]
COCO_IDS = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def listed(names, first_id=1, categories=(1,)):
    """A file that lists images, by name, and categories c1, c2, ... alone."""
    images = [
        {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for number, name in (
            names.items() if isinstance(names, dict) else enumerate(names, start=first_id)
        )
    ]
    return {"images": images, "categories": [{"id": c, "name": f"c{c}"} for c in categories]}


def result(image_id, category_id=1, score=0.5, **more):
    return {"image_id": image_id, "category_id": category_id, "score": score} | more


def read(folder, content, results, **options):
    """The annotations of a file with these boxes; rows without a box get one."""
    rows = results if isinstance(results, list) else next(iter(results.values()))
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            row.setdefault("bbox", BOXES[number % len(BOXES)])
    boxes = save(folder, results, "predictions.json")
    return read_annotations(save(folder, content), boxes=boxes, **options)


def refused(folder, content, results, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, content, results, **options)
    line = str(caught.value)
    assert "predictions.json" in line
    assert "\n" not in line
    return line


def codes(annotations):
    return [note.code for note in annotations.notes if note.code != "near_duplicate"]


@pytest.mark.parametrize(
    ("names", "given", "meant", "by_name"),
    [
        (["s.jpg"], ["s"], [1], True),  # Ultralytics
        (["s.jpg", "t.jpg"], ["t.jpg", "s.jpg"], [2, 1], True),
        ({5: "000123.jpg", 6: "000124.jpg"}, [123, 124], [5, 6], True),  # its digits are a number
        ({5: "000123.jpg", 6: "000124.jpg"}, ["000124", "000123"], [6, 5], True),
        ({1: "000002.jpg", 2: "000001.jpg"}, ["000002", "000001"], [1, 2], True),  # padded: a name
        ({123: "000123.jpg"}, [123, "000123", "123", 123.0], [123] * 4, False),  # COCO's own
        ({0: "1.jpg", 1: "2.jpg", 2: "3.jpg"}, [1, 2, 3], [0, 1, 2], True),  # 3 is no id
        ({0: "1.jpg", 1: "2.jpg", 2: "3.jpg"}, [0, 1, 2], [0, 1, 2], False),  # 0 is no name
        (["a/x.jpg", "b/y.jpg"], ["x", "y.jpg"], [1, 2], True),
        (["x.jpg", "y.jpg"], ["/data/val/x.jpg", "val/y"], [1, 2], True),
        (["a/x.jpg", "b/x.jpg"], ["b\\x.jpg", "a/x"], [2, 1], True),
        (["x.jpg", "a/x.jpg"], ["x.jpg", "a/x.jpg"], [1, 2], True),  # names with their folders
        (["Photo.One.JPG"], ["photo.one"], [1], True),
        (["caf\u00e9.jpg"], ["cafe\u0301"], [1], True),
        (["s.jpg", "t.jpg"], [1, "t", "2"], [1, 2, 2], True),
        (["s.jpg"], ["1", 1.0], [1, 1], False),
    ],
)
def test_images_by_id_or_name(tmp_path, names, given, meant, by_name):
    found = read(tmp_path, listed(names), [result(value) for value in given])
    assert [instance.image.id for instance in found.instances] == meant
    assert codes(found) == ["by_name"] * by_name
    assert [a["image_id"] for a in found.document["annotations"]] == meant


def test_the_note_counts_and_gives_an_example(tmp_path):
    found = read(tmp_path, listed(["s.jpg", "t.jpg"]), [result("t"), result(1)])
    (note,) = found.notes
    assert "predictions.json: the image is found by its file name for 1 of 2 boxes" in note.text
    assert "'t' is t.jpg (image 2)" in note.text


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [
        (["x.jpg", "x.png"], ["x"], "x.jpg (image 1) or x.png (image 2)"),
        (["a/x.jpg", "b/x.jpg"], ["x.jpg"], "a/x.jpg (image 1) or b/x.jpg (image 2)"),
        (["a.jpg", "sub/a.jpg"], ["a.jpg"], "a.jpg (image 1) or sub/a.jpg (image 2)"),
        (["X.jpg", "x.JPG"], ["x.jpg"], "X.jpg (image 1) or x.JPG (image 2)"),
        ({5: "01.jpg", 6: "001.jpg"}, [1], "01.jpg (image 5) or 001.jpg (image 6)"),
        # Ids of some images, stems of others: which was meant?
        ({1: "2.jpg", 2: "1.jpg"}, [1, 2], "image_id 1 is the id of 2.jpg and the name of 1.jpg"),
        (
            {0: "1.jpg", 1: "2.jpg", 2: "3.jpg"},
            [1, 2],
            "1 is the id of 2.jpg and the name of 1.jpg",
        ),
        ({1: "2.jpg", 2: "s.jpg"}, [2, "s", 1], "2 is the id of s.jpg and the name of 2.jpg"),
        ({1: "a/1.jpg", 2: "b/1.jpg"}, [1, 1], "image_id 1 "),
    ],
)
def test_no_two_images_meet_in_one_id(tmp_path, names, given, said):
    for on_error in ("stop", "skip"):
        results = [result(value) for value in given]
        line = refused(tmp_path, listed(names), results, on_error=on_error)
        assert "ambiguous_image: " in line
        assert said in line


def test_the_setting_and_file_names_decide(tmp_path):
    names = {1: "2.jpg", 2: "1.jpg"}
    for by, meant in (("id", [1, 2]), ("name", [2, 1])):
        found = read(tmp_path, listed(names), [result(1), result(2)], boxes_by=by)
        assert [instance.image.id for instance in found.instances] == meant
    stated = [result(1, file_name="1.jpg"), result(2, file_name="2.jpg")]
    found = read(tmp_path, listed(names), stated)
    assert [instance.image.id for instance in found.instances] == [2, 1]
    assert codes(found) == ["by_name"]
    # One stem for two images, as Ultralytics writes it: only one of them would have got all boxes.
    twins = {1: "a/1.jpg", 2: "b/1.jpg"}
    assert "a/1.jpg (image 1) or b/1.jpg (image 2)" in refused(
        tmp_path, listed(twins), [result(1, file_name="1.jpg")]
    )


def test_an_image_that_is_not_there(tmp_path):
    results = [result("s"), result("nowhere"), result(7), result(None), result([1]), "x"]
    assert "annotation 2: absent_image: " in refused(tmp_path, listed(["s.jpg"]), results[:2])
    line = refused(tmp_path, listed(["s.jpg"]), results[1:3], on_error="skip")
    assert "nothing to label" in line
    assert "2 absent_image" in line
    found = read(tmp_path, listed(["s.jpg"]), results, on_error="skip")
    assert [i.id for i in found.instances] == [1]
    assert sorted((p.code, p.annotation_id) for p in found.problems) == [
        ("absent_image", 2), ("absent_image", 3), ("absent_image", 4), ("absent_image", 5),
        ("bad_annotation", 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "known", "meant"),
    [
        ([0], [1], [1]),
        ([0, 2], [1, 2, 3], [1, 3]),
        ([0, 1], [3, 7], [3, 7]),
        ([*range(80)], COCO_IDS, COCO_IDS),
        ([0, 11], COCO_IDS, [1, 13]),  # 12 is no id of COCO's
        ([*range(1, 81)], COCO_IDS, COCO_IDS),
        ([1, 2, 3], [0, 1, 2], [0, 1, 2]),  # from 1, the file from 0
        ([0, 1, 2], [0, 2, 5], [0, 2, 5]),
        ([0, 12], COCO_IDS, None),  # the fourteenth, or 13 as id less 1?
        ([0, 80], COCO_IDS, None),
        ([11, 12], COCO_IDS, None),
        ([0, 1], [0, 2, 5], None),
        ([0, 32], [1], None),
        ([-1, 0], [1, 2], None),
        ([2, 4], [1, 2, 3], None),
    ],
)
def test_categories_by_position(found, known, meant):
    table = by_position(found, known)
    assert table == (None if meant is None else dict(zip(found, meant, strict=True)))


def test_categories_counted_from_zero_are_said(tmp_path):
    content = listed(["s.jpg"], categories=COCO_IDS)
    found = read(tmp_path, content, [result(1, n) for n in (0, 11, 79.0, "2")])
    assert [i.category_id for i in found.instances] == [1, 13, 90, 3]
    (note,) = [note for note in found.notes if note.code == "category_by_position"]
    assert "0 is 'c1' (id 1), 79 is 'c90' (id 90)" in note.text


def test_categories_that_are_not_certain_are_refused_as_a_whole(tmp_path):
    content = listed(["s.jpg"], categories=COCO_IDS)
    for on_error in ("stop", "skip"):
        results = [result(1, n) for n in (11, 12, 13)]
        line = refused(tmp_path, content, results, on_error=on_error)
        assert "absent_category: category_id 12 (1 box) is not among the file's (1, 2, " in line
    found = read(tmp_path, content, [result(1, n) for n in (11, 13)])
    assert [i.category_id for i in found.instances] == [11, 13]
    assert codes(found) == []


@pytest.mark.parametrize("key", ["category_name", "class_name", "name"])
def test_categories_by_name(tmp_path, key):
    content = listed(["s.jpg"], categories=(1, 2, 5))
    results = [result(1, 41, **{key: "C5"}), result(1, 7, **{key: " c1"})]
    found = read(tmp_path, content, results)
    assert [i.category_id for i in found.instances] == [5, 1]
    assert codes(found) == ["category_by_name"]
    # Ids that are the file's, but of other categories: the names are right.
    results = [result(1, 1, **{key: "c2"}), result(1, 2, **{key: "c5"})]
    assert [i.category_id for i in read(tmp_path, content, results).instances] == [2, 5]
    # Names that are nobody's do not matter where ids fit; where not, there is no way.
    other = [result(1, 1, **{key: "Katze"}), result(1, 5, **{key: "Hund"})]
    assert [i.category_id for i in read(tmp_path, content, other).instances] == [1, 5]
    assert "absent_category" in refused(tmp_path, content, [result(1, 9, **{key: "Katze"})])
    part = [result(1, 40, **{key: "c2"}), result(1, 9, **{key: "Katze"})]
    found = read(tmp_path, content, part, on_error="skip")
    assert [i.category_id for i in found.instances] == [2]
    assert "9 ('Katze') is none of the file's" in found.problems[0].text


@pytest.mark.parametrize(
    ("given", "meant", "said"),
    [
        ([0.25, 1], [0.25, 1], []),
        ([25, 99.5], [0.25, 0.995], ["score_percent"]),
        (["0.25", "1e-1"], [0.25, 0.1], ["score_text"]),
        (["93 %", "7%"], [0.93, 0.07], ["score_text"]),
        (["93 %", 0.5], [0.93, 0.5], ["score_text"]),
        ([1.00001, 0.5], [1, 0.5], []),
        ([None, None], [1, 1], ["no_scores"]),
    ],
)
def test_scores(tmp_path, given, meant, said):
    results = [result(1, score=score) for score in given]
    found = read(tmp_path, listed(["s.jpg"]), results)
    assert [a["score"] for a in found.document["annotations"]] == pytest.approx(meant)
    assert codes(found) == said


@pytest.mark.parametrize("score", [None, "high", -0.1, 2, True, "130 %", [0.5]])
def test_a_bad_score_among_good_ones(tmp_path, score):
    results = [result(1), result(1, score=score), result(1)]
    assert "annotation 2: bad_score: " in refused(tmp_path, listed(["s.jpg"]), results)
    found = read(tmp_path, listed(["s.jpg"]), results, on_error="skip")
    assert [i.id for i in found.instances] == [1, 3]


@pytest.mark.parametrize("score", [float("nan"), "NaN", ""])
def test_a_box_with_nan_for_a_score_is_left_out_and_said(tmp_path, score):
    results = [result(1), result(1, score=score), result(1)]
    found = read(tmp_path, listed(["s.jpg"]), results)
    assert [i.id for i in found.instances] == [1, 3]
    (note,) = found.notes
    assert note.code == "passed_over"
    assert "1 box with NaN for a score left out, the first is number 2" in note.text
    assert "1 box with NaN" in refused(tmp_path, listed(["s.jpg"]), results[1:2])


@pytest.mark.parametrize(("first", "given"), [(1, [0, 1, 2]), (0, [1, 2, 3]), (1, ["0", 1.0])])
def test_images_counted_from_another_number_are_refused_as_a_whole(tmp_path, first, given):
    content = listed(["a.jpg", "b.jpg", "c.jpg"], first_id=first)
    for on_error in ("stop", "skip"):
        line = refused(tmp_path, content, [result(n) for n in given], on_error=on_error)
        assert "absent_image: image_id " in line
        assert f"and the file's from {first}; give each box a file_name" in line
    # Said to be ids, or with names: no doubt is left.
    results = [result(n) for n in given]
    found = read(tmp_path, content, results, boxes_by="id", on_error="skip")
    assert [i.image.id for i in found.instances] == [
        int(n) for n in given if 0 <= int(n) - first < 3
    ]
    named = [result(n, file_name=name) for n, name in zip(given, ("a.jpg", "b", "c"), strict=False)]
    found = read(tmp_path, content, named)
    assert [i.image.file_name for i in found.instances] == ["a.jpg", "b.jpg", "c.jpg"][: len(given)]


def with_text_ids(content):
    for name in ("images", "categories"):
        for entry in content[name]:
            entry["id"] = f"{name}-{entry['id']}"
    return content


def test_text_ids_of_images_and_categories(tmp_path):
    content = with_text_ids(listed(["s.jpg", "t.jpg"], categories=(1, 2)))
    results = [result("images-2", "categories-2"), result("s", "c1"), result("images-1", " C2")]
    found = read(tmp_path, content, results[:1])
    assert [(i.image.file_name, i.category) for i in found.instances] == [("t.jpg", "c2")]
    assert codes(found) == ["ids_numbered"]
    found = read(tmp_path, content, results[1:])
    assert [(i.image.file_name, i.category) for i in found.instances] == [
        ("s.jpg", "c1"),
        ("s.jpg", "c2"),
    ]
    # The new numbers are nobody's ids, and positions among text mean nothing.
    assert "absent_image: " in refused(tmp_path, content, [result(1, "c1")])
    assert "absent_category: " in refused(tmp_path, content, [result("s", 0)])


@pytest.mark.parametrize("key", ["category_id", "category"])
def test_a_name_in_place_of_a_category_id(tmp_path, key):
    content = listed(["s.jpg"], categories=(1, 2, 5))
    rows = [{"image_id": 1, key: name, "score": 0.5} for name in ("C5", "c1")]
    found = read(tmp_path, content, rows)
    assert [i.category_id for i in found.instances] == [5, 1]
    assert codes(found) == ["category_by_name"]
    found = read(tmp_path, {"images": content["images"]}, rows)
    assert [i.category for i in found.instances] == ["C5", "c1"]


CORNERS = [[x, y, x + w, y + h] for x, y, w, h in BOXES]
SQUARE = {"id": 1, "file_name": "s.jpg", "width": 100, "height": 100}
TORCHVISION = {"boxes": CORNERS[:2], "labels": [2, 1], "scores": [0.5, 0.25]}
MMDETECTION = {"file_name": "t.jpg", "bboxes": CORNERS[:2]}
MMDETECTION |= {"labels": [2, 1], "scores": [0.5, 0.25]}
DETECTRON = {"bbox": CORNERS[0], "bbox_mode": 0, "category_id": 2, "score": 0.5}
ROBOFLOW = {"x": 5, "y": 6.5, "width": 8, "height": 9, "confidence": 0.5}
ROBOFLOW |= {"class": "c2", "class_id": 0, "image_path": "/x/t.jpg"}
PANDAS = dict(zip(("xmin", "ymin", "xmax", "ymax"), CORNERS[0], strict=True))
PANDAS |= {"image": "t.jpg", "confidence": 0.5, "class": 0, "name": "c2"}
ULTRALYTICS = {"name": "c2", "class": 0, "confidence": 0.5}
ULTRALYTICS["box"] = dict(zip(("x1", "y1", "x2", "y2"), CORNERS[0], strict=True))


@pytest.mark.parametrize("key", ["image_id", "file_name"])
@pytest.mark.parametrize(
    "name",
    ["b_jpg.rf.0a1b2c.jpg", "x/b_jpg.rf.0a1b2c.jpg", "b_jpg.rf.0a1b2c", "1a2b3c4d-b.jpg"],
)
def test_what_tools_add_to_names_is_left_out(tmp_path, key, name):
    rows = [result(None) | {key: given} for given in (name, "a.jpg")]
    found = read(tmp_path, listed(["a.jpg", "b.jpg"]), rows)
    assert [instance.image.file_name for instance in found.instances] == ["b.jpg", "a.jpg"]
    assert "by_name" in codes(found)
    own = read(tmp_path, listed(["a.jpg", "b.jpg", name.removeprefix("x/")]), rows)
    assert own.instances[0].image.id == 3


@pytest.mark.parametrize("other", ["b.jpg", "b_jpg.rf.ffffff.jpg", 2])
def test_two_names_never_mean_one_picture(tmp_path, other):
    rows = [result("b_jpg.rf.0a1b2c.jpg"), result(other)]
    assert "image_taken" in refused(tmp_path, listed(["a.jpg", "b.jpg"]), rows)


@pytest.mark.parametrize("key", ["name", "label"])
@pytest.mark.parametrize("known", [(1, 2), ()])
def test_the_name_of_the_image_is_no_category(tmp_path, key, known):
    rows = [result(1, n, **{key: "s.JPG"}) for n in (2, 1)]
    found = read(tmp_path, listed(["s.jpg"], categories=known), rows)
    names = [f"c{n}" if known else f"category {n}" for n in (2, 1)]
    assert [instance.category for instance in found.instances] == names
    assert "category_by_name" not in codes(found)


@pytest.mark.parametrize(
    "written",
    [
        [TORCHVISION | {"image_id": 2}],
        [TORCHVISION | {"file_name": "t.jpg"}],
        {"t.jpg": TORCHVISION},
        {"s.jpg": {"boxes": [], "labels": [], "scores": []}, "t.jpg": TORCHVISION},
        {"t.jpg": [ULTRALYTICS, ULTRALYTICS | {"name": "c1"}]},
        [ULTRALYTICS | {"image": "t"}, ULTRALYTICS | {"path": "/x/t.jpg", "name": "c1"}],
        {"t.jpg": [result(None, n, bbox=BOXES[0]) for n in (2, 1)]},
        {"t.jpg": {"detections": [result(None, n, bbox=BOXES[0]) for n in (2, 1)]}},
        [{"image_id": 2, "instances": [result(2, n, bbox=BOXES[0]) for n in (2, 1)]}],
        [{"image": "t.jpg", "predictions": [result(None, n, bbox=BOXES[0]) for n in (2, 1)]}],
        [{"file_name": "s.jpg", "bboxes": [], "labels": [], "scores": []}, MMDETECTION],
        [{"image_id": 2, "annotations": [DETECTRON, DETECTRON | {"category_id": 1}]}],
        [result(2, 2, bbox=CORNERS[0], bbox_mode=0), result(2, 1, bbox=BOXES[0], bbox_mode=1)],
        {"predictions": [ROBOFLOW, ROBOFLOW | {"class": "c1"}]},
        [PANDAS, PANDAS | {"name": "c1"}],
        [PANDAS | {"width": 64, "height": 48}, PANDAS | {"name": "c1"}],
        {"t": TORCHVISION},
        {"2": TORCHVISION},
        {"1": {"boxes": [], "labels": [], "scores": []}, "2": TORCHVISION},
    ],
    ids=lambda value: json.dumps(value)[:30],
)
def test_what_detectors_write_where_the_image_is_certain(tmp_path, written):
    boxes = save(tmp_path, written, "predictions.json")
    content = listed(["s.jpg", "t.jpg"], categories=(1, 2))
    found = read_annotations(save(tmp_path, content), boxes=boxes)
    assert [(i.image.id, i.category) for i in found.instances] == [(2, "c2"), (2, "c1")]
    assert found.instances[0].box_xyxy.tolist() == CORNERS[0]
    assert found.document["annotations"][0]["score"] == 0.5
    assert found.document["annotations"][0]["bbox"] == BOXES[0]


@pytest.mark.parametrize(("form", "corner"), [("xywh", [5, 6.5]), ("cxcywh", [1, 2])])
def test_x_and_y_in_a_row_are_what_is_asked_for(tmp_path, form, corner):
    boxes = save(tmp_path, [{**ROBOFLOW, "class_id": n} for n in (1, 2)], "predictions.json")
    content = save(tmp_path, listed(["s.jpg", "t.jpg"], categories=(1, 2)))
    found = read_annotations(content, boxes=boxes, box_form=form)
    assert [i.box_xyxy[:2].tolist() for i in found.instances] == [corner, corner]


@pytest.mark.parametrize("form", ["xywh", "cxcywh", "xyxy_shares", "cxcywh_shares"])
def test_the_form_of_lists_side_by_side_is_the_one_asked_for(tmp_path, form):
    """They are torchvision's corners only where nothing else is asked for."""
    rng = np.random.default_rng(5)
    low, side = rng.uniform(40, 80, (24, 2)), rng.uniform(10, 18, (24, 2))
    first = {"xywh": low, "xyxy": low, "cxcywh": low + side / 2}[form.partition("_")[0]]
    second = low + side if form.startswith("xyxy") else side
    boxes = np.concatenate([first, second], axis=1) / (100 if form.endswith("_shares") else 1)
    written = {"boxes": boxes.tolist(), "labels": [1] * 24, "scores": [0.5] * 24}
    found = save(tmp_path, {"s.jpg": written}, "predictions.json")
    content = save(tmp_path, listed(["s.jpg"]) | {"images": [SQUARE]})
    with pytest.raises(UserError, match=rf"boxes_\w+: .*box_form=[^)]*\b{form}\b"):
        read_annotations(content, boxes=found)
    read = read_annotations(content, boxes=found, box_form=form)
    for instance, corner, extent in zip(read.instances, low, side, strict=True):
        np.testing.assert_allclose(instance.box_xyxy, [*corner, *corner + extent], atol=1e-6)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({f"{k}.jpg": [[1.25, 2.5, 8, 9, 0.5, 1]] * 20 for k in range(99)}, "boxes by file name"),
        ({"t.jpg": [[1, 2, 8, 9, 0.5, 1]]}, "does not say its form"),
        ({f"k{k}": [[1.25, 2.5, 8, 9, 0.5, 1]] * 20 for k in range(99)}, "found {'k0': "),
        ([TORCHVISION], "looks like torchvision's outputs"),
        (TORCHVISION, "looks like torchvision's outputs"),
        ([TORCHVISION | {"image_id": 1, "labels": [1]}], "not lists of one length"),
        ([ULTRALYTICS], "looks like Ultralytics' to_json"),
        ([{"label": "c1", "bounding_box": [0.1, 0.1, 0.2, 0.2]}], "looks like FiftyOne's"),
        ([{"image_id": 1, "predictions": [[1, 2, 8, 9, 0.5, 1]]}], "does not say its form"),
        ([{"image_id": 1, "box_2d": [1, 2, 8, 9], "label": "c1"}], "no row has a bbox: the first"),
        ([result(2, 2, bbox=CORNERS[0], bbox_mode=4)], "with boxes of bbox_mode 4"),
        ([result(2, 2, bbox=CORNERS[0], bbox_mode=[0])], "with boxes of bbox_mode [0]"),
        ([{k: v for k, v in ROBOFLOW.items() if k != "class_id"}], "or its centre"),
        ({"t.jpg": [{"label": "c1", "bounding_box": [0.1, 0.1, 0.2, 0.2]}]}, "like FiftyOne's"),
    ],
    ids=lambda value: json.dumps(value)[:30],
)
def test_what_detectors_write_is_named_in_a_short_line(tmp_path, written, said):
    boxes = save(tmp_path, written, "predictions.json")
    file = save(tmp_path, listed(["s.jpg", "t.jpg"], categories=(1, 2)))
    with pytest.raises(UserError) as caught:
        read_annotations(file, boxes=boxes)
    line = str(caught.value)
    assert said in line
    assert "expected COCO results: [{image_id or file_name, category_id, bbox, score}" in line
    assert len(line) < 300 + len(str(boxes))


def test_a_class_number_does_not_count_where_its_name_is_nobodys(tmp_path):
    """Ultralytics counts classes from 0: its 1 is not the file's."""
    content = listed(["s.jpg"], categories=(1, 2))
    rows = [ULTRALYTICS | {"file_name": "s.jpg", "name": "elk", "class": n} for n in (1, 2)]
    boxes = save(tmp_path, rows, "predictions.json")
    with pytest.raises(UserError, match="absent_category"):
        read_annotations(save(tmp_path, content), boxes=boxes)


def test_scores_partly_above_one_are_refused_as_a_whole(tmp_path):
    results = [result(1, score=score) for score in (0.4, 55, 98)]
    line = refused(tmp_path, listed(["s.jpg"]), results, on_error="skip")
    assert "bad_score: scores go from 0.4 to 98; expected 0 to 1" in line


@pytest.mark.parametrize("key", ["annotations", "predictions", "detections", "results"])
def test_boxes_in_an_object(tmp_path, key):
    found = read(tmp_path, listed(["s.jpg"]), {key: [result("s")]})
    assert [i.image.id for i in found.instances] == [1]


@pytest.mark.parametrize("content", [{}, {"boxes": 1}, "x", None, [], {"annotations": []}])
def test_no_list_of_boxes(tmp_path, content):
    boxes = save(tmp_path, content, "predictions.json")
    with pytest.raises(UserError, match=r"predictions\.json: (bad_document|no_annotations): "):
        read_annotations(save(tmp_path, listed(["s.jpg"])), boxes=boxes)


def test_a_whole_document_as_boxes_is_told_by_its_names(tmp_path):
    """Another split's numbers, and no scores."""
    boxes = {
        "annotations": [
            {"id": 70, "image_id": 1, "category_id": 2, "bbox": BOXES[0]},
            {"id": 71, "image_id": 2, "category_id": 1, "bbox": BOXES[1], "iscrowd": 1},
            {"id": 72, "image_id": 2, "category_id": 1, "bbox": BOXES[2], "iscrowd": 0},
        ],
        "images": [{"id": 1, "file_name": "t.jpg"}, {"id": 2, "file_name": "s.jpg"}],
        "categories": [{"id": 1, "name": "c5"}, {"id": 2, "name": "c1"}],
    }
    found = read(tmp_path, listed(["s.jpg", "t.jpg"], categories=(1, 2, 5)), boxes)
    placed = [(i.id, i.image.file_name, i.category) for i in found.instances]
    assert placed == [(1, "t.jpg", "c1"), (3, "s.jpg", "c5")]
    assert set(codes(found)) == {"by_name", "category_by_name", "no_scores", "crowds"}


def test_masks_are_dropped_and_counted(tmp_path):
    """A bad one, too: it costs nothing."""
    masks = [{"size": [HEIGHT, WIDTH], "counts": "x"}, [[1, 2, 3]], None]
    results = [result(1, segmentation=mask) for mask in masks]
    found = read(tmp_path, listed(["s.jpg"]), results)
    assert [i.points_source for i in found.instances] == ["box"] * 3
    assert all("segmentation" not in a for a in found.document["annotations"])
    (note,) = found.notes
    assert note.code == "mask_dropped"
    assert "2 of 3 boxes" in note.text


def test_what_is_wrong_with_a_box_names_the_boxes(tmp_path):
    results = [result(1, bbox=[1, 2, 0, 4]), result(1, bbox=None), result(1)]
    line = refused(tmp_path, listed(["s.jpg"]), results[:1])
    assert "annotation 1: empty_box: in " in line
    results[2]["bbox"] = BOXES[0]
    boxes = save(tmp_path, results, "predictions.json")
    found = read_annotations(save(tmp_path, listed(["s.jpg"])), boxes=boxes, on_error="skip")
    assert [i.id for i in found.instances] == [3]
    assert {p.code for p in found.problems} == {"empty_box", "nothing_given"}
    assert all("predictions.json: " in p.text for p in found.problems)


@pytest.mark.parametrize("absent", [{}, {"annotations": None}, {"annotations": []}])
@pytest.mark.parametrize("categories", [{}, {"categories": None}, {"categories": []}])
def test_a_file_that_lists_only_images(tmp_path, absent, categories):
    content = {"images": listed(["s.jpg", "t.jpg"])["images"]} | absent | categories
    file = save(tmp_path, content)
    assert [problem.code for problem in check_file(file)] == ["no_annotations"]
    with pytest.raises(UserError, match="no_annotations: it lists images"):
        read_annotations(file)
    found = read(tmp_path, content, [result("t", 7), result("s", 0)])
    assert [(i.image.id, i.category) for i in found.instances] == [
        (2, "category 7"),
        (1, "category 0"),
    ]
    assert found.document["categories"] == [
        {"id": 0, "name": "category 0"},
        {"id": 7, "name": "category 7"},
    ]
    named = [result("t", 7, category_name="cat"), result("s", 0, category_name="dog")]
    assert [i.category for i in read(tmp_path, content, named).instances] == ["cat", "dog"]
    for row in named:
        del row["category_id"]
    found = read(tmp_path, content, named)
    assert [(i.category_id, i.category) for i in found.instances] == [(1, "cat"), (2, "dog")]
    named = [result("t", 7, category_name="cat"), result("s", 7, category_name="dog")]
    assert "category_id 7 is called both 'cat' and 'dog'" in refused(tmp_path, content, named)


def test_hostile_boxes_are_one_line(tmp_path):
    odd = [10**400, -1, 1e308, "9" * 5000, "/" * 3000, {"a": 1}, [[]], False, "\ud800", "..", ""]
    for value in odd:
        results = [result(value, score=0.5), result(1, value if value else 5)]
        boxes = save(tmp_path, [r | {"bbox": BOXES[0]} for r in results], "predictions.json")
        with pytest.raises(UserError) as caught:
            read_annotations(save(tmp_path, listed(["s.jpg"])), boxes=boxes)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("base", [0, 1])
def test_real_boxes_as_ultralytics_writes_them(tmp_path, coco_mini, base):
    """COCO's val2017 with its images renumbered: stems as numbers, classes counted on."""
    document = json.loads((coco_mini / "annotations" / "instances_val2017.json").read_text())
    order = sorted(c["id"] for c in document["categories"])
    stems = {i["id"]: int(i["file_name"].removesuffix(".jpg")) for i in document["images"]}
    numbers = {i["id"]: number for number, i in enumerate(document["images"], start=1)}
    truth = [a for a in document["annotations"] if not a["iscrowd"]]
    results = [
        result(stems[a["image_id"]], order.index(a["category_id"]) + base, bbox=a["bbox"])
        for a in truth
    ]
    images = [i | {"id": numbers[i["id"]]} for i in document["images"]]
    found = read(tmp_path, {"images": images, "categories": document["categories"]}, results)
    assert [(i.image.id, i.category_id) for i in found.instances] == [
        (numbers[a["image_id"]], a["category_id"]) for a in truth
    ]
    assert codes(found)[:2] == ["by_name", "category_by_position"]
