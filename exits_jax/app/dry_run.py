"""`--dry_run`: what a mode would do, without doing it."""

import math
import pathlib
import shutil
import time
from collections.abc import Iterator

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from exits_jax.app import networks
from exits_jax.app.published import PUBLISHED, DataSet
from exits_jax.app.run import Run, files_of, read_files
from exits_jax.models.backbones import backbone_path
from exits_jax.models.build import param_shapes
from exits_jax.models.generator import Generator
from exits_jax.models.slices import jit_in_slices, slice_size
from exits_jax.system.errors import UserError
from exits_jax.training.schedule import total_steps

TRAINS = {"warmup", "train", "prepare"}  # the phases that open the training set
LABEL_BYTES = 700  # of an annotation in the two label files, typical of COCO
TRAIN_OVER_FORWARD = 3.0  # a training step against a forward pass, all blocks trained


def describe(run: Run, phases: list[str]) -> None:
    """Prints counts, and rough estimates of time and disk, for each of `phases`.

    The time rests on one measured forward pass, with weights of zero, on this machine; it leaves
    compilation out. Nothing is written. Data and weights that are not there are named, with where
    to get them; of public data sets the published counts are taken then (`published`).

    Raises:
      UserError: annotations cannot be read, or are not there and nothing is published of them.
    """
    label, train = _counts(run, phases)
    for text in {text: None for text in _missing_weights(run)}:
        print(f"not there: {text}")
    rate = crops_per_second(run)
    table = Table("phase", "work", "time, about", "disk, about")
    for phase in phases:
        work, crops, megabytes = _estimate(run, phase, label, train)
        table.add_row(phase, work, _time(crops / rate), _size(megabytes))
    console = Console()
    console.print(table)
    folder = run.workdir.folder.absolute()
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    console.print(
        f"{rate:.1f} crops/s forward on this machine's {jax.default_backend()}, "
        f"{free / 1e9:.0f} GB free; nothing was done"
    )


def _counts(run: Run, phases: list[str]) -> tuple[int, int]:
    """Instances that are labelled and that are trained on."""
    files = [files_of(run, role)[0] for role in ("label", "train")]
    absent = [file for file in files if file and not pathlib.Path(file).exists()]
    published = PUBLISHED.get(run.config.name)
    if absent and published:
        print(_where_to_get(absent[0], published, run.config.data.root))
        return published.instances, published.instances
    label = read_files(run, "label", report=False).instances
    if not TRAINS & set(phases):
        return len(label), 0
    smallest = run.config.data.min_train_area
    train = read_files(run, "train", report=False).instances
    large = [i for i in train if i.box_area >= smallest or phases == ["prepare"]]
    return len(label), len(large)


def _where_to_get(file: str, data: DataSet, root: str) -> str:
    return (
        f"not there: {file}: {data.name} is {data.gigabytes:.0f} GB, from "
        f"{' and '.join(data.where)} ({data.licence}); {root} is to hold {data.layout}. Counts are "
        f"the published ones: {data.images:,} images, {data.instances:,} instances, small ones "
        "among them"
    )


def _missing_weights(run: Run) -> Iterator[str]:
    """Which files of weights are not there, and where to get them."""
    for section in ("extractor", "generator"):
        settings = getattr(run.config, section)
        if settings.params and not pathlib.Path(settings.params).is_file():
            yield f"{settings.params} ({section}.params)"
        elif not settings.params and settings.weights != "random":
            try:
                backbone_path(settings.weights)
            except UserError as error:
                yield str(error)


def crops_per_second(run: Run) -> float:
    """Forward passes of the generator per second, measured on one batch after compilation."""
    config = run.config
    network = networks.generator(config)
    count, side = slice_size(config.label.device_batch), config.crop.size
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
        section = getattr(config, phase)
        steps = total_steps(section, train)
        once = train if phase == "train" and config.retrieval.when == "once" else 0
        crops = steps * section.batch_size * TRAIN_OVER_FORWARD + once
        work = f"{train} instances, {section.epochs} epochs, {steps} steps of {section.batch_size}"
        return work, crops, 2 * _checkpoint_megabytes(networks.generator(config))
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
    published = PUBLISHED.get(run.config.name)
    if published and not pathlib.Path(run.config.data.annotations).exists():
        return 1000 * published.gigabytes
    records = {
        i.image
        for role in ("label", "train")
        for i in read_files(run, role, report=False).instances
    }
    paths = [record.path for record in records if record.path and record.path.exists()]
    return sum(path.stat().st_size for path in paths) / 1e6


def _checkpoint_megabytes(network: Generator) -> float:
    """Parameters, teacher and the two moments of Adam, float32, everything trained."""
    shapes = param_shapes(network)
    return 4 * 4 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) / 1e6


def _time(seconds: float) -> str:
    if seconds >= 2 * 86400:
        return f"{seconds / 3600:,.0f} h ({seconds / 86400:.0f} days)"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _size(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 2000 else f"{megabytes:.0f} MB"
