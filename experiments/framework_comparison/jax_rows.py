"""The rows in JAX: each builds, from a problem, what is run again and again.

What each times is said in `rows.ROWS`; the package's own functions do the work. Inputs lie on the
device, except for steps, which start from NumPy arrays, and for labelling and the pipeline, which
start from files, as they do in use.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from exits_jax.app.networks import attend
from exits_jax.data.source import as_source
from exits_jax.losses import mean_field as refine
from exits_jax.models.generator import Generator
from exits_jax.models.slices import jit_in_slices
from exits_jax.models.vit import normalise
from exits_jax.pseudo_labels.crop_plan import train_batches
from exits_jax.pseudo_labels.label import Labeller
from exits_jax.pseudo_labels.objectives import box_masks
from exits_jax.pseudo_labels.predict import generator_predictor
from exits_jax.pseudo_labels.settings import CropSettings
from exits_jax.retrieval.points import retrieve_points
from exits_jax.retrieval.score import propagation_score, similarity_matrix
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.cpu import prefer_eigen
from exits_jax.training.parallel import automatic_microbatches, parallel_step, replicate
from exits_jax.training.state import init_state
from exits_jax.training.step import make_step
from exits_jax.training.task import count_rows, over_rows
from experiments.framework_comparison.jax_build import (
    objective_of,
    optimiser_of,
    settings_of,
    vit_of,
)
from experiments.framework_comparison.prepare import MARGIN, demo_instances, flax_params
from experiments.framework_comparison.problem import Problem
from experiments.framework_comparison.rows import (
    MATMUL_SIDE,
    PIPELINE_BATCHES,
    attention_example,
    keys_example,
    labelled,
    matrix_example,
    probability_example,
)

prefer_eigen()  # as the command line does
# float32 means float32 on accelerators, too; PyTorch's side says the same.
if jax.default_backend() != "cpu":
    jax.config.update("jax_default_matmul_precision", "highest")


class Case(NamedTuple):
    """What is timed.

    Attributes:
      run: does the work once and returns when it is done.
      examples: crops in a run.
      flops: counts the operations of a run, by XLA's analysis; None: it cannot.
    """

    run: Callable[[], Any]
    examples: int
    flops: Callable[[], float] | None = None


def matmul(problem: Problem) -> Case:
    matrix = matrix_example(MATMUL_SIDE)
    return _compiled(lambda a, b: a @ b, (matrix, matrix.copy()), examples=1)


def extractor_attention(problem: Problem) -> Case:
    return _extractor(problem, attention_layers=settings_of(problem, "attention").layers)


def extractor_keys(problem: Problem) -> Case:
    return _extractor(problem, key_layers=settings_of(problem, "keys").layers)


def retrieval_kernel(problem: Problem) -> Case:
    return _attention_retrieval(problem, "kernel")


def retrieval_applied(problem: Problem) -> Case:
    return _attention_retrieval(problem, "applied")


def retrieval_absorbing(problem: Problem) -> Case:
    return _attention_retrieval(problem, "absorbing")


def retrieval_keys(problem: Problem) -> Case:
    return _retrieval(problem, settings_of(problem, "keys"), {"keys": keys_example(problem)})


def mean_field(problem: Problem) -> Case:
    settings, batch = problem.spec["losses"]["paper"], problem.batch
    probability = probability_example(problem)
    shape = (*probability.shape, 3)

    def run(probability: Any, image: Any, box: Any, valid: Any) -> Any:
        side = probability.shape[-1]
        small = jax.image.resize(normalise(image, problem.spec["pixels"]), shape, "linear")
        return refine(
            probability,
            small,
            box_masks(box, valid, side),
            sweeps=settings["crf_sweeps"],
            sigma=settings["crf_sigma"],
            valid=box_masks(valid, valid, side),
        )

    return _compiled(run, (probability, batch["image"], batch["box_xyxy"], batch["valid_xyxy"]))


def generator(problem: Problem) -> Case:
    def forward(attention: str) -> Callable[..., Any]:
        network = Generator(vit_of(problem, attention=attention))
        return lambda params, image: network.apply(
            {"params": params}, normalise(image, problem.spec["pixels"])
        )

    return _forward(forward, flax_params(problem.generator), problem.batch["image"])


def train_step(problem: Problem) -> Case:
    return _step(problem, "paper")


def train_step_residual(problem: Problem) -> Case:
    return _step(problem, "residual")


def warmup_step(problem: Problem) -> Case:
    return _step(problem, "warmup")


def labelling(problem: Problem) -> Case:
    network, known = Generator(vit_of(problem)), demo_instances()
    instances = [known[position] for position in labelled(problem)]
    label = Labeller(
        generator_predictor(network, flax_params(problem.generator), problem.spec["pixels"]),
        crop_size=problem.spec["crop"],
        margin=MARGIN,
        batch_size=len(problem.batch["image"]),
    )
    source = as_source(instances)
    return Case(lambda: label(source, instances), len(instances))


def input_pipeline(problem: Problem) -> Case:
    count = len(problem.batch["image"])
    augment = CropSettings(size=problem.spec["crop"], colour=False)
    batches = train_batches(demo_instances(), augment, batch_size=count, seed=0, steps=10**6)
    return Case(lambda: [next(batches) for _ in range(PIPELINE_BATCHES)], PIPELINE_BATCHES * count)


def device() -> str:
    """What JAX runs on."""
    first = jax.devices()[0]
    return first.platform if first.platform == "cpu" else first.device_kind


def versions() -> str:
    """Of JAX."""
    return f"jax {jax.__version__}"


def peak_device_bytes() -> int:
    """The most memory the accelerator held; 0 where that is not counted."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


def _compiled(
    function: Callable[..., Any], arguments: Sequence[Any], examples: int | None = None
) -> Case:
    """A jitted function of arrays that lie on the device."""
    placed = jax.device_put(tuple(arguments))
    compiled = jax.jit(function).lower(*placed).compile()
    return Case(
        lambda: jax.block_until_ready(compiled(*placed)),
        examples if examples is not None else len(arguments[0]),
        lambda: compiled.cost_analysis()["flops"],
    )


def _forward(function: Callable[[str], Callable], params: Any, image: np.ndarray) -> Case:
    """A network's forward pass as the package runs it, by the kernel of its attention.

    FLOPs are counted without loops: over the whole batch, and with XLA's attention.
    """
    placed = jax.device_put((params, image))
    compiled = jit_in_slices(function("own")).lower(*placed).compile()
    return Case(
        lambda: jax.block_until_ready(compiled(*placed)),
        len(image),
        lambda: jax.jit(function("xla")).lower(*placed).cost_analysis()["flops"],
    )


def _extractor(problem: Problem, **asked: tuple[int, ...]) -> Case:
    def forward(attention: str) -> Callable[..., Any]:
        run = attend(vit_of(problem, attention=attention), problem.spec["pixels"])
        return lambda params, image: run(params, image, **asked)

    return _forward(forward, flax_params(problem.extractor), problem.batch["image"])


def _attention_retrieval(problem: Problem, form: str) -> Case:
    settings = settings_of(problem, "attention", form=form)
    maps = {layer: attention_example(problem) for layer in settings.layers}
    return _retrieval(problem, settings, {"attention": maps})


def _retrieval(problem: Problem, settings: RetrievalSettings, maps: dict[str, Any]) -> Case:
    names = ("points_xy", "has_points", "box_xyxy", "valid_xyxy")

    def run(maps: Any, *known: Any) -> Any:
        similarity = similarity_matrix(
            maps, class_token=problem.spec["vit"]["class_token"], settings=settings
        )
        found = propagation_score(similarity, *known, grid=problem.grid, settings=settings)
        return retrieve_points(
            found.score,
            found.inside_box,
            found.foreground,
            found.background,
            tau_fg=settings.tau_fg,
            tau_bg=settings.tau_bg,
        )

    arguments = (maps, *(problem.batch[name] for name in names))
    return _compiled(run, arguments, examples=len(problem.batch["image"]))


def _step(problem: Problem, name: str) -> Case:
    """Training on one device, as `fit` does it: the state stays there, the batch comes in."""
    objective, trained, frozen = objective_of(problem, name)
    optimiser = optimiser_of(problem.optimiser())
    devices, batch = jax.local_devices()[:1], problem.batch
    count = len(batch["image"])
    rate, parts = problem.spec["teacher_rate"], automatic_microbatches(count)
    pure = make_step(
        over_rows(objective), count_rows, optimiser, teacher_rate=rate, microbatches=parts
    )
    whole = make_step(
        over_rows(objective_of(problem, name, "xla")[0]), count_rows, optimiser, teacher_rate=rate
    )
    step = parallel_step(lambda axis: pure, "jit", devices, count, parts)
    placed = replicate(frozen, "jit", devices)
    states = [replicate(init_state(trained, optimiser, teacher=True), "jit", devices)]

    def run() -> None:
        states[0], logs = step(states[0], placed, batch)
        jax.block_until_ready((states[0], logs))

    def flops() -> float:
        return jax.jit(whole).lower(states[0], placed, batch).cost_analysis()["flops"]

    return Case(run, count, flops)
