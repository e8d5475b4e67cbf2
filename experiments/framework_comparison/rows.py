"""The rows of the comparison: what is run again and again, written once for both frameworks.

A row builds its case with a side, `jax_side` or `torch_side`, whose functions have the same names.
Inputs lie on the device, except for steps, which start from NumPy arrays, and for labelling and the
pipeline, which start from files, as they do in use. Loads neither framework.
"""

import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from experiments.framework_comparison.problem import KNOWN, OBJECTIVES, Problem, settings_of

COLUMNS = ("jax", "torch", "torch.compile")

MATMUL_SIDE = 2048
PIPELINE_BATCHES = 4  # a run takes so many, or the first would find its batch made ahead
LABELLED = 16  # instances that a run of "labelling" labels


class Case(NamedTuple):
    """What is timed."""

    run: Callable[[], Any]  # does the work once and returns when it is done
    examples: int  # crops (or matrices) in a run
    flops: Callable[[], float] | None = None  # counts operations by XLA's analysis; None: it cannot


Build = Callable[[ModuleType, Problem], Case]


class Row(NamedTuple):
    """One line of the comparison."""

    what: str  # is timed, in words
    build: Build
    sized: bool = True  # whether it depends on the network's size; the others run once
    # Whether XLA's count of operations is that of the work: it counts one turn of a loop and
    # nothing of LAPACK's.
    counted: bool = True


def _matmul(side: ModuleType, problem: Problem) -> Case:
    matrix = np.random.default_rng(0).normal(size=(MATMUL_SIDE, MATMUL_SIDE)).astype(np.float32)
    return side.inference(operator.matmul, (matrix, matrix.copy()), 1)


def _extractor(source: str) -> Build:
    layers = settings_of(source).layers
    asked = {"attention_layers" if source == "attention" else "key_layers": layers}
    return lambda side, problem: side.extractor_case(problem, **asked)


def _retrieval(source: str, **changes: str) -> Build:
    settings = settings_of(source, **changes)

    def build(side: ModuleType, problem: Problem) -> Case:
        def run(maps: Any, batch: Any) -> Any:
            similarity = side.similarity_matrix(maps, settings=settings)
            return side.retrieve_points(
                side.propagation_score(similarity, batch, settings), settings
            )

        example = _attention(problem) if source == "attention" else _keys(problem)
        known = {name: problem.batch[name] for name in KNOWN}
        return side.inference(run, ({source: example}, known), problem.count)

    return build


def _mean_field(side: ModuleType, problem: Problem) -> Case:
    cells, settings = 2 * problem.grid, OBJECTIVES["paper"].losses

    def run(probability: Any, image: Any, box: Any, valid: Any) -> Any:
        return side.mean_field(
            probability,
            side.small_image(side.normalise(image), cells),
            side.box_masks(box, valid, cells),
            sweeps=settings.crf_sweeps,
            sigma=settings.crf_sigma,
            valid=side.box_masks(valid, valid, cells),
        )

    shape = (problem.count, cells, cells)
    probability = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    known = (problem.batch[name] for name in ("image", "box_xyxy", "valid_xyxy"))
    return side.inference(run, (probability, *known), problem.count)


def _step(name: str) -> Build:
    return lambda side, problem: side.step_case(problem, name)


def _labelling(side: ModuleType, problem: Problem) -> Case:
    """Instances evenly spread, those of an image together."""
    chosen = np.linspace(0, len(problem.instances) - 1, LABELLED).round().astype(int).tolist()
    return Case(side.labeller(problem, chosen), LABELLED)


def _pipeline(side: ModuleType, problem: Problem) -> Case:
    batches = side.train_crops(problem)
    examples = PIPELINE_BATCHES * problem.count
    return Case(lambda: [next(batches) for _ in range(PIPELINE_BATCHES)], examples)


def _attention(problem: Problem) -> dict[int, np.ndarray]:
    """A random map of each layer asked for, rows summing to 1: {layer: float32 [b,n,n]}."""
    tokens = problem.grid**2 + 1
    logits = np.random.default_rng(0).normal(size=(problem.count, tokens, tokens))
    weights = np.exp(2 * logits)
    attention = (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)
    return dict.fromkeys(settings_of("attention").layers, attention)


def _keys(problem: Problem) -> dict[int, np.ndarray]:
    """Random keys of the layers asked for: {layer: float32 [b,n,D]}."""
    rng, shape = np.random.default_rng(0), (problem.count, problem.grid**2 + 1, problem.width)
    layers = settings_of("keys").layers
    return {layer: rng.normal(size=shape).astype(np.float32) for layer in layers}


ROWS = {
    "matmul": Row("product of two square matrices", _matmul, sized=False),
    "extractor_attention": Row(
        "frozen ViT up to the attention of layer 10", _extractor("attention")
    ),
    "extractor_keys": Row("frozen ViT up to the keys of layer 11 (9, 10, 11)", _extractor("keys")),
    "retrieval_kernel": Row(
        "attention to labelled points, T^3 as a matrix",
        _retrieval("attention", form="kernel"),
        sized=False,
    ),
    "retrieval_applied": Row(
        "attention to labelled points, T(T(T v))", _retrieval("attention"), sized=False
    ),
    "retrieval_absorbing": Row(
        "attention to labelled points, one solve",
        _retrieval("attention", form="absorbing"),
        sized=False,
        counted=False,
    ),
    "retrieval_keys": Row("keys to labelled points, five rounds of reseeding", _retrieval("keys")),
    "mean_field": Row(
        "CRF, at most 100 sweeps at mask resolution", _mean_field, sized=False, counted=False
    ),
    "generator": Row(
        "generator, crops to mask logits", lambda side, problem: side.generator_case(problem)
    ),
    "train_step": Row(
        "the paper's step: retrieval, student, teacher, CRF, AdamW, moving average; all learns",
        _step("paper"),
    ),
    "train_step_residual": Row(
        "coco_mini's step: stored map, soft labels, the decoder and two blocks learn",
        _step("residual"),
    ),
    "warmup_step": Row(
        "step of the extractor's warm-up: seeds and MIL; all learns", _step("warmup")
    ),
    "labelling": Row(
        "photographs to run lengths: decode, crop, generator, paste, cut, encode", _labelling
    ),
    "input_pipeline": Row(
        "photographs to batches of random crops", _pipeline, sized=False, counted=False
    ),
}
