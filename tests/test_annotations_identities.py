"""Text and large ids, names in place of ids, the same row twice."""

import json

import pytest
from annotations_samples import document, save

from exits_jax.annotations import read_annotations
from exits_jax.annotations.check import inspect_file
from exits_jax.system.errors import UserError


def dressed(image=lambda n: n, category=lambda n: n, annotation=lambda n: n) -> dict:
    """The sample with other ids, used consistently."""
    content = document()
    for name, dress in (("images", image), ("categories", category), ("annotations", annotation)):
        for entry in content[name]:
            entry["id"] = dress(entry["id"])
    for entry in content["annotations"]:
        entry["image_id"] = image(entry["image_id"])
        entry["category_id"] = category(entry["category_id"])
    return content


@pytest.mark.parametrize(
    ("dress", "said"),
    [
        ({"image": lambda n: f"img_{n:03}"}, "2 x image ('img_001' is 1): "),
        ({"image": lambda n: f"{n}.jpg", "category": lambda n: f"n{n}"}, "2 x category ('n3' is 1"),
        ({"annotation": lambda n: f"5f3e-{n}"}, "3 x annotation ('5f3e-11' is 1): "),
        ({"annotation": lambda n: n + 2**40}, "3 x annotation (1099511627787 is 1)"),
        ({"image": lambda n: (n - 1) * 2**33 + 1}, "1 x image (8589934593 is 2)"),
        ({"image": lambda n: "7" if n == 1 else "x"}, "1 x image ('x' is 1)"),  # 7 stays
        ({"image": lambda n: "12e9" if n == 1 else "a"}, "2 x image (12000000000 is 1)"),
    ],
)
def test_ids_that_are_no_small_numbers_are_numbered(tmp_path, dress, said):
    content = dressed(**dress)
    file = save(tmp_path, content)
    plain = read_annotations(save(tmp_path, document(), "plain.json"))
    found = read_annotations(file)
    for one, other in zip(plain.instances, found.instances, strict=True):
        assert (one.image.file_name, one.category) == (other.image.file_name, other.category)
        assert one.box_xyxy.tolist() == other.box_xyxy.tolist()
    assert len({i.id for i in found.instances}) == 3
    (note,) = [note for note in found.notes if note.code != "plain_numbers"]
    assert note.code == "ids_numbered"
    assert said in note.text
    for name in ("images", "categories", "annotations"):
        for before, after in zip(content[name], found.document[name], strict=True):
            assert type(after["id"]) is int
            assert after["id"] < 2**31
            assert before["id"] in (after.get("original_id"), after["id"], str(after["id"]))
    assert inspect_file(file).problems == []


@pytest.mark.parametrize("reference", [1, 2, "1", "img_3"])
def test_a_reference_to_nothing_does_not_come_to_mean_a_new_number(tmp_path, reference):
    content = dressed(image="img_{}".format)
    content["annotations"][2]["image_id"] = reference
    with pytest.raises(UserError, match="absent_image"):
        read_annotations(save(tmp_path, content))
    with pytest.raises(UserError, match=r"absent_image|nothing to label"):
        read_annotations(
            save(tmp_path, content | {"annotations": content["annotations"][2:]}), on_error="skip"
        )
    content = dressed(category="c{}".format)
    content["annotations"][2]["category_id"] = reference
    with pytest.raises(UserError, match="absent_category"):
        read_annotations(save(tmp_path, content))


def test_crowds_keep_large_ids_unless_they_are_labelled(tmp_path):
    content = document()
    content["annotations"][2] |= {"id": 900_100_000_001, "iscrowd": 1}
    file = save(tmp_path, content)
    found = read_annotations(file)
    assert [note.code for note in found.notes] == ["crowds"]
    assert found.document["annotations"][2]["id"] == 900_100_000_001
    found = read_annotations(file, crowds="label")
    assert [i.id for i in found.instances] == [11, 12, 1]


def test_new_numbers_are_not_those_of_crowds(tmp_path):
    content = dressed(annotation=lambda n: n - 10 if n == 11 else n + 2**40)
    content["annotations"][0]["iscrowd"] = 1
    found = read_annotations(save(tmp_path, content))
    assert [a["id"] for a in found.document["annotations"]] == [1, 2, 3]


def test_a_crowds_text_id_is_numbered_with_the_others(tmp_path):
    content = dressed(annotation="uuid-{}".format)
    content["annotations"][0]["iscrowd"] = 1
    found = read_annotations(save(tmp_path, content))
    assert [a["id"] for a in found.document["annotations"]] == [1, 2, 3]
    assert [i.id for i in found.instances] == [2, 3]


def test_text_among_numbers_is_a_mistake(tmp_path):
    content = document()
    content["images"][1]["id"] = "b"
    with pytest.raises(UserError, match="bad_id: the id of image 1 is 'b'"):
        read_annotations(save(tmp_path, content))


@pytest.mark.parametrize("by_text", [False, True])
def test_the_same_row_twice_is_read_once(tmp_path, by_text):
    content = dressed(image="img_{}".format) if by_text else document()
    for name in ("images", "categories", "annotations"):
        content[name] += json.loads(json.dumps(content[name][:1]))
    file = save(tmp_path, content)
    found = read_annotations(file)
    assert [i.id for i in found.instances] == [11, 12, 13]
    (note,) = [note for note in found.notes if note.code != "ids_numbered"]
    assert note.code == "repeated_rows"
    assert "1 of images, 1 of categories, 1 of annotations" in note.text
    assert len(found.document["annotations"]) == 3
    assert inspect_file(file).problems == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("images", {"width": 41}),
        ("categories", {"name": "cow"}),
        ("annotations", {"bbox": [1, 1, 5, 5]}),
    ],
)
def test_the_same_id_for_something_else_is_refused(tmp_path, name, change):
    content = document()
    content[name].append(content[name][0] | change)
    with pytest.raises(UserError, match="duplicate_id"):
        read_annotations(save(tmp_path, content))


@pytest.mark.parametrize(
    "change",
    [
        {"category_id": "dog"},
        {"category_id": " Dog"},
        {"category_id": None, "category": "dog"},
        {"category_id": "", "category_name": "dog"},
        {"category_id": float("nan"), "category_name": "DOG"},
    ],
    ids=str,
)
@pytest.mark.parametrize("ids", [int, "c{}".format])
def test_a_category_by_its_name(tmp_path, change, ids):
    content = dressed(category=ids)
    content["annotations"][2].update(change)
    file = save(tmp_path, content)
    found = read_annotations(file)
    assert [i.category for i in found.instances] == ["cat", "dog", "dog"]
    (note,) = [note for note in found.notes if note.code != "ids_numbered"]
    assert note.code == "category_by_name"
    assert "1 annotation with" in note.text
    assert inspect_file(file).problems == []


@pytest.mark.parametrize(
    ("names", "given", "code"),
    [
        (("cat", "dog"), "cow", "absent_category"),
        (("dog", "Dog"), "dog", "absent_category"),  # which of them?
        (("7", "3"), "7", "ambiguous_category"),  # the id of one, the name of the other
    ],
)
def test_a_name_that_is_not_certain(tmp_path, names, given, code):
    content = document()
    for category, name in zip(content["categories"], names, strict=True):
        category["name"] = name
    content["annotations"][2]["category_id"] = given
    with pytest.raises(UserError, match=code):
        read_annotations(save(tmp_path, content))
