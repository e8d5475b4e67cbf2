"""Labels pictures part by part with a predictor that takes its time: a program for tests to kill.

    python -m tests.label_slowly PICTURES PARTS LOG SECONDS

LOG gets a line for every batch that is predicted, before the time it takes.
"""

import pathlib
import sys
import time

import numpy as np

from exits_jax.annotations import Instance, read_annotations
from exits_jax.data.source import Source, file_source
from exits_jax.export.in_parts import PartsToMake
from exits_jax.export.parts import Share, part_positions
from exits_jax.pseudo_labels.label import Labeller, part_maker
from exits_jax.system.progress import Tracker

BATCH, PART = 2, 12


def predict(batch):
    """Maps that follow the picture, on a coarse grid."""
    cells = batch["image"].reshape(len(batch["image"]), 8, 4, 8, 4, 3).mean(axis=(2, 4))
    return (cells[..., 0] - 150).astype(np.float32) / 16


def labeller(batches=lambda batch: None, **changes):
    """A labeller without a network; `batches` sees what would go through one."""

    def watched(batch):
        batches(batch)
        return predict(batch)

    settings = {"crop_size": 32, "margin": 0.3, "batch_size": BATCH, "joint": True, **changes}
    return Labeller(watched, **settings)


def pictures(folder: pathlib.Path) -> tuple[Source, list[Instance]]:
    """The instances in a folder of `write_pictures`."""
    instances = read_annotations(folder / "annotations.json", folder).instances
    return file_source(instances), instances


def make_parts(source, instances, folder: pathlib.Path, *labellers, **changes) -> None:
    """The work, by one process."""
    settings = {"share": Share(), "progress": Tracker("masks", len(instances)), **changes}
    work = PartsToMake(part_positions(instances, PART), folder, **settings)
    work.make([part_maker(label, source, instances) for label in labellers])


def main(folder: str, parts: str, log: str, seconds: str) -> None:
    """Labels everything, slowly."""

    def wait(batch):
        with open(log, "a") as file:
            print(*batch["id"].tolist(), file=file)
        time.sleep(float(seconds))

    make_parts(*pictures(pathlib.Path(folder)), pathlib.Path(parts), labeller(wait))


if __name__ == "__main__":
    main(*sys.argv[1:])
