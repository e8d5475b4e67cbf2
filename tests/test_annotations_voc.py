"""PASCAL VOC: boxes from 1 inclusive, object numbers in the PNG, void, mistakes."""

import numpy as np
import pytest
from annotations_samples import HEIGHT, WIDTH, disc
from PIL import Image

from exits_jax.annotations import check_file, decode_segmentation, extreme_points, read_annotations
from exits_jax.system.errors import UserError


def element(name: str, box: tuple, extra: str = "") -> str:
    sides = "".join(
        f"<{side}>{value}</{side}>"
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    part = f"<part><name>head</name><bndbox>{sides}</bndbox></part>"
    return f"<object><name>{name}</name><bndbox>{sides}</bndbox>{extra}{part}</object>"


def save_xml(folder, name: str, *objects: str, size: bool = True):
    stated = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>" if size else ""
    path = folder / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><filename>{name}.png</filename>{stated}{''.join(objects)}</annotation>"
    )
    return path


def findings(*paths) -> list[str]:
    return [problem.code for problem in check_file(*paths) if not problem.note]


@pytest.fixture
def voc(tmp_path):
    """A VOC folder: two images, one with object masks and a void rim."""
    save_xml(
        tmp_path / "Annotations",
        "2007_000001",
        element("person", (6, 8, 19, 21), "<difficult>1</difficult>"),
        element("cat", (24, 3, 35, 14)),
        element("cat", (1, 25, 5, 30)),
    )
    save_xml(tmp_path / "Annotations", "2007_000002", element("dog", (1, 1, WIDTH, HEIGHT)))
    numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
    numbers[disc(12, 14, 8)] = 255
    numbers[disc(12, 14, 7)] = 1
    numbers[disc(29, 8, 6)] = 2
    numbers[:5, :5] = 3  # far from the third object's box
    (tmp_path / "SegmentationObject").mkdir()
    image = Image.fromarray(numbers).convert("P")
    image.putdata(numbers.ravel().tolist())
    image.save(tmp_path / "SegmentationObject" / "2007_000001.png")
    (tmp_path / "JPEGImages").mkdir()
    for name in ("2007_000001", "2007_000002"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages" / f"{name}.png")
    return tmp_path


def test_a_voc_folder(voc):
    read = read_annotations(voc, voc / "JPEGImages")
    assert [i.category for i in read.instances] == ["person", "cat", "cat", "dog"]
    assert [i.points_source for i in read.instances] == ["mask", "mask", "box", "box"]
    np.testing.assert_array_equal(read.instances[0].box_xyxy, [5, 7, 19, 21])
    np.testing.assert_array_equal(read.instances[3].box_xyxy, [0, 0, WIDTH, HEIGHT])
    np.testing.assert_array_equal(
        read.instances[0].points_xy, extreme_points(disc(12, 14, 7))
    )  # void pixels are nobody's
    assert [i.area for i in read.instances[:2]] == [disc(12, 14, 7).sum(), disc(29, 8, 6).sum()]
    assert read.instances[2].area == 30
    assert read.instances[0].image.path.is_file()
    assert read.document["annotations"][0]["difficult"] == 1
    assert read.categories[15] == "person"  # VOC's own alphabetical numbers
    mask = decode_segmentation(read.document["annotations"][1]["segmentation"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask, disc(29, 8, 6))
    assert [note.text for note in read.notes] == [
        "<part> elements are not read (their objects are): 4 (the first: 2007_000001.xml: object 1)"
    ]
    assert findings(voc, voc / "JPEGImages") == []


def test_images_without_an_xml_are_counted(voc):
    Image.new("RGB", (WIDTH, HEIGHT)).save(voc / "JPEGImages" / "2007_000009.png")
    (note,) = read_annotations(voc, voc / "JPEGImages").notes
    assert "images have no XML and are not read: 1 (the first: 2007_000009.png)" in note.text


@pytest.mark.parametrize(
    "stated", ["C:\\me\\pictures\\one.png", "one_png.rf.0123456789abcdef0123456789abcdef.png"]
)
def test_images_that_are_found_otherwise_have_an_xml(tmp_path, stated):
    path = save_xml(tmp_path / "xml", "one", element("dog", (1, 1, 9, 9)))
    path.write_text(path.read_text().replace("one.png", stated))
    (tmp_path / "images").mkdir()
    for name in ("one.png", "two.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / name)
    texts = [note.text for note in read_annotations(path.parent, tmp_path / "images").notes]
    assert any("have no XML and are not read: 1 (the first: two.png)" in text for text in texts)


def test_one_xml_and_a_plain_folder(voc):
    one = read_annotations(voc / "Annotations" / "2007_000001.xml")
    assert [i.points_source for i in one.instances] == ["mask", "mask", "box"]
    assert len(read_annotations(voc / "Annotations", kind="voc").instances) == 4


def test_own_classes_are_numbered_by_name(tmp_path):
    file = save_xml(tmp_path, "x", element("zebra", (1, 1, 3, 3)), element("ant", (1, 1, 3, 3)))
    assert read_annotations(file).categories == {1: "ant", 2: "zebra"}


def test_a_size_that_is_not_stated_comes_from_the_image(voc):
    file = save_xml(voc / "other", "2007_000002", element("dog", (1, 1, 3, 3)), size=False)
    image = read_annotations(file, voc / "JPEGImages").instances[0].image
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    with pytest.raises(UserError, match=r"bad_size: .*give the image folder"):
        read_annotations(file)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<annotation><obj", "bad_xml"),
        ("<html></html>", "bad_xml"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "bad_xml"),
        (
            "<annotation><filename>a&#10;b.jpg</filename><size><width>9</width><height>9</height>"
            "</size></annotation>",
            "unsafe_file_name",
        ),
        ("<annotation><object/></annotation>", "bad_size"),
    ],
)
def test_bad_xml(voc, text, code):
    (voc / "Annotations" / "2007_000003.xml").write_text(text)
    with pytest.raises(UserError, match=rf"{code}: 2007_000003\.xml: "):
        read_annotations(voc)
    read = read_annotations(voc, on_error="skip")
    assert [problem.code for problem in read.problems] == [code]
    assert len(read.instances) == 4
    assert findings(voc) == [code]


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ((1, 1, "x", 4), "bad_box"),
        ((1, 1, "nan", 4), "bad_box"),
        ((4, 1, 3, 4), "empty_box"),
        ((91, 1, 99, 4), "box_outside_image"),
    ],
)
def test_bad_boxes_name_their_xml(voc, box, code):
    save_xml(voc / "Annotations", "2007_000003", element("cat", box), element("cat", (1, 1, 2, 2)))
    with pytest.raises(UserError, match=f"{code}: .*2007_000003"):
        read_annotations(voc)
    read = read_annotations(voc, on_error="skip")
    assert ([problem.code for problem in read.problems], len(read.instances)) == ([code], 5)


@pytest.mark.parametrize(
    ("turn", "box"),
    [
        (0, [10, 10, 20, 14]),
        (np.pi / 2, [13, 7, 17, 17]),
        (0.75 * np.pi, [10.05, 7.05, 19.95, 16.95]),
    ],
)
def test_a_turned_box_of_rolabelimg_is_read_as_the_upright_one_around_it(tmp_path, turn, box):
    given = f"<cx>15</cx><cy>12</cy><w>10</w><h>4</h><angle>{turn}</angle>"
    turned = f"<object><type>robndbox</type><name>ship</name><robndbox>{given}</robndbox></object>"
    path = save_xml(tmp_path, "a", turned)
    read = read_annotations(path)
    np.testing.assert_allclose(read.instances[0].box_xyxy, box, atol=0.01)
    assert "rotated rectangles are read as the upright boxes around them: 1" in read.notes[0].text
    save_xml(tmp_path, "a", turned.replace("<angle>", "<turn>").replace("</angle>", "</turn>"))
    assert findings(path) == ["bad_number", "no_annotations"]


@pytest.mark.parametrize(
    ("degrees", "box"),
    [("0.0", [10, 10, 20, 14]), ("90.0", [13, 7, 17, 17]), ("135", [10.05, 7.05, 19.95, 16.95])],
)
def test_a_turned_box_of_cvat_is_read_as_the_upright_one_around_it(tmp_path, degrees, box):
    turn = f"<attribute><name>rotation</name><value>{degrees}</value></attribute>"
    other = "<attribute><name>colour</name><value>90</value></attribute>"
    given = element("ship", (11, 11, 20, 14), f"<attributes>{other}{turn}</attributes>")
    read = read_annotations(save_xml(tmp_path, "a", given))
    np.testing.assert_allclose(read.instances[0].box_xyxy, box, atol=0.01)
    said = "rotated rectangles are read as the upright boxes around them: 1" in read.notes[0].text
    assert said == (degrees != "0.0")


def test_bad_masks(voc):
    png = voc / "SegmentationObject" / "2007_000001.png"
    Image.new("P", (WIDTH, HEIGHT + 1)).save(png)
    with pytest.raises(UserError, match=r"image_size: 2007_000001\.xml"):
        read_annotations(voc)
    Image.new("RGB", (WIDTH, HEIGHT)).save(png)
    with pytest.raises(UserError, match=r"unreadable_image: 2007_000001\.xml"):
        read_annotations(voc)
    png.write_bytes(b"no image")
    assert len(read_annotations(voc, on_error="skip").instances) == 1


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match=r"no \.xml file"):
        read_annotations(tmp_path)


def test_a_file_cut_anywhere_is_bad_xml(voc):
    file = voc / "Annotations" / "2007_000001.xml"
    content = file.read_bytes()
    for end in range(1, len(content) - 1, 40):
        file.write_bytes(content[:end])
        with pytest.raises(UserError, match="bad_xml"):
            read_annotations(file)
        assert findings(voc) == ["bad_xml"]


# --- polygons of objects ---------------------------------------------------------------------

CORNERS = [[10.0, 5.0], [30.0, 8.0], [20.0, 25.0]]  # their box is [10, 5, 30, 25]
NUMBERED = "".join(f"<x{k}>{x}</x{k}><y{k}>{y}</y{k}>" for k, (x, y) in enumerate(CORNERS, 1))
POINTED = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in CORNERS)
FLAT = [side for corner in CORNERS for side in corner]


def polygon_object(box, *polygons: str) -> str:
    return element("cat", box, "".join(f"<polygon>{polygon}</polygon>" for polygon in polygons))


@pytest.mark.parametrize(
    ("box", "polygon"),
    [
        ((11, 6, 30, 25), NUMBERED),  # the box in VOC's way, the polygon on the image
        ((10, 5, 30, 25), NUMBERED),  # both on the image: X-AnyLabeling, Ultralytics' scripts
        ((10, 5, 29, 24), NUMBERED.replace(">5.0<", ">5.4<")),  # a box cut to whole numbers
        ((10, 5, 30, 25), f"<username>me</username>{POINTED}"),  # LabelMe's web tool
    ],
)
def test_polygons_are_the_segmentation(tmp_path, box, polygon):
    file = save_xml(tmp_path, "a", polygon_object(box, polygon))
    read = read_annotations(file)
    (annotation,) = read.document["annotations"]
    (segmentation,) = annotation["segmentation"]
    assert np.allclose(segmentation, FLAT, atol=0.5)
    np.testing.assert_allclose(annotation["bbox"], [10, 5, 20, 20], atol=0.5)
    assert read.instances[0].points_source == "mask"
    assert not any(not problem.note for problem in check_file(file))


def test_supervision_counts_polygons_from_one(tmp_path):
    """supervision 0.31: the box is VOC's, every corner is one more than on the image."""
    ones = "".join(
        f"<x{k}>{round(x) + 1}</x{k}><y{k}>{round(y) + 1}</y{k}>"
        for k, (x, y) in enumerate(CORNERS, 1)
    )
    file = save_xml(tmp_path, "a", polygon_object((11, 6, 30, 25), ones))
    (annotation,) = read_annotations(file).document["annotations"]
    assert annotation["segmentation"] == [FLAT]
    assert annotation["bbox"] == [10, 5, 20, 20]


def test_several_polygons_and_a_box_of_its_own(tmp_path):
    second = "<x1>32</x1><y1>5</y1><x2>38</x2><y2>5</y2><x3>38</x3><y3>12</y3>"
    file = save_xml(tmp_path, "a", polygon_object((11, 6, 38, 25), NUMBERED, second))
    (annotation,) = read_annotations(file).document["annotations"]
    assert len(annotation["segmentation"]) == 2
    assert annotation["bbox"] == [10, 5, 28, 20]
    file = save_xml(tmp_path, "a", polygon_object((7, 2, 34, 29), NUMBERED))  # drawn wider
    assert read_annotations(file).document["annotations"][0]["bbox"] == [6, 1, 28, 28]


def test_a_polygon_without_a_box(tmp_path):
    deleted = "<object><name>cat</name><deleted>1</deleted></object>"
    alone = f"<object><name>cat</name><polygon>{POINTED}</polygon></object>"
    file = save_xml(tmp_path, "a", alone, deleted)
    read = read_annotations(file)
    assert read.document["annotations"][0]["bbox"] == [10, 5, 20, 20]
    assert [note.text for note in read.notes] == [
        "objects are marked as deleted and not read: 1 (the first: a.xml: object 2)"
    ]


@pytest.mark.parametrize(
    "polygon",
    [
        "<x1>1</x1><y1>1</y1><x2>5</x2><y2>5</y2>",
        "<x1>1</x1><y1>1</y1><x2>5</x2>",
        "<x1>1</x1><y1>nan</y1><x2>5</x2><y2>5</y2><x3>9</x3><y3>1</y3>",
        "<x1>1</x1><y1>1e400</y1><x2>5</x2><y2>5</y2><x3>9</x3><y3>1</y3>",
        "<y>1</y>",
    ],
)
def test_a_bad_polygon_costs_the_polygon_and_not_the_object(tmp_path, polygon):
    file = save_xml(tmp_path, "a", polygon_object((11, 6, 30, 25), polygon))
    read = read_annotations(file)
    np.testing.assert_array_equal(read.instances[0].box_xyxy, [10, 5, 30, 25])
    assert read.instances[0].points_source == "box"
    assert "objects have a polygon that is not read, their boxes are" in read.notes[0].text


# xmin, ymin, xmax, ymax, as VOC counts
LOW = np.random.default_rng(4).integers(1, [24, 18], (24, 2))
INSIDE = np.concatenate([LOW, LOW + np.array([12, 9])], axis=1)
BOXES = {
    "xywh": INSIDE - np.concatenate([np.zeros((24, 2), int), LOW - 1], axis=1) - [1, 1, 0, 0],
    "xyxy_shares": (INSIDE - [1, 1, 0, 0]) / ([WIDTH, HEIGHT] * 2),
}


def save_boxes(folder, boxes):
    for k, part in enumerate(np.array_split(boxes, 4)):
        save_xml(folder, f"{k}", *(element("cat", tuple(row)) for row in part.tolist()))
    return folder


@pytest.mark.parametrize("form", BOXES)
def test_boxes_of_another_form_are_told_over_the_whole_set(tmp_path, form):
    folder = save_boxes(tmp_path, BOXES[form])
    for on_error in ("stop", "skip"):
        with pytest.raises(UserError, match=rf"boxes_{form}: .*\(xyxy: as they are\)"):
            read_annotations(folder, on_error=on_error)
    assert [problem.code for problem in check_file(folder)] == [f"boxes_{form}"]
    read = read_annotations(folder, box_form=form)
    for instance, box in zip(read.instances, INSIDE - [1, 1, 0, 0], strict=True):
        np.testing.assert_allclose(instance.box_xyxy, box)


@pytest.mark.parametrize("columns", [[2, 3, 0, 1], [2, 1, 0, 3], [0, 3, 2, 1]], ids=str)
@pytest.mark.parametrize("count", [1, 6, 24])
def test_exchanged_minimum_and_maximum_are_read_and_said(tmp_path, columns, count):
    boxes = INSIDE + np.array([14, 10, 14, 10])  # as [x, y, width, height] they would be outside
    boxes[:count] = boxes[:count, columns]
    folder = save_boxes(tmp_path, np.minimum(boxes, [WIDTH, HEIGHT] * 2))
    read = read_annotations(folder)
    assert len(read.instances) == 24
    expected = np.sort(np.minimum(boxes, [WIDTH, HEIGHT] * 2).reshape(24, 2, 2), axis=1)
    expected = expected.reshape(24, 4) - [1, 1, 0, 0]
    for instance, box in zip(read.instances, expected, strict=True):
        np.testing.assert_allclose(instance.box_xyxy, box)
    (said,) = [note.text for note in read.notes if note.code == "passed_over"]
    what = f"boxes have a maximum below its minimum and are read with the two exchanged: {count} "
    assert what in said
