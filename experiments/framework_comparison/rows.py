"""The rows of the comparison, and the inputs that both frameworks make alike; NumPy only.

`jax_rows.py` and `torch_rows.py` have a function of every row's name.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from experiments.framework_comparison.problem import Problem


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
      what: what is timed, in words.
      sized: whether it depends on the network's size; the others run once.
      counted: whether XLA's count of operations is that of the work (it counts one turn of a loop
        and nothing of LAPACK's).
    """

    what: str
    sized: bool = True
    counted: bool = True


ROWS = {
    "matmul": Row("product of two square matrices", sized=False),
    "extractor_attention": Row("frozen ViT up to the attention of layer 10"),
    "extractor_keys": Row("frozen ViT up to the keys of layer 11 (9, 10, 11)"),
    "retrieval_kernel": Row("attention to labelled points, T^3 as a matrix", sized=False),
    "retrieval_applied": Row("attention to labelled points, T(T(T v))", sized=False),
    "retrieval_absorbing": Row(
        "attention to labelled points, one solve", sized=False, counted=False
    ),
    "retrieval_keys": Row("keys to labelled points, five rounds of reseeding"),
    "mean_field": Row("CRF, at most 100 sweeps at mask resolution", sized=False, counted=False),
    "generator": Row("generator, crops to mask logits"),
    "train_step": Row(
        "the paper's step: retrieval, student, teacher, CRF, AdamW, moving average; all learns"
    ),
    "train_step_residual": Row(
        "coco_mini's step: stored map, soft labels, the decoder and two blocks learn"
    ),
    "warmup_step": Row("step of the extractor's warm-up: seeds and MIL; all learns"),
    "labelling": Row("photographs to run lengths: decode, crop, generator, paste, cut, encode"),
    "input_pipeline": Row("photographs to batches of random crops", sized=False, counted=False),
}

COLUMNS = ("jax", "torch", "torch.compile")

MATMUL_SIDE = 2048
PIPELINE_BATCHES = 4  # a run takes so many, or the first would find its batch made ahead
LABELLED = 16  # instances that a run of "labelling" labels


class Measured(NamedTuple):
    """What one process found out about one row.

    Attributes:
      seconds: of each run.
      first: from the loaded problem to the first result: building, compiling, running once.
      examples: crops (or matrices) in a run.
      flops: floating-point operations of a run; None: not known.
      peak_bytes: the largest resident memory of the process, problem and libraries included.
      device: what it ran on.
      versions: of the framework.
    """

    seconds: list[float]
    first: float
    examples: int
    flops: float | None
    peak_bytes: int
    device: str
    versions: str


def labelled(problem: Problem) -> list[int]:
    """Positions of the instances that are labelled: evenly spread, those of an image together."""
    count = len(problem.spec["instances"])
    return np.linspace(0, count - 1, LABELLED).round().astype(int).tolist()


def attention_example(problem: Problem) -> np.ndarray:
    """A random attention map of the problem's size, rows summing to 1: float32 [b,n,n]."""
    tokens = problem.grid**2 + int(problem.spec["vit"]["class_token"])
    logits = np.random.default_rng(0).normal(size=(len(problem.batch["image"]), tokens, tokens))
    weights = np.exp(2 * logits)
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


def keys_example(problem: Problem) -> dict[int, np.ndarray]:
    """Random keys of the layers that are asked for: {layer: float32 [b,n,D]}."""
    vit, rng = problem.spec["vit"], np.random.default_rng(0)
    tokens = problem.grid**2 + int(vit["class_token"])
    shape = (len(problem.batch["image"]), tokens, vit["width"])
    layers = problem.spec["retrieval"]["keys"]["layers"]
    return {layer: rng.normal(size=shape).astype(np.float32) for layer in layers}


def probability_example(problem: Problem) -> np.ndarray:
    """A random mask: float32 [b,m,m]."""
    side = 2 * problem.grid
    shape = (len(problem.batch["image"]), side, side)
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def matrix_example(side: int) -> np.ndarray:
    """A random square matrix, float32."""
    return np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
