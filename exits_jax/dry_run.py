"""`--dry_run`: what a mode would do, without doing it."""

import math
import shutil
import time

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from exits_jax import from_config
from exits_jax.annotations import Instance
from exits_jax.models import Generator, jit_in_slices
from exits_jax.run import Run, read_files

TRAINS = {"warmup", "train", "prepare"}  # the phases that open the training set
LABEL_BYTES = 700  # of an annotation in the two label files, typical of COCO
TRAIN_OVER_FORWARD = 3.0  # a training step against a forward pass, all blocks trained


def describe(run: Run, phases: list[str]) -> None:
    """Prints counts, and rough estimates of time and disk, for each of `phases`.

    The time rests on one measured forward pass, with weights of zero, on this machine; it leaves
    compilation out. Nothing is written.
    """
    config = run.config
    label = read_files(run, "label", report=False).instances
    train: list[Instance] = []
    if TRAINS & set(phases):
        smallest = config.data.min_train_area
        train = read_files(run, "train", report=False).instances
        train = [i for i in train if i.box_area >= smallest or phases == ["prepare"]]
    rate = crops_per_second(run)
    table = Table("phase", "work", "time, about", "disk, about")
    for phase in phases:
        work, crops, megabytes = _estimate(run, phase, len(label), len(train))
        table.add_row(phase, work, _clock(crops / rate), f"{megabytes:.0f} MB")
    console = Console()
    console.print(table)
    folder = run.workdir.folder.absolute()
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    console.print(f"{rate:.1f} crops/s forward, {free / 1e9:.0f} GB free; nothing was done")


def crops_per_second(run: Run) -> float:
    """Forward passes of the generator per second, measured on one batch after compilation."""
    config = run.config
    network = from_config.generator(config)
    count, side = config.label.device_batch, config.crop.size
    image = np.zeros((count, side, side, 3), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image[:1])
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    forward = jit_in_slices(network.apply)
    jax.block_until_ready(forward(params, image))
    started = time.perf_counter()
    jax.block_until_ready(forward(params, image))
    return count / (time.perf_counter() - started)


def _estimate(run: Run, phase: str, label: int, train: int) -> tuple[str, float, float]:
    """What a phase does in words, its work in forward passes of a crop, and its megabytes."""
    config = run.config
    if phase in ("warmup", "train"):
        section = config[phase]
        steps = from_config.schedule(config, section, train).total_steps
        once = train if phase == "train" and config.retrieval.when == "once" else 0
        crops = steps * section.batch_size * TRAIN_OVER_FORWARD + once
        work = f"{train} instances, {section.epochs} epochs, {steps} steps of {section.batch_size}"
        return work, crops, 2 * _checkpoint_megabytes(from_config.generator(config))
    if phase == "label":
        parts = math.ceil(label / config.label.part_size)
        passes = 2 if config.label.flip else 1
        return (
            f"{label} instances in {parts} part{'s' * (parts != 1)}",
            float(label * passes),
            2 * label * LABEL_BYTES / 1e6,
        )
    if phase == "evaluate":
        return f"{label} instances, propagation baseline, report", float(label), 40.0
    return f"{label} and {train} instances, a copy of their images", 0.0, _image_megabytes(run)


def _image_megabytes(run: Run) -> float:
    """Of the image files that would be packed."""
    records = {
        i.image
        for role in ("label", "train")
        for i in read_files(run, role, report=False).instances
    }
    paths = [record.path for record in records if record.path and record.path.exists()]
    return sum(path.stat().st_size for path in paths) / 1e6


def _checkpoint_megabytes(network: Generator) -> float:
    """Parameters, teacher and the two moments of Adam, float32, everything trained."""
    side = 2 * network.encoder.patch
    shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, side, side, 3)))
    return 4 * 4 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) / 1e6


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
