"""What both frameworks work on: settings, a batch and parameters. Loads neither of them.

Settings are the package's own; what else the comparison fixes is written down here and nowhere
else. Batch and parameters are an .npz file, which `prepare.py` makes on JAX's side.
"""

import dataclasses
import json
import os
from typing import Any, NamedTuple

import numpy as np

from exits_jax.models.published import DEFAULT, published
from exits_jax.models.settings import SIZES
from exits_jax.pseudo_labels.settings import CropSettings, LossSettings
from exits_jax.retrieval.settings import RESEEDED_KEYS, RetrievalSettings
from exits_jax.training.settings import TrainSettings

Arrays = dict[str, np.ndarray]

PRETRAINED = "dinov2"  # the size whose weights are those of the package's backbone
BACKBONE = published(DEFAULT)  # DINOv2-S/14, whose form the networks of all sizes have
PATCH, PIXELS = BACKBONE.patch, BACKBONE.normalise
CROP = CropSettings(colour=False)
RETRIEVAL = {"attention": RetrievalSettings(), "keys": RESEEDED_KEYS}
# AdamW's; total steps and those in which the rate rises, both so few that rates change in ten.
TRAINING = TrainSettings(decoder_rate=3.0)
TOTAL_STEPS, WARMUP_STEPS = 100, 2
# By objective and optimiser, of random networks and of the pretrained one, whose features are a
# hundred times larger: rates that move parameters by more than rounding and do not diverge.
RATES = {
    "paper, SGD": (0.1, 1e-6),
    "residual, SGD": (0.01, 1e-4),
    "paper, AdamW": (1e-4, 1e-5),
}
# What of a batch retrieval knows about the object of a crop.
KNOWN = ("points_xy", "has_points", "box_xyxy", "valid_xyxy")


class Objective(NamedTuple):
    """What a step minimises."""

    losses: LossSettings
    retrieval: RetrievalSettings
    trained_blocks: int = -1  # the last so many learn; -1: all, and the embedding
    prior: float = 0.0  # strength of the propagation map that logits are added to


# The warm-up's, the paper's, and coco_mini's: the residual on the propagation map.
OBJECTIVES = {
    "warmup": Objective(LossSettings(crf=0.0, mil_everywhere=True), RETRIEVAL["attention"]),
    "paper": Objective(LossSettings(), RETRIEVAL["attention"]),
    "residual": Objective(LossSettings(soft=1.0, point=0.25, crf=0.0), RESEEDED_KEYS, 2, 1.0),
}


class Problem(NamedTuple):
    """What a row of the comparison works on.

    Attributes:
      size: of the networks, "Ti", "S", "B", "L" or `PRETRAINED`.
      instances: of the demo, dicts of "path", "box" (xyxy) and "points" ([4][2] or None).
      batch: as `exits_jax.pseudo_labels.crops` has it, and "canonical_score" [b,M,M],
        "canonical_window" [b,4], "instance_box" [b,4] (image coordinates), "image_size" [b,2]
        (height, width).
      generator, extractor: parameters by flat Flax names.
    """

    size: str
    instances: list[dict[str, Any]]
    batch: Arrays
    generator: Arrays
    extractor: Arrays

    @property
    def count(self) -> int:
        """Crops in the batch."""
        return len(self.batch["image"])

    @property
    def crop(self) -> int:
        """Side of a crop, pixels."""
        return self.batch["image"].shape[1]

    @property
    def grid(self) -> int:
        """N, cells per side of the point grid."""
        return self.crop // PATCH

    @property
    def width(self) -> int:
        """D of the networks."""
        return vit_shape(self.size)[0]

    def rate(self, name: str) -> float:
        """The learning rate of one of `RATES`."""
        return RATES[name][self.size == PRETRAINED]


def vit_shape(size: str) -> tuple[int, int, int]:
    """Width, depth and heads of a size."""
    return SIZES[BACKBONE.size if size == PRETRAINED else size]


def frozen_blocks(depth: int, objective: Objective) -> int:
    """How many of a network's first blocks stay as they are."""
    return 0 if objective.trained_blocks < 0 else depth - objective.trained_blocks


def settings_of(source: str, **changes: Any) -> RetrievalSettings:
    """The retrieval settings of a source, "attention" or "keys"."""
    return dataclasses.replace(RETRIEVAL[source], **changes)


def save_problem(path: str | os.PathLike, problem: Problem) -> None:
    """Writes a problem."""
    facts = json.dumps({"size": problem.size, "instances": problem.instances})
    parts = {part: getattr(problem, part) for part in ("batch", "generator", "extractor")}
    arrays = {f"{part}:{name}": x for part, held in parts.items() for name, x in held.items()}
    np.savez(path, facts=np.array(facts), **arrays)


def load_problem(path: str | os.PathLike) -> Problem:
    """Reads what `save_problem` wrote."""
    arrays = load_arrays(path)
    facts = json.loads(str(arrays.pop("facts")))
    parts: dict[str, Arrays] = {"batch": {}, "generator": {}, "extractor": {}}
    for key, array in arrays.items():
        part, _, name = key.partition(":")
        parts[part][name] = array
    return Problem(**facts, **parts)


def load_arrays(path: str | os.PathLike) -> Arrays:
    """All arrays of an .npz file."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
