"""A problem both frameworks work on: settings, a batch and parameters, as one .npz file.

NumPy only. The file is made on the JAX side (`prepare.py`), where every setting has its home.
"""

import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]

# What is looked at, on both sides alike.
ATTENTION_LAYERS, KEY_LAYERS = (1, 10), (9, 10, 11)
FORMS = ("kernel", "applied", "absorbing")
OBJECTIVES = ("warmup", "paper", "residual")
POINTS = ("labels", "weights", "empty")
RELUS = ("conv1", "conv2", "conv3")  # convolutions of the pixel head with a ReLU behind


class Problem(NamedTuple):
    """What a row of the comparison works on.

    Attributes:
      spec: settings, JSON values; see `prepare.specification`.
      batch: a batch as `exits_jax.pseudo_labels.crops` has it, plus "canonical_score" [b,M,M],
        "canonical_window" [b,4], "instance_box" [b,4] (image coordinates) and "image_size" [b,2]
        (height, width).
      generator: the generator's parameters by flat Flax names.
      extractor: the similarity extractor's.
    """

    spec: dict[str, Any]
    batch: Arrays
    generator: Arrays
    extractor: Arrays

    @property
    def grid(self) -> int:
        """N, cells per side of the point grid."""
        return self.spec["crop"] // self.spec["vit"]["patch"]

    def frozen_blocks(self, form: str) -> int:
        """How many of the generator's blocks stay as they are in "paper" or "residual"."""
        trained = self.spec["trained_blocks"][form]
        return 0 if trained < 0 else self.spec["vit"]["depth"] - trained

    def optimiser(self, sgd: str | None = None) -> dict[str, Any]:
        """AdamW's settings, or those of plain SGD for "paper" or "residual"."""
        settings = {**self.spec["optimiser"], "sgd": sgd is not None}
        return {**settings, "peak": self.spec["sgd_rate"][sgd]} if sgd else settings


def save_problem(path: str | os.PathLike, problem: Problem) -> None:
    """Writes a problem."""
    arrays = {
        f"{part}:{name}": array
        for part in ("batch", "generator", "extractor")
        for name, array in getattr(problem, part).items()
    }
    np.savez(path, spec=np.array(json.dumps(problem.spec)), **arrays)


def load_problem(path: str | os.PathLike) -> Problem:
    """Reads what `save_problem` wrote."""
    with np.load(pathlib.Path(path)) as file:
        parts: dict[str, Arrays] = {"batch": {}, "generator": {}, "extractor": {}}
        for key in file.files:
            if key != "spec":
                part, _, name = key.partition(":")
                parts[part][name] = file[key]
        return Problem(spec=json.loads(str(file["spec"])), **parts)
