"""Sources and label crops: the right rows, in the right order, with one decoding per image."""

import threading

import numpy as np
import pytest
from data_examples import all_rows, make_instances
from PIL import Image

from exits_jax.data import crop
from exits_jax.data.source import Source, by_image, file_source, usable_instances
from exits_jax.pseudo_labels import label_crops as labelling_module
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.system.errors import UserError


def test_examples_are_the_instances(tmp_path):
    instances = make_instances(tmp_path)
    source = file_source(instances)
    assert len(source) == 9
    assert [x.file_name for x in source.images] == ["0.png", "1.png", "2.png"]
    for k, instance in enumerate(instances):
        example = source[k]
        assert example["index"] == k
        assert example["annotation_id"] == instance.id
        assert example["has_points"] == (instance.points_xy is not None)
        np.testing.assert_array_equal(example["box_xyxy"], instance.box_xyxy)
        if instance.points_xy is not None:
            np.testing.assert_array_equal(example["points_xy"], instance.points_xy)
        with Image.open(instance.image.path) as image:
            np.testing.assert_array_equal(example["image"], np.asarray(image))


def test_take_renumbers(tmp_path):
    source = file_source(make_instances(tmp_path)).take([7, 2])
    assert source.annotation_id.tolist() == [1049, 1014]
    assert source[1]["index"] == 1
    assert source[1]["image"].shape == (20, 64, 3)


def test_an_unusable_image_names_annotation_and_file(tmp_path):
    instances = make_instances(tmp_path)
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"annotation 1007: .*1\.png: the file is empty"):
        file_source(instances)[1]


def test_usable_instances(tmp_path):
    instances = make_instances(tmp_path)
    (tmp_path / "0.png").unlink()
    Image.new("RGB", (9, 9)).save(tmp_path / "2.png")
    calls: list[int] = []
    usable, problems = usable_instances(instances, progress=calls.append)
    assert [x.id for x in usable] == [1007, 1028, 1049]
    assert [(p.annotation_id, p.image_id) for p in problems] == [
        (1000, 100), (1014, 102), (1021, 100), (1035, 102), (1042, 100), (1056, 102),
    ]  # fmt: skip
    assert {p.code for p in problems} == {"image"}
    assert "no such image" in problems[0].text
    assert "says 64 x 20" in problems[1].text
    assert calls == [1, 1, 1]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_label_batches_hold_every_instance_once(tmp_path, threads):
    instances = make_instances(tmp_path)
    options = {"crop_size": 16, "margin": 0.3, "batch_size": 4, "threads": threads}
    batches = list(label_batches(instances, **options))
    assert [b["valid"].tolist() for b in batches] == [[True] * 4, [True] * 4, [True] + [False] * 3]
    rows = all_rows(batches)
    assert [int(r["index"]) for r in rows] == list(range(9))
    for row in rows:
        instance = instances[row["index"]]
        window = crop.fixed_window(instance.box_xyxy, 0.3)
        assert row["id"] == instance.id
        assert row["flip"] == np.False_
        np.testing.assert_allclose(row["window_xyxy"], window, rtol=1e-6)
        np.testing.assert_allclose(row["box_xyxy"], [3 / 26, 3 / 26, 23 / 26, 23 / 26], atol=1e-6)
        with Image.open(instance.image.path) as image:
            pixels = np.asarray(image)
        np.testing.assert_array_equal(row["image"], crop.crop_image(pixels, window, 16))
        if instance.points_xy is None:
            assert not row["has_points"]
            assert not row["points_xy"].any()
        else:
            back = crop.to_image(row["points_xy"].astype(float), window, False)
            np.testing.assert_allclose(back, instance.points_xy, atol=1e-4)


def test_batch_types_and_shapes(tmp_path):
    batch = next(
        label_batches(make_instances(tmp_path), crop_size=16, margin=0.3, batch_size=4, threads=0)
    )
    found = {key: (value.dtype.name, value.shape) for key, value in batch.items()}
    assert found == {
        "image": ("uint8", (4, 16, 16, 3)),
        "points_xy": ("float32", (4, 4, 2)),
        "has_points": ("bool", (4,)),
        "box_xyxy": ("float32", (4, 4)),
        "valid_xyxy": ("float32", (4, 4)),
        "window_xyxy": ("float32", (4, 4)),
        "flip": ("bool", (4,)),
        "id": ("int32", (4,)),
        "index": ("int32", (4,)),
        "valid": ("bool", (4,)),
    }


def test_by_image_brings_together(tmp_path):
    instances = make_instances(tmp_path)
    together = by_image(instances)
    assert [instances.index(x) for x in together] == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert by_image(together) == together


def counting(source, counts, limit=None):
    """The source with its reads counted per image."""

    def read(position, record):
        counts[position] = counts.get(position, 0) + 1
        if limit is not None:
            assert sum(counts.values()) <= limit(), "reads too far ahead"
        return source.read(position, record)

    return Source(**{**vars(source), "read": read})


def test_an_image_is_decoded_once_and_only_when_its_turn_comes(tmp_path):
    counts, taken = {}, [0]
    instances = make_instances(tmp_path, images=12, per_image=2)
    source = counting(file_source(by_image(instances)), counts, limit=lambda: taken[0] + 3)
    batches = label_batches(source, crop_size=8, margin=0.3, batch_size=2, threads=2)
    assert not counts
    for _ in batches:
        taken[0] += 1
    assert counts == dict.fromkeys(range(12), 1)


def test_stopping_early_ends_the_threads(tmp_path):
    before = threading.active_count()
    batches = label_batches(make_instances(tmp_path, 9), crop_size=8, margin=0.3, batch_size=2)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [0, 2])
def test_label_errors_stop_or_are_handed_over(tmp_path, threads):
    instances = make_instances(tmp_path)
    (tmp_path / "1.png").write_text("no image")
    options = {"crop_size": 8, "margin": 0.3, "batch_size": 4, "threads": threads}
    with pytest.raises(UserError, match=r"annotation 1007: .*1\.png: not an image"):
        list(label_batches(instances, **options))
    told = []
    batches = label_batches(instances, on_error=lambda *call: told.append(call), **options)
    assert [int(r["index"]) for r in all_rows(batches)] == [0, 2, 3, 5, 6, 8]
    assert [indices for indices, _ in told] == [[1], [4], [7]]
    assert "1.png" in str(told[0][1])


def test_nothing_to_label():
    options = {"crop_size": 8, "margin": 0.3, "batch_size": 4}
    assert list(label_batches([], **options)) == []
    assert labelling_module._runs(file_source([])) == []
