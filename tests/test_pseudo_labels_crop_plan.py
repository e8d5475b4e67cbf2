"""Training batches: functions of (seed, epoch, number), resumable, shared among hosts."""

import json

import numpy as np
import orbax.checkpoint as ocp
import pytest
from data_examples import all_rows, make_instances
from grain.checkpoint import CheckpointRestore, CheckpointSave

from exits_jax.data import crop
from exits_jax.data.iterator import batches_per_epoch
from exits_jax.data.source import file_source
from exits_jax.pseudo_labels.colour import change_colour
from exits_jax.pseudo_labels.crop_plan import train_batches
from exits_jax.pseudo_labels.settings import CropSettings
from exits_jax.system.errors import UserError

CROP = CropSettings(size=16)


@pytest.fixture(scope="module")
def instances(tmp_path_factory):
    return make_instances(tmp_path_factory.mktemp("images"), images=4, per_image=3)  # 12


def batches_of(instances, **changes):
    options = {"batch_size": 5, "seed": 3, "threads": 0} | changes
    epochs, hosts = options.pop("epochs", 2), options.get("shard", (0, 1))[1]
    each = batches_per_epoch(len(instances), options["batch_size"], hosts)
    options.setdefault("steps", epochs * each)
    with_close = train_batches(instances, options.pop("settings", CROP), **options)
    found = list(with_close)
    with_close.close()
    return found


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
            assert a[key].dtype == b[key].dtype


def test_every_epoch_holds_every_instance_once_in_another_order(instances):
    batches = batches_of(instances)
    assert len(batches) == 6 == 2 * batches_per_epoch(12, 5)
    assert [int(b["valid"].sum()) for b in batches] == [5, 5, 2, 5, 5, 2]
    rows = all_rows(batches)
    first, second = ([int(r["index"]) for r in rows[k : k + 12]] for k in (0, 12))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert first != list(range(12))
    padded = batches[2]
    np.testing.assert_array_equal(padded["image"][2:], padded["image"][[1, 1, 1]])


def test_rows_are_consistent_with_their_window(instances):
    source = file_source(instances)
    flips = set()
    for row in all_rows(batches_of(instances)):
        instance = instances[row["index"]]
        window, flip = row["window_xyxy"].astype(float), bool(row["flip"])
        flips.add(flip)
        whole = crop.fixed_window(instance.box_xyxy, CROP.train_margin)
        assert (window[:2] >= whole[:2] - 1e-3).all()
        assert (window[2:] <= whole[2:] + 1e-3).all()
        expected = crop.box_to_crop(instance.box_xyxy, window, flip)
        np.testing.assert_allclose(row["box_xyxy"], expected, atol=1e-4)
        image = source[int(row["index"])]["image"].astype(np.uint8)
        close = crop.crop_image(image, window, 16, flip).astype(int) - row["image"]
        assert np.abs(close).max() <= 2  # the window was rounded to float32 on its way
        if row["has_points"]:
            left, right = row["points_xy"][1], row["points_xy"][3]
            np.testing.assert_allclose([left[0], right[0]], row["box_xyxy"][[0, 2]], atol=1e-4)
            points = crop.to_image(row["points_xy"].astype(float), window, flip)
            points = crop.swap_sides(points) if flip else points
            np.testing.assert_allclose(points, instance.points_xy, atol=1e-2)
    assert flips == {False, True}


def test_seed_and_epoch_change_the_crops(instances):
    one = {int(r["index"]): r["window_xyxy"] for r in all_rows(batches_of(instances, epochs=1))}
    rows = all_rows(batches_of(instances))
    again = {int(r["index"]): r["window_xyxy"] for r in rows[12:]}
    other = {
        int(r["index"]): r["window_xyxy"] for r in all_rows(batches_of(instances, seed=4, epochs=1))
    }
    for k in range(12):
        assert not np.array_equal(one[k], again[k])
        assert not np.array_equal(one[k], other[k])


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_the_batches(instances, threads):
    assert_same(batches_of(instances, threads=threads), batches_of(instances))


def test_worker_processes_do_not_change_the_batches_and_resume(instances):
    expected = batches_of(instances)
    workers = train_batches(instances, CROP, batch_size=5, seed=3, steps=6, workers=2)
    found = [next(workers) for _ in range(3)]
    state = json.loads(json.dumps(workers.get_state()))
    assert_same(found + list(workers), expected)
    workers.set_state(state)  # back in the same iterator, and on in one without workers
    assert_same([next(workers)], expected[3:4])
    workers.close()
    alone = train_batches(instances, CROP, batch_size=5, seed=3, steps=6)
    alone.set_state(state)
    assert_same(list(alone), expected[3:])


def test_worker_errors_reach_the_user(tmp_path):
    instances = make_instances(tmp_path, images=1)
    (tmp_path / "0.png").write_bytes(b"")
    for workers in (0, 1):
        batches = train_batches(instances, CROP, batch_size=2, seed=0, steps=3, workers=workers)
        with pytest.raises(UserError, match=r"annotation 10\d\d: .*0\.png: the file is empty"):
            next(batches)
        assert batches.get_state()["delivered"] == 0
        batches.close()


def test_after_an_error_the_same_batch_is_tried_again(tmp_path):
    instances = make_instances(tmp_path, images=3, per_image=1)
    expected = batches_of(instances, batch_size=1, epochs=3)
    batches = train_batches(instances, CROP, batch_size=1, seed=3, steps=9, threads=2)
    found = [next(batches), next(batches)]
    batches.set_state(batches.get_state())  # nothing made ahead
    content = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in content:
        path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UserError, match="the file is empty"):
            next(batches)
    for path, whole in content.items():
        path.write_bytes(whole)
    assert_same(found + list(batches), expected)


def test_resume_through_orbax_equals_uninterrupted(instances, tmp_path):
    expected = batches_of(instances)
    options = {"batch_size": 5, "seed": 3, "steps": 6}
    batches = train_batches(instances, CROP, **options)
    for _ in range(4):
        next(batches)
    with ocp.CheckpointManager(tmp_path / "c") as manager:
        manager.save(4, args=ocp.args.Composite(batches=CheckpointSave(batches)))
        manager.wait_until_finished()
        again = train_batches(instances, CROP, **options)
        manager.restore(4, args=ocp.args.Composite(batches=CheckpointRestore(again)))
    assert_same(list(again), expected[4:])
    assert_same(list(batches), expected[4:])
    batches.close(), again.close()


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"seed": 4}, "seed was 3, is 4"), ({"batch_size": 4}, "global_batch_size was 5, is 4")],
)
def test_a_position_in_other_data_is_refused(instances, changes, named):
    state = train_batches(instances, CROP, batch_size=5, seed=3, steps=6).get_state()
    options = {"batch_size": 5, "seed": 3, "steps": 6} | changes
    with pytest.raises(UserError, match=named):
        train_batches(instances, CROP, **options).set_state(state)
    fewer = train_batches(instances[:-1], CROP, batch_size=5, seed=3, steps=6)
    with pytest.raises(UserError, match="instances was 12, is 11; content was"):
        fewer.set_state(state)


@pytest.mark.parametrize("hosts", [2, 4, 5])
def test_hosts_share_the_global_batches(instances, hosts):
    """Host h has rows h*b to (h+1)*b of what one host with batches of b*hosts has."""
    rows = 2
    whole = batches_of(instances, batch_size=rows * hosts)
    parts = [batches_of(instances, batch_size=rows, shard=(h, hosts)) for h in range(hosts)]
    assert {len(p) for p in parts} == {len(whole)}
    for number, batch in enumerate(whole):
        valid = np.concatenate([p[number]["valid"] for p in parts])
        np.testing.assert_array_equal(valid, batch["valid"])
        for key in batch:
            joined = np.concatenate([p[number][key] for p in parts])
            np.testing.assert_array_equal(joined[valid], batch[key][valid], err_msg=key)
            assert joined.shape == batch[key].shape


def test_steps_go_on_over_epochs(instances):
    assert_same(batches_of(instances, steps=5), batches_of(instances)[:5])


def test_bad_arguments(instances):
    with pytest.raises(UserError, match="no instance to train on"):
        train_batches([], CROP, batch_size=5, seed=0, steps=1)
    with pytest.raises(ValueError, match="shard"):
        train_batches(instances, CROP, batch_size=5, seed=0, steps=1, shard=(2, 2))


def test_colour_is_for_the_student_only(instances):
    plain = batches_of(instances, settings=CropSettings(size=16, colour=False))
    coloured = batches_of(instances)
    assert "student_image" not in plain[0]
    differing = 0
    for a, b in zip(plain, coloured, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        differing += (b["student_image"] != b["image"]).any(axis=(1, 2, 3)).sum()
    assert differing >= 15  # of 30 rows


def test_colour_changes_stay_within_their_bounds():
    image = np.full((8, 8, 3), [100, 120, 140], np.uint8)
    rng = np.random.default_rng(0)
    seen = np.array([change_colour(image, rng)[0, 0] for _ in range(400)]).astype(float)
    grey = (seen.max(axis=1) - seen.min(axis=1)) == 0
    assert 0.1 < grey.mean() < 0.3
    brightness = seen.mean(axis=1) / 119  # contrast and saturation keep the mean of a flat image
    assert brightness.min() >= 0.6 - 3 / 119  # each of three changes rounds to whole values
    assert brightness.max() <= 1.4 + 3 / 119
    assert brightness.std() > 0.15


def test_probabilities_zero_and_one(instances):
    for probability in (0.0, 1.0):
        settings = CropSettings(size=8, flip=probability, colour=False)
        rows = all_rows(batches_of(instances, settings=settings))
        assert {bool(r["flip"]) for r in rows} == {probability == 1.0}
