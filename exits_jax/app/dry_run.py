"""`--dry_run`: what a mode would do, without doing it."""

import pathlib
import shutil
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from exits_jax.app import networks
from exits_jax.app.phases import Counts, Phase
from exits_jax.app.published import PUBLISHED, DataSet
from exits_jax.app.run import Run, files_of, images_to_predict, read_files
from exits_jax.models.backbones import backbone_path
from exits_jax.models.slices import jit_in_slices, slice_size
from exits_jax.segmentation.build import check_weights
from exits_jax.system.errors import UserError


def describe(run: Run, phases: Sequence[Phase]) -> None:
    """Prints counts, and rough estimates of time and disk, for each of `phases`.

    The time rests on one measured forward pass, with weights of zero, on this machine, without
    compilation. Nothing is written. Missing data and weights are named, with where to get them; for
    missing public data sets the published counts are used (`published`).

    Raises:
      UserError: annotations cannot be read, or are missing and their counts are not published.
    """
    counts = _counts(run, phases)
    missing = _missing_weights(run) if counts.label else ()  # trained models have all of theirs
    for text in {text: None for text in missing}:
        print(f"missing: {text}")
    rate = crops_per_second(run)
    table = Table("phase", "work", "time, about", "disk, about")
    for phase in phases:
        work, crops, megabytes = phase.estimate(run, counts)
        table.add_row(phase.name, work, _time(crops / rate), _size(megabytes))
    console = Console()
    console.print(table)
    folder = run.workdir.folder.absolute()
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    console.print(
        f"{rate:.1f} crops/s forward on this machine's {jax.default_backend()}, "
        f"{free / 1e9:.0f} GB free; nothing was done"
    )


def _counts(run: Run, phases: Sequence[Phase]) -> Counts:
    """Instances that are labelled, and of the training set if a phase reads it; images searched."""
    files = [files_of(run, role)[0] for role in ("label", "train", "predict")]
    absent = [file for file in files if file and not pathlib.Path(file).exists()]
    # A config of stage 2 is on the data of that of stage 1.
    published = PUBLISHED.get(run.config.name.removeprefix("solov2_").partition(":")[0])
    if absent and published:
        print(_where_to_get(absent[0], published, run.config.data.root))
        return Counts(*[published.instances] * 3, published.images)
    searching = [phase for phase in phases if phase.searches_images]
    images = len(images_to_predict(run, report=False).records) if searching else 0
    if not any(phase.reads_annotations for phase in phases):
        return Counts(0, 0, 0, images)
    label = read_files(run, "label", report=False).instances
    if not any(phase.reads_training_set for phase in phases):
        return Counts(len(label), 0, 0, images)
    smallest = run.config.data.min_train_area
    train = read_files(run, "train", report=False).instances
    return Counts(len(label), len(train), sum(i.box_area >= smallest for i in train), images)


def _where_to_get(file: str, data: DataSet, root: str) -> str:
    return (
        f"missing: {file}: {data.name} is {data.gigabytes:.0f} GB, from "
        f"{' and '.join(data.where)} ({data.licence}); {root} is to hold {data.layout}. Counts are "
        f"the published ones: {data.images:,} images, {data.instances:,} instances, small ones "
        "among them"
    )


def _missing_weights(run: Run) -> Iterator[str]:
    """Which files of weights are missing, and where to get them."""
    for section in ("extractor", "generator"):
        settings = getattr(run.config, section)
        if settings.params and not pathlib.Path(settings.params).is_file():
            yield f"{settings.params} ({section}.params)"
        elif not settings.params and settings.weights != "random":
            try:
                backbone_path(settings.weights)
            except UserError as error:
                yield str(error)
    stage2 = run.config.segmentation
    if stage2.epochs and not stage2.params:
        try:
            check_weights(stage2)
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


def _time(seconds: float) -> str:
    if seconds >= 2 * 86400:
        return f"{seconds / 3600:,.0f} h ({seconds / 86400:.0f} days)"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _size(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 2000 else f"{megabytes:.0f} MB"
