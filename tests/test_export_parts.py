"""Parts of the labels on disk: who makes which, and that none is read half, doubled or lost."""

import pytest

from exits_jax.export.parts import (
    Share,
    StoredRows,
    is_whole,
    part_path,
    taking_order,
    write_part,
)
from exits_jax.export.quality import Label
from exits_jax.system.errors import UserError


def some_labels(*numbers):
    rle = {"size": [4, 4], "counts": "04"}
    return [Label(number, rle, 4, 0.5, ["holes:1", "gr\u00f6\u00dfer"]) for number in numbers]


def test_labels_come_back_by_id_in_the_order_of_the_parts(tmp_path):
    write_part(tmp_path, 1, some_labels(7, 8))
    write_part(tmp_path, 0, some_labels(9))
    write_part(tmp_path, 2, [])
    stored = StoredRows(tmp_path, 3, Label)
    assert list(stored) == [9, 7, 8]
    assert len(stored) == 3
    assert dict(stored) == {label.annotation_id: label for label in some_labels(9, 7, 8)}
    assert 8 in stored
    assert 10 not in stored
    with pytest.raises(KeyError):
        stored[1]
    assert dict(StoredRows(tmp_path / "absent", 0, Label)) == {}


def test_a_missing_part_and_a_doubled_annotation_are_refused(tmp_path):
    write_part(tmp_path, 0, some_labels(9))
    with pytest.raises(UserError, match=r"part-00001.jsonl: missing or damaged"):
        StoredRows(tmp_path, 2, Label)
    write_part(tmp_path, 1, some_labels(4, 9))
    with pytest.raises(UserError, match="annotation 9 is in two parts"):
        StoredRows(tmp_path, 2, Label)


def test_no_half_or_altered_part_is_whole(tmp_path):
    write_part(tmp_path, 3, some_labels(7, 8))
    path = part_path(tmp_path, 3)
    content = path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["part-00003.jsonl"]
    assert is_whole(tmp_path, 3)
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        assert not is_whole(tmp_path, 3)
    for old, new in (
        (b'"score":0.5', b'"score":0.6'),
        (b"holes", b"hales"),
        (b'"part": 3', b'"part": 4'),
        (b"04", b"\xff4"),
        (b'"sha256"', b'"sha257"'),
    ):
        assert old in content
        path.write_bytes(content.replace(old, new, 1))
        assert not is_whole(tmp_path, 3)
    path.write_bytes(b"[1, 2]")
    assert not is_whole(tmp_path, 3)
    path.write_bytes(content)
    assert is_whole(tmp_path, 3)
    assert not is_whole(tmp_path, 4)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_process_would_make_all_parts_its_own_first(count):
    orders = [taking_order(10, Share(index, count)) for index in range(count)]
    for order in orders:
        assert sorted(order) == list(range(10))
    owned = [order[: len(range(index, 10, count))] for index, order in enumerate(orders)]
    assert sorted(number for numbers in owned for number in numbers) == list(range(10))
