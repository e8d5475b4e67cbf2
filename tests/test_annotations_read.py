"""Reading COCO and LVIS JSON: where points and boxes come from, ids, files."""

import json

import numpy as np
import pytest
from annotations_samples import HEIGHT, WIDTH, disc, document, save, save_images

from exits_jax.annotations import (
    check_file,
    encode_rle,
    extreme_points,
    read_annotations,
    read_images,
    tight_box,
)
from exits_jax.system.errors import UserError

POINTS = [[20.0, 4.0], [10.0, 10.0], [22.0, 20.0], [30.0, 12.0]]  # top, left, bottom, right


def read_one(folder, annotation, **options):
    """Reads a file whose only annotation has these fields."""
    content = document()
    content["annotations"] = [{"id": 5, "image_id": 1, "category_id": 3, **annotation}]
    return read_annotations(save(folder, content), **options).instances[0]


@pytest.mark.parametrize(
    ("categories", "read"),
    [
        ({"3": "cat", "7": "dog"}, {3: "cat", 7: "dog"}),
        ({"cat": 3, "dog": 7}, {3: "cat", 7: "dog"}),
        ({"cat": "3", "dog": 7.0}, {3: "cat", 7: "dog"}),
        (["cat", "dog"], {0: "cat", 1: "dog"}),
    ],
)
def test_categories_in_other_forms(tmp_path, categories, read):
    content = document()
    for entry in content["annotations"] if isinstance(categories, list) else ():
        entry["category_id"] = int(entry["category_id"] == 7)
    file = save(tmp_path, content | {"categories": categories})
    found = read_annotations(file)
    assert found.categories == read
    assert [instance.category for instance in found.instances] == ["cat", "dog", "dog"]
    assert [note.code for note in found.notes] == ["category_form"]
    assert check_file(file) == []


@pytest.mark.parametrize(
    ("categories", "ids"),
    [
        (["cat", "dog"], [1, 2, 2]),  # counted from 1, or from 0 and the third name is not there
        (["cat", "dog", "bird"], [1, 2, 2]),
        (["cat", "dog"], [0, 2, 2]),
        ({"1": "2"}, [1, 1, 1]),
        ({"1": 2}, [1, 1, 1]),
        ({"cat": "dog"}, [1, 1, 1]),
    ],
)
def test_categories_whose_ids_are_not_certain(tmp_path, categories, ids):
    content = document()
    for entry, number in zip(content["annotations"], ids, strict=True):
        entry["category_id"] = number
    file = save(tmp_path, content | {"categories": categories})
    with pytest.raises(UserError, match=r"bad_category: categories (is a list of|has )"):
        read_annotations(file)
    assert [problem.code for problem in check_file(file)] == ["bad_category"]


def test_the_sample(tmp_path):
    images = save_images(tmp_path / "images")
    read = read_annotations(save(tmp_path, document()), images)
    assert [i.points_source for i in read.instances] == ["mask", "given", "box"]
    assert [(i.id, i.index, i.category) for i in read.instances] == [
        (11, 0, "cat"),
        (12, 1, "dog"),
        (13, 2, "dog"),
    ]
    assert [i.area for i in read.instances] == [200.0, 320.0, 72.0]
    np.testing.assert_array_equal(read.instances[0].box_xyxy, [5, 5, 25, 15])
    np.testing.assert_array_equal(read.instances[2].box_xyxy, [1, 2, 9, 11])
    assert read.instances[2].points_xy is None
    assert read.document == document()
    assert read.images[2].path == images / "sub" / "b.png"
    assert (read.categories, read.problems) == ({3: "cat", 7: "dog"}, [])


@pytest.mark.parametrize(
    "given",
    [
        {"extreme_points": [POINTS[i] for i in (2, 0, 3, 1)]},
        {"extreme_points": [30, 12, 20, 4, 22, 20, 10, 10]},
        {"extreme_points": dict(zip(("bottom", "left", "right", "top"), POINTS, strict=True))},
        {"keypoints": [30, 12, 2, 20, 4, 2, 22, 20, 1, 10, 10, 2]},
        {"keypoints": [[30, 12, 2], [20, 4, 2], [22, 20, 1], [10, 10, 2]]},
    ],
    ids=["pairs", "flat", "dict", "keypoints", "nested keypoints"],
)
def test_every_form_of_given_points_in_any_order(tmp_path, given):
    instance = read_one(tmp_path, given)
    np.testing.assert_array_equal(instance.points_xy, POINTS)
    np.testing.assert_array_equal(instance.box_xyxy, [10, 4, 30, 20])
    assert instance.points_source == "given"
    assert instance.area == 320


def test_a_persons_keypoints_are_not_extreme_points(tmp_path):
    instance = read_one(tmp_path, {"keypoints": [5, 5, 2] * 17, "bbox": [1, 1, 9, 9]})
    assert instance.points_source == "box"
    unlabelled = read_one(tmp_path, {"keypoints": [0] * 12, "bbox": [1, 1, 9, 9]})
    assert unlabelled.points_source == "box"


def test_given_points_win_over_a_mask_and_the_mask_is_not_even_looked_at(tmp_path):
    instance = read_one(tmp_path, {"extreme_points": POINTS, "segmentation": "garbage"})
    assert instance.points_source == "given"


def test_a_stated_box_wins_over_the_points_box(tmp_path):
    instance = read_one(tmp_path, {"extreme_points": POINTS, "bbox": [9.25, 3.5, 22, 17.5]})
    np.testing.assert_array_equal(instance.box_xyxy, [9.25, 3.5, 31.25, 21])


@pytest.mark.parametrize("compressed", [True, False])
def test_points_of_a_run_length_mask(tmp_path, compressed):
    mask = disc()
    segmentation = encode_rle(mask)
    if not compressed:
        flat = np.concatenate([[0], mask.ravel(order="F").astype(int), [2]])
        edges = np.flatnonzero(np.diff(flat))
        counts = np.diff(np.concatenate([[0], edges])).tolist()
        segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    instance = read_one(tmp_path, {"segmentation": segmentation})
    np.testing.assert_array_equal(instance.points_xy, extreme_points(mask))
    np.testing.assert_array_equal(instance.box_xyxy, tight_box(mask))
    assert instance.points_source == "mask"


def test_the_rule_for_masks_is_passed_on(tmp_path):
    content = document()
    tall = np.zeros((120, 60), bool)
    tall[2:110, 10:50] = tall[0:2, 10:20] = True
    content["images"][0].update(width=60, height=120)
    content["annotations"] = [
        {"image_id": 1, "category_id": 3, "segmentation": encode_rle(tall)},
    ]
    file = save(tmp_path, content)
    exact, middle = (read_annotations(file, points=rule) for rule in ("exact", "extremenet"))
    assert exact.instances[0].points_xy[0].tolist() == [14.5, 0.5]
    assert middle.instances[0].points_xy[0].tolist() == [29.5, 2.5]


def test_an_empty_segmentation_falls_back_to_the_box(tmp_path):
    for segmentation in ([], None, {}, [[3.1, 3.1, 3.2, 3.1, 3.2, 3.2]]):
        instance = read_one(tmp_path, {"segmentation": segmentation, "bbox": [1, 1, 9, 9]})
        assert instance.points_source == "box"


@pytest.mark.parametrize(
    ("points", "box"),
    [
        ([[7.5, 8.5]] * 4, [7, 8, 8, 9]),  # one pixel
        ([[0, 0]] * 4, [0, 0, 1, 1]),  # in the corner
        ([[WIDTH, HEIGHT]] * 4, [WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT]),  # equal to the size
        ([[3, 5], [9, 5], [3, 5], [9, 5]], [3, 4.5, 9, 5.5]),  # a line
        ([[0, 9], [WIDTH, 9], [9, 0], [9, HEIGHT]], [0, 0, WIDTH, HEIGHT]),  # all edges
        ([[-0.8, 9], [9, 9], [5, 4], [5, 12]], [0, 4, 9, 12]),  # hardly outside
    ],
)
def test_points_at_the_edge_and_points_that_coincide(tmp_path, points, box):
    instance = read_one(tmp_path, {"extreme_points": points})
    np.testing.assert_allclose(instance.box_xyxy, box)
    assert instance.points_xy.min() >= 0
    assert (instance.points_xy <= (WIDTH, HEIGHT)).all()


def test_a_box_over_the_border_is_clipped(tmp_path):
    instance = read_one(tmp_path, {"bbox": [-5, -3, 20, 40]})
    np.testing.assert_array_equal(instance.box_xyxy, [0, 0, 15, HEIGHT])


def test_crowds_are_passed_through_with_ids_beyond_int32(tmp_path):
    content = document()
    content["annotations"][1].update(iscrowd=1, id=900100005001, bbox=None)
    read = read_annotations(save(tmp_path, content))
    assert [i.id for i in read.instances] == [11, 13]
    assert [i.index for i in read.instances] == [0, 2]
    assert len(read.document["annotations"]) == 3


def test_absent_ids_are_made_from_the_order_around_those_in_use(tmp_path):
    content = document()
    content["annotations"][0]["id"] = 2
    del content["annotations"][1]["id"]
    content["annotations"][2]["id"] = None
    read = read_annotations(save(tmp_path, content))
    assert [i.id for i in read.instances] == [2, 1, 3]
    assert [a["id"] for a in read.document["annotations"]] == [2, 1, 3]


def test_click_noise_depends_on_seed_and_id_only(tmp_path):
    content = document()
    file = save(tmp_path, content)
    shorter = save(tmp_path, {**content, "annotations": content["annotations"][1:]}, "shorter.json")
    noisy = read_annotations(file, click_noise=2.0, seed=3).instances[1].points_xy
    again = read_annotations(shorter, click_noise=2.0, seed=3).instances[0].points_xy
    other = read_annotations(file, click_noise=2.0, seed=4).instances[1].points_xy
    np.testing.assert_array_equal(noisy, again)
    assert np.abs(noisy - other).max() > 0
    assert 0 < np.abs(noisy - POINTS).max() < 20


def test_images_are_found_without_the_folder_in_their_name(tmp_path):
    flat = save_images(tmp_path / "images") / "sub"  # holds b.png itself
    read = read_annotations(save(tmp_path, document()), flat)
    assert read.images[2].path == flat / "b.png"
    assert read.images[1].path == flat / "a.png"  # where it should be
    assert not read.images[1].path.exists()


def test_lvis_images_are_named_by_their_url(tmp_path):
    content = document()
    content["images"] = [
        {
            "id": 1,
            "width": WIDTH,
            "height": HEIGHT,
            "coco_url": "http://images.example.org/train2017/000000000001.jpg",
            "neg_category_ids": [7],
            "not_exhaustive_category_ids": [],
        }
    ]
    content["annotations"] = content["annotations"][:1]
    del content["annotations"][0]["iscrowd"]
    file = save(tmp_path, content)
    nested, flat = tmp_path / "nested", tmp_path / "flat"
    for folder in (nested / "train2017", flat):
        folder.mkdir(parents=True)
        (folder / "000000000001.jpg").write_bytes(b"x")
    for kind in ("auto", "lvis"):
        read = read_annotations(file, nested, kind=kind)
        assert read.images[1].file_name == "train2017/000000000001.jpg"
        assert read.images[1].path == nested / "train2017" / "000000000001.jpg"
    assert read_annotations(file, flat).images[1].path == flat / "000000000001.jpg"
    assert read.document["images"][0]["neg_category_ids"] == [7]
    with pytest.raises(UserError, match="not LVIS"):
        read_annotations(save(tmp_path, document(), "coco.json"), kind="lvis")


def test_a_byte_order_mark_does_not_matter(tmp_path):
    file = tmp_path / "bom.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(document()).encode())
    assert len(read_annotations(file).instances) == 3


def test_real_coco_files(coco_mini):
    file = coco_mini / "annotations" / "instances_val2017.json"
    read = read_annotations(file, coco_mini / "val2017")
    assert len(read.instances) == 1161  # 16 crowds are not among them
    assert {i.points_source for i in read.instances} == {"mask"}
    assert all(record.path.is_file() for record in read.images.values())
    off = [  # official boxes are those of the polygons, rarely of other versions of them
        np.abs(i.points_xy[[0, 1, 2, 3], [1, 0, 1, 0]] - i.box_xyxy[[1, 0, 3, 2]]).max()
        for i in read.instances
    ]
    assert np.percentile(off, 95) < 2


@pytest.mark.parametrize(
    "given", [POINTS[:3], [*POINTS[0], *POINTS[1], *POINTS[2]], {"top": POINTS[0], "right": None}]
)
def test_fewer_points_are_enough_beside_a_box(tmp_path, given):
    instance = read_one(tmp_path, {"extreme_points": given, "bbox": [10, 4, 20, 16]})
    assert instance.points_source == "given"
    assert instance.points_xy[0].tolist() == POINTS[0]
    assert instance.points_xy[3].tolist() == [30.0, 12.0]  # the middle of the right side


def test_images_alone_are_read_from_a_file_without_annotations(tmp_path):
    """As COCO's image_info files of the test sets; what is annotated does not matter either."""
    folder = save_images(tmp_path / "images")
    whole = document()
    listed = {"images": [*whole["images"], {"id": 99, "file_name": "absent.jpg"}]}
    file = save(tmp_path, listed)
    with pytest.raises(UserError, match="image 99: bad_size"):
        read_images(file, folder)
    read = read_images(file, folder, on_error="skip")
    assert [*read.images] == [image["id"] for image in whole["images"]]
    assert [problem.image_id for problem in read.problems] == [99]
    assert (read.instances, read.categories) == ([], {})
    bare = read_images(folder, folder, kind="images")
    assert [i.file_name for i in bare.images.values()] == ["a.png", "sub/b.png"]
    one = read_images(folder / "a.png")
    assert [(i.file_name, i.width, i.height) for i in one.images.values()] == [
        ("a.png", WIDTH, HEIGHT)
    ]
    with pytest.raises(UserError, match="no list of images"):
        read_images(save(tmp_path, {"annotations": []}), folder)
