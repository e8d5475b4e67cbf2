"""Carries out a mode of the command line: its phases, in order, with what comes around them."""

import shlex
from collections.abc import Iterator

from ml_collections import ConfigDict

from exits_jax.app.dry_run import describe
from exits_jax.app.phases import Phase, Together, in_mode
from exits_jax.app.run import Run
from exits_jax.app.settings import read_settings
from exits_jax.app.unused_settings import unused_settings
from exits_jax.app.workdir import Workdir
from exits_jax.system.hosts import Hosts, as_child, in_child, is_child


def execute(mode: str, config: ConfigDict, folder: str, dry_run: bool, hosts: Hosts) -> None:
    """Runs a mode in a workdir, or says what it would do."""
    settings = read_settings(config)
    run = Run(settings, Workdir(folder), hosts)
    phases = in_mode(mode)
    if dry_run:  # names what is missing, where it can be had
        return describe(run, planned(run) if mode == "run" else phases)
    for phase in phases:
        if phase.before:
            phase.before(run)
    if is_child():
        return as_child(hosts, settings.train.heartbeat, lambda: phases[0].work(run))
    alone = hosts.count == 1
    with run.workdir.locked(hosts.index):
        run.workdir.sweep(alone=alone)
        with run.workdir.adopted(settings, alone=alone):
            done = [one_phase(phase, run) for phase in (pending(run) if mode == "run" else phases)]
            if mode != "run" and hosts.first and phases[0].after:
                phases[0].after(run)
    if not done:
        print(f"nothing to do: {folder} holds every result of this config")
    elif done[-1].next and hosts.first:
        workdir = f"--workdir={shlex.quote(folder)}"
        report, review = run.workdir.report, run.workdir.review
        line = done[-1].next.format(workdir=workdir, report=report, review=review)
        print(f"next: {line}")


def one_phase(phase: Phase, run: Run) -> Phase:
    """Runs a phase, in this process or together with others; returns it."""
    hosts = run.hosts
    for line in unused_settings(run.config, phase.unused):
        run.note(line)
    if phase.together is Together.ONE and not hosts.first:
        print(f"{phase.name}: process 0 does it")
    elif phase.together is Together.ALL and hosts.count > 1:
        in_child(phase.name, hosts, run.workdir.folder / "logs" / f"process_{hosts.index}.log")
    else:
        phase.work(run)
    return phase


def pending(run: Run) -> Iterator[Phase]:
    """The phases of mode `run` whose result the workdir does not hold yet.

    Looks again before each phase: new labels need a new report.
    """
    return (phase for phase in in_mode("run") if not phase.result(run))


def planned(run: Run) -> list[Phase]:
    """The phases that are pending now, and those that depend on a new result of one of them."""
    now = [*pending(run)]
    names = {phase.name for phase in now}
    return [p for p in in_mode("run") if p in now or names & {*p.renewed_after}]
