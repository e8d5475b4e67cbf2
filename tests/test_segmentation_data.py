"""Stage 2's data: masks of any file, placed with their images, in batches that can be resumed."""

import dataclasses
import json
import pickle

import jax
import numpy as np
import pytest
from data_examples import all_rows
from PIL import Image
from segmentation_examples import annotation, document, ellipse, save

from exits_jax.annotations import (
    decode_segmentation,
    encode_rle,
    mask_to_polygons,
    read_annotations,
)
from exits_jax.app.prepare_phase import prepare
from exits_jax.app.run import Run
from exits_jax.app.segment_phase import masks_to_train
from exits_jax.app.settings import read_settings
from exits_jax.app.workdir import Workdir
from exits_jax.data import tfds_builder
from exits_jax.data.iterator import PlannedBatches
from exits_jax.data.source import file_source
from exits_jax.segmentation.canvas import (
    at_stride,
    choose_canvas,
    image_row,
    place,
    place_mask,
    placed_size,
)
from exits_jax.segmentation.classes import Classes, classes_from, classes_of, same_classes
from exits_jax.segmentation.examples import image_source, surplus, usable_images
from exits_jax.segmentation.plan import image_plan
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.system.errors import UserError
from tests import tiny_stage2

CANVASES = ((32, 64), (64, 32))
SETTINGS = SegmentationSettings(canvases=CANVASES, scales=(0.7, 1.0), max_instances=4)


def read(folder, content, **options):
    return read_annotations(save(folder, content), folder, masks=True, **options)


def source_of(folder, content, chosen=(), **options):
    annotations = read(folder, content)
    return image_source(annotations, classes_of(annotations, chosen), **options)


def row_of(mask, *, canvas, size, flip=False, image=None):
    """The row of an image with one object."""
    image = np.zeros((*mask.shape, 3), np.uint8) if image is None else image
    example = {"image": image, "masks": [encode_rle(mask)], "id": 1, "index": 0}
    example |= {"classes": np.array([2]), "weights": np.ones(1)}
    return image_row(example, canvas, size=size, flip=flip, max_instances=2)


# Classes


def test_categories_in_any_order_are_classes_by_id(tmp_path):
    annotations = read(tmp_path, document())
    classes = classes_of(annotations)
    assert (classes.ids, classes.names) == ((3, 90), ("cat", "dog"))
    assert [classes.of(key) for key in (90, 3, 7)] == [1, 0, None]
    assert classes_from(json.loads(json.dumps(classes.record()))) == classes


def test_chosen_classes_and_the_rest(tmp_path):
    annotations = read(tmp_path, document())
    dog = classes_of(annotations, ("dog",))
    assert (dog.ids, dog.of(90), dog.of(3)) == ((90,), 0, None)
    dog_and_rest = classes_of(annotations, ("*", "dog"))
    assert (dog_and_rest.ids, dog_and_rest.names) == ((90, 0), ("dog", "other"))
    assert [dog_and_rest.of(key) for key in (90, 3)] == [0, 1]
    anything = classes_of(annotations, ("*",))
    assert (anything.ids, anything.names, anything.of(90)) == ((0,), ("object",), 0)
    assert classes_from(json.loads(json.dumps(anything.record()))) == anything


def test_the_rest_does_not_take_the_id_of_a_named_class(tmp_path):
    content = document()
    content["categories"][0]["id"] = 0
    for row in content["annotations"]:
        row["category_id"] *= row["category_id"] != 90
    classes = classes_of(read(tmp_path, content), ("dog", "*"))
    assert classes.ids == (0, 1)
    assert [classes.of(key) for key in (0, 3)] == [0, 1]


def test_one_name_of_two_categories(tmp_path):
    content = document()
    content["categories"][0]["name"] = "cat"
    annotations = read(tmp_path, content)
    assert classes_of(annotations) == Classes((3, 90), ("cat", "cat"))
    with pytest.raises(UserError, match=r"'cat', which is the name of the categories \[3, 90\]"):
        classes_of(annotations, ("cat",))


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        (("cow",), r"names 'cow', which is no category of .*json: it has 'cat', 'dog'"),
        (("dog", "dog"), "names 'dog' twice"),
        (("*", "*"), r"names '\*' twice"),
    ],
)
def test_wrong_classes(tmp_path, chosen, text):
    with pytest.raises(UserError, match=text):
        classes_of(read(tmp_path, document()), chosen)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Classes((3, 90), ("cat", "cow")), "category 90 is 'cow', the network's is 'dog'"),
        (Classes((3,), ("cat",)), "category 90 is absent, the network's is 'dog'"),
        (Classes((3, 5, 90), ("cat", "ox", "dog")), "category 5 is 'ox', the network's is absent"),
        (Classes((90, 3), ("dog", "cat")), r"in the order \[90, 3\], the network's 2 classes in"),
        (Classes((3, 90), ("cat", "dog"), rest=True), "the last one of all other"),
    ],
)
def test_other_classes_than_the_networks_are_named(found, text):
    saved = Classes((3, 90), ("cat", "dog"))
    same_classes(saved, Classes((3, 90), ("cat", "dog")), "val.json")
    with pytest.raises(UserError, match=f"^val.json: .*{text}"):
        same_classes(saved, found, "val.json")


def test_of_many_classes_that_differ_a_few_are_named():
    many = [Classes(tuple(range(9)), tuple(f"{word}{k}" for k in range(9))) for word in "ab"]
    with pytest.raises(UserError, match="category 4 is 'b4', the network's is 'a4'; 4 more; use"):
        same_classes(*many, "val.json")


# Sources


def test_an_example_is_the_image_with_its_masks(tmp_path):
    content = document()
    source = source_of(tmp_path, content)
    assert len(source) == 5
    assert source.notes == ()
    example = source[1]
    rows = content["annotations"][3:6]
    assert (example["id"], example["index"]) == (11, 1)
    assert example["annotation_ids"].tolist() == [103, 104, 105]
    assert example["classes"].tolist() == [0, 1, 0]
    assert example["weights"].tolist() == [1, 1, 1]
    with Image.open(tmp_path / "1.png") as image:
        np.testing.assert_array_equal(example["image"], np.asarray(image))
    for found, row in zip(example["masks"], rows, strict=True):
        mask = decode_segmentation(row["segmentation"], 40, 30)
        np.testing.assert_array_equal(decode_segmentation(found, 40, 30), mask)


def test_polygons_and_both_kinds_of_run_lengths_are_the_same_masks(tmp_path):
    content = document(images=1)
    first, second, third = content["annotations"]
    mask = decode_segmentation(first["segmentation"], 30, 40)
    counts = np.flatnonzero(np.diff(np.concatenate([[False], mask.T.ravel(), [False]])))
    ends = np.concatenate([[0], counts, [mask.size]])
    second["segmentation"] = {"size": [30, 40], "counts": np.diff(ends).tolist()}
    third["segmentation"] = mask_to_polygons(mask)[0]
    second["bbox"] = third["bbox"] = first["bbox"]
    masks = source_of(tmp_path, content)[0]["masks"]
    assert len(masks) == 3
    for found in masks:
        np.testing.assert_array_equal(decode_segmentation(found, 30, 40), mask)


def test_crowds_are_never_trained_on(tmp_path):
    content = document()
    for row in content["annotations"][:4]:
        row["iscrowd"] = 1
    source = source_of(tmp_path, content)
    assert [record.id for record in source.images] == [11, 12, 13, 14]
    assert source[0]["annotation_ids"].tolist() == [104, 105]


def test_objects_without_a_mask_or_a_class_are_told(tmp_path):
    content = document()
    content["annotations"][0]["segmentation"] = None
    empty = encode_rle(np.zeros((30, 40), bool))
    content["annotations"][1]["segmentation"] = empty  # as a label that found nothing
    source = source_of(tmp_path, content)
    assert source[0]["annotation_ids"].tolist() == [102]
    assert [note.text for note in source.notes] == [
        "2 objects without a mask, not trained on; the first is annotation 100"
    ]
    source = source_of(tmp_path, content, ("dog",))
    assert source[0]["annotation_ids"].tolist() == [102]
    assert source.notes[1].text.startswith("7 objects of no class")


def test_images_without_objects(tmp_path):
    content = document()
    content["annotations"][0:3] = []  # image 10: nothing at all
    content["annotations"][0:3] = [content["annotations"][0] | {"iscrowd": 1}]  # 11: a crowd
    for row in content["annotations"][1:4]:  # image 12: a mask is missing
        row["segmentation"] = None
    for row in content["annotations"][4:7]:  # image 13: another category
        row["category_id"] = 3
    content["annotations"][7]["category_id"] = 90  # image 14
    assert [record.id for record in source_of(tmp_path, content).images] == [13, 14]
    source = source_of(tmp_path, content, ("dog",), keep_empty=True)
    # Beyond a doubt only those on which nothing is left out that may be a dog.
    bare = [row["image_id"] for row in content["annotations"] if row["segmentation"] is None]
    assert set(bare) == {12}
    assert [record.id for record in source.images] == [14, 10, 13]
    example = source[1]
    assert example["masks"] == []
    assert example["classes"].shape == example["weights"].shape == (0,)
    row = image_row(example, (32, 64), size=(32, 43), flip=False, max_instances=4)
    assert not row["weight"].any()
    assert not row["masks"].any()


def test_pseudo_labels_weigh_with_their_scores(tmp_path):
    content = document(images=1)
    for row, score in zip(content["annotations"], (0.25, 0, 1), strict=True):
        row["exits"] = {"score": score, "flags": []}
    assert source_of(tmp_path, content)[0]["weights"].tolist() == [1, 1, 1]
    weights = source_of(tmp_path, content, trust=True)[0]["weights"]
    np.testing.assert_allclose(weights, [0.25, 0.001, 1])  # 0 would be background
    del content["annotations"][0]["exits"]
    assert source_of(tmp_path, content, trust=True)[0]["weights"][0] == 1


def test_taken_images_are_numbered_anew(tmp_path):
    source = source_of(tmp_path, document())
    taken = source.take([4, 1])
    assert (len(taken), taken[1]["id"], taken[1]["index"]) == (2, 11, 1)
    assert taken[1]["annotation_ids"].tolist() == [103, 104, 105]
    assert taken.fingerprint() != source.fingerprint()
    assert pickle.loads(pickle.dumps(source)).fingerprint() == source.fingerprint()


def test_another_mask_class_or_weight_is_another_fingerprint(tmp_path):
    content = document()
    found = {source_of(tmp_path, content).fingerprint()}
    found.add(source_of(tmp_path, content, ("*",)).fingerprint())
    for row in content["annotations"]:
        row["exits"] = {"score": 0.5}
    found.add(source_of(tmp_path, content, trust=True).fingerprint())
    content["annotations"][0]["segmentation"] = content["annotations"][1]["segmentation"]
    found.add(source_of(tmp_path, content).fingerprint())
    assert len(found) == 4


def test_surplus_instances_are_counted(tmp_path):
    content = document(images=2, objects=3)
    mask = ellipse(40, 30, (2, 2, 20, 20))
    content["annotations"] += [annotation(200 + k, 10, mask) for k in range(2)]
    source = source_of(tmp_path, content)
    assert source.instances().tolist() == [5, 3]
    assert surplus(source, 5) == ""
    assert surplus(source, 4).startswith("1 image with more than 4 instances")
    assert "2 images with more than 2" in surplus(source, 2)
    assert "4 instances, the smallest" in surplus(source, 2)


# Other kinds of files


def test_lvis(tmp_path):
    content = document(images=1)
    (tmp_path / "train").mkdir()
    image = content["images"][0]
    image |= {"coco_url": "http://x/train/0.png", "neg_category_ids": []}
    path = save(tmp_path, content)
    (tmp_path / "0.png").rename(tmp_path / "train" / "0.png")
    del image["file_name"]
    path.write_text(json.dumps(content))
    annotations = read_annotations(path, tmp_path, masks=True)
    example = image_source(annotations, classes_of(annotations))[0]
    assert example["annotation_ids"].tolist() == [100, 101, 102]


def test_voc_masks(tmp_path):
    mask = ellipse(40, 30, (5, 6, 25, 27))
    for name in ("Annotations", "JPEGImages", "SegmentationObject"):
        (tmp_path / name).mkdir()
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>7</ymin><xmax>{x1}</xmax>"
        "<ymax>27</ymax></bndbox></object>"
        for name, x0, x1 in (("cat", 6, 25), ("dog", 30, 38))
    )
    (tmp_path / "Annotations" / "1.xml").write_text(
        "<annotation><filename>1.png</filename><size><width>40</width><height>30</height></size>"
        f"{objects}</annotation>"
    )
    Image.new("RGB", (40, 30)).save(tmp_path / "JPEGImages" / "1.png")
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "SegmentationObject" / "1.png")
    annotations = read_annotations(tmp_path, tmp_path / "JPEGImages", masks=True)
    source = image_source(annotations, classes_of(annotations, ("cat", "dog")))
    (found,) = source[0]["masks"]  # the dog has a box alone
    np.testing.assert_array_equal(decode_segmentation(found, 30, 40), mask)
    assert source[0]["classes"].tolist() == [0]
    assert source.notes[0].code == "no_mask"


def test_images_are_read_from_prepared_records(tmp_path):
    (tmp_path / "images").mkdir()
    content = document()
    content["annotations"][:3] = []  # an image that is not packed
    content["annotations"] = content["annotations"][::-1]
    annotations = read(tmp_path / "images", content)
    source = image_source(annotations, classes_of(annotations))
    out = tfds_builder.prepare(annotations, tmp_path / "out")
    for path in (tmp_path / "images").glob("*.png"):
        path.unlink()
    found, packed = tfds_builder.read_prepared(out)
    for keep_empty in (False, True):
        prepared = image_source(found, classes_of(found), packed=packed, keep_empty=keep_empty)
        assert prepared.fingerprint() == source.fingerprint()
    assert_images(prepared)
    # Labels of ours name fewer images, and in another order.
    (tmp_path / "labels").mkdir()
    content["annotations"] = sorted(content["annotations"][:-3], key=lambda row: row["id"])
    labels = read(tmp_path / "labels", content)
    for keep_empty, ids in ((False, {12, 13, 14}), (True, {11, 12, 13, 14})):
        source = image_source(labels, classes_of(labels), packed=packed, keep_empty=keep_empty)
        assert {record.id for record in source.images} == ids
        assert_images(source)


def test_an_image_that_is_not_among_the_prepared_records(tmp_path):
    annotations = read(tmp_path, document())
    packed = file_source(annotations.instances[3:])
    with pytest.raises(UserError, match=r"json: image 10: absent_image: 0\.png is not in the prep"):
        image_source(annotations, classes_of(annotations), packed=packed)


def assert_images(source):
    """The pictures of a source are those of `segmentation_examples.save`."""
    for index, record in enumerate(source.images):
        example = source[index]
        assert example["id"] == record.id
        rng = np.random.default_rng(record.id)
        pixels = rng.integers(0, 256, (record.height, record.width, 3), dtype=np.uint8)
        np.testing.assert_array_equal(example["image"], pixels)


def test_a_turned_photograph_is_in_the_frame_of_its_masks(tmp_path):
    content = document(images=1)
    annotations = read(tmp_path, content)
    image = Image.open(tmp_path / "0.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    expected = image_source(annotations, classes_of(annotations))[0]["image"]
    image.save(tmp_path / "0.png", exif=exif)
    found = image_source(annotations, classes_of(annotations))[0]["image"]
    np.testing.assert_array_equal(found, expected)


# Bad input


def bad_mask(content):
    content["annotations"][4]["segmentation"] = encode_rle(np.ones((3, 4), bool))


def test_a_mask_of_another_size_names_annotation_found_and_expected(tmp_path):
    content = document()
    bad_mask(content)
    path = save(tmp_path, content)
    with pytest.raises(UserError) as raised:
        read_annotations(path, tmp_path, masks=True)
    line = str(raised.value)
    assert line.startswith(f"{path}: annotation 104: rle_size: run lengths of size [3, 4]")
    assert "[height, width] [40, 30]" in line
    annotations = read_annotations(path, tmp_path, masks=True, on_error="skip")
    assert [(p.code, p.annotation_id) for p in annotations.problems] == [("rle_size", 104)]
    source = image_source(annotations, classes_of(annotations))
    assert source[1]["annotation_ids"].tolist() == [103, 105]
    # Without masks=True a box will do, and it is an object without a mask.
    annotations = read_annotations(path, tmp_path)
    source = image_source(annotations, classes_of(annotations))
    assert "the first is annotation 104" in source.notes[0].text


def with_points(segmentation):
    """A document whose first object has points, so that reading needs no mask of it."""
    content = document(images=1)
    row = content["annotations"][0]
    x, y, width, height = row["bbox"]
    middle = x + width / 2, y + height / 2
    row["extreme_points"] = [[middle[0], y], [x, middle[1]], [middle[0], y + height]]
    row["extreme_points"] += [[x + width, middle[1]]]
    row["segmentation"] = segmentation
    return content


def test_numbers_that_are_none_in_a_mask_that_reading_did_not_look_at(tmp_path):
    path = save(tmp_path, with_points([[1, 2, 3, 4, 5, float("nan")]]))
    annotations = read_annotations(path, tmp_path)
    with pytest.raises(UserError, match="json: annotation 100: bad_segmentation: NaN"):
        image_source(annotations, classes_of(annotations))


def test_a_mask_that_reading_did_not_look_at_is_refused_when_it_is_asked_for(tmp_path):
    path = save(tmp_path, with_points(encode_rle(np.ones((3, 4), bool))))
    annotations = read_annotations(path, tmp_path)
    source = image_source(annotations, classes_of(annotations))
    with pytest.raises(UserError, match=r"json: annotation 100: rle_size: .*\(image 0.png\)$"):
        source[0]
    with pytest.raises(UserError, match="json: annotation 100: rle_size"):
        read_annotations(path, tmp_path, masks=True)


def test_boxes_are_masks_where_masks_are_what_counts(tmp_path):
    content = document(images=1, objects=4)
    square = np.zeros((30, 40), bool)
    square[4:12, 6:20] = True
    for row in content["annotations"]:
        row["segmentation"] = encode_rle(square)
    content["annotations"][0]["segmentation"] = [[6, 4, 20, 4, 20, 12, 6, 12]]
    for row in content["annotations"]:
        row["bbox"] = [6, 4, 14, 8]
    annotations = read(tmp_path, content)
    masks = image_source(annotations, classes_of(annotations))[0]["masks"]
    assert len(masks) == 4
    for mask in masks:
        np.testing.assert_array_equal(decode_segmentation(mask, 30, 40), square)
    (note,) = [note for note in annotations.notes if note.code == "box_as_mask"]
    assert "used as a mask (image 0.png); 3 more" in note.text
    bare = read_annotations(annotations.file, tmp_path)
    with pytest.raises(UserError, match="none of its 4 annotations of a class has a mask"):
        image_source(bare, classes_of(bare))


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        (lambda rows: rows.clear(), {}, "no_annotations"),
        (lambda rows: [row.update(iscrowd=1) for row in rows], {}, "all 15 annotations are crowd"),
        (
            lambda rows: [row.pop("segmentation") for row in rows],
            {},
            "nothing to train on: none of its 15 annotations of a class has a mask",
        ),
        (
            lambda rows: [row.update(category_id=3) for row in rows],
            {"chosen": ("dog",)},
            "nothing to train on: none of its 15 annotations is of a class",
        ),
        (lambda rows: None, {"trust": True}, "trust is set, and no annotation has an exits.score"),
        (
            lambda rows: rows[3].update(exits={"score": 1.5}),
            {"trust": True},
            "annotation 103: bad_score: exits.score is 1.5; expected a number from 0 to 1",
        ),
    ],
)
def test_nothing_to_train_on_is_one_line_that_names_the_file(tmp_path, change, options, text):
    content = document()
    change(content["annotations"])
    with pytest.raises(UserError) as raised:
        source_of(tmp_path, content, **options)
    line = str(raised.value)
    assert line.startswith(str(tmp_path / "annotations.json"))
    assert text in line
    assert "\n" not in line


def test_an_image_that_cannot_be_decoded(tmp_path):
    source = source_of(tmp_path, document())
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"annotations\.json: image 13: image: .*3\.png: .*trunc"):
        source[3]
    calls: list[int] = []
    usable, problems = usable_images(source, calls.append)
    assert [record.id for record in usable.images] == [10, 11, 12, 14]
    assert usable[3]["annotation_ids"].tolist() == [112, 113, 114]
    assert [(p.code, p.image_id) for p in problems] == [("image", 13)]
    assert calls == [1] * 5
    for path in tmp_path.glob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"none of the 5 images can be used; .*image 10: .*0\.png"):
        usable_images(source)


# The canvas


def test_an_image_goes_where_it_is_largest():
    canvases = ((32, 64), (64, 32), (48, 48))
    assert [choose_canvas(*size, canvases) for size in ((30, 60), (60, 30), (9, 9))] == [0, 1, 2]
    assert choose_canvas(9, 9, canvases[:2]) == 0
    assert placed_size(30, 40, (32, 64)) == (32, 43)
    assert placed_size(30, 40, (32, 64), 0.5) == (16, 21)
    assert placed_size(1, 1000, (32, 64)) == (1, 64)


@pytest.mark.parametrize("flip", [False, True])
def test_at_its_own_size_an_image_is_copied(flip):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (23, 37, 3), dtype=np.uint8)
    mask = ellipse(37, 23, (20, 3, 36, 20))
    row = row_of(mask, canvas=(32, 64), size=(23, 37), flip=flip, image=image)
    expected = image[:, ::-1] if flip else image
    np.testing.assert_array_equal(row["image"][:23, :37], expected)
    assert not row["image"][23:].any()
    assert not row["image"][:, 37:].any()
    placed = place_mask(encode_rle(mask), (23, 37), (32, 64), flip)
    np.testing.assert_array_equal(placed.mask[:23, :37], mask[:, ::-1] if flip else mask)
    assert placed.mask.sum() == mask.sum() == placed.area == row["area"][0]


@pytest.mark.parametrize("size", [(32, 44), (17, 23), (24, 33), (12, 16), (31, 43), (8, 60)])
def test_a_flipped_row_is_the_row_of_the_flipped_image(size):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (48, 66, 3), dtype=np.uint8)
    masks = [ellipse(66, 48, (*low, *(low + side))) for low, side in (
        (rng.uniform(0, 40, 2), rng.uniform(3, 30, 2)) for _ in range(20)
    )]  # fmt: skip
    masks.append(rng.random((48, 66)) < 0.5)
    for mask in masks:
        options = {"canvas": (32, 64), "size": size}
        row = row_of(mask, flip=True, image=image, **options)
        mirrored = row_of(mask[:, ::-1], image=np.ascontiguousarray(image[:, ::-1]), **options)
        for key in row.keys() - {"flip", "centre_xy"}:
            np.testing.assert_array_equal(row[key], mirrored[key], err_msg=key)
        np.testing.assert_allclose(row["centre_xy"], mirrored["centre_xy"], atol=1e-5)
        plain = row_of(mask, image=image, **options)
        columns = size[1]
        np.testing.assert_array_equal(
            row["image"][:, :columns], plain["image"][:, :columns][:, ::-1]
        )
        if plain["area"][0]:
            assert row["centre_xy"][0, 0] == pytest.approx(
                columns - plain["centre_xy"][0, 0], abs=1e-4
            )


@pytest.mark.parametrize("factor", [0.31, 0.5, 1.7, 3.0])
def test_masks_keep_their_place_at_any_scale(factor):
    """An ellipse, resized, is the ellipse drawn at the new size, but for pixels at its edge."""
    height, width = 300, 400
    size = round(height * factor), round(width * factor)
    exact = np.array([size[1] / width, size[0] / height] * 2)
    box = np.array([101.3, 40.2, 290.7, 250.9])
    placed = place_mask(encode_rle(ellipse(width, height, box)), size, (1024, 1280))
    drawn = ellipse(size[1], size[0], box * exact)
    found = placed.mask[: size[0], : size[1]].astype(bool)
    edge = np.pi * (placed.size_wh.sum() / 2)
    assert (found != drawn).sum() <= 0.25 * max(factor, 1) * edge
    middle = (box[:2] + box[2:]) / 2 * exact[:2]
    np.testing.assert_allclose(placed.centre_xy, middle, atol=0.1 * max(factor, 1))
    np.testing.assert_allclose(placed.size_wh, (box[2:] - box[:2]) * exact[:2], atol=2 + factor)


def test_resizing_in_its_box_is_resizing_the_whole():
    rng = np.random.default_rng(3)
    for _ in range(40):
        height, width = rng.integers(10, 90, 2)
        mask = np.zeros((height, width), bool)
        y, x = rng.integers(0, height - 4), rng.integers(0, width - 4)
        part = mask[y : y + rng.integers(2, 40), x : x + rng.integers(2, 40)]
        part[:] = rng.random(part.shape) < 0.7
        size = tuple(int(side) for side in rng.integers(4, 96, 2))
        whole = Image.fromarray(mask.astype(np.uint8) * 254)
        whole = np.asarray(whole.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
        placed = place_mask(encode_rle(mask), size, (96, 96))
        found = np.zeros((96, 96), bool) if placed is None else placed.mask
        sure = np.abs(whole - 127) > 1  # Pillow rounds between rows and columns
        np.testing.assert_array_equal(found[: size[0], : size[1]][sure], whole[sure] > 127)
        assert sure.mean() > 0.9


def test_measures_are_those_of_the_mask_on_the_canvas():
    mask = np.random.default_rng(0).random((40, 60)) < 0.1
    placed = place_mask(encode_rle(mask), (40, 60), (64, 64))
    y, x = np.nonzero(placed.mask)
    assert placed.area == len(x)
    np.testing.assert_allclose(placed.centre_xy, [x.mean() + 0.5, y.mean() + 0.5])
    np.testing.assert_array_equal(placed.size_wh, [np.ptp(x) + 1, np.ptp(y) + 1])


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 3])
def test_a_coarser_mask_is_bilinear_and_rounded(stride):
    mask = (np.random.default_rng(0).random((48, 96)) < 0.5).astype(np.uint8)
    shape = (48 // stride, 96 // stride)
    exact = jax.image.resize(mask.astype(np.float32), shape, "bilinear", antialias=False)
    np.testing.assert_array_equal(at_stride(mask, stride), np.asarray(exact) >= 0.5 - 1e-6)


def test_rows_of_images_with_too_many_and_too_small_objects(tmp_path):
    content = document(images=1, objects=2)
    sides = {200: 24, 201: 8, 202: 26, 203: 1}
    for number, side in sides.items():
        mask = np.zeros((30, 40), bool)
        mask[2 : 2 + side, 3 : 3 + side] = True
        mask[2, 3] = side == 1  # else no box
        content["annotations"].append(annotation(number, 10, mask))
    example = source_of(tmp_path, content)[0]
    row = image_row(example, (32, 64), size=(15, 20), flip=False, max_instances=3)
    assert row["weight"].tolist() == [1, 1, 1]
    assert row["area"][1] > 130
    assert row["area"][2] > 150  # those of 200 and 202, in the file's order
    everything = image_row(example, (32, 64), size=(15, 20), flip=False, max_instances=8)
    assert everything["weight"].tolist() == [1] * 5 + [0] * 3  # 203 has no pixel left
    assert everything["masks"].shape == (8, 8, 16)
    assert everything["classes"].tolist() == [1, 0, 1, 0, 1, 0, 0, 0]
    for key in ("masks", "area", "size_wh", "centre_xy"):
        assert not everything[key][5:].any()


# The plan


def plan_of(source, **changes):
    options = {"batch_size": 2, "seed": 5} | changes
    return image_plan(source, options.pop("settings", SETTINGS), **options)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in found.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)
        assert value.dtype == expected[key].dtype


KEYS = {
    "image": (np.uint8, (64, 32, 3)),
    "extent": (np.int32, (2,)),
    "flip": (bool, ()),
    "masks": (np.uint8, (4, 16, 8)),
    "classes": (np.int32, (4,)),
    "centre_xy": (np.float32, (4, 2)),
    "size_wh": (np.float32, (4, 2)),
    "area": (np.float32, (4,)),
    "weight": (np.float32, (4,)),
    "draw": (np.uint32, ()),
    "id": (np.int64, ()),
    "index": (np.int64, ()),
    "valid": (bool, ()),
}


def test_an_epoch_has_every_image_once_each_batch_on_one_canvas(tmp_path):
    source = source_of(tmp_path, document(images=13))
    plan = plan_of(source)
    wide = sum(record.width > record.height for record in source.images)
    assert plan.batches_per_epoch == -(-wide // 2) + -(-(13 - wide) // 2)
    epochs = [[plan(k + e * plan.batches_per_epoch) for k in range(plan.batches_per_epoch)]
              for e in range(2)]  # fmt: skip
    orders = [[int(row["index"]) for row in all_rows(batches)] for batches in epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(13))
    assert orders[0] != orders[1]
    together = [{frozenset(batch["index"].tolist()) for batch in batches} for batches in epochs]
    assert together[0] != together[1]
    shapes = [batch["image"].shape[1:3] for batch in epochs[0]]
    assert {*shapes} == {*CANVASES}
    assert shapes != sorted(shapes)  # mixed
    assert shapes != sorted(shapes, reverse=True)
    tall = next(batch for batch in epochs[0] if batch["image"].shape[1] == 64)
    assert {key: (value.dtype, value.shape[1:]) for key, value in tall.items()} == KEYS
    rows = [row for batches in epochs for row in all_rows(batches)]
    assert {bool(row["flip"]) for row in rows} == {True, False}
    assert len({int(row["draw"]) for row in rows}) == 26
    for row in rows:
        record = source.images[int(row["index"])]
        canvas = row["image"].shape[:2]
        low = placed_size(record.height, record.width, canvas, SETTINGS.scales[0])
        high = placed_size(record.height, record.width, canvas)
        assert (low <= row["extent"]).all()
        assert (row["extent"] <= high).all()
        example = source[int(row["index"])]
        size = tuple(int(side) for side in row["extent"])
        image = place(example["image"], size, canvas, bool(row["flip"]))
        np.testing.assert_array_equal(row["image"], image)


def test_several_processes_share_one_sequence_of_batches(tmp_path):
    source = source_of(tmp_path, document(images=13))
    whole = plan_of(source, batch_size=4)
    halves = [plan_of(source, shard=(host, 2)) for host in range(2)]
    assert {plan.batches_per_epoch for plan in (whole, *halves)} == {whole.batches_per_epoch}
    assert {json.dumps(plan.fingerprint()) for plan in halves} == {json.dumps(whole.fingerprint())}
    padded = 0
    for number in range(2 * whole.batches_per_epoch):
        expected, parts = whole(number), [half(number) for half in halves]
        joined = {key: np.concatenate([part[key] for part in parts]) for key in expected}
        valid = expected["valid"]
        np.testing.assert_array_equal(joined["valid"], valid)
        assert_same({key: value[valid] for key, value in joined.items()},
                    {key: value[valid] for key, value in expected.items()})  # fmt: skip
        padded += not parts[1]["valid"].any()
    assert padded  # a process without a row of its own still has the batch's shape


@pytest.mark.parametrize("options", [{"workers": 2}, {"threads": 3}])
def test_batches_are_the_same_for_any_workers_and_resume(tmp_path, options):
    source = source_of(tmp_path, document(images=7))
    plan = plan_of(source)
    batches = PlannedBatches(plan, 8, **options)
    for number in range(3):
        assert_same(next(batches), plan(number))
    state = json.loads(json.dumps(batches.get_state()))
    batches.close()
    resumed = PlannedBatches(plan, 8, threads=0)
    resumed.set_state(state)
    assert_same(next(resumed), plan(3))
    changed = source.take(range(6))
    with pytest.raises(UserError, match="images was 7, is 6"):
        PlannedBatches(plan_of(changed), 8).set_state(state)


def test_without_chance_every_epoch_is_the_same(tmp_path):
    source = source_of(tmp_path, document())
    still = dataclasses.replace(SETTINGS, flip=0.0, scales=(1.0, 1.0))
    plan = plan_of(source, settings=still)
    rows = [row for k in range(2 * plan.batches_per_epoch) for row in all_rows([plan(k)])]
    for index in range(5):
        first, second = (row for row in rows if row["index"] == index)
        assert first.pop("draw") != second.pop("draw")
        assert_same(first, second)


def test_a_plan_needs_images_and_a_shard(tmp_path):
    source = source_of(tmp_path, document())
    with pytest.raises(UserError, match="no image to train on"):
        plan_of(source.take([]))
    with pytest.raises(ValueError, match="expected \\(index, count\\)"):
        plan_of(source, shard=(2, 2))


# Photographs


def test_coco_photographs(coco_mini):
    file = coco_mini / "annotations" / "instances_val2017.json"
    annotations = read_annotations(file, coco_mini / "val2017", masks=True)
    classes = classes_of(annotations)
    assert (len(classes), classes.ids[11], classes.names[11]) == (80, 13, "stop sign")
    source = image_source(annotations, classes)
    assert sum(source.instances()) == 1161  # and 16 crowds
    settings = SegmentationSettings(canvases=((448, 640), (640, 448)), flip=0.5)
    plan = image_plan(source, settings, batch_size=2, seed=0)
    rows = all_rows([plan(number) for number in range(6)])
    assert len(rows) > 10
    for row in rows:
        record = source.images[int(row["index"])]
        share = np.prod(row["extent"]) / (record.width * record.height)
        true = sorted(i.area for i in annotations.instances if i.image.id == row["id"])
        large = [area * share for area in true if area * share > 500]
        found = sorted(row["area"][row["weight"] > 0])[-len(large) :] if large else []
        np.testing.assert_allclose(found, large, rtol=0.06)


# What the segment phase trains on


def run_on(folder, **data):
    config = tiny_stage2.get_config()
    config.data.update(annotations=str(folder / "annotations.json"), images=str(folder), **data)
    config.segmentation.annotations = config.data.annotations
    return Run(read_settings(config), Workdir(folder / "w"))


def test_the_phase_reads_prepared_images(tmp_path):
    save(tmp_path, document())
    run = run_on(tmp_path)
    prepare(run)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    source, _ = masks_to_train(run_on(tmp_path, source="tfds", on_error="skip"))
    assert len(source) == 5
    assert_images(source)
    other = run_on(tmp_path, source="tfds")
    elsewhere = dataclasses.replace(other.config.segmentation, images=str(tmp_path / "w"))
    settings = dataclasses.replace(other.config, segmentation=elsewhere)
    source, _ = masks_to_train(dataclasses.replace(other, config=settings))
    with pytest.raises(UserError, match="no such image"):  # these are not the prepared ones
        source[0]


def test_the_phase_lists_what_it_skips_and_says_what_it_leaves_out(tmp_path, capsys):
    content = document(images=4, objects=5)
    bad_mask(content)
    content["annotations"][6]["segmentation"] = None
    save(tmp_path, content)
    (tmp_path / "2.png").write_bytes(b"")
    with pytest.raises(UserError, match="annotation 104: rle_size"):
        masks_to_train(run_on(tmp_path))
    source, classes = masks_to_train(run_on(tmp_path, on_error="skip"))
    assert [record.id for record in source.images] == [10, 11, 13]
    assert classes.names == ("cat", "dog")
    skipped = (tmp_path / "w" / "skipped.txt").read_text().splitlines()
    assert "annotation 104: rle_size" in skipped[0]
    assert "image 12: image: " in skipped[1]
    said = capsys.readouterr().out
    assert "note: 1 object without a mask, not trained on; the first is annotation 106" in said
    assert "note: 1 image with more than 4 instances (segmentation.max_instances): 1 inst" in said
