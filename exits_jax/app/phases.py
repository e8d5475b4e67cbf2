"""The modes of the command line, one short function each."""

import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator

from ml_collections import ConfigDict

from exits_jax.annotations import Annotations
from exits_jax.annotations.packed import PackedRows
from exits_jax.app import fitting, networks
from exits_jax.app.dry_run import describe
from exits_jax.app.label_files import labels_are_written, refuse_unwritable, write_labels
from exits_jax.app.labels import make_labels, make_parts
from exits_jax.app.report_files import evaluate, report_is_written
from exits_jax.app.review import reviewed
from exits_jax.app.run import Run, data_to_label, prepared_folder, read_files, usable
from exits_jax.app.settings import read_settings
from exits_jax.app.trust import check_generator, say_after_training
from exits_jax.app.unused_settings import unused_settings
from exits_jax.app.workdir import Workdir
from exits_jax.models.params_io import save_params
from exits_jax.system.errors import UserError
from exits_jax.system.hosts import Hosts, as_child, in_child, is_child, wait_for_all
from exits_jax.system.progress import track


def execute(mode: str, config: ConfigDict, folder: str, dry_run: bool, hosts: Hosts) -> None:
    """Runs a mode in a workdir, or says what it would do."""
    settings = read_settings(config)
    run = Run(settings, Workdir(folder), hosts)
    if mode in ("run", "label"):
        reviewed(run)  # a bad file of decisions is refused before any work
    if dry_run:
        return describe(run, planned(run) if mode == "run" else [mode])
    if is_child():
        return as_child(hosts, settings.train.heartbeat, lambda: MODES[mode](run))
    alone = hosts.count == 1
    with run.workdir.locked(hosts.index):
        run.workdir.sweep(alone=alone)
        with run.workdir.adopted(settings, alone=alone):
            done = [one_phase(name, run) for name in (pending(run) if mode == "run" else [mode])]
            if mode == "train" and hosts.first:
                say_after_training(run)
    if not done:
        print(f"nothing to do: {folder} holds every result of this config")
    elif done[-1] in NEXT and hosts.first:
        workdir = f"--workdir={shlex.quote(folder)}"
        report, review = run.workdir.report, run.workdir.review
        print("next: " + NEXT[done[-1]].format(workdir=workdir, report=report, review=review))


def one_phase(name: str, run: Run) -> str:
    """Runs a phase, in this process or together with others; returns its name."""
    hosts = run.hosts
    for line in unused_settings(run.config, name):
        run.note(line)
    if name in BY_ONE and not hosts.first:
        print(f"{name}: process 0 does it")
    elif hosts.count > 1 and name in TOGETHER:
        in_child(name, hosts, run.workdir.folder / "logs" / f"process_{hosts.index}.log")
    else:
        MODES[name](run)
    return name


def pending(run: Run) -> Iterator[str]:
    """The phases of mode `run` whose result the workdir does not hold yet.

    Looks when it is asked for the next one: new labels need a new report.
    """
    config, workdir = run.config, run.workdir
    needs_training = config.label.source == "generator" and not config.generator.params
    needs_warmup = config.warmup.epochs and not config.extractor.params
    if config.label.source == "generator" and config.generator.params:
        needs_warmup = False  # nothing is trained, and labelling never opens the training set
    if needs_warmup and not workdir.extractor.exists():
        yield "warmup"
    if needs_training and not workdir.generator.exists():
        yield "train"
    if not labels_are_written(run):
        yield "label"
    if not report_is_written(run):
        yield "evaluate"


def planned(run: Run) -> list[str]:
    """The phases that are pending now; where labels are, the report will be."""
    names = [*pending(run)]
    return [*names, "evaluate"] if names[-1:] == ["label"] else names


def warmup(run: Run) -> None:
    """Warms up the similarity extractor."""
    params = fitting.warm_up(run)
    if run.hosts.first:
        save_params(run.workdir.extractor, params)
    wait_for_all("warmup")


def train(run: Run) -> None:
    """Trains the mask generator."""
    config, warmed_up = run.config, run.workdir.extractor
    if config.warmup.epochs and not (config.extractor.params or warmed_up.exists()):
        raise UserError(f"{warmed_up}: not there yet; run --mode=warmup first")
    extractor = networks.extractor_params(config, run.workdir)
    params = fitting.train(run, extractor)
    if run.hosts.first:
        save_params(run.workdir.generator, params, networks.made_with(config, extractor))
    wait_for_all("train")


def label(run: Run) -> None:
    """Writes the masks."""
    _say_cold(run)
    data = data_to_label(run)
    refuse_unwritable(run, data.annotations)
    pack(data.annotations)
    if run.config.label.source == "generator":
        check_generator(run, data)
    if not run.hosts.first:
        make_parts(run, data, run.config.label.source)
        return print(
            "every part of the labels is there; process 0 puts them together (start it again if it "
            "has ended)"
        )
    labels = make_labels(run, data, run.config.label.source)
    write_labels(run, data.annotations, labels)


def _say_cold(run: Run) -> None:
    """A warm-up that was asked for and not made is nothing that labelling waits for."""
    config, warmed_up = run.config, run.workdir.extractor
    reads = config.label.source == "propagation" or config.generator.prior
    if reads and config.warmup.epochs and not (config.extractor.params or warmed_up.exists()):
        run.note(
            f"warmup.epochs is {config.warmup.epochs:g}, but {warmed_up} is not there: the "
            "published backbone is used as it is; --mode=warmup makes a warm-up"
        )


def pack(annotations: Annotations) -> None:
    """Makes the document small until its masks are there.

    Refuses, before the work, one that JSON cannot say: with NaN, or nested too deeply.
    """
    document = annotations.document
    try:
        json.dumps({k: v for k, v in document.items() if k != "annotations"}, allow_nan=False)
        document["annotations"] = PackedRows(document["annotations"])
    except ValueError as error:
        raise UserError(
            f"{annotations.file}: holds NaN or infinity, which JSON has not: {error}"
        ) from error
    except RecursionError as error:
        raise UserError(f"{annotations.file}: is nested too deeply to be written again") from error


def prepare(run: Run) -> None:
    """Packs annotations and images into ArrayRecord files, for `data.source=tfds`."""
    from exits_jax.data.tfds_builder import prepare as write  # heavy, and only needed here

    if run.config.data.boxes:
        raise UserError("--mode=prepare packs annotations; leave data.boxes out")

    for role in ("label", "train"):
        annotations = read_files(run, role)
        annotations = dataclasses.replace(
            annotations, instances=usable(run, role, annotations.instances)
        )
        images = len({i.image.id for i in annotations.instances})
        with track(f"prepare ({role})", images) as progress:
            print(f"prepared: {write(annotations, prepared_folder(run, role), progress.advance)}")


NEXT = {
    "warmup": "train the generator: --mode=train {workdir}",
    "train": "make the masks: --mode=label {workdir}",
    "label": "look first at {review}; pictures: --mode=evaluate {workdir}",
    "evaluate": "open {report}",
}

# The phases in which all processes of a run compute together.
TOGETHER = ("warmup", "train")
# Those that one process does while the others have nothing to do.
BY_ONE = ("evaluate", "prepare")

MODES: dict[str, Callable[[Run], None]] = {
    "warmup": warmup,
    "train": train,
    "label": label,
    "evaluate": evaluate,
    "prepare": prepare,
}
