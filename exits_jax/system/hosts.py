"""Several processes of one run, on one host or many: which one this is, and how they train.

Labelling needs no connection: processes share the workdir's files (`export.parts`). Training is
one computation of all processes through JAX's runtime, in a child process each. When a process
dies, the runtime ends the others the hard way, with a C++ trace and an abort; the parent turns that
into one line and an exit status.
"""

import contextlib
import ctypes
import os
import pathlib
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType

import jax
from jax.experimental import multihost_utils

from exits_jax.system.errors import UserError, one_line
from exits_jax.system.interruption import on_signals

CHILD = "EXITS_JAX_CHILD"  # set in a child: its parent, and that one's stdout and stderr
STOPPED, LOST = 130, 3  # exit statuses: asked to stop; another process ended
START_HEARTBEATS = 5  # a start may take this many heartbeat intervals
PR_SET_PDEATHSIG = 1  # Linux: the signal a process gets when its parent dies

# Variables in which schedulers give (index of this process, number of processes).
RANKS = (("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"))


class TrainingEnded(Exception):
    """Training was cut off: another process of the run ended, or something ended ours."""


@dataclass(frozen=True)
class Hosts:
    """Which of the run's processes this one is.

    Attributes:
      index: from 0; process 0 writes the files that exist only once.
      count: processes of the run.
      coordinator: HOST:PORT at which process 0 is reached, or "auto": the platform says.
    """

    index: int = 0
    count: int = 1
    coordinator: str = ""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the files that exist only once."""
        return self.index == 0


ALONE = Hosts()


def hosts_from(
    coordinator: str, count: int | None, index: int | None, environment: Mapping[str, str]
) -> Hosts:
    """The run's processes, from flags or from the scheduler (Slurm, Open MPI, TPUs in GKE).

    Args:
      coordinator: HOST:PORT, "auto" or "".
      count: of processes; None if no flag gives it.
      index: of this process; None if no flag gives it.
      environment: `os.environ`.

    Raises:
      UserError: the flags contradict each other, or leave out what nothing else says.
    """
    if coordinator == "auto":
        if count is not None or index is not None:
            raise UserError(
                "--coordinator=auto finds --num_processes and --process_id itself; leave them out"
            )
        index, count = _rank(environment)
    elif coordinator and not re.fullmatch(r".+:\d+", coordinator):
        raise UserError(f"--coordinator={coordinator}: expected HOST:PORT or auto")
    if count is None and index is None and not coordinator:
        return ALONE
    if count is None or index is None:
        raise UserError("--num_processes and --process_id must be given together")
    if count < 1 or not 0 <= index < count:
        raise UserError(
            f"--process_id={index} of --num_processes={count}: expected 0 to {max(count, 1) - 1}"
        )
    return Hosts(index, count, coordinator)


def _rank(environment: Mapping[str, str]) -> tuple[int, int]:
    for rank, size in RANKS:
        if rank in environment and size in environment:
            return _number(environment, rank), _number(environment, size)
    if "TPU_WORKER_ID" in environment and "TPU_WORKER_HOSTNAMES" in environment:
        names = environment["TPU_WORKER_HOSTNAMES"].split(",")
        return _number(environment, "TPU_WORKER_ID"), len(names)
    raise UserError(
        "--coordinator=auto: the environment does not say which process this is, as Slurm, Open "
        "MPI and TPUs in GKE do; give --coordinator=HOST:PORT, --num_processes and --process_id"
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    if not environment[name].isdecimal():
        raise UserError(f"--coordinator=auto: {name} is '{environment[name]}', expected a number")
    return int(environment[name])


def is_child() -> bool:
    """Whether this process was started by `in_child`."""
    return CHILD in os.environ


def in_child(phase: str, hosts: Hosts, log: pathlib.Path) -> None:
    """Runs this program's command line with another mode in a child process, and waits for it.

    Args:
      phase: the child's mode.
      hosts: of this run.
      log: the file for what the child's C++ libraries print.

    Raises:
      TrainingEnded: the child did not end by itself.
      SystemExit: it ended with a user's mistake (2) or a fault (1), which it has reported itself.
      KeyboardInterrupt: it was asked to stop, and did so after saving.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(1), os.dup(2)
    try:
        with log.open("ab") as file:
            child = subprocess.Popen(
                [*sys.orig_argv, f"--mode={phase}"],
                env={**os.environ, CHILD: f"{os.getpid()},{terminal[0]},{terminal[1]}"},
                stdout=file,
                stderr=file,
                pass_fds=terminal,
                start_new_session=True,  # Ctrl-C reaches it through us, as SIGTERM
            )
        with _handing_on_signals(child) as asked:
            status = child.wait()
    finally:
        for descriptor in terminal:
            os.close(descriptor)
    if status == STOPPED or asked:
        raise KeyboardInterrupt
    if status in (1, 2):
        raise SystemExit(status)
    if status:
        why = "another process ended or could not be reached"
        if status not in (LOST, -signal.SIGABRT):
            why = f"it was ended from outside (status {status}); out of memory?"
        raise TrainingEnded(
            f"process {hosts.index} of {hosts.count}: {phase} stopped: {why} (details: {log}); "
            "start all of them again with the same commands"
        )


@contextlib.contextmanager
def _handing_on_signals(child: subprocess.Popen) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM ask the child to save and stop; the second one ends it at once.

    Yields:
      The signals handed on so far.
    """
    asked: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(signal.SIGKILL if asked else signal.SIGTERM)
        asked.append(number)

    with on_signals(hand_on):
        yield asked


def as_child(hosts: Hosts, heartbeat: int, work: Callable[[], None]) -> None:
    """Does a child's work together with the children of the other processes.

    What Python prints still reaches the terminal. On any failure the child exits at once: an
    orderly exit would wait for the others, which wait for us.

    Args:
      hosts: of the run; `coordinator` is needed.
      heartbeat: seconds of silence after which a process counts as dead.
      work: the phase.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent, out, err = map(int, os.environ[CHILD].split(","))
    if os.getppid() != parent:  # the parent died while we were starting
        os._exit(LOST)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (out, err))
    try:
        _join(hosts, heartbeat)
        return work()
    except UserError as error:
        print(f"error: process {hosts.index}: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = STOPPED
    except jax.errors.JaxRuntimeError as error:
        traceback.print_exc(file=sys.__stderr__)  # the log: the terminal gets one line
        status = LOST
        if "RESOURCE_EXHAUSTED" in str(error):
            print(f"error: process {hosts.index}: {one_line(error)}", file=sys.stderr)
            status = 1
    except Exception:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr, sys.__stderr__):
        stream.flush()
    os._exit(status)


def _join(hosts: Hosts, heartbeat: int) -> None:
    if not hosts.coordinator:
        raise UserError(
            f"training with {hosts.count} processes needs --coordinator=HOST:PORT of process 0"
        )
    place = {
        "coordinator_address": hosts.coordinator,
        "num_processes": hosts.count,
        "process_id": hosts.index,
    }
    jax.distributed.initialize(
        **({} if hosts.coordinator == "auto" else place),
        heartbeat_timeout_seconds=heartbeat,
        initialization_timeout=START_HEARTBEATS * heartbeat,
    )
    # On CPUs all processes have to reach the first collective within half a minute; before later
    # ones their work may differ in length.
    wait_for_all("start")


def wait_for_all(what: str) -> None:
    """Returns once every connected process has reached this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
