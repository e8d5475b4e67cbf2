"""Progress that a person can follow, and work that a kill does not cost."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from exits_jax.export import unfinished
from exits_jax.export.parts import Share
from exits_jax.export.unfinished import (
    Predicted,
    Unfinished,
    unfinished_files,
    unfinished_path,
)
from exits_jax.system import progress
from exits_jax.system.errors import UserError
from exits_jax.system.progress import Tracker, clock, track
from tests.label_slowly import BATCH, PART, labeller, make_parts
from tests.label_slowly import pictures as instances_of
from tests.pictures import write_pictures

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def at(monkeypatch):
    """Sets the clock."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 100.0 + seconds)


def test_the_time_left_leaves_out_the_first_piece_and_what_was_there(at):
    tracker = Tracker("masks", 1000)
    assert tracker.left() is None
    tracker.skip(400)
    at(60)
    assert tracker.line() == "masks: 400/1000, 1:00 so far"
    tracker.advance(8)  # after a minute of compiling
    assert tracker.left() is None
    at(62)
    tracker.advance(8, "loss 0.5")
    tracker.skip(84)
    assert tracker.left() == pytest.approx(500 / 4)  # 8 in two seconds
    assert tracker.line() == "masks: 500/1000, 2:05 left  loss 0.5"
    at(64)
    assert tracker.left() == pytest.approx(500 / 2)  # nothing happened for two seconds


def test_clock():
    assert [clock(s) for s in (0.4, 59.6, 61.0, 3600.0, 90061.0)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:00:00",
        "25:01:01",
    ]


def test_a_log_gets_lines_while_the_first_piece_is_still_at_work(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.05)
    with track("masks", 16) as tracker:
        time.sleep(0.3)
        first = capsys.readouterr().out.splitlines()
        tracker.advance(8)
        tracker.advance(8)
    assert len(first) >= 2
    assert set(first) == {"masks: 0/16, 0:00 so far"}
    assert capsys.readouterr().out.splitlines()[-1] == "masks: 16 of 16 in 0:00"
    time.sleep(0.15)
    assert capsys.readouterr().out == ""  # the thread has ended


def test_what_fails_ends_the_lines_too(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.05)
    with pytest.raises(UserError), track("masks", 16):
        raise UserError("no")
    capsys.readouterr()
    time.sleep(0.15)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("log", [True, False])
def test_a_terminal_gets_a_bar_and_a_log_beside_it_lines(capsys, monkeypatch, log):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: not log)
    with track("masks", 16) as tracker:
        tracker.advance(8, "loss 0.5")
    said = capsys.readouterr()
    assert "masks" in said.err
    assert "8/16" in said.err
    assert "loss 0.5" in said.err
    assert bool(said.out) == log


def batches(count, rows=2):
    rng = np.random.default_rng(3)
    for number in range(count):
        index = np.arange(rows, dtype=np.int32) + number * rows
        yield Predicted(index, rng.normal(size=(rows, 4, 4)).astype(np.float32), np.ones((rows, 4)))


def same(first, second):
    return len(first) == len(second) and all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_batches_come_back_to_the_bit_and_a_cut_record_does_not_count(tmp_path):
    path, made = unfinished_path(tmp_path, 7, 0), [*batches(3)]
    begun = Unfinished(path)
    for batch in made:
        begun.keep(batch)
        begun.flush()
    assert unfinished_files(tmp_path) == {7: [path]}
    content = path.read_bytes()
    assert same(Unfinished(path, [path]).batches, made)
    third = len(content) // 3
    for end in (0, 5, third - 1, third, third + 50, 2 * third + 1, len(content) - 1):
        path.write_bytes(content[:end])
        assert same(Unfinished(path, [path]).batches, made[: end // third]), end
    path.write_bytes(content[: third + 60] + b"x" + content[third + 61 :])
    assert same(Unfinished(path, [path]).batches, made[:1])
    path.write_bytes(b"\xff" * 300)  # a length of nobody's
    assert Unfinished(path, [path]).batches == []


def test_the_longest_file_is_gone_on_with_and_all_are_removed(tmp_path):
    mine, other = (unfinished_path(tmp_path, 2, process) for process in (0, 1))
    made = [*batches(4)]
    for path, count in ((mine, 1), (other, 3)):
        begun = Unfinished(path)
        for batch in made[:count]:
            begun.keep(batch)
        begun.flush()
    goes_on = Unfinished(mine, unfinished_files(tmp_path)[2])
    assert same(goes_on.batches, made[:3])
    goes_on.keep(made[3])
    goes_on.flush()
    assert same(Unfinished(mine, [mine]).batches, made)
    goes_on.remove()
    assert [*tmp_path.iterdir()] == []


def test_a_batch_is_on_disk_after_a_while_and_a_full_disk_costs_nothing(tmp_path, monkeypatch):
    path, (first, second) = unfinished_path(tmp_path, 0, 0), batches(2)
    begun = Unfinished(path)
    begun.keep(first)
    assert not path.exists()
    monkeypatch.setattr(unfinished, "SECONDS_BETWEEN_WRITES", 0.0)
    begun.keep(second)
    assert same(Unfinished(path, [path]).batches, [first, second])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unfinished.os, "fsync", full)
    begun.keep(first)
    begun.keep(second)  # nothing is raised: labels do not need it


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """14 pictures of two instances: parts of 12, 12 and 4."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder, count=14)
    return folder


def part_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """The parts of work that nobody disturbs."""
    folder = tmp_path_factory.mktemp("parts")
    make_parts(*instances_of(data), folder, labeller())
    assert sorted(part_bytes(folder)) == [f"part-0000{k}.jsonl" for k in range(3)]
    return part_bytes(folder)


class Killed(BaseException):
    """Stands for a signal."""


@pytest.mark.parametrize("before", [0, 1, 4, 5, 7, 13])
def test_work_cut_off_after_any_batch_goes_on_there(data, undisturbed, tmp_path, before):
    seen = []

    def watch(batch):
        if len(seen) == before:
            raise Killed
        seen.append(batch["id"].tolist())

    source, instances = instances_of(data)
    with pytest.raises(Killed):
        make_parts(source, instances, tmp_path, labeller(watch))
    after = []
    tracker = Tracker("masks", len(instances))
    watched = labeller(lambda batch: after.append(batch["id"].tolist()))
    make_parts(source, instances, tmp_path, watched, progress=tracker, share=Share(0, 1))
    assert seen + after == [[2 * k + 1, 2 * k + 2] for k in range(14)]  # none twice
    assert part_bytes(tmp_path) == undisturbed
    assert tracker.done == len(instances)


def test_asked_to_stop_it_stops_after_the_batch(data, undisturbed, tmp_path):
    source, instances = instances_of(data)
    seen = []
    watched = labeller(seen.append)
    make_parts(source, instances, tmp_path, watched, stop=lambda: len(seen) == 2)
    assert len(seen) == 2
    assert [*unfinished_files(tmp_path)] == [0]
    make_parts(source, instances, tmp_path, watched)
    assert len(seen) == 14
    assert part_bytes(tmp_path) == undisturbed


def test_another_process_takes_up_a_part_that_was_cut_off(data, undisturbed, tmp_path):
    source, instances = instances_of(data)
    seen = []
    watched = labeller(seen.append)
    share, stop = Share(1, 2), lambda: len(seen) == 4
    make_parts(source, instances, tmp_path, watched, share=share, stop=stop)
    assert [*unfinished_files(tmp_path)] == [1]
    make_parts(source, instances, tmp_path, watched, share=Share(0, 2))
    assert len(seen) == 14
    assert part_bytes(tmp_path) == undisturbed


def test_images_that_cannot_be_used_are_known_after_a_kill(tmp_path):
    """The second picture is damaged: what was cut off and goes on gives the same parts."""
    write_pictures(tmp_path, count=4)
    (tmp_path / "1.png").write_bytes(b"no picture")
    source, instances = instances_of(tmp_path)
    errors = []

    def skipping(batches=lambda batch: None):
        return labeller(batches, on_error=lambda instance, error: errors.append(instance.id))

    whole, cut, seen = tmp_path / "whole", tmp_path / "cut", []
    tracker = Tracker("masks", 8)
    make_parts(source, instances, whole, skipping(), progress=tracker)
    assert errors == [3, 4]
    assert tracker.done == 8
    make_parts(source, instances, cut, skipping(seen.append), stop=lambda: len(seen) == 2)
    make_parts(source, instances, cut, skipping(seen.append))
    assert [batch["id"].tolist() for batch in seen] == [[1, 2], [5, 6], [7, 8]]
    assert part_bytes(cut) == part_bytes(whole)
    assert b'"item_error"' in part_bytes(cut)["part-00000.jsonl"]


def test_killed_for_real_in_the_first_part_it_loses_seconds(data, undisturbed, tmp_path):
    """kill -9 in the part's last batch: what is made again is as much as fits between two writes,
    and the batch that was at work."""
    log, parts = tmp_path / "log", tmp_path / "parts"

    def command(seconds):
        return [sys.executable, "-m", "tests.label_slowly", data, parts, log, str(seconds)]

    def lines():
        return log.read_text().splitlines() if log.exists() else []

    work = subprocess.Popen(command(1.5), cwd=ROOT)
    deadline = time.monotonic() + 120
    while len(lines()) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(work.pid, signal.SIGKILL)
    work.wait()
    killed = lines()
    assert len(killed) == 6  # the sixth of the first part's six: none of the part is written
    assert [path.name for path in parts.iterdir()] == ["part-00000.0.begun"]
    subprocess.run(command(0), cwd=ROOT, check=True, timeout=120)
    again = [line for line in lines()[6:] if line in killed]
    assert 1 <= len(again) * 1.5 <= unfinished.SECONDS_BETWEEN_WRITES + 2 * 1.5
    assert len(lines()) - 6 - len(again) == 14 - 6
    assert part_bytes(parts) == undisturbed
    assert PART == 6 * BATCH
