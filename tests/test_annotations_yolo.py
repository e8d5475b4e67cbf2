"""YOLO text files: boxes, polygons, predictions, layouts, names, what is passed over."""

import json
import re
import unicodedata

import numpy as np
import pytest
from foreign_exports import HEIGHT, SQUARE, TRIANGLE, WIDTH, flat, pictures
from PIL import Image

from exits_jax.annotations import check_file, read_annotations
from exits_jax.annotations.yolo_columns import columns_of
from exits_jax.system.errors import UserError

BOX = "1 0.4375 0.5 0.625 0.8"  # [10, 5, 60, 45]
POLYGON = "0 " + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in TRIANGLE)


MERGE_BOMB = "\n".join(
    f"k{i}: &k{i}\n  <<: [{', '.join([f'*k{i - 1}'] * 4)}]" for i in range(1, 40)
)


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def ultralytics(tmp_path):
    """A data set in Ultralytics' layout: images/SPLIT and labels/SPLIT beside data.yaml."""
    pictures(tmp_path / "images", "train/a.png", "train/b.png", "val/a.png")
    write(tmp_path / "labels/train/a.txt", BOX, "", POLYGON)
    write(tmp_path / "labels/train/b.txt")
    write(tmp_path / "labels/val/a.txt", BOX)
    write(
        tmp_path / "data.yaml",
        "path: .",
        "train: images/train",
        "val: images/val",
        "names:",
        "  0: cat",
        "  1: dog",
        "  2: bird",
    )
    return tmp_path


def test_boxes_and_polygons_in_one_file(ultralytics):
    read = read_annotations(ultralytics / "data.yaml", ultralytics / "images")
    box, polygon, other = read.instances
    np.testing.assert_allclose(box.box_xyxy, [10, 5, 60, 45])
    assert (box.category, box.category_id, box.points_source) == ("dog", 2, "box")
    assert read.categories == {1: "cat", 2: "dog", 3: "bird"}
    segmentation = read.document["annotations"][1]["segmentation"]
    assert segmentation[0] == pytest.approx(flat(TRIANGLE), abs=1e-4)
    assert polygon.category == "cat"
    # Two images are called a.png: each label file has its own.
    names = ["train/a.png", "train/b.png", "val/a.png"]
    assert [image.file_name for image in read.images.values()] == names
    assert other.image.path == ultralytics / "images/val/a.png"
    assert (read.images[1].width, read.images[1].height) == (WIDTH, HEIGHT)
    assert read.notes == []
    assert check_file(ultralytics / "data.yaml", ultralytics / "images") == []


@pytest.mark.parametrize("place", ["", "data.yaml", "labels"])
@pytest.mark.parametrize("images", ["", "images"])
def test_every_way_to_name_the_data_set(ultralytics, place, images):
    read = read_annotations(ultralytics / place, ultralytics / images)
    assert [instance.category for instance in read.instances] == ["dog", "cat", "dog"]
    assert all(record.path.is_file() for record in read.images.values())


def test_one_split_and_one_file(ultralytics):
    train = ultralytics / "labels/train"
    read = read_annotations(train, ultralytics / "images/train")
    assert [image.file_name for image in read.images.values()] == ["a.png", "b.png"]
    assert [instance.category for instance in read.instances] == ["dog", "cat"]
    read = read_annotations(train / "a.txt", ultralytics / "images/train")
    assert len(read.instances) == 2
    assert read.notes[0].text.endswith("so no object: 1 (the first: b.png)")


def test_roboflow_s_layout(tmp_path):
    """train/images beside train/labels, paths that begin with ../, names in a list."""
    pictures(tmp_path, "train/images/a_png.rf.1.png", "valid/images/a_png.rf.2.png")
    write(tmp_path / "train/labels/a_png.rf.1.txt", BOX)
    write(tmp_path / "valid/labels/a_png.rf.2.txt", POLYGON)
    yaml = write(
        tmp_path / "data.yaml",
        "train: ../train/images",
        "val: ../valid/images",
        "test: ../test/images",
        "nc: 2",
        "names: ['cat', 'dog']",
    )
    read = read_annotations(yaml, tmp_path)
    assert [instance.category for instance in read.instances] == ["dog", "cat"]
    assert read.instances[1].image.path == tmp_path / "valid/images/a_png.rf.2.png"
    (note,) = read.notes
    assert note.text.startswith("splits of the data.yaml are not below its folder and not read")
    assert len(read_annotations(tmp_path, tmp_path).instances) == 2
    one = read_annotations(tmp_path / "valid/labels", tmp_path / "valid/images")
    assert [instance.category for instance in one.instances] == ["cat"]


def test_names_from_classes_txt_or_none(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "txt/a.txt", BOX)
    read = read_annotations(tmp_path / "txt", images)
    assert read.categories == {1: "1"}
    write(tmp_path / "txt/classes.txt", "cat", "dog")
    read = read_annotations(tmp_path / "txt", images)
    assert read.categories == {1: "cat", 2: "dog"}
    assert read.instances[0].category == "dog"


def test_predictions_have_a_confidence(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", f"{BOX} 0.75", f"{POLYGON} 0.5")
    read = read_annotations(tmp_path / "labels", images)
    box, polygon = read.document["annotations"]
    assert (box["score"], polygon["score"]) == (0.75, 0.5)
    assert box["bbox"] == pytest.approx([10, 5, 50, 40])
    assert len(polygon["segmentation"][0]) == 6


@pytest.mark.parametrize("rest", ["0.2 0.3 2 0.4 0.5 1", "0.2 0.3 2 " * 17, "0 0 0"])
def test_key_points_are_counted_and_their_box_read(tmp_path, rest):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", f"{BOX} {rest}")
    read = read_annotations(tmp_path / "labels", images)
    np.testing.assert_allclose(read.instances[0].box_xyxy, [10, 5, 60, 45])
    assert read.notes[0].text.startswith(
        "objects have keypoints, which are not read; their boxes are: 1"
    )


def test_kpt_shape_tells_key_points_from_polygons(tmp_path):
    """Two key points without visibility are as many numbers as a polygon of four corners."""
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", f"{BOX} 0.2 0.3 0.4 0.9")
    yaml = write(tmp_path / "data.yaml", "train: images", "names: [cat, dog]", "kpt_shape: [2, 2]")
    read = read_annotations(yaml, images)
    np.testing.assert_allclose(read.instances[0].box_xyxy, [10, 5, 60, 45])
    assert "segmentation" not in read.document["annotations"][0]


def test_turned_boxes_are_no_masks(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    diamond = [[40, 10], [55, 25], [40, 40], [25, 25]]
    lines = [
        " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in corners) for corners in (diamond, SQUARE)
    ]
    kite = "0 0.5 0.1 0.7 0.3 0.5 0.9 0.3 0.3"
    write(tmp_path / "labels/a.txt", *(f"0 {line}" for line in lines), kite)
    read = read_annotations(tmp_path / "labels", images)
    boxes = [instance.box_xyxy.tolist() for instance in read.instances]
    assert boxes[:2] == [pytest.approx([25, 10, 55, 40]), pytest.approx([60, 20, 70, 30])]
    assert [instance.points_source for instance in read.instances] == ["box", "box", "mask"]
    assert read.notes[0].text.startswith("rectangles by four corners (OBB) are read as")
    assert ": 2 (the first: a.txt: line 1)" in read.notes[0].text


@pytest.mark.parametrize("degrees", [0, 5, 15])
@pytest.mark.parametrize("end", ["", " 0.5", " 0.5 7"])
def test_narrow_turned_boxes_are_no_key_points(tmp_path, degrees, end):
    """As a box and two key points they look like such: the points lie in the box."""
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (640, 480)).save(images / "a.png")
    turn = np.exp(1j * np.radians(degrees))
    around = np.array([-9 - 35j, 9 - 35j, 9 + 35j, -9 + 35j]) * turn
    lines, found = [], []
    for k in range(6):
        corners = around + complex(160 + 57 * k, 216 + 12 * k)
        found.append([corners.real.min(), corners.imag.min(), corners.real.max()])
        shares = np.stack([corners.real / 640, corners.imag / 480], axis=1)
        lines.append("0 " + " ".join(f"{number:.6f}" for number in shares.ravel()) + end)
    write(tmp_path / "labels/a.txt", *lines)
    for read in (
        read_annotations(tmp_path / "labels", images),
        read_annotations(images, images, boxes=tmp_path / "labels"),
    ):
        assert [row.points_source for row in read.instances] == ["box"] * 6
        boxes = [instance.box_xyxy[:3] for instance in read.instances]
        np.testing.assert_allclose(boxes, found, atol=0.01)


def test_what_belongs_to_nothing_is_counted(tmp_path):
    images = pictures(tmp_path / "images", "a.png", "free.png")
    write(tmp_path / "labels/a.txt", BOX)
    write(tmp_path / "labels/lost.txt", BOX)
    write(tmp_path / "labels/classes.txt", "cat", "dog")
    read = read_annotations(tmp_path / "labels", images)
    assert read.notes[0].text == (
        "label files have no image: 1 (the first: lost.txt); "
        "images have no label file, so no object: 1 (the first: free.png)"
    )
    assert [image.file_name for image in read.images.values()] == ["a.png", "free.png"]
    assert len(read.instances) == 1


def test_labels_far_from_their_images(tmp_path):
    """Predictions lie flat in a folder of their own: the only image of that name is meant."""
    images = pictures(tmp_path / "images", "x/a.png", "y/b.png", "z/b.png")
    write(tmp_path / "runs/predict/a.txt", BOX)
    assert read_annotations(tmp_path / "runs/predict", images).images[1].file_name == "x/a.png"
    write(tmp_path / "runs/predict/b.txt", BOX)
    with pytest.raises(UserError, match=r"ambiguous_image: b\.txt: 2 images have this name"):
        read_annotations(tmp_path / "runs/predict", images)


def test_two_label_files_of_one_image(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/train/a.txt", BOX)
    write(tmp_path / "labels/val/a.txt", BOX)
    with pytest.raises(UserError, match=r"duplicate_image: .* both mean the image 'a\.png'"):
        read_annotations(tmp_path / "labels", images)


def test_paths_of_the_yaml_are_not_followed_out_of_its_folder(tmp_path):
    pictures(tmp_path / "secret/images", "a.png")
    write(tmp_path / "secret/labels/a.txt", BOX, BOX)
    images = pictures(tmp_path / "mine/images", "a.png")
    write(tmp_path / "mine/labels/a.txt", BOX)
    for line in (f"path: {tmp_path}/secret", "path: ../secret", "path: mine/../../secret"):
        yaml = write(tmp_path / "mine/data.yaml", line, "train: images", "names: [cat, dog]")
        assert len(read_annotations(yaml, images).instances) == 1
    for line in (f"train: {tmp_path}/secret/images", "train: ../secret/images"):
        yaml = write(tmp_path / "mine/data.yaml", line, "names: [cat, dog]")
        read = read_annotations(yaml, images)
        assert len(read.instances) == 1  # all labels below the yaml's folder
        assert read.notes[0].text.startswith("splits of the data.yaml are not below its folder")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_text_from_windows(tmp_path, encoding):
    images = pictures(tmp_path / "images", "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_bytes(f"{BOX}\r\n{POLYGON}\r\n".encode(encoding))
    assert len(read_annotations(tmp_path / "labels", images).instances) == 2


@pytest.mark.parametrize(
    "line",
    [
        "1,0.4375,0.5,0.625,0.8",
        "1, 0.4375, 0.5, 0.625, 0.8",
        "guide dog 0.4375 0.5 0.625 0.8",
        "guide dog,0.4375,0.5,0.625,0.8",
    ],
)
def test_commas_and_names_of_classes(tmp_path, line):
    images = pictures(tmp_path / "images", "a.png")
    label = write(tmp_path / "labels/a.txt", line)
    write(tmp_path / "data.yaml", "names: [cat, guide dog]")
    for file in (label, tmp_path / "labels", tmp_path / "data.yaml"):
        (instance,) = read_annotations(file, images).instances
        assert instance.category == "guide dog"
        np.testing.assert_allclose(instance.box_xyxy, [10, 5, 60, 45])
    assert check_file(label, images) == []


def test_a_detector_s_boxes_without_confidences_are_said(tmp_path):
    """As of JSON: none at all is a note, and one without among others a mistake."""
    images = pictures(tmp_path / "images", "a.png")
    label = write(tmp_path / "labels/a.txt", BOX, BOX.replace("1 ", "0 ", 1))
    read = read_annotations(images, images, boxes=label)
    assert [row["score"] for row in read.document["annotations"]] == [1, 1]
    assert "no box has a score: each is taken as 1" in said(read)
    write(label, f"{BOX} 0.5", BOX)
    with pytest.raises(UserError, match=r"bad_score: .* score is None"):
        read_annotations(images, images, boxes=label)
    write(label, f"{BOX} 0.5", f"{BOX} 0.25")
    read = read_annotations(images, images, boxes=label)
    assert [row["score"] for row in read.document["annotations"]] == [0.5, 0.25]
    assert "no box has a score" not in said(read)


def test_a_polygon_with_commas_is_no_track(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    label = write(tmp_path / "labels/a.txt", POLYGON.replace(" ", ","))
    assert read_annotations(tmp_path / "labels", images).instances[0].points_source == "mask"
    assert read_annotations(label, images).instances[0].points_source == "mask"


def test_a_name_that_is_nowhere_listed(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", "dog 0.4375 0.5 0.625 0.8")
    with pytest.raises(UserError, match=r"line 1: class 'dog' is a name that no data\.yaml or"):
        read_annotations(tmp_path / "labels", images)


@pytest.mark.parametrize(
    ("numbers", "unit"),
    [
        ("35 25 50 40 9 9", r"\(they fit as pixels of 80 x 50.* or as per cent, .*100\)"),
        ("35 80 50 40 9 9", r"\(they fit as per cent, to be divided by 100\)"),
        ("35 250 50 40 9 9", "from 0 to 1$"),
    ],
)
def test_other_units_of_polygons_are_named(tmp_path, numbers, unit):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", f"0 {numbers}")
    with pytest.raises(UserError, match=f"bad_number: .*{unit}"):
        read_annotations(tmp_path / "labels", images)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("1 0.4 0.5 0.6", "bad_number"),
        ("zebra 0.4 0.5 0.6 0.8", "absent_category"),
        ("cat 0.4 0.5 x 0.8", "bad_number"),
        ("0 0,4 0,5 0,6 0,8", "bad_number"),
        ("1.5 0.4 0.5 0.6 0.8", "bad_number"),
        ("-1 0.4 0.5 0.6 0.8", "bad_number"),
        ("1 0.4 nan 0.6 0.8", "bad_number"),
        ("1 0.4 1e400 0.6 0.8", "bad_number"),
        ("1 35 25 50 40", "bad_number"),  # pixels
        ("1 0.5 0.5 0 0.8", "empty_box"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 7", "bad_number"),
        ("2 0.4 0.5 0.6 0.8", "absent_category"),
        ("99999999999999999999 0.4 0.5 0.6 0.8", "absent_category"),
    ],
)
def test_mistakes_are_named_and_nothing_else_is_lost(tmp_path, line, code):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", BOX, line)
    write(tmp_path / "labels/classes.txt", "cat", "dog")
    with pytest.raises(UserError, match=rf"{code}: a\.txt: line 2: "):
        read_annotations(tmp_path / "labels", images)
    read = read_annotations(tmp_path / "labels", images, on_error="skip")
    assert [problem.code for problem in read.problems] == [code]
    assert len(read.instances) == 1
    assert code in [problem.code for problem in check_file(tmp_path / "labels", images)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("names: [cat, cat]", "bad_category"),
        ("names: {a: cat}", "bad_category"),
        ("names: [[cat]]", "bad_category"),
        ("names: 3", "bad_category"),
        ("- names", "bad_yaml"),
        ("names: [", "bad_yaml"),
        ("names: !!python/object/apply:os.mkdir [x]", "bad_yaml|absent_category"),
        (f"k0: &k0 {{b: c}}\n{MERGE_BOMB}\nnames: *k39", "bad_category"),
        ("[" * 9000, "bad_yaml"),
        ("x" * 600_000, "bad_yaml"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nnames: [*c, *c]", "bad_category"),
    ],
)
def test_bad_yaml(tmp_path, text, code):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", BOX)
    yaml = write(tmp_path / "data.yaml", text)
    with pytest.raises(UserError, match=code):
        read_annotations(yaml, images, on_error="skip")


def test_classes_that_yaml_takes_for_something_else(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", BOX)
    yaml = write(tmp_path / "data.yaml", "names: [yes, no, 3, 2026-01-01]")
    read = read_annotations(yaml, images)
    assert list(read.categories.values()) == ["yes", "no", "3", "2026-01-01"]
    assert read.instances[0].category == "no"


def test_a_folder_without_labels(tmp_path):
    pictures(tmp_path / "images", "a.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(UserError, match="no_annotations: no text file of labels"):
        read_annotations(tmp_path, tmp_path)


SHARES = np.random.default_rng(3).uniform(0.02, 0.6, (24, 4))
SHARES[:, 2:] = (1 - SHARES[:, :2]) * (0.5 + SHARES[:, 2:] / 1.25)  # x, y, width, height


def written(form: str) -> np.ndarray:
    """The boxes of `SHARES` as a converter writes them that takes YOLO's form for another one."""
    x, y, width, height = SHARES.T
    shares = {
        "xywh": (x, y, width, height),
        "xyxy": (x, y, x + width, y + height),
        "cxcywh": (x + width / 2, y + height / 2, width, height),
    }[form.partition("_")[0]]
    units = {"shares": 1, "percent": 100, "thousandths": 1000}
    unit = form.partition("_")[2]
    return np.stack(shares, axis=1) * (units[unit] if unit else [WIDTH, HEIGHT] * 2)


@pytest.mark.parametrize(
    "form",
    ["xywh_shares", "xyxy_shares", "xyxy", "cxcywh", "cxcywh_percent", "xyxy_thousandths"],
)
@pytest.mark.parametrize("score", ["", " 0.5"])
def test_boxes_of_another_form_are_told_over_the_whole_set(tmp_path, form, score):
    images = pictures(tmp_path / "images", "a.png", "b.png")
    lines = [f"0 {' '.join(f'{v:.5f}' for v in row)}{score}" for row in written(form)]
    write(tmp_path / "labels/a.txt", *lines[:12])
    write(tmp_path / "labels/b.txt", *lines[12:], POLYGON)
    for on_error in ("stop", "skip"):
        with pytest.raises(UserError, match=r"boxes_\w+: ") as caught:
            read_annotations(tmp_path / "labels", images, on_error=on_error)
        assert re.search(rf"box_form=[^)]*\b{form}\b", str(caught.value))
        assert "(cxcywh_shares: as they are)" in str(caught.value)
    (found,) = check_file(tmp_path / "labels", images)
    assert found.text in str(caught.value)
    read = read_annotations(tmp_path / "labels", images, box_form=form)
    assert [instance.points_source for instance in read.instances] == ["box"] * 24 + ["mask"]
    x, y, width, height = (SHARES * ([WIDTH, HEIGHT] * 2)).T
    boxes = np.stack([x, y, x + width, y + height], axis=1)
    for instance, box in zip(read.instances, boxes, strict=False):
        np.testing.assert_allclose(instance.box_xyxy, box, atol=0.01)


@pytest.mark.parametrize("form", ["cxcywh_shares", "xyxy_shares", "xyxy", "cxcywh_percent"])
def test_a_detector_s_boxes_are_of_the_form_that_is_asked_for(tmp_path, form):
    images = pictures(tmp_path / "images", "a.png")
    label = write(tmp_path / "labels/a.txt", *(f"{line} 0.5" for line in texts(written(form))))
    read = read_annotations(images, images, boxes=label, box_form=form)
    own = read_annotations(label.parent, images, box_form=form)
    for row, same, box in zip(read.instances, own.instances, written("xyxy"), strict=True):
        np.testing.assert_allclose(row.box_xyxy, box, atol=0.01)
        np.testing.assert_allclose(same.box_xyxy, box, atol=0.01)
    if form != "cxcywh_shares":
        for file, boxes in ((label.parent, None), (images, label)):
            with pytest.raises(UserError, match=rf"boxes_\w+: .*box_form=[^)]*\b{form}\b"):
                read_annotations(file, images, boxes=boxes)


def test_right_boxes_are_right(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    lines = [f"0 {' '.join(map(str, row))}" for row in written("cxcywh_shares")]
    write(tmp_path / "labels/a.txt", *lines)
    assert len(read_annotations(tmp_path / "labels", images).instances) == 24
    assert {p.code for p in check_file(tmp_path / "labels", images)} <= {"near_duplicate"}


RNG = np.random.default_rng(5)


def spread(boxes: np.ndarray, count: int) -> np.ndarray:
    """`count` points in each of some boxes [n, 4] as centre and size."""
    inside = RNG.uniform(-0.5, 0.5, (len(boxes), count, 2))
    return boxes[:, None, :2] + boxes[:, None, 2:] * inside


def texts(*columns: np.ndarray) -> list[str]:
    """Lines of class 0 of arrays side by side."""
    rows = np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1)
    return [f"0 {' '.join(f'{number:.6g}' for number in row)}" for row in rows]


@pytest.mark.parametrize(("count", "what"), [(2, "xy"), (4, "xy"), (17, "xy"), (17, "xy conf")])
@pytest.mark.parametrize("end", ["", "conf"])
def test_key_points_without_visibility_are_told_over_the_whole_set(tmp_path, count, what, end):
    images = pictures(tmp_path / "images", "a.png")
    boxes = written("cxcywh_shares") * [1, 1, 0.4, 0.4]
    points = spread(boxes, count)
    if what == "xy conf":
        points = np.concatenate([points, RNG.uniform(0, 1, (len(boxes), count, 1))], axis=2)
    columns = [boxes, points] + [np.full((len(boxes), 1), 0.9)] * bool(end)
    write(tmp_path / "labels/a.txt", *texts(*columns))
    read = read_annotations(tmp_path / "labels", images)
    assert {instance.points_source for instance in read.instances} == {"box"}
    x, y, width, height = (boxes * ([WIDTH, HEIGHT] * 2)).T
    found = np.array([instance.box_xyxy for instance in read.instances])
    np.testing.assert_allclose(found[:, ::2].T, [x - width / 2, x + width / 2], atol=0.01)
    np.testing.assert_allclose(found[:, 1::2].T, [y - height / 2, y + height / 2], atol=0.01)
    assert "objects have keypoints, which are not read; their boxes are: 24" in said(read)
    assert {row.get("score") for row in read.document["annotations"]} == {0.9 if end else None}


def said(read) -> str:
    """All notes of what was read."""
    return "; ".join(note.text for note in read.notes)


def test_one_visibility_of_2_speaks_for_all_lines_of_its_length(tmp_path):
    """Two key points with visibility are as many numbers as a polygon of five corners."""
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", f"{BOX} 0.4 0.4 1 0.3 0.5 0", f"{BOX} 0.4 0.4 2 0.3 0.5 1")
    read = read_annotations(tmp_path / "labels", images)
    assert [instance.points_source for instance in read.instances] == ["box", "box"]


def test_few_lines_that_may_be_key_points_are_said(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    boxes = written("cxcywh_shares")[:2]
    write(tmp_path / "labels/a.txt", *texts(boxes, spread(boxes, 17)))
    read = read_annotations(tmp_path / "labels", images)
    assert "polygons may be keypoints (kpt_shape in a data.yaml says so): 2" in said(read)


def boxed(*outline, parts=()) -> str:
    """A line of an outline behind its box, which may be that of other parts as well."""
    points = np.array(outline) / [WIDTH, HEIGHT]
    around = np.array([*outline, *parts]) / [WIDTH, HEIGHT]
    low, high = around.min(axis=0), around.max(axis=0)
    return texts(np.array([[*(low + high) / 2, *high - low, *points.ravel()]]))[0]


@pytest.mark.parametrize("end", ["", " 0.5"])
def test_boxes_in_front_of_outlines_are_no_corners(tmp_path, end):
    images = pictures(tmp_path / "images", "a.png")
    five = [(20, 10), (40, 8), (50, 20), (38, 30), (18, 25)]
    lines = [boxed(*TRIANGLE), boxed(*five), boxed(*TRIANGLE, parts=[(2, 3)])]
    write(tmp_path / "labels/a.txt", *(line + end for line in lines))
    read = read_annotations(tmp_path / "labels", images)
    found = [row["segmentation"][0] for row in read.document["annotations"]]
    for outline, meant in zip(found, (TRIANGLE, five, TRIANGLE), strict=True):
        assert outline == pytest.approx(flat(meant), abs=1e-3)
    assert "boxes before outlines are not read; the outlines are: 3" in said(read)


def test_boxes_in_front_of_points_of_one_number_are_read(tmp_path):
    """Four corners of a plate, say, or an outline: their box is right for both."""
    images = pictures(tmp_path / "images", "a.png")
    quads = [[(20, 10), (40, 8), (50, 20), (18, 25)], [(20, 30), (60, 35), (50, 40), (18, 42)]]
    write(tmp_path / "labels/a.txt", *(boxed(*quad) for quad in quads))
    read = read_annotations(tmp_path / "labels", images)
    assert [row.points_source for row in read.instances] == ["box", "box"]
    np.testing.assert_allclose(read.instances[0].box_xyxy, [18, 8, 50, 25], atol=0.01)
    np.testing.assert_allclose(read.instances[1].box_xyxy, [18, 30, 60, 42], atol=0.01)


@pytest.mark.parametrize("corners", [3, 4, 5, 8, 17])
@pytest.mark.parametrize("size", [1, 4, 30, None])
def test_polygons_of_one_length_are_no_key_points(coco_mini, corners, size):
    """Real outlines, thinned to so many corners: whole and in small sets."""
    document = json.loads((coco_mini / "annotations/instances_val2017.json").read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in document["images"]}
    lines = []
    for row in document["annotations"]:
        if isinstance(row["segmentation"], list):
            outline = np.reshape(max(row["segmentation"], key=len), (-1, 2))
            outline = outline / sizes[row["image_id"]]
            chosen = np.linspace(0, len(outline), corners, endpoint=False).astype(int)
            lines.append(outline[chosen].ravel())
    sets = [lines[k : k + size] for k in range(0, 900, size)] if size else [lines]
    found = [columns_of(one, [(640, 480)] * len(one)) for one in sets]
    assert not any(columns[:3] != (0, False, False) for columns in found)
    assert np.mean([bool(columns.doubt) for columns in found]) < (0.06 if size == 1 else 0.01)


@pytest.mark.parametrize("ids", [[1, 2, 31], [1, 1, 1]])
def test_tracks_behind_confidences(tmp_path, ids):
    images = pictures(tmp_path / "images", "a.png")
    boxes = written("cxcywh_shares")[:3]
    column = np.array(ids)[:, None]
    write(tmp_path / "labels/a.txt", *texts(boxes, np.full((3, 1), 0.75), column), f"{BOX} 0.5")
    read = read_annotations(tmp_path / "labels", images)
    assert [instance.points_source for instance in read.instances] == ["box"] * 4
    assert [row["score"] for row in read.document["annotations"]] == [0.75, 0.75, 0.75, 0.5]
    assert "track numbers after the confidences are not read: 3 (" in said(read)
    document = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 3, "name": "x"}]}
    (tmp_path / "images.json").write_text(json.dumps(document | {"annotations": []}))
    label = write(tmp_path / "labels/a.txt", *texts(boxes, np.full((3, 1), 0.75), column))
    other = read_annotations(tmp_path / "images.json", images, boxes=label)
    for one, same in zip(other.instances, read.instances, strict=False):
        np.testing.assert_allclose(one.box_xyxy, same.box_xyxy)
    assert "category_by_position" in [note.code for note in other.notes]
    assert "0 is 'x' (id 3)" in said(other)
    assert "track numbers" in said(other)


def test_tracks_behind_polygons(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", f"{POLYGON} 0.75 1", f"{POLYGON} 0.2 0.3 0.5 17")
    read = read_annotations(tmp_path / "labels", images)
    assert [row["score"] for row in read.document["annotations"]] == [0.75, 0.5]
    outlines = [len(row["segmentation"][0]) for row in read.document["annotations"]]
    assert outlines == [6, 8]


def test_triangles_are_no_tracks(tmp_path):
    """A corner on the lower border is 1, as an id may be: then the "box" has to fit, too."""
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", "0 0.1 0.1 0.9 0.2 0.5 1", "0 0.1 0.2 0.9 0.3 0.4 1")
    read = read_annotations(tmp_path / "labels", images)
    assert [instance.points_source for instance in read.instances] == ["mask", "mask"]


@pytest.mark.parametrize("scores", [(0.9, 0.99), (0.3, 1.0)])
def test_confidence_in_front_of_the_box_is_refused(tmp_path, scores):
    images = pictures(tmp_path / "images", "a.png")
    column = np.linspace(*scores, 24)[:, None]
    label = write(tmp_path / "a.txt", *texts(column, written("cxcywh_shares")))
    for file, boxes in ((label, None), (images, label)):
        with pytest.raises(UserError, match=r"confidence_first: .* 24 are: write the confidence"):
            read_annotations(file, images, boxes=boxes)
    write(tmp_path / "a.txt", *texts(written("cxcywh_shares"), column))
    assert len(read_annotations(label, images).instances) == 24
    assert len(read_annotations(images, images, boxes=label).instances) == 24


@pytest.mark.parametrize(
    ("labels", "listed"),
    [
        ("train/labels", "data.yaml"),
        ("obj_train_data", "obj.names"),
        ("obj_train_data", "classes.txt"),
        ("labels", "coco8.yaml"),
        ("labels", "labels/predefined_classes.txt"),
        ("txt", "pets.yml"),
    ],
)
def test_names_of_classes_are_looked_for_near(tmp_path, labels, listed):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / labels / "a.txt", BOX)
    folder = tmp_path / labels.partition("/")[0]
    read = read_annotations(folder, images)
    assert read.instances[0].category == "1"
    assert "objects are called by the number of their class: no data.yaml" in said(read)
    names = ["names: [cat, dog]"] if "y" in listed[-4:] else ["cat", "dog"]
    write(tmp_path / listed, *names)
    for file in (folder, tmp_path / labels / "a.txt"):
        read = read_annotations(file, images)
        assert read.instances[0].category == "dog"
        assert read.notes == []


def test_names_of_another_data_set_are_not_taken(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "mine/a.txt", BOX)
    write(tmp_path / "data.yaml", "- a list")  # above: it is of something else
    assert read_annotations(tmp_path / "mine", images).instances[0].category == "1"
    (tmp_path / "data.yaml").unlink()
    for name in ("x.yaml", "y.yaml"):
        write(tmp_path / name, f"names: [cat, {name[0]}]")
    assert read_annotations(tmp_path / "mine", images).instances[0].category == "1"


@pytest.mark.parametrize("train", ["train.txt", "{root}/images", "{root}/images/"])
def test_splits_that_are_read_are_not_said_to_be_lost(tmp_path, train):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", BOX)
    write(tmp_path / "train.txt", "data/images/a.png")
    train = train.format(root=tmp_path)
    yaml = write(tmp_path / "data.yaml", "path: .", f"train: {train}", "names: [cat, dog]")
    read = read_annotations(yaml, images)
    assert len(read.instances) == 1
    assert read.notes == []


def test_splits_elsewhere_are_said_as_it_is(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", BOX)
    yaml = write(tmp_path / "data.yaml", "train: ../x/images", "names: [cat, dog]")
    read = read_annotations(yaml, images)
    assert said(read).startswith(
        "splits of the data.yaml are not below its folder and all labels in it are read: 1 ("
    )
    write(tmp_path / "data.yaml", "train: images", "val: ../x/images", "names: [cat, dog]")
    assert "not below its folder and not read: 1 (" in said(read_annotations(yaml, images))


HASH = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("label", "image", "way"),
    [
        ("img_1", "IMG_1.JPG", "their names in another case or Unicode form"),
        (
            unicodedata.normalize("NFD", "Ü1"),
            "Ü1.png",
            "their names in another case or Unicode form",
        ),
        ("img.jpg", "img.jpg", "their names without a doubled extension"),
        (f"img_jpg.rf.{HASH}", "img.jpg", "their names without Roboflow's additions"),
        (f"img_png.rf.{HASH}", "x/img.png", "their names without Roboflow's additions"),
        ("1a2b3c4d-img", "img.png", "their names without Label Studio's prefix"),
    ],
)
def test_images_of_other_names(tmp_path, label, image, way):
    images = pictures(tmp_path / "images", image, "z.png")
    write(tmp_path / "labels/classes.txt", "cat", "dog")
    write(tmp_path / f"labels/{label}.txt", BOX)
    write(tmp_path / "labels/z.txt", BOX)
    read = read_annotations(tmp_path / "labels", images)
    assert [instance.image.path for instance in read.instances] == [
        images / (image if name != "z.txt" else "z.png")
        for name in sorted([f"{label}.txt", "z.txt"])
    ]
    (note,) = read.notes
    assert note.code == "found_otherwise"
    assert note.text == f"1 image found by {way}: {label}.txt is of {image}"
    assert check_file(tmp_path / "labels", images) == []


@pytest.mark.parametrize("other", ["img", f"img_jpg.rf.{HASH[::-1]}"])
def test_two_labels_never_mean_one_picture(tmp_path, other):
    images = pictures(tmp_path / "images", "img.jpg", "z.png")
    for label in (f"img_jpg.rf.{HASH}", other, "z"):
        write(tmp_path / f"labels/{label}.txt", BOX)
    with pytest.raises(UserError, match=r"image_taken: .* it has no image of its name"):
        read_annotations(tmp_path / "labels", images)
    read = read_annotations(tmp_path / "labels", images, on_error="skip")
    names = [instance.image.file_name for instance in read.instances]
    assert names == (["img.jpg", "z.png"] if other == "img" else ["z.png"])


@pytest.mark.parametrize(
    ("name", "line", "what"),
    [
        ("obj.data", "classes = 2", "darknet's obj.data"),
        ("train.txt", "data/obj_train_data/a b.JPG", "a list of image files"),
        ("train.txt", "/home/me/a.png", "a list of image files"),
    ],
)
def test_lists_beside_labels_name_their_folder(tmp_path, name, line, what):
    images = pictures(tmp_path / "obj_train_data", "a.png")
    write(tmp_path / "obj_train_data/a.txt", BOX)
    file = write(tmp_path / name, line, "names = obj.names")
    with pytest.raises(UserError, match=f"looks like {what}, .* give the folder that it lies in"):
        read_annotations(file, images)
    read = read_annotations(tmp_path, images)  # a list is no label file without an image
    assert "label files have no image" not in said(read)


def test_why_there_is_nothing_to_label(tmp_path):
    images = pictures(tmp_path / "images", "a.png")
    label = write(tmp_path / "labels/b.txt", BOX)
    text = "images_missing: 1 label file, and no image of the same name; the first, b.txt"
    with pytest.raises(UserError, match=text):
        read_annotations(tmp_path / "labels", images)
    assert [problem.code for problem in check_file(tmp_path / "labels", images)] == [
        "images_missing"
    ]
    write(tmp_path / "labels/a.txt")
    label.write_text("")
    with pytest.raises(UserError, match=r"no_annotations: .*; label files hold no object: 2"):
        read_annotations(tmp_path / "labels", images)
    write(tmp_path / "labels/b.txt", BOX)
    found = check_file(images, images, boxes=label)
    assert [problem.code for problem in found] == ["absent_image"]


def test_boxes_that_were_divided_twice_are_refused(tmp_path):
    """They are shares as they should be, and all in the first pixel of their images."""
    images = pictures(tmp_path / "images", "a.png")
    write(tmp_path / "labels/a.txt", "0 0.005 0.008 0.006 0.01\n0 0.006 0.009 0.006 0.01")
    with pytest.raises(UserError, match="boxes_xywh_shares: the 2 boxes all lie within 1 px"):
        read_annotations(tmp_path / "labels", images)
