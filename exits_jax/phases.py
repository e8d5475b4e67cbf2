"""The modes of the command line, one short function each."""

import dataclasses
import json
from collections.abc import Callable

from ml_collections import ConfigDict

from exits_jax import fitting, networks
from exits_jax.annotations import Annotations
from exits_jax.annotations.packed import PackedRows
from exits_jax.config_check import check_config
from exits_jax.dry_run import describe
from exits_jax.errors import UserError
from exits_jax.hosts import Hosts, as_child, in_child, is_child, wait_for_all
from exits_jax.labels import make_labels, make_parts, write_labels
from exits_jax.measuring import evaluate
from exits_jax.models import save_params
from exits_jax.progress import track
from exits_jax.run import Run, data_to_label, prepared_folder, read_files, usable
from exits_jax.trust import check_generator, say_after_training
from exits_jax.workdir import Workdir


def execute(mode: str, config: ConfigDict, folder: str, dry_run: bool, hosts: Hosts) -> None:
    """Runs a mode in a workdir, or says what it would do."""
    check_config(config)
    run = Run(config, Workdir(folder), hosts)
    if dry_run:
        return describe(run, pending(run) if mode == "run" else [mode])
    if is_child():
        return as_child(hosts, config.train.heartbeat, lambda: MODES[mode](run))
    with run.workdir.locked(hosts.index):
        run.workdir.sweep(alone=hosts.count == 1)
        run.workdir.adopt(config.to_dict())
        for name in pending(run) if mode == "run" else [mode]:
            if name in BY_ONE and not hosts.first:
                print(f"{name}: process 0 does it")
            elif hosts.count > 1 and name in TOGETHER:
                in_child(name, hosts, run.workdir.folder / "logs" / f"process_{hosts.index}.log")
            else:
                MODES[name](run)
        if mode == "train" and hosts.first:
            say_after_training(run)


def pending(run: Run) -> list[str]:
    """The phases of mode `run` whose result the workdir does not hold yet."""
    config, workdir = run.config, run.workdir
    needs_training = config.label.source == "generator" and not config.generator.params
    needs_warmup = config.warmup.epochs and not config.extractor.params
    if config.label.source == "generator" and config.generator.params:
        needs_warmup = False  # nothing is trained, and labelling never opens the training set
    results = {
        "warmup": workdir.extractor if needs_warmup else None,
        "train": workdir.generator if needs_training else None,
        "label": workdir.labels,
        "evaluate": workdir.report,
    }
    return [name for name, path in results.items() if path and not path.exists()]


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
    data = data_to_label(run)
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
    print(f"labels: {run.workdir.labels}")


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
