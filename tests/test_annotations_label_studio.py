"""Label Studio JSON: both exports, every shape, brushes, whose annotation counts, image names."""

import json

import numpy as np
import pytest
from foreign_exports import (
    HEIGHT,
    POINTS,
    TRIANGLE,
    WIDTH,
    brush_stream,
    disc,
    flat,
    key_points,
    percent,
    pictures,
    rectangle,
    region,
    task,
)

from exits_jax.annotations import check_file, decode_segmentation, read_annotations
from exits_jax.system.errors import UserError

BOX = region("rectangle", "cat", rectangle(10, 5, 50, 40))
POLYGON = region("polygon", "cat", {"points": percent(TRIANGLE), "closed": True})


def save(folder, content):
    (folder / "export.json").write_text(json.dumps(content))
    return folder / "export.json"


def read_all(folder, *results, **more):
    read = read_annotations(save(folder, [task(*results, **more)]))
    return read, read.document["annotations"]


def notes(read):
    return [note.text for note in read.notes]


def test_a_rectangle_and_a_polygon_in_percent(tmp_path):
    read, (box, polygon) = read_all(tmp_path, BOX, POLYGON)
    np.testing.assert_allclose(read.instances[0].box_xyxy, [10, 5, 60, 45])
    assert polygon["segmentation"][0] == pytest.approx(flat(TRIANGLE))
    assert [instance.category for instance in read.instances] == ["cat", "cat"]
    assert (read.images[1].width, read.images[1].height) == (WIDTH, HEIGHT)
    assert "segmentation" not in box
    assert notes(read) == []


def test_a_rectangle_turns_about_its_corner_in_pixels(tmp_path):
    turned = region("rectangle", "cat", rectangle(40, 10, 20, 10, turn=90))
    read, (box,) = read_all(tmp_path, turned)
    assert box["bbox"] == pytest.approx([30, 10, 10, 20])
    assert notes(read) == [
        "rotated rectangles are read as the upright boxes around them: 1 (the first: task 17)"
    ]


def test_an_ellipse(tmp_path):
    (centre, radii) = percent([[30, 25], [20, 10]])
    value = {"x": centre[0], "y": centre[1], "radiusX": radii[0], "radiusY": radii[1]}
    _, (annotation,) = read_all(tmp_path, region("ellipse", "cat", value))
    assert annotation["bbox"] == pytest.approx([10, 15, 40, 20])


def test_a_brush_mask_to_the_pixel(tmp_path):
    brush = region("brush", "cat", {"format": "rle", "rle": brush_stream(disc())})
    _, (annotation,) = read_all(tmp_path, brush)
    mask = decode_segmentation(annotation["segmentation"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask, disc())
    assert annotation["area"] == disc().sum()


@pytest.mark.parametrize("seed", range(5))
def test_any_brush_mask_to_the_pixel(tmp_path, seed):
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < (seed + 1) / 7
    brush = region("brush", "cat", {"format": "rle", "rle": brush_stream(mask)})
    _, (annotation,) = read_all(tmp_path, brush)
    read = decode_segmentation(annotation["segmentation"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(read, mask)


def test_four_key_points_of_a_label_are_extreme_points(tmp_path):
    read, _ = read_all(
        tmp_path,
        *key_points("cat", POINTS[::-1]),
        BOX | {"value": {**BOX["value"], "rectanglelabels": ["dog"]}},
    )
    points = next(i for i in read.instances if i.category == "cat")
    np.testing.assert_allclose(points.points_xy, POINTS)
    assert points.points_source == "given"
    assert len(read.instances) == 2


def test_four_key_points_inside_a_rectangle(tmp_path):
    others = [[x + 5, y + 1] for x, y in POINTS]
    read, _ = read_all(
        tmp_path,
        {**BOX, "id": "one"},
        {**BOX, "id": "two"},
        *key_points("point", POINTS, parentID="one"),
        *[
            {**row, "id": f"o{k}"}
            for k, row in enumerate(key_points("point", others, parentID="two"))
        ],
    )
    assert [instance.category for instance in read.instances] == ["cat", "cat"]
    np.testing.assert_allclose(read.instances[0].points_xy, POINTS)
    np.testing.assert_allclose(read.instances[1].points_xy, others)
    np.testing.assert_allclose(read.instances[0].box_xyxy, [10, 5, 60, 45])


@pytest.mark.parametrize(
    "points", [[[25, 17], [40, 17], [30, 33], [40, 33]], [[10, 5], [60, 5], [60, 45], [10, 45]]]
)
def test_landmarks_inside_a_rectangle_are_counted(tmp_path, points):
    read, _ = read_all(tmp_path, {**BOX, "id": "one"}, *key_points("eye", points, parentID="one"))
    assert [one.points_source for one in read.instances] == ["box"]
    assert notes(read) == [
        "points are not read (four at the sides of an object are): 4 (the first: task 17)"
    ]


def test_other_key_points_are_counted(tmp_path):
    read, _ = read_all(tmp_path, BOX, *key_points("cat"), *key_points("nose", POINTS[:3]))
    assert len(read.instances) == 1  # of "cat" there is a rectangle: whose points are they?
    assert notes(read) == [
        "points are not read (four at the sides of an object are): 7 (the first: task 17)"
    ]


def test_rectangle_and_labels_are_two_results_of_one_id(tmp_path):
    shape = region("rectangle", None, rectangle(10, 5, 50, 40), id="r1", type="rectangle")
    label = {**shape, "type": "labels", "value": {**shape["value"], "labels": ["cat"]}}
    read, _ = read_all(tmp_path, shape, label)
    assert [instance.category for instance in read.instances] == ["cat"]
    np.testing.assert_allclose(read.instances[0].box_xyxy, [10, 5, 60, 45])


def test_whose_annotation_counts(tmp_path):
    def made(x, **more):
        result = region("rectangle", "cat", rectangle(x, 5, 10, 10))
        return {"id": x, "result": [result], "was_cancelled": False, **more}

    def left_edges(*annotations, **more):
        read = read_annotations(save(tmp_path, [task(annotations=[*annotations], **more)]))
        return [instance.box_xyxy[0] for instance in read.instances], notes(read)

    several = "tasks have several annotations, of which the ground truth or the last with results"
    assert left_edges(made(1), made(2))[0] == pytest.approx([2])
    assert several in left_edges(made(1), made(2))[1][0]
    assert left_edges(made(1), made(2), {"id": 3, "result": []})[0] == pytest.approx([2])
    assert left_edges(made(1, ground_truth=True), made(2))[0] == pytest.approx([1])
    edges, said = left_edges(made(1), made(2, was_cancelled=True))
    assert edges == pytest.approx([1])
    assert said == ["skipped annotations are not read: 1 (the first: task 17)"]
    edges, said = left_edges(predictions=[made(3), made(4)])
    assert edges == pytest.approx([4])
    assert "tasks have no annotation, their last predictions are read: 1" in said[0]


def test_the_minimal_export(tmp_path):
    def plain(result):
        sides = {key: result[key] for key in ("original_width", "original_height")}
        return {**result["value"], **sides}

    row = {
        "image": "/data/upload/1/0a1b2c3d-a.png",
        "id": 17,
        "label": [plain(BOX), plain(POLYGON)],
        "points": [plain(result) for result in key_points("dog")],
        "quality": {"choices": ["good"]},
        "annotator": 1,
        "annotation_id": 5,
        "created_at": "2026-11-01T10:00:00.000000Z",
        "updated_at": "2026-11-01T10:00:00.000000Z",
        "lead_time": 3.2,
    }
    read = read_annotations(save(tmp_path, [row]))
    box, polygon, points = read.instances
    np.testing.assert_allclose(box.box_xyxy, [10, 5, 60, 45])
    assert polygon.points_source == "mask"
    np.testing.assert_allclose(points.points_xy, POINTS)
    assert points.category == "dog"


def test_the_minimal_export_of_versions_that_say_nothing_of_themselves(tmp_path):
    shape = {**BOX["value"], "original_width": WIDTH, "original_height": HEIGHT}
    rows = [{"image": "b.png", "id": 1}, {"image": "/data/upload/0a1b2c3d-a.png", "label": [shape]}]
    images = pictures(tmp_path / "images", "a.png", "b.png")
    file = save(tmp_path, rows)
    read = read_annotations(file, images)
    np.testing.assert_allclose(read.instances[0].box_xyxy, [10, 5, 60, 45])
    assert read.instances[0].image.path == images / "a.png"
    assert check_file(file, images) == []
    assert read_annotations(save(tmp_path, rows[1:])).images[1].width == WIDTH


def test_rows_of_several_annotators_are_annotations_of_one_task(tmp_path):
    def row(x, annotator, **more):
        shapes = [{**rectangle(x, 5, 10, 10), "rectanglelabels": ["cat"]}] if x else []
        return {"image": "a.png", "id": 3, "label": shapes, "annotator": annotator, **more}

    pictures(tmp_path / "images", "a.png")
    for rows, expected in (
        ([row(10, 1), row(20, 2)], [20]),
        ([row(10, 1), row(0, 2)], [10]),
        ([row(10, 1), row(20, 2, id=4)], [10, 20]),
    ):
        read = read_annotations(save(tmp_path, rows), tmp_path / "images")
        assert [one.box_xyxy[0] for one in read.instances] == pytest.approx(expected)
        assert read.notes[0].code == ("passed_over" if len(expected) == 1 else "image_twice")


def test_the_cloud_export(tmp_path):
    inner = {"id": 17, "data": {"picture": "s3://bucket/deep/a.png", "note": "none"}}
    read = read_annotations(save(tmp_path, {"id": 5, "result": [BOX], "task": inner}))
    assert read.images[1].file_name == "deep/a.png"
    np.testing.assert_allclose(read.instances[0].box_xyxy, [10, 5, 60, 45])


@pytest.mark.parametrize(
    "stated",
    [
        "/data/upload/1/0a1b2c3d-a.png",
        "/data/local-files/?d=photos/a.png",
        "/data/local-files/?d=photos%2Fa.png",
        "s3://bucket/photos/a.png",
        "https://example.org/photos/a.png?signature=b%2Fc.png",
        "/data/upload/1/a.png",
        "a.png",
    ],
)
def test_images_by_the_names_of_the_server(tmp_path, stated):
    images = pictures(tmp_path / "images", "a.png")
    file = save(tmp_path, [task(BOX, image=stated)])
    read = read_annotations(file, images)
    assert read.images[1].path == images / "a.png"
    assert check_file(file, images) == []


def test_an_upload_under_the_name_it_has_on_the_server(tmp_path):
    images = pictures(tmp_path / "images", "a.png", "0a1b2c3d-a.png")
    read = read_annotations(save(tmp_path, [task(BOX)]), images)
    assert read.images[1].path == images / "0a1b2c3d-a.png"


def test_what_is_not_read_is_counted(tmp_path):
    other = region("vector", "cat", {"vertices": []})
    choice = {"type": "choices", "value": {"choices": ["good"]}, "id": "c"}
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}
    two = {**BOX, "id": "two", "value": {**BOX["value"], "rectanglelabels": ["cat", "dog"]}}
    images = pictures(tmp_path / "images", "b.png")
    rows = [task(other, choice, relation, two), task(image=None), task(image="b.png", id=18), 3]
    read = read_annotations(save(tmp_path, rows), images)
    text = "\n".join(notes(read))
    for expected in (
        "results of the type 'vectorlabels' are not read: 1 (the first: task 17)",
        "results of the type 'choices' are not read: 1",
        "results are not regions (relations, for instance): 1",
        "regions have several labels, of which the first is read: 1",
        "tasks have no image: 1",
        "entries are not tasks: 1 (the first: entry 4)",
    ):
        assert expected in text
    assert [image.file_name for image in read.images.values()][1] == "b.png"
    assert len(read.instances) == 1


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (region("rectangle", None, rectangle(1, 1, 5, 5)), "absent_category"),
        (region("rectangle", "", rectangle(1, 1, 5, 5)), "absent_category"),
        (region("rectangle", "cat", rectangle(1, 1, 0, 5)), "empty_box"),
        (
            region("rectangle", "cat", {"x": 1, "y": float("nan"), "width": 1, "height": 1}),
            "bad_number",
        ),
        (region("rectangle", "cat", {"x": 1, "y": 10**400, "width": 1, "height": 1}), "bad_number"),
        (region("rectangle", "cat", {"x": 1}), "bad_number"),
        (region("rectangle", "cat", rectangle(1, 1, 5, 5), image_rotation=90), "turned_image"),
        (region("polygon", "cat", {"points": percent(TRIANGLE[:2])}), "bad_polygon"),
        (region("polygon", "cat", {"points": 3}), "bad_number"),
        (region("ellipse", "cat", {"x": 1}), "bad_number"),
        (region("brush", "cat", {"rle": brush_stream(disc())[:60]}), "bad_rle"),
        (region("brush", "cat", {"rle": [1, 2]}), "bad_rle"),
        (region("brush", "cat", {"rle": [0.5] * 99}), "bad_rle"),
        (region("brush", "cat", {"rle": [300] * 99}), "bad_rle"),
        (region("brush", "cat", {"rle": [255] * 99}), "rle_size"),
        (region("brush", "cat", {"rle": brush_stream(disc()[:, :70])}), "rle_size"),
        (region("brush", "cat", {"rle": brush_stream(disc() & False)}), "empty_mask"),
    ],
)
def test_mistakes_are_named_and_nothing_else_is_lost(tmp_path, spoilt, code):
    other = region("rectangle", "dog", rectangle(1, 1, 9, 9))
    file = save(tmp_path, [task(spoilt, other)])
    with pytest.raises(UserError, match=f"{code}: task 17: "):
        read_annotations(file)
    read = read_annotations(file, on_error="skip")
    assert [problem.code for problem in read.problems] == [code]
    assert [instance.category for instance in read.instances] == ["dog"]
    assert code in [problem.code for problem in check_file(file)]


def test_several_sizes_of_one_image(tmp_path):
    file = save(tmp_path, [task(BOX, {**POLYGON, "original_width": 9})])
    with pytest.raises(UserError, match="bad_size: task 17: its results state several"):
        read_annotations(file)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("rectangle", {"x": 0.2, "y": 0.1, "width": 0.5, "height": 0.9, "rotation": 30}),
        ("polygon", {"points": [[0.1, 0.2], [0.9, 0.2], [0.5, 1.0]]}),
        ("ellipse", {"x": 0.5, "y": 0.5, "radiusX": 0.2, "radiusY": 0.1}),
    ],
)
def test_shares_for_per_cent_are_refused(tmp_path, kind, value):
    file = save(tmp_path, [task(region(kind, "cat", value))])
    text = "is above 1: they are read as per cent of the image, not as shares; multiply them by 100"
    assert [p.code for p in check_file(file)] == ["shares_for_percent"]
    with pytest.raises(UserError, match=text):
        read_annotations(file)
    # One that is above speaks for all.
    read, _ = read_all(tmp_path, region(kind, "cat", value), BOX)
    assert len(read.instances) == 2
