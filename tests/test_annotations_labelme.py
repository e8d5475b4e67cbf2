"""labelme JSON: every shape, groups, masks, files of one folder, what is passed over."""

import json

import numpy as np
import pytest
from foreign_exports import (
    HEIGHT,
    POINTS,
    SQUARE,
    TRIANGLE,
    WIDTH,
    disc,
    flat,
    labelme,
    pictures,
    png_text,
    shape,
)

from exits_jax.annotations import check_file, decode_segmentation, extreme_points, read_annotations
from exits_jax.system.errors import UserError


def save(folder, content, name="a.json"):
    (folder / name).write_text(json.dumps(content))
    return folder / name


def read_one(folder, *shapes, **more):
    read = read_annotations(save(folder, labelme(*shapes, **more)))
    (annotation,) = read.document["annotations"]
    return read.instances[0], annotation


def notes(read):
    return [note.text for note in read.notes]


def test_a_polygon_and_its_category(tmp_path):
    instance, annotation = read_one(tmp_path, shape("cat", "polygon", TRIANGLE))
    assert annotation["segmentation"] == [flat(TRIANGLE)]
    assert annotation["bbox"] == [10, 10, 40, 30]
    assert annotation["area"] == 600
    assert (instance.category, instance.points_source) == ("cat", "mask")
    assert (instance.image.file_name, instance.image.width) == ("a.png", WIDTH)


def test_a_rectangle_in_any_order_of_its_corners(tmp_path):
    for corners in ([[50, 40], [10, 10]], [[10, 40], [50, 10]], SQUARE):
        instance, annotation = read_one(tmp_path, shape("cat", "rectangle", corners))
        expected = [60, 20, 70, 30] if corners == SQUARE else [10, 10, 50, 40]
        np.testing.assert_array_equal(instance.box_xyxy, expected)
        assert "segmentation" not in annotation


def test_a_circle_is_round(tmp_path):
    _, annotation = read_one(tmp_path, shape("cat", "circle", [[30, 25], [30, 40]]))
    mask = decode_segmentation(annotation["segmentation"], HEIGHT, WIDTH)
    assert annotation["bbox"] == pytest.approx([15, 10, 30, 30])
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    true = (columns - 30) ** 2 + (rows - 25) ** 2 <= 15**2
    assert (mask & true).sum() / (mask | true).sum() > 0.98


def test_a_mask_keeps_its_place_and_its_hole(tmp_path):
    mask = disc()
    part = shape("cat", "mask", [[15, 10], [44, 39]], mask=png_text(mask[10:40, 15:45]))
    instance, annotation = read_one(tmp_path, part)
    read = decode_segmentation(annotation["segmentation"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(read, mask)
    np.testing.assert_array_equal(instance.points_xy, extreme_points(mask))
    assert (annotation["area"], annotation["bbox"]) == (mask.sum(), [15, 10, 30, 30])


def test_shapes_of_one_group_are_one_object(tmp_path):
    parts = [shape("cat", "polygon", corners, group_id=3) for corners in (TRIANGLE, SQUARE)]
    other = shape("dog", "polygon", SQUARE, group_id=3)
    read = read_annotations(save(tmp_path, labelme(*parts, other)))
    cat, dog = read.document["annotations"]
    assert cat["segmentation"] == [flat(TRIANGLE), flat(SQUARE)]
    assert (cat["bbox"], cat["area"]) == ([10, 10, 60, 30], 700)
    assert dog["segmentation"] is None  # four upright corners are a box
    assert dog["bbox"] == [60, 20, 10, 10]


def test_a_mask_and_a_polygon_of_one_group(tmp_path):
    whole = shape("cat", "mask", [[0, 0], [0, 0]], mask=png_text(disc()), group_id=1)
    _, annotation = read_one(tmp_path, whole, shape("cat", "polygon", SQUARE, group_id=1))
    expected = disc()
    expected[20:30, 60:70] = True
    read = decode_segmentation(annotation["segmentation"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(read, expected)


def test_four_points_of_a_group_are_extreme_points(tmp_path):
    points = [shape("cat", "point", [POINTS[k]], group_id=9) for k in (2, 0, 3, 1)]
    instance, _ = read_one(tmp_path, *points)
    np.testing.assert_array_equal(instance.points_xy, POINTS)
    assert instance.points_source == "given"
    box = shape("cat", "rectangle", [[9, 4], [61, 46]], group_id=9)
    instance, _ = read_one(tmp_path, *points, box)
    np.testing.assert_array_equal(instance.points_xy, POINTS)
    np.testing.assert_array_equal(instance.box_xyxy, [9, 4, 61, 46])


CORNERS = [[10, 5], [60, 5], [60, 45], [10, 45]]
LANDMARKS = [[25, 17], [40, 17], [30, 33], [40, 33]]


@pytest.mark.parametrize("label", ["cat", "mark"])
@pytest.mark.parametrize(("points", "source"), [(POINTS, "given"), (LANDMARKS, "box")])
def test_points_beside_a_rectangle_are_its_own(tmp_path, label, points, source):
    clicks = [shape(label, "point", [point], group_id=2) for point in points]
    box = shape("cat", "rectangle", [[10, 5], [60, 45]], group_id=2)
    read = read_annotations(save(tmp_path, labelme(*clicks, box)))
    assert [(one.category, one.points_source) for one in read.instances] == [("cat", source)]
    codes = {"given": "keypoints_used", "box": "passed_over"}
    assert [note.code for note in read.notes] == [codes[source]]


@pytest.mark.parametrize("points", [CORNERS, [[25, 17], [40, 17], [35, 25], [35, 33]]])
def test_four_points_that_can_be_no_extreme_points_are_no_object(tmp_path, points):
    clicks = [shape("plate", "point", [point], group_id=2) for point in points]
    read = read_annotations(save(tmp_path, labelme(shape("cat", "polygon", TRIANGLE), *clicks)))
    assert [one.category for one in read.instances] == ["cat"]
    assert notes(read) == [
        "points are not read (four at the sides of an object are): 4 (the first: a.json)"
    ]


def test_joined_shapes_are_said_and_rectangles_stay_apart(tmp_path):
    polygons = [shape("cat", "polygon", one, group_id=0) for one in (TRIANGLE, SQUARE, TRIANGLE)]
    boxes = [shape("dog", "rectangle", [[x, 5], [x + 9, 45]], group_id=0) for x in (10, 30, 50)]
    read = read_annotations(save(tmp_path, labelme(*polygons, *boxes)))
    assert [one.category for one in read.instances] == ["cat", "dog", "dog", "dog"]
    assert notes(read) == [
        "3 shapes of one label and group are joined into 1 object (the first: a.json)"
    ]


def test_what_is_not_read_is_counted(tmp_path):
    read = read_annotations(
        save(
            tmp_path,
            labelme(
                shape("cat", "polygon", TRIANGLE),
                shape("cat", "linestrip", TRIANGLE),
                shape("cat", "line", TRIANGLE[:2]),
                shape("cat", "linestrip", SQUARE),
                *[shape("cat", "point", [point]) for point in POINTS],
                shape("cat", "rotation", [[30, 10], [50, 30], [40, 40], [20, 20]]),
            ),
        )
    )
    assert len(read.instances) == 2
    np.testing.assert_array_equal(read.instances[1].box_xyxy, [20, 10, 50, 40])
    text = "\n".join(notes(read))
    assert "shapes of the type 'linestrip' are not read: 2 (the first: a.json)" in text
    assert "shapes of the type 'line' are not read: 1" in text
    assert "points are not read (four at the sides of an object are): 4" in text
    assert "rotated rectangles are read as the upright boxes around them: 1" in text


def test_old_files_have_no_shape_type(tmp_path):
    old = {"label": "cat", "points": TRIANGLE, "line_color": None, "fill_color": None}
    _, annotation = read_one(tmp_path, old)
    assert annotation["segmentation"] == [flat(TRIANGLE)]


def test_a_folder_of_files(tmp_path):
    images = pictures(tmp_path / "images", "a.png", "b.png")
    labels = tmp_path / "labels"
    labels.mkdir()
    save(labels, labelme(shape("cat", "polygon", TRIANGLE)), "a.json")
    save(labels, labelme(image="..\\images\\sub\\b.png", imageHeight=None), "b.json")
    save(labels, {"images": [], "annotations": []}, "c.json")
    read = read_annotations(labels, images)
    assert [image.file_name for image in read.images.values()] == ["a.png", "images/sub/b.png"]
    assert (read.images[2].width, read.images[2].height) == (WIDTH, HEIGHT)
    first, second = notes(read)
    assert first == "JSON files are not labelme's and are not read: 1 (the first: c.json)"
    assert second.startswith("1 image found by their last components: ")
    assert second.endswith(" is b.png")
    assert all(problem.note for problem in check_file(labels, images))


def test_two_files_of_one_image(tmp_path):
    save(tmp_path, labelme(shape("cat", "polygon", TRIANGLE)), "a.json")
    save(tmp_path, labelme(shape("dog", "polygon", TRIANGLE)), "more.json")
    read = read_annotations(tmp_path)
    assert [(one.category, one.image.file_name) for one in read.instances] == [
        ("cat", "a.png"),
        ("dog", "a.png"),
    ]
    assert notes(read) == ["more.json and a.json both mean the image 'a.png'"]
    assert [problem.code for problem in check_file(tmp_path)] == ["image_twice"]
    save(tmp_path, labelme(shape("dog", "polygon", TRIANGLE), imageWidth=WIDTH + 1), "more.json")
    with pytest.raises(UserError, match=r"duplicate_image: .* with the sizes 80 x 50 and 81 x 50"):
        read_annotations(tmp_path)


@pytest.mark.parametrize("copy", ["0.json", "b.json"])
def test_a_copy_that_names_the_former_image_is_refused(tmp_path, copy):
    labels, images = tmp_path / "json", pictures(tmp_path / "images", "0.png", "a.png", "b.png")
    labels.mkdir()
    for name in ("a.json", copy):
        save(labels, labelme(shape("cat", "polygon", TRIANGLE)), name)
    with pytest.raises(UserError, match=r"duplicate_image: .* both mean the image 'a\.png'"):
        read_annotations(labels, images)


@pytest.mark.parametrize("stated", ["IMG_1.jpg", "C:\\old\\frame.png"])
def test_an_image_that_was_renamed_along_with_its_file(tmp_path, stated):
    labels, images = tmp_path / "json", pictures(tmp_path / "images", "a.png", "b.png")
    labels.mkdir()
    save(labels, labelme(shape("cat", "polygon", TRIANGLE), image=stated), "b.json")
    read = read_annotations(labels, images)
    assert [image.file_name for image in read.images.values()] == ["b.png"]
    assert notes(read)[0].startswith("files name an image that is missing, the one named like")


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (shape("", "polygon", TRIANGLE), "absent_category"),
        (shape(7, "polygon", TRIANGLE), "absent_category"),
        (shape("cat", "polygon", TRIANGLE[:2]), "bad_polygon"),
        (shape("cat", "polygon", [[1, float("nan")]] * 3), "bad_number"),
        (shape("cat", "polygon", [[1, 10**400]] * 3), "bad_number"),
        (shape("cat", "polygon", "abc"), "bad_number"),
        (shape("cat", "polygon", []), "bad_number"),
        (shape("cat", "rectangle", [[5, 5], [5, 9]]), "empty_box"),
        (shape("cat", "rectangle", []), "bad_number"),
        (shape("cat", "circle", [[5, 5]]), "bad_number"),
        (shape("cat", "mask", [[5, 5]], mask="AAAA"), "bad_segmentation"),
        (shape("cat", "mask", [[5, 5]], mask=None), "bad_segmentation"),
        (shape("cat", "mask", [[500, 5]], mask=png_text(disc())), "empty_mask"),
        (
            shape("cat", "mask", [[5, 5]], mask=png_text(np.ones((300, 9), bool))),
            "bad_segmentation",
        ),
        (shape("cat", "mask", [], mask=png_text(disc())), "bad_number"),
        ("shape", "bad_annotation"),
    ],
)
def test_mistakes_are_named_and_nothing_else_is_lost(tmp_path, spoilt, code):
    file = save(tmp_path, labelme(spoilt, shape("dog", "polygon", SQUARE)))
    with pytest.raises(UserError, match=rf"{code}: a\.json: "):
        read_annotations(file)
    read = read_annotations(file, on_error="skip")
    assert [problem.code for problem in read.problems] == [code]
    assert [instance.category for instance in read.instances] == ["dog"]
    assert code in [problem.code for problem in check_file(file)]
