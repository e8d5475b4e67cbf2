"""The one training loop: a task in, checkpoints, metrics and trained parameters out."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import grain
import jax
import numpy as np
import optax
from jax.experimental import multihost_utils

from exits_jax.data.iterator import PlannedBatches
from exits_jax.system.errors import UserError
from exits_jax.system.interruption import stop_between_steps
from exits_jax.system.progress import track
from exits_jax.system.types import Batch, Params
from exits_jax.training.checkpoints import Checkpoints
from exits_jax.training.logs import MetricsLog
from exits_jax.training.parallel import automatic_microbatches, parallel_step, replicate
from exits_jax.training.schedule import Schedule
from exits_jax.training.state import TrainState, init_state
from exits_jax.training.step import Logs, Step, make_step
from exits_jax.training.task import ITEMS, Pictures, Task

# Keys of a batch that devices have no use for.
HOST_KEYS = ("id", "index")


@dataclasses.dataclass(frozen=True)
class Machine:
    """How a task is divided among devices.

    Attributes:
      parallel: "pmap" or "jit".
      batch_size: rows over all devices.
      microbatches: how many a device's share is divided into; 0: `automatic_microbatches`.
      workers: processes that make batches.
      devices: of every process; None: all of them.
    """

    parallel: str
    batch_size: int
    microbatches: int = 0
    workers: int = 0
    devices: list[jax.Device] | None = None


def fit(
    task: Task,
    optimiser: optax.GradientTransformation,
    learning_rate: Callable[[int], float],
    schedule: Schedule,
    machine: Machine,
    *,
    phase: str,
    workdir: pathlib.Path,
) -> Params:
    """The trained parameters after `schedule.total_steps`, with `task.frozen` left out.

    Goes on from the newest checkpoint of the phase if there is one: a resumed run takes the same
    steps on the same batches as one that was never interrupted.

    Args:
      task: what is trained.
      optimiser: of its parameters.
      learning_rate: of an update, by the number of updates before it; for the log.
      schedule: lengths in steps.
      machine: devices and how they share the work.
      phase: names folders and log lines.
      workdir: where `checkpoints/<phase>/` and `metrics.jsonl` are written.

    Raises:
      UserError: a loss or gradient that is not finite; a checkpoint that does not fit; a file that
        cannot be written; batches that devices cannot share.
    """
    devices, kind = machine.devices or jax.devices(), machine.parallel
    share = machine.batch_size // len(devices)
    microbatches = machine.microbatches or automatic_microbatches(share)

    def step_on(axis_name: str | None) -> Step:
        return make_step(
            task.objective,
            task.counts,
            optimiser,
            teacher_rate=task.teacher_rate,
            microbatches=microbatches,
            axis_name=axis_name,
            offsets=task.offsets,
        )

    state = run_steps(
        parallel_step(step_on, kind, devices, machine.batch_size, microbatches),
        init_state(task.trained, optimiser, teacher=task.teacher_rate is not None),
        replicate(task.frozen, kind, devices),
        PlannedBatches(task.plan, schedule.total_steps, workers=machine.workers),
        phase=phase,
        workdir=workdir,
        schedule=schedule,
        learning_rate=learning_rate,
        made_with={
            "devices": len(devices),
            "processes": jax.process_count(),
            "parallel": kind,
        },
        extend=task.extend,
        pictures=task.pictures,
    )
    return jax.device_get(state.params)


def run_steps(
    step: Step,
    state: TrainState,
    frozen: Params,
    batches: grain.DatasetIterator,
    *,
    phase: str,
    workdir: pathlib.Path,
    schedule: Schedule,
    learning_rate: Callable[[int], float],
    made_with: dict[str, Any],
    extend: Callable[[Batch], Batch] = dict,
    pictures: Pictures | None = None,
) -> TrainState:
    """The remaining steps, from the newest checkpoint if there is one; see `fit`.

    Args:
      step: from `parallel_step`.
      state: the state to begin with; gives the shapes when a checkpoint is restored.
      frozen: parameters that the step reads and does not change.
      batches: saved and restored with the state, closed at the end.
      phase, workdir, schedule, learning_rate: as `fit`.
      made_with: what a resumed run must share with the one it continues; see `Checkpoints`.
      extend: adds to a batch, on the host.
      pictures: of the parameters, for the log.
    """
    folder = workdir / "checkpoints" / phase
    with (
        contextlib.closing(batches),
        Checkpoints(folder, made_with) as checkpoints,
        _stopping() as stopped,
    ):
        if checkpoints.latest() is not None:
            state = checkpoints.restore(state, batches)
        done = int(state.step)
        log = MetricsLog(workdir, phase, done) if jax.process_index() == 0 else None
        watch = _Watch(phase, log, schedule.log_every, learning_rate)
        with watch, track(phase, schedule.total_steps) as progress:
            progress.skip(done)
            stop = False
            for number in range(done + 1, schedule.total_steps + 1):
                with watch.waiting():
                    batch = next(batches)
                ids = batch["id"][batch["valid"]]
                state, logs = step(state, frozen, _for_device(extend(batch)))
                progress.advance(note=watch.look(number, logs, ids))
                stop = stopped(number)
                last = stop or number == schedule.total_steps
                if last or number % schedule.checkpoint_every == 0:
                    watch.settle()
                    checkpoints.save(state, batches)
                    if log and pictures:
                        log.show(number, pictures(jax.device_get(state.params)))
                if last:
                    break
        if stop:
            raise KeyboardInterrupt
    return state


@contextlib.contextmanager
def _stopping() -> Iterator[Callable[[int], bool]]:
    """Whether to stop after a step, the same one in every process.

    One process decides by its own signals. Several agree through JAX's runtime, which takes SIGTERM
    for a notice of preemption, because all of them write a checkpoint together.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    with stop_between_steps() as stop:
        yield lambda number: stop.requested


def _for_device(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if name not in HOST_KEYS}


class _Watch:
    """Looks at each step's numbers one step late, so that the host never waits for the device.

    As a context it closes the log at the end.
    """

    def __init__(
        self,
        phase: str,
        log: MetricsLog | None,
        log_every: int,
        learning_rate: Callable[[int], float],
    ) -> None:
        self._phase, self._log, self._log_every = phase, log, log_every
        self._learning_rate = learning_rate
        self._pending: tuple[int, Logs, np.ndarray] | None = None
        self._note = ""
        self._since, self._items, self._waited = time.monotonic(), 0, 0.0

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(*([UserError] if kind else [])):
            if self._log:
                self._log.close()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Times the fetching of a batch: its share of the time is logged."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def look(self, number: int, logs: Logs, ids: np.ndarray) -> str:
        """Takes the numbers of the step just started and checks those of the one before."""
        self.settle()
        self._pending = (number, logs, ids)
        return self._note

    def settle(self) -> None:
        """Checks the step that is still waiting."""
        if self._pending is None:
            return
        number, logs, ids = self._pending
        self._pending = None
        values = {name: float(value) for name, value in jax.device_get(logs).items()}
        if not values.pop("finite"):
            raise UserError(_not_finite(self._phase, number, values, ids))
        self._note = f"loss {values['loss']:.4f}"
        self._items += len(ids)
        if self._log and number % self._log_every == 0:
            now = time.monotonic()
            values["learning_rate"] = float(self._learning_rate(number - 1))
            elapsed = max(now - self._since, 1e-9)
            values["items_per_second"] = self._items / elapsed
            values["waiting_for_data"] = self._waited / elapsed
            self._since, self._items, self._waited = now, 0, 0.0
            self._log.write(number, values)


def _not_finite(phase: str, step: int, values: dict[str, Any], ids: np.ndarray) -> str:
    parts = ", ".join(f"{name} {value:.6g}" for name, value in values.items() if name != ITEMS)
    listed = ", ".join(str(i) for i in ids.tolist())
    return (
        f"{phase} step {step}: not finite: {parts}; ids of the batch: {listed}. "
        "The step was not applied. Lower the learning rate, or set clip_norm"
    )
