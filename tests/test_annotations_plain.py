"""Numbers in other clothes are read where their meaning is certain, and NaN loses nothing."""

import json
import math

import pytest
from annotations_samples import document, save

from exits_jax.annotations import check_file, read_annotations
from exits_jax.annotations.numbers import plain_number, whole_number
from exits_jax.annotations.plain import without_nan
from exits_jax.system.errors import UserError

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [
        (1, 1, 1),
        (1.0, 1, 1.0),
        ("1", 1, 1.0),
        (" 12.0 ", 12, 12.0),
        ("-3", -3, -3.0),
        ("9007199254740993", 9007199254740993, 9007199254740992.0),
        (1.5, None, 1.5),
        ("1.5", None, 1.5),
        ("1e2", 100, 100.0),
        (True, None, None),
        (None, None, None),
        (NAN, None, None),
        (math.inf, None, None),
        ("inf", None, None),
        ("1e999", None, None),
        ("0x10", None, None),
        ("1_000", None, None),
        ("1,5", None, None),
        ("", None, None),
        ("9" * 100, None, None),
        ([1], None, None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_a_number(value, whole, number):
    assert whole_number(value) == whole
    assert plain_number(value) == number


def in_clothes(dress) -> dict:
    """The sample with its ids written otherwise."""
    content = document()
    for name in ("images", "categories", "annotations"):
        for entry in content[name]:
            for key in ("id", "image_id", "category_id"):
                if key in entry:
                    entry[key] = dress(entry[key])
    return content


@pytest.mark.parametrize("dress", [float, str, lambda n: f"{n}.0", lambda n: f" {n}"])
def test_ids_written_otherwise_are_the_ids(tmp_path, dress):
    plain = read_annotations(save(tmp_path, document()))
    found = read_annotations(save(tmp_path, in_clothes(dress)))
    for one, other in zip(plain.instances, found.instances, strict=True):
        assert (one.id, one.image.id, one.category) == (other.id, other.image.id, other.category)
        assert type(other.id) is int
    (note,) = found.notes
    assert note.code == "plain_numbers"
    assert "5 x id" not in note.text  # ids of all lists are counted together: 2 + 2 + 3
    assert "7 x id" in note.text
    assert check_file(save(tmp_path, in_clothes(dress))) == []


def test_ids_that_are_one_when_undressed_are_found(tmp_path):
    content = document()
    content["annotations"][1]["id"] = "11"
    with pytest.raises(UserError, match="annotation 11: duplicate_id"):
        read_annotations(save(tmp_path, content))


@pytest.mark.parametrize(
    ("change", "box", "area"),
    [
        ({"bbox": ["1", "2.5", "8", "9"]}, [1, 2.5, 9, 11.5], 72),
        ({"bbox": [1.0, 2, 8, 9], "area": "72.5"}, [1, 2, 9, 11], 72.5),
        ({"area": NAN}, [1, 2, 9, 11], 72),
        ({"area": None, "iscrowd": None}, [1, 2, 9, 11], 72),
        ({"iscrowd": "0"}, [1, 2, 9, 11], 72),
        ({"iscrowd": 0.0}, [1, 2, 9, 11], 72),
        ({"iscrowd": False}, [1, 2, 9, 11], 72),
        ({"iscrowd": "false"}, [1, 2, 9, 11], 72),
        ({"iscrowd": NAN}, [1, 2, 9, 11], 72),
        ({"segmentation": NAN, "extreme_points": NAN}, [1, 2, 9, 11], 72),
        ({"extreme_points": [["5", "2"], ["1", "7"], ["4", "11"], ["9", "6"]]}, [1, 2, 9, 11], 72),
    ],
    ids=lambda value: str(value)[:40],
)
def test_coordinates_and_marks(tmp_path, change, box, area):
    content = document()
    content["annotations"] = content["annotations"][2:]
    content["annotations"][0].update(change)
    (instance,) = read_annotations(save(tmp_path, content)).instances
    assert instance.box_xyxy.tolist() == box
    assert instance.area == area
    assert instance.points_source == (
        "given" if isinstance(change.get("extreme_points"), list) else "box"
    )


@pytest.mark.parametrize("mark", ["1", 1.0, True, "true"])
def test_a_crowd_in_other_clothes_is_a_crowd(tmp_path, mark):
    content = document()
    content["annotations"][0]["iscrowd"] = mark
    assert [i.id for i in read_annotations(save(tmp_path, content)).instances] == [12, 13]


@pytest.mark.parametrize("written", ["NaN", "-Infinity", "1e999"])
def test_nan_in_a_field_nobody_needs_is_found_and_becomes_null(tmp_path, written):
    content = document()
    content["annotations"][1]["attributes"] = {"track": ["@"]}
    content["info"]["version"] = "@"
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content).replace('"@"', written))
    (problem,) = check_file(file)
    assert problem.code == "not_json"
    assert "2 x values" in problem.text
    assert "annotation 12, attributes.track.0" in problem.text
    found = read_annotations(file)
    assert found.document["annotations"][1]["attributes"] == {"track": [None]}
    assert found.document["info"] == {"kept": True, "version": None}
    json.dumps(found.document, allow_nan=False)


def test_nan_where_numbers_are_read_is_left_to_the_readers():
    rows = [{"id": 1, "bbox": [1, NAN, 3, 4], "area": NAN, "note": NAN}]
    content = {"images": [], "categories": [], "annotations": rows}
    assert [note.code for note in without_nan(content)] == ["not_json"]
    assert math.isnan(rows[0]["bbox"][1])
    assert math.isnan(rows[0]["area"])
    assert rows[0]["note"] is None


def test_the_number_of_notes_does_not_grow_with_the_file(tmp_path):
    content = document()
    content["annotations"] = [
        {"id": str(k), "image_id": "1", "category_id": 3.0, "bbox": ["1", "2", "8", "9"]}
        for k in range(1, 200)
    ]
    for entry in content["annotations"][::2]:
        entry["bbox"] = ["20", "2", "8", "9"]
    found = read_annotations(save(tmp_path, content))
    assert len(found.instances) == 199
    assert [note.code for note in found.notes] == ["plain_numbers", "near_duplicate"]
    assert found.notes[1].text.endswith("196 more")


@pytest.mark.parametrize(
    "spelling",
    [
        {"image_id": "imageId", "category_id": "categoryId", "iscrowd": "isCrowd"},
        {"image_id": "IMAGE_ID", "bbox": "Bbox", "file_name": "filename", "name": "Name"},
        {"bbox": "box", "id": "ID", "file_name": "file-name", "iscrowd": "is_crowd"},
    ],
    ids=str,
)
def test_keys_spelled_otherwise_are_the_keys(tmp_path, spelling):
    def spelled(entry):
        return {spelling.get(key, key): value for key, value in entry.items()}

    content = document()
    content["annotations"][-1]["iscrowd"] = 1
    expected = read_annotations(save(tmp_path, content))
    for name in ("images", "categories", "annotations"):
        content[name] = [spelled(entry) for entry in content[name]]
    found = read_annotations(save(tmp_path, content))
    assert "other_keys" in {note.code for note in found.notes}
    assert found.images == expected.images
    assert len(found.instances) == len(expected.instances)
    for one, other in zip(found.instances, expected.instances, strict=True):
        assert (one.id, one.category, one.image) == (other.id, other.category, other.image)
        assert one.box_xyxy.tolist() == other.box_xyxy.tolist()


def test_keys_that_may_mean_one_of_two_are_left(tmp_path):
    content = document()
    content["annotations"][0] |= {"Bbox": [0, 0, 1, 1], "isCrowd": 1, "is_crowd": 0}
    found = read_annotations(save(tmp_path, content))
    assert "other_keys" not in {note.code for note in found.notes}
    assert found.document["annotations"][0]["Bbox"] == [0, 0, 1, 1]
