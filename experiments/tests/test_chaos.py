"""The short form of experiments/chaos.py: the real program, killed and started again."""

import random

import pytest

from experiments.chaos import Job, peaceful, torment
from experiments.synthetic import write_synthetic


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Most of a life here would go to compiling the same programs; the experiment does without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("many"), 200)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("few"), 20)


@pytest.mark.parametrize(("mode", "kills"), [("label", 3), ("train", 1)])
def test_a_killed_run_loses_nothing(mode, kills, many, few, tmp_path):
    job = Job(mode, many if mode == "label" else few)
    tally = torment(job, tmp_path / "w", kills, random.Random(1), print)
    assert tally.lost == []
    assert sum(tally.signals.values()) == kills


def test_two_processes_train_and_a_lost_one_ends_the_other_with_a_line(few, tmp_path):
    tally = torment(Job("train", few, 2, 2), tmp_path / "w", 1, random.Random(2), print)
    assert tally.lost == []
    assert max(tally.survivors) < 120


def test_labels_are_the_same_bytes_from_one_process_and_from_two(many, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS", raising=False)  # as users run it
    assert (
        peaceful(Job("label", many), tmp_path / "one")[0]
        == (peaceful(Job("label", many, 2, 2), tmp_path / "two")[0])
    )
