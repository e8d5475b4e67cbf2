"""Trains the network on labels and measures what it finds, by the program's own modes."""

import json
import pathlib
import time
from collections.abc import Mapping, Sequence

from experiments.stage2.arms import ARMS, label_file
from experiments.stage2.command import run_mode
from experiments.stage2.data_sets import DataSet


def workdir_of(folder: pathlib.Path, data: DataSet, arm: str, seed: int) -> pathlib.Path:
    """Where a network is trained."""
    return folder / "runs" / data.name / f"{arm}-{seed}"


def trained(
    folder: pathlib.Path, data: DataSet, arm: str, seed: int, more: Sequence[str]
) -> Mapping[str, float]:
    """Trains, predicts and evaluates; a run that was stopped goes on.

    Args:
      folder: of everything that is made.
      data: what on.
      arm: a name of `ARMS`.
      seed: of the run.
      more: further arguments of the program, the same for every arm.

    Returns:
      AP as the program says it, and the minutes that it took since it was last begun.
    """
    workdir = workdir_of(folder, data, arm, seed)
    settings = {
        "seed": seed,
        "data.annotations": data.val,
        "data.images": data.val_images,
        "segmentation.annotations": label_file(folder, data, ARMS[arm].labels),
        "segmentation.images": data.train_images,
        **ARMS[arm].settings,
    }
    began = time.monotonic()
    for mode in ("segment", "predict", "evaluate"):
        run_mode(mode, workdir, settings, config=data.config, more=more)
    found = json.loads((workdir / "evaluation.json").read_text())["segmentation"]
    minutes = (time.monotonic() - began) / 60
    return {"ap": found["ap"], "minutes": minutes}
