"""Kills the program at random moments, starts it again, and says what was lost.

    python -m experiments.chaos

runs the real `main.py` on synthetic pictures: labelling and training in one process, then both in
two processes of two faked devices each, of which one is killed. Every signal comes at a random
moment of the program's life, importing and compiling included. After each one every JSON file has
to be whole, and in the end the results the same bytes as those of a run that was left in peace,
with no finished part made twice. Writes experiments/results/chaos.md; exit status 1 if anything was
lost.
"""

import collections
import functools
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from absl import app, flags

from exits_jax.evaluation.tables import markdown
from exits_jax.system.files import write_bytes
from exits_jax.training.logs import CLOCKED
from experiments.machine import machine
from experiments.synthetic import write_synthetic

RESULT = pathlib.Path(__file__).parent / "results" / "chaos.md"
LABEL_KILLS = flags.DEFINE_integer("label_kills", 50, "signals while one process labels")
TRAIN_KILLS = flags.DEFINE_integer("train_kills", 20, "signals while one process trains")
PAIR_KILLS = flags.DEFINE_integer("pair_kills", 10, "signals to one of two processes")
PICTURED = flags.DEFINE_integer(
    "pictured", 6000, "annotations that are labelled; a hundredth is trained on"
)
SEED = flags.DEFINE_integer("seed", 0, "of the moments and signals")
OUTPUT = flags.DEFINE_string("output", str(RESULT), "where the tables go")

LABEL_FILES = ("pseudo_labels.json", "pseudo_labels.results.json", "review.json")
TRAIN_FILES = ("params/generator.safetensors",)
# Mostly what cannot be answered; a notice of preemption (SIGTERM) and Ctrl-C are saved for.
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LONGEST_SECONDS = 900  # for one life of the program: longer is a hang
HUNG = 1000
# What C++ and Python print when they die without a word of ours.
TRACES = ("Traceback (most recent", "*** SIG", "Check failed", "F0", "F1", "terminate called")


@dataclass(frozen=True)
class Job:
    """One mode of the program on one data set, by one process or several.

    Attributes:
      mode: "label" or "train".
      annotations: the annotation file, beside its pictures.
      processes: how many.
      devices: faked devices of each process.
    """

    mode: str
    annotations: pathlib.Path
    processes: int = 1
    devices: int = 1

    def start(self, workdir: pathlib.Path) -> list[subprocess.Popen]:
        """Starts every process; what it prints goes to a file beside the workdir."""
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        return [self._start(workdir, index, port) for index in range(self.processes)]

    def _start(self, workdir: pathlib.Path, index: int, port: int) -> subprocess.Popen:
        command = [sys.executable, "main.py", "--config=configs/synthetic.py"]
        command += [f"--workdir={workdir}", f"--mode={self.mode}"]
        command += [f"--config.data.annotations={self.annotations}"]
        command += [f"--config.data.images={self.annotations.parent}"]
        if self.processes > 1:
            command += [f"--num_processes={self.processes}", f"--process_id={index}"]
            command += [f"--coordinator=localhost:{port}"]
        faked = f"--xla_force_host_platform_device_count={self.devices}"
        with output_of(workdir, index).open("ab") as output:
            return subprocess.Popen(
                command, stdout=output, stderr=output, env=environment(faked), cwd=ROOT
            )

    @property
    def files(self) -> tuple[str, ...]:
        """What the job makes."""
        return LABEL_FILES if self.mode == "label" else TRAIN_FILES


ROOT = pathlib.Path(__file__).parents[1]


def environment(xla_flags: str) -> dict[str, str]:
    """Ours, with XLA's flags."""
    return {**os.environ, "XLA_FLAGS": xla_flags}


def output_of(workdir: pathlib.Path, index: int) -> pathlib.Path:
    """Where a process's output is kept."""
    return workdir.parent / f"{workdir.name}.{index}.log"


@dataclass
class Tally:
    """What happened to a job.

    Attributes:
      signals: how many of each were sent.
      lives: starts of the program.
      finished: times the job was done to the end.
      survivors: seconds that processes lived on after another one was killed, while training.
      lost: what was lost, in words; empty is the aim.
    """

    signals: collections.Counter = field(default_factory=collections.Counter)
    lives: int = 0
    finished: int = 0
    survivors: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def peaceful(job: Job, workdir: pathlib.Path) -> tuple[dict[str, str], float]:
    """Digests of what an undisturbed run makes, and the seconds it takes."""
    started = time.monotonic()
    statuses = [process.wait(LONGEST_SECONDS) for process in job.start(workdir)]
    if any(statuses):
        raise SystemExit(f"{job}: status {statuses}; see {output_of(workdir, 0)}")
    return digests(job, workdir), time.monotonic() - started


def digests(job: Job, workdir: pathlib.Path) -> dict[str, str]:
    """SHA-256 of what a job makes; for training, of the logged numbers, too."""
    found = {name: hashlib.sha256((workdir / name).read_bytes()).hexdigest() for name in job.files}
    if job.mode == "train":
        rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        rows = [{k: v for k, v in row.items() if k not in CLOCKED} for row in rows]
        found["metrics.jsonl"] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return found


def torment(
    job: Job, folder: pathlib.Path, kills: int, rng: random.Random, say: Callable[[str], None]
) -> Tally:
    """Kills the job `kills` times in all, over as many runs from the beginning as that takes."""
    folder.mkdir()
    expected, seconds = peaceful(job, folder / "peaceful")
    say(f"left in peace: {seconds:.0f} s")
    tally = Tally()
    while sum(tally.signals.values()) < kills:
        workdir = folder / f"run_{tally.finished}"
        while True:
            parts = finished_parts(workdir)
            left = kills - sum(tally.signals.values())
            done = live(job, workdir, rng.uniform(0.5, seconds) if left else None, tally, rng)
            tally.lost += [f"{path.name} was made again" for path in remade(parts, workdir)]
            tally.lost += torn(workdir)
            if done:
                break
            count = sum(tally.signals.values())
            say(f"{count} of {kills} killed, {len(finished_parts(workdir))} parts kept")
        tally.finished += 1
        found = digests(job, workdir)
        tally.lost += [f"{name} differs" for name in expected if found[name] != expected[name]]
        tally.lost += [str(path) for path in workdir.rglob(".*.tmp") if job.processes == 1]
        shutil.rmtree(workdir)
    return tally


def live(
    job: Job, workdir: pathlib.Path, moment: float | None, tally: Tally, rng: random.Random
) -> bool:
    """One life of the program, ended after `moment` seconds if it is not done; whether it was."""
    processes = job.start(workdir)
    tally.lives += 1
    try:
        if moment is not None:
            processes[0].wait(moment)
    except subprocess.TimeoutExpired:
        victim, number = rng.randrange(job.processes), rng.choice(SIGNALS)
        sent = time.monotonic()
        alive = processes[victim].poll() is None
        if alive:
            tally.signals[number.name] += 1
            processes[victim].send_signal(number)
        statuses = wait(processes)
        if alive and job.processes > 1 and job.mode == "train":
            tally.survivors.append(time.monotonic() - sent)
    else:
        statuses = wait(processes)
    tally.lost += unexplained(statuses, workdir)
    return not any(statuses)


def wait(processes: Sequence[subprocess.Popen]) -> list[int]:
    """The exit statuses; a process that hangs is ended, and `HUNG` its status."""
    statuses = []
    for process in processes:
        try:
            statuses.append(process.wait(LONGEST_SECONDS))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            statuses.append(HUNG)
    return statuses


def unexplained(statuses: Sequence[int], workdir: pathlib.Path) -> list[str]:
    """Ends that are neither done (0), killed (-9), stopped (130, -2, -15) nor a lost peer (3)."""
    allowed = (0, 3, 130, *(-number for number in SIGNALS))
    lost = []
    for index, status in enumerate(statuses):
        text = output_of(workdir, index).read_text(errors="replace")
        if status not in allowed:
            lost.append(f"process {index} ended with status {status}: {text[-300:]}")
        if status == 3 and any(line.startswith(TRACES) for line in text.splitlines()):
            lost.append(f"process {index} showed a trace: {text[-300:]}")
    return lost


def finished_parts(workdir: pathlib.Path) -> dict[pathlib.Path, int]:
    """The parts that are there, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in workdir.glob("label_parts/*/part-*.jsonl")}


def remade(before: dict[pathlib.Path, int], workdir: pathlib.Path) -> list[pathlib.Path]:
    """Parts that were finished and were written again."""
    now = finished_parts(workdir)
    return [path for path, written in before.items() if now.get(path) != written]


def torn(workdir: pathlib.Path) -> list[str]:
    """Files a reader would find broken."""
    lost = []
    for path in workdir.glob("*.json"):
        try:
            json.loads(path.read_text())
        except ValueError:
            lost.append(f"{path.name} is torn")
    return lost


def same_bytes(annotations: pathlib.Path, folder: pathlib.Path) -> list[list[str]]:
    """Labels by other numbers of processes and devices: digests, and whether all are the same."""
    rows, first = [["processes", "devices each", "pseudo_labels.json", "same"]], None
    for processes, devices in ((1, 1), (2, 1), (4, 1), (1, 2), (2, 2)):
        job = Job("label", annotations, processes, devices)
        found, _ = peaceful(job, folder / f"hosts_{processes}_{devices}")
        first = first or found
        same = "yes" if found == first else "NO"
        rows.append([str(processes), str(devices), found[LABEL_FILES[0]][:16], same])
    return rows


def say(title: str, text: str) -> None:
    """A line of progress."""
    print(f"{title}: {text}", flush=True)


def summary(tally: Tally) -> list[str]:
    """A tally in words, a cell each."""
    sent = ", ".join(f"{count} {name}" for name, count in sorted(tally.signals.items()))
    after = f"{min(tally.survivors):.0f} to {max(tally.survivors):.0f}" if tally.survivors else ""
    return [sent, str(tally.lives), str(tally.finished), after, "; ".join(tally.lost) or "nothing"]


def main(argv: list[str]) -> None:
    """Torments every job, prints and writes the tables."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    rng, started = random.Random(SEED.value), time.monotonic()
    rows = [["what ran", "signals", "starts", "runs finished", "survivors ended after, s", "lost"]]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        many = write_synthetic(folder / "many", PICTURED.value)
        few = write_synthetic(folder / "few", PICTURED.value // 100)
        half = PAIR_KILLS.value // 2
        tallies = []
        for title, job, kills in (
            ("labelling, 1 process", Job("label", many), LABEL_KILLS.value),
            ("training, 1 process", Job("train", few), TRAIN_KILLS.value),
            ("labelling, 2 processes of 2 devices", Job("label", many, 2, 2), half),
            ("training, 2 processes of 2 devices", Job("train", few, 2, 2), half),
        ):
            work = folder / title.replace(" ", "_").replace(",", "")
            tallies.append(torment(job, work, kills, rng, functools.partial(say, title)))
            rows.append([title, *summary(tallies[-1])])
        hosts = same_bytes(many, folder)
    minutes = (time.monotonic() - started) / 60
    page = PAGE.format(
        kills=markdown(rows), hosts=markdown(hosts), machine=machine(), minutes=f"{minutes:.0f}"
    )
    print(page)
    write_bytes(OUTPUT.value, page.encode())
    if any(tally.lost for tally in tallies) or any(row[-1] == "NO" for row in hosts):
        sys.exit(1)


PAGE = """\
# Killed at random moments, started again

`main.py` on synthetic pictures (`configs/synthetic.py`), signals at random moments of its life,
the same command afterwards. Lost would be: a broken JSON file at any time, a finished part of the
labels made again, a result or a logged number that differs in a byte from that of a run left in
peace, a C++ or Python trace where one line should stand, a file left behind.

{kills}
Of two processes one gets the signal; in training the other then ends by itself (status 3, one line;
`train.heartbeat` is 10 s here, and five times that is waited for one that was killed while it
started), in labelling it finishes what is left.

## The same bytes from any number of processes and devices

{hosts}
Command: `python -m experiments.chaos`; {minutes} minutes on {machine}.
"""


if __name__ == "__main__":
    app.run(main)
