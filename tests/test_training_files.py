"""What the loop writes: metrics, events and checkpoints, on a full disk and on resuming too."""

import errno
import json
import pathlib

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from exits_jax.system.errors import UserError
from exits_jax.training.checkpoints import Checkpoints
from exits_jax.training.logs import MetricsLog
from exits_jax.training.loop import run_steps
from exits_jax.training.schedule import Schedule
from exits_jax.training.state import init_state

MADE_WITH = {"devices": 4, "parallel": "pmap"}


def numbers() -> grain.DatasetIterator:
    """Batches whose one crop is the number of the batch."""
    return iter(
        grain.MapDataset.range(20)
        .map(lambda i: {"id": np.array([i]), "valid": np.ones(1, bool)})
        .to_iter_dataset(grain.ReadOptions(num_threads=0))
    )


def start():
    return init_state({"w": np.zeros(3, np.float32)}, optax.sgd(0.1), teacher=True)


def add_one(state, frozen, batch):
    params = jax.tree.map(lambda x: x + 1, state.params)
    logs = {"loss": jnp.sum(params["w"]), "finite": jnp.array(True)}
    return state._replace(step=state.step + 1, params=params), logs


def train(workdir, steps, batches=None, made_with=MADE_WITH, step=add_one):
    return run_steps(
        step,
        start(),
        {},
        batches or numbers(),
        phase="train",
        workdir=workdir,
        schedule=Schedule(total_steps=steps, checkpoint_every=2, log_every=1),
        learning_rate=lambda number: 10.0 * number,
        made_with=made_with,
    )


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_state_from_numpy_is_made_of_jax_arrays():
    state = start()
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves((state.params, state.teacher)))


def test_fit_resumes_and_logs_the_rate_of_each_update(tmp_path):
    train(tmp_path, 3)
    state = train(tmp_path, 5)
    np.testing.assert_array_equal(state.params["w"], [5, 5, 5])
    found = rows(tmp_path)
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5]
    assert [row["learning_rate"] for row in found] == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("broken", [False, True])
def test_fit_closes_the_batches(tmp_path, broken):
    def fail(state, frozen, batch):
        raise RuntimeError("broken")

    batches, closed = numbers(), []
    close = batches.close
    batches.close = lambda: (closed.append(True), close())
    if broken:
        with pytest.raises(RuntimeError, match="broken"):
            train(tmp_path, 2, batches, step=fail)
    else:
        train(tmp_path, 2, batches)
    assert closed == [True]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("devices", 2, "devices was 4, is 2"),
        ("parallel", "jit", "parallel was pmap, is jit"),
        ("more", 1, "more was not recorded, is 1"),
    ],
)
def test_another_number_of_devices_is_refused(tmp_path, name, value, text):
    train(tmp_path, 2)
    with pytest.raises(UserError, match=f"checkpoint 2: cannot be resumed here: {text};"):
        train(tmp_path, 4, made_with=MADE_WITH | {name: value})


def test_damaged_checkpoint_is_named(tmp_path):
    train(tmp_path, 2)
    folder = tmp_path / "checkpoints" / "train"
    for path in (folder / "2" / "batches").rglob("*"):
        if path.is_file():
            path.write_text("not json")
    with pytest.raises(UserError, match=r"checkpoint 2: cannot be read: .*delete the folder"):
        train(tmp_path, 4)


# tensorstore reports a file it cannot write as a ValueError
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: Error writing local file: No space left on device"),
    ],
)
def test_checkpoint_on_a_full_disk_is_named(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    with Checkpoints(tmp_path / "c", MADE_WITH) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", fail)
        with pytest.raises(UserError, match=r"c: checkpoint 0: cannot be written: .*No space"):
            checkpoints.save(start(), numbers())


def test_a_save_that_fails_late_hides_no_error(tmp_path, monkeypatch):
    def leave_failing(error):
        with Checkpoints(tmp_path / "c", MADE_WITH) as checkpoints:
            monkeypatch.setattr(checkpoints._manager, "wait_until_finished", full)
            if error:
                raise error

    with pytest.raises(UserError, match=r"cannot be written: .*No space left"):
        leave_failing(None)
    with pytest.raises(KeyError, match="the first"):
        leave_failing(KeyError("the first"))


def test_folders_that_cannot_be_made_are_named(tmp_path):
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(UserError, match="tensorboard/train: cannot be written: "):
        MetricsLog(tmp_path, "train", 0)
    with pytest.raises(UserError, match="tensorboard/c: cannot be written: "):
        Checkpoints(tmp_path / "tensorboard" / "c", MADE_WITH)


def test_metrics_on_a_full_disk_are_named(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path, "train", 0)
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "open", full)
        with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written: No space left"):
            log.write(1, {"loss": 1.0})
    with monkeypatch.context() as patch:
        patch.setattr(EventsWriter, "flush", full)
        with pytest.raises(UserError, match="tensorboard/train: cannot be written: No space left"):
            log.write(1, {"loss": 1.0})
        with pytest.raises(UserError, match="tensorboard/train: cannot be written: No space left"):
            log.close()
    log.close()


def test_fit_reports_the_full_disk_once(tmp_path, monkeypatch):
    """The log's second failure, on closing, does not take the place of the first."""
    monkeypatch.setattr(MetricsLog, "write", lambda *_: full())
    closed = []

    def close(self):
        self._events.close()
        closed.append("log")
        raise UserError("second")

    monkeypatch.setattr(MetricsLog, "close", close)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path, 3)
    assert closed == ["log"]


def events(folder):
    """Every event in a TensorBoard folder: each is framed by 12 bytes before it and 4 after."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            yield Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]


def test_events_begin_by_dropping_a_dead_runs(tmp_path):
    log = MetricsLog(tmp_path, "train", 0)
    log.write(1, {"loss": 2.0, "bad": float("nan")})
    log.close()
    _, begin, point = events(tmp_path / "tensorboard" / "train")
    assert begin.session_log.status == SessionLog.START
    assert begin.step == 1
    assert (point.step, point.summary.value[0].tag) == (1, "train/loss")
    assert point.summary.value[0].simple_value == 2.0
    assert rows(tmp_path) == [{"phase": "train", "step": 1, "loss": 2.0, "bad": None}]
