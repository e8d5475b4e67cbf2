"""CVAT XML: every shape, groups, run lengths, turned boxes, what is passed over."""

import numpy as np
import pytest
from foreign_exports import (
    HEIGHT,
    POINTS,
    SQUARE,
    TRIANGLE,
    WIDTH,
    cvat,
    cvat_points,
    cvat_rle,
    cvat_shape,
    disc,
    flat,
    pictures,
)

from exits_jax.annotations import check_file, decode_segmentation, read_annotations
from exits_jax.system.errors import UserError

BOX = {"xtl": "10.00", "ytl": "5.00", "xbr": "60.00", "ybr": "45.00"}
POLYGON = {"points": cvat_points(TRIANGLE)}
PART = disc()[10:40, 15:45]
MASK = {"rle": cvat_rle(PART), "left": 15, "top": 10, "width": 30, "height": 30}


def save(folder, content, name="annotations.xml"):
    (folder / name).write_bytes(content)
    return folder / name


def read_all(folder, *shapes, **more):
    read = read_annotations(save(folder, cvat(*shapes, **more)))
    return read, read.document["annotations"]


def test_a_box_with_its_attributes(tmp_path):
    inside = '<attribute name="colour">black</attribute>'
    read, (box,) = read_all(tmp_path, cvat_shape("box", inside=inside, occluded=1, **BOX))
    np.testing.assert_array_equal(read.instances[0].box_xyxy, [10, 5, 60, 45])
    assert box["attributes"]["colour"] == "black"
    assert box["attributes"]["occluded"] == "1"
    assert read.categories == {1: "dog", 2: "cat"}  # in the order of CVAT's list of labels
    assert read.instances[0].category == "cat"
    assert (read.images[1].width, read.images[1].height) == (WIDTH, HEIGHT)


def test_a_polygon_and_four_points(tmp_path):
    points = {"points": cvat_points([POINTS[k] for k in (3, 1, 0, 2)])}
    read, (polygon, _) = read_all(
        tmp_path, cvat_shape("polygon", **POLYGON), cvat_shape("points", "dog", **points)
    )
    assert polygon["segmentation"] == [flat(TRIANGLE)]
    np.testing.assert_array_equal(read.instances[1].points_xy, POINTS)
    assert read.instances[1].points_source == "given"


def test_a_mask_row_by_row(tmp_path):
    _, (annotation,) = read_all(tmp_path, cvat_shape("mask", **MASK))
    read = decode_segmentation(annotation["segmentation"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(read, disc())
    wide = np.zeros((4, 9), bool)
    wide[0, 0], wide[3, 2:7] = True, True  # begins with the object, is no square
    place = {"left": 71, "top": 46, "width": 9, "height": 4}
    _, (annotation,) = read_all(tmp_path, cvat_shape("mask", rle=cvat_rle(wide), **place))
    read = decode_segmentation(annotation["segmentation"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(read[46:, 71:], wide)
    assert read.sum() == wide.sum()


def test_an_ellipse_and_a_turned_one(tmp_path):
    place = {"cx": 30, "cy": 25, "rx": 20, "ry": 10}
    _, (plain, turned) = read_all(
        tmp_path, cvat_shape("ellipse", **place), cvat_shape("ellipse", **place, rotation=90)
    )
    assert plain["bbox"] == pytest.approx([10, 15, 40, 20])
    assert turned["bbox"] == pytest.approx([20, 5, 20, 40])


def test_a_turned_box_is_read_as_the_box_around_it(tmp_path):
    square = {"xtl": 20, "ytl": 10, "xbr": 40, "ybr": 30, "rotation": 45}
    read, (annotation,) = read_all(tmp_path, cvat_shape("box", **square))
    half = 10 * 2**0.5
    assert annotation["bbox"] == pytest.approx([30 - half, 20 - half, 2 * half, 2 * half])
    assert [note.text for note in read.notes] == [
        "rotated boxes are read as the upright boxes around them: 1 (the first: image 'a.png')"
    ]


def test_polygons_and_masks_of_one_group_are_one_object(tmp_path):
    square = {"points": cvat_points(SQUARE), "group_id": 4}
    read, (joined, other) = read_all(
        tmp_path,
        cvat_shape("polygon", **POLYGON, group_id=4),
        cvat_shape("polygon", **square),
        cvat_shape("box", **BOX, group_id=4),
        cvat_shape("box", "dog", **BOX, group_id=4),
    )
    assert joined["segmentation"] == [flat(TRIANGLE), flat(SQUARE)]
    assert joined["bbox"] == [10, 5, 50, 40]  # the box that was drawn for it
    assert (len(read.instances), "segmentation" in other) == (2, False)
    said = "2 shapes of one label and group are joined into 1 object (the first: image 'a.png')"
    assert said in [note.text for note in read.notes]
    _, (joined,) = read_all(
        tmp_path,
        cvat_shape("mask", **MASK, group_id=1),
        cvat_shape("polygon", **square | {"group_id": 1}),
    )
    expected = disc()
    expected[20:30, 60:70] = True
    mask = decode_segmentation(joined["segmentation"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask, expected)


def test_boxes_of_a_group_stay_apart(tmp_path):
    read, _ = read_all(tmp_path, *[cvat_shape("box", **BOX, group_id=2)] * 3)
    assert len(read.instances) == 3


@pytest.mark.parametrize("group", [{}, {"group_id": 7}])
def test_points_beside_a_box_are_its_own(tmp_path, group):
    box = cvat_shape("box", **BOX, **group)
    read, _ = read_all(tmp_path, box, cvat_shape("points", points=cvat_points(POINTS), **group))
    assert [one.points_source for one in read.instances] == ["given"]
    np.testing.assert_array_equal(read.instances[0].points_xy, POINTS)
    assert [note.code for note in read.notes] == ["keypoints_used"]
    landmarks = {"points": "25,17;40,17;30,33;40,33"}
    read, _ = read_all(tmp_path, box, cvat_shape("points", **landmarks, **group))
    assert [one.points_source for one in read.instances] == ["box"]
    assert "points are not read (four at the sides of an object are): 4" in read.notes[0].text


def test_points_outside_the_boxes_of_their_label_are_an_object(tmp_path):
    box = BOX | {"xtl": "40.00"}
    read, _ = read_all(
        tmp_path,
        cvat_shape("box", **box),
        cvat_shape("points", points=cvat_points(POINTS)),
        cvat_shape("points", points="62,20;70,20;70,30;62,30"),  # corners: of a plate, say
    )
    assert [one.points_source for one in read.instances] == ["box", "given"]
    assert [note.code for note in read.notes] == ["keypoints_used", "passed_over"]


def test_what_is_not_read_is_counted(tmp_path):
    line = {"points": "1,1;2,2;3,3"}
    track = '<track id="0" label="cat"><box frame="0" xtl="1" ytl="1" xbr="2" ybr="2"/></track>'
    read, _ = read_all(
        tmp_path,
        cvat_shape("box", **BOX),
        cvat_shape("polyline", **line),
        cvat_shape("polyline", **line),
        cvat_shape("cuboid"),
        cvat_shape("skeleton", inside=cvat_shape("points", points="1,1")),
        '<tag label="cat" source="manual"></tag>',
        cvat_shape("points", **line),
        rest=track,
    )
    text = "\n".join(note.text for note in read.notes)
    for expected in (
        "<polyline> elements are not read: 2 (the first: image 'a.png')",
        "<cuboid> elements are not read: 1",
        "<skeleton> elements are not read: 1",
        "<tag> elements are not read: 1",
        "points are not read (four at the sides of an object are): 3",
        "tracks are not read (export the task as 'CVAT for images 1.1'): 1",
    ):
        assert expected in text
    assert len(read.instances) == 1


def test_a_video_export_says_which_other_to_take(tmp_path):
    content = cvat().replace(b"<image", b"<!--").replace(b"</image>", b"-->")
    file = save(tmp_path, content.replace(b"</annotations>", b'<track id="0"/></annotations>'))
    with pytest.raises(UserError, match=r"export the task as 'CVAT for images 1\.1'"):
        read_annotations(file)


def test_nothing_but_what_is_passed_over_is_not_called_empty_without_a_word(tmp_path):
    file = save(tmp_path, cvat(cvat_shape("polyline", points="1,1;2,2")))
    with pytest.raises(UserError, match=r"no_annotations: .*<polyline> elements are not read: 1"):
        read_annotations(file)


def test_an_unpacked_export_and_images_without_objects(tmp_path):
    images = pictures(tmp_path / "images")
    empty = '<image id="1" name="sub/b.png"/>'
    save(tmp_path, cvat(cvat_shape("box", **BOX), size=False, rest=empty))
    read = read_annotations(tmp_path, images)
    assert [image.path.is_file() for image in read.images.values()] == [True, True]
    assert (read.images[2].width, read.images[2].height) == (WIDTH, HEIGHT)
    assert check_file(tmp_path / "annotations.xml", images) == []


@pytest.mark.parametrize(("width", "objects"), [(WIDTH, 2), (WIDTH + 9, 0)])
def test_one_image_in_two_jobs(tmp_path, width, objects):
    more = f'<image id="0" name="a.png" width="{width}" height="{HEIGHT}">'
    more += cvat_shape("box", "dog", **BOX) + "</image>"
    file = save(tmp_path, cvat(cvat_shape("box", **BOX), rest=more))
    if objects:
        read = read_annotations(file)
        assert (len(read.images), len(read.instances)) == (1, objects)
        assert [note.code for note in read.notes] == ["image_twice"]
    else:
        with pytest.raises(
            UserError, match=r"duplicate_image: .*two entries, image 'a\.png', mean"
        ):
            read_annotations(file)


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (cvat_shape("box", "", **BOX), "absent_category"),
        (cvat_shape("box", **BOX | {"xtl": "nan"}), "bad_number"),
        (cvat_shape("box", **BOX | {"xtl": "1e400"}), "bad_number"),
        (cvat_shape("box", **BOX | {"xbr": "10"}), "empty_box"),
        (cvat_shape("box", xtl=1), "bad_number"),
        (cvat_shape("box", **BOX, rotation="x"), "bad_number"),
        (cvat_shape("polygon", points="1,1;2,2"), "bad_polygon"),
        (cvat_shape("polygon", points="1,1;2"), "bad_number"),
        (cvat_shape("polygon"), "bad_number"),
        (cvat_shape("mask", **MASK | {"rle": "1,2"}), "bad_rle"),
        (cvat_shape("mask", **MASK | {"rle": "-1,901"}), "bad_rle"),
        (cvat_shape("mask", **MASK | {"rle": "900"}), "empty_mask"),
        (cvat_shape("mask", **MASK | {"left": 60}), "bad_rle"),
        (cvat_shape("mask", **MASK | {"width": 10**9, "height": 10**9}), "bad_rle"),
        (cvat_shape("ellipse", cx=1), "bad_number"),
    ],
)
def test_mistakes_are_named_and_nothing_else_is_lost(tmp_path, spoilt, code):
    file = save(tmp_path, cvat(spoilt, cvat_shape("box", "dog", **BOX)))
    with pytest.raises(UserError, match=rf"{code}: image 'a\.png': "):
        read_annotations(file)
    read = read_annotations(file, on_error="skip")
    assert [problem.code for problem in read.problems] == [code]
    assert [instance.category for instance in read.instances] == ["dog"]
    assert code in [problem.code for problem in check_file(file)]


@pytest.mark.parametrize(
    "content",
    [
        cvat(cvat_shape("box", **BOX))[:-30],
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + cvat(cvat_shape("box", **BOX)).split(b"?>")[1],
        b"<annotations><image",
    ],
)
def test_bad_xml(tmp_path, content):
    file = save(tmp_path, content)
    with pytest.raises(UserError, match="bad_xml"):
        read_annotations(file, kind="cvat")


@pytest.mark.parametrize(
    ("corners", "code"),
    [(("0.1", "0.2", "0.5", "0.9"), "boxes_xyxy_shares"), (("5", "30", "45", "75"), "boxes_yxyx")],
)
def test_boxes_of_another_form_are_told_what_cvat_holds(tmp_path, corners, code):
    box = cvat_shape("box", **dict(zip(BOX, corners, strict=True)))
    file = save(tmp_path, cvat(box))
    text = "files of this kind hold xtl, ytl, xbr and ybr in pixels: correct them"
    with pytest.raises(UserError, match=f"{code}.*{text}") as refused:
        read_annotations(file)
    assert "box_form" not in str(refused.value)
    assert check_file(file)[0].code == code
