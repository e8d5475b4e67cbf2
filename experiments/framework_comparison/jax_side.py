"""JAX's side: what `parts` and `rows` call, by the package's own functions."""
# ruff: noqa: F401 - some are called on this module under the package's names

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from exits_jax.annotations.regions import encode_in_image
from exits_jax.data.source import as_source
from exits_jax.losses import crf_loss, mean_field, mil_loss, point_loss
from exits_jax.models import vit
from exits_jax.models.build import attend
from exits_jax.models.convolution import Conv
from exits_jax.models.generator import Generator
from exits_jax.models.layers import Block
from exits_jax.models.params_io import flatten, unflatten
from exits_jax.models.slices import jit_in_slices
from exits_jax.pseudo_labels.crop_plan import train_batches
from exits_jax.pseudo_labels.label import Labeller
from exits_jax.pseudo_labels.objectives import (
    at_points,
    box_masks,
    generator_objective,
    soft_loss,
    warmup_objective,
)
from exits_jax.pseudo_labels.paste import binary_mask, paste_probability
from exits_jax.pseudo_labels.predict import generator_predictor
from exits_jax.pseudo_labels.supervision import supervise_once, supervise_online, supervise_seeds
from exits_jax.retrieval import crops, points, score
from exits_jax.retrieval.prior import prior_logits
from exits_jax.retrieval.propagation import absorbing_kernel, power_kernel, transition_matrix
from exits_jax.retrieval.resample import resample_score
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.retrieval.shape import shape_offset
from exits_jax.system.cpu import prefer_eigen
from exits_jax.training.optimiser import learning_rate_schedule, make_optimiser
from exits_jax.training.parallel import automatic_microbatches, parallel_step, replicate
from exits_jax.training.state import init_state, split_params
from exits_jax.training.step import make_step
from exits_jax.training.task import RowObjective, count_rows, over_rows
from experiments.framework_comparison.prepare import demo_instances, vit_of
from experiments.framework_comparison.problem import (
    CROP,
    KNOWN,
    OBJECTIVES,
    PATCH,
    PIXELS,
    TOTAL_STEPS,
    TRAINING,
    WARMUP_STEPS,
    Problem,
    frozen_blocks,
)
from experiments.framework_comparison.rows import Case

place = jax.device_put
sigmoid = jax.nn.sigmoid


def set_up(column: str) -> None:
    """Before anything is timed."""
    prefer_eigen()  # as the command line does, before JAX looks for devices
    # float32 means float32 on accelerators, too; PyTorch's side says the same.
    if jax.default_backend() != "cpu":
        jax.config.update("jax_default_matmul_precision", "highest")


def batch_of(problem: Problem) -> dict[str, np.ndarray]:
    """The batch as the package's functions take it."""
    return problem.batch


def normalise(image: jax.Array) -> jax.Array:
    """Pixels as the networks take them."""
    return vit.normalise(image, PIXELS)


def small_image(image: jax.Array, side: int) -> jax.Array:
    """Normalised crops at mask resolution."""
    return jax.image.resize(image, (len(image), side, side, 3), "linear")


def channels_last(image: jax.Array) -> jax.Array:
    """As they are here anyway."""
    return image


def similarity_matrix(maps: dict[str, dict[int, Any]], *, settings: RetrievalSettings) -> jax.Array:
    """The similarity the settings ask for."""
    return score.similarity_matrix(maps, class_token=True, settings=settings)


def propagation_score(
    similarity: jax.Array, batch: dict[str, Any], settings: RetrievalSettings
) -> score.Scores:
    """Scores of a batch."""
    grid, known = round(similarity.shape[-1] ** 0.5), (batch[name] for name in KNOWN)
    return score.propagation_score(similarity, *known, grid=grid, settings=settings)


def retrieve_points(found: score.Scores, settings: RetrievalSettings) -> tuple[jax.Array, ...]:
    """Labels, weights and empty."""
    seeds = (found.inside_box, found.foreground, found.background)
    return points.retrieve_points(
        found.score, *seeds, tau_fg=settings.tau_fg, tau_bg=settings.tau_bg
    )


def tokens(problem: Problem) -> list[jax.Array]:
    """After every layer, and the final features."""
    (final, _), state = _captured(vit_of(problem.size), Block)(
        _params(problem.extractor), normalise(problem.batch["image"])
    )
    layers = state["intermediates"]
    return [*(layers[name]["__call__"][0][0] for name in sorted(layers)), final]


def maps(problem: Problem, **asked: tuple[int, ...]) -> dict[str, dict[int, jax.Array]]:
    """Attention and keys."""
    run = jax.jit(attend(vit_of(problem.size), PIXELS), static_argnames=[*asked])
    return run(_params(problem.extractor), problem.batch["image"], **asked)


def crop_scores(problem: Problem, settings: RetrievalSettings) -> score.Scores:
    """From pixels."""
    return jax.jit(_crop_scores(problem, settings))(_params(problem.extractor), problem.batch)


def decoded(problem: Problem, features: jax.Array) -> list[jax.Array]:
    """Logits, and what goes into the ReLUs of the pixel head."""
    network = Generator(vit_of(problem.size))
    logits, state = _captured(network, Conv, method="decode")(_params(problem.generator), features)
    before = state["intermediates"]["decoder"]["pixel"]
    return [logits, *(before[f"conv{n}"]["__call__"][0] for n in (1, 2, 3))]


def logits(problem: Problem) -> jax.Array:
    """The generator's, from pixels."""
    run = jax.jit(Generator(vit_of(problem.size)).apply)
    return run({"params": _params(problem.generator)}, normalise(problem.batch["image"]))


def gradients(problem: Problem, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Loss and its parts [b], and the gradient of the mean loss by flat names."""
    objective, trained, frozen = objective_of(problem, name)

    @jax.jit
    def run(params: Any, frozen: Any, batch: Any) -> Any:
        def mean(params: Any) -> Any:
            losses, parts = objective(params, params, frozen, batch)
            return losses.mean(), {"loss": losses, **parts}

        return jax.grad(mean, has_aux=True)(params)

    gradient, parts = run(trained, frozen, problem.batch)
    return parts, flatten(gradient)


def trained(
    problem: Problem, name: str, steps: int, rate: float, teacher_rate: float, *, sgd: bool
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], jax.Array]:
    """Parameters before and after some steps, the teacher's, and the last loss."""
    objective, start, frozen = objective_of(problem, name)
    optimiser = _optimiser(rate, sgd)
    step = jax.jit(
        make_step(over_rows(objective), count_rows, optimiser, teacher_rate=teacher_rate)
    )
    state = init_state(start, optimiser, teacher=True)
    for _ in range(steps):
        state, logs = step(state, frozen, problem.batch)
    return *map(flatten, (start, state.params, state.teacher)), logs["loss"]


def run_lengths(
    logits: jax.Array, window_xyxy: np.ndarray, box_xyxy: np.ndarray, size: Sequence[int]
) -> bytes:
    """The mask of a crop in its photograph of a size (height, width)."""
    height, width = (int(side) for side in size)
    window = window_xyxy.astype(np.float64)
    patch, region = paste_probability(np.asarray(logits), window, height, width)
    probability = 1 / (1 + np.exp(-np.clip(patch, -30, 30)))
    mask, _ = binary_mask(probability, region, box_xyxy, height, width)
    return encode_in_image(mask, region, height, width)["counts"].encode("ascii")


def objective_of(
    problem: Problem, name: str, attention: str = "own"
) -> tuple[RowObjective, Any, Any]:
    """One of `OBJECTIVES`, its trained parameters, and the frozen ones."""
    losses, settings, _, prior = OBJECTIVES[name]
    network = vit_of(problem.size, attention=attention)
    frozen_count = frozen_blocks(network.depth, OBJECTIVES[name])
    student = Generator(network.clone(frozen_blocks=frozen_count))
    trained, frozen = split_params(_params(problem.generator), student.learns)
    if name == "warmup":
        supervise = supervise_seeds(problem.grid, settings.delta_share)
        objective = warmup_objective(student, PIXELS, supervise, losses)
        return objective, trained, {"generator": frozen, "extractor": {}}
    if name == "residual":
        supervise, extractor = supervise_once(problem.grid, settings), {}
    else:
        supervise = supervise_online(_crop_scores(problem, settings, attention), settings)
        extractor = _params(problem.extractor)
    objective = generator_objective(student, PIXELS, supervise, losses, prior=prior)
    return objective, trained, {"generator": frozen, "extractor": extractor}


def inference(function: Callable[..., Any], arguments: Sequence[Any], examples: int) -> Case:
    """A jitted function of arrays that lie on the device."""
    placed = place(tuple(arguments))
    compiled = jax.jit(function).lower(*placed).compile()
    return Case(
        lambda: jax.block_until_ready(compiled(*placed)),
        examples,
        lambda: compiled.cost_analysis()["flops"],
    )


def extractor_case(problem: Problem, **asked: tuple[int, ...]) -> Case:
    """The extractor up to the maps asked for."""

    def forward(attention: str) -> Callable[[Any, Any], Any]:
        run = attend(vit_of(problem.size, attention=attention), PIXELS)
        return lambda params, image: run(params, image, **asked)

    return _forward(forward, _params(problem.extractor), problem.batch["image"])


def generator_case(problem: Problem) -> Case:
    """The generator from pixels to logits."""

    def forward(attention: str) -> Callable[[Any, Any], Any]:
        network = Generator(vit_of(problem.size, attention=attention))
        return lambda params, image: network.apply({"params": params}, normalise(image))

    return _forward(forward, _params(problem.generator), problem.batch["image"])


def step_case(problem: Problem, name: str) -> Case:
    """Training on one device, as `fit` does it: the state stays there, the batch comes in."""
    objective, trained, frozen = objective_of(problem, name)
    optimiser, rate = _optimiser(problem.rate("paper, AdamW")), TRAINING.teacher_rate
    devices, batch, parts = (
        jax.local_devices()[:1],
        problem.batch,
        automatic_microbatches(problem.count),
    )
    pure = make_step(
        over_rows(objective), count_rows, optimiser, teacher_rate=rate, microbatches=parts
    )
    step = parallel_step(lambda axis: pure, "jit", devices, problem.count, parts)
    placed = replicate(frozen, "jit", devices)
    states = [replicate(init_state(trained, optimiser, teacher=True), "jit", devices)]

    def run() -> None:
        states[0], logs = step(states[0], placed, batch)
        jax.block_until_ready((states[0], logs))

    def flops() -> float:
        """Of the whole batch with XLA's attention, which has no loops."""
        counted = over_rows(objective_of(problem, name, "xla")[0])
        whole = make_step(counted, count_rows, optimiser, teacher_rate=rate)
        return jax.jit(whole).lower(states[0], placed, batch).cost_analysis()["flops"]

    return Case(run, problem.count, flops)


def labeller(problem: Problem, chosen: Sequence[int]) -> Callable[[], Any]:
    """Labels some of the demo's instances, from files to run lengths."""
    known = demo_instances()
    instances = [known[position] for position in chosen]
    network, params = Generator(vit_of(problem.size)), _params(problem.generator)
    label = Labeller(
        generator_predictor(network, params, PIXELS),
        crop_size=problem.crop,
        margin=CROP.label_margin,
        batch_size=problem.count,
    )
    source = as_source(instances)
    return lambda: label(source, instances)


def train_crops(problem: Problem) -> Any:
    """Batches of random crops."""
    crop = dataclasses.replace(CROP, size=problem.crop)
    return train_batches(demo_instances(), crop, batch_size=problem.count, seed=0, steps=10**6)


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


def _params(arrays: dict[str, np.ndarray]) -> Any:
    """Flat arrays -> parameters as Flax takes them, on the device."""
    return place(unflatten(arrays))


def _captured(network: Any, kind: type, **how: Any) -> Callable[[Any, Any], Any]:
    """(parameters, input) -> a network's result and the outputs of its modules of a kind."""

    def run(params: Any, x: Any) -> Any:
        capture = {"capture_intermediates": lambda module, _: isinstance(module, kind)}
        return network.apply({"params": params}, x, **capture, **how)

    return jax.jit(run)


def _crop_scores(problem: Problem, settings: RetrievalSettings, attention: str = "own") -> Any:
    """(extractor's parameters, batch) -> scores."""
    network = vit_of(problem.size, attention=attention)
    return crops.crop_scores(
        attend(network, PIXELS),
        depth=network.depth,
        class_token=True,
        grid=problem.grid,
        settings=settings,
    )


def _optimiser(rate: float, sgd: bool = False) -> Any:
    """The package's, at a rate."""
    final, steps = TRAINING.final_rate, {"total_steps": TOTAL_STEPS, "warmup_steps": WARMUP_STEPS}
    return make_optimiser(
        learning_rate_schedule(rate, final_rate=final, **steps),
        betas=TRAINING.betas,
        weight_decay=TRAINING.weight_decay,
        clip_norm=TRAINING.clip_norm,
        decoder_rate=TRAINING.decoder_rate,
        sgd=sgd,
    )


def _forward(function: Callable[[str], Callable], params: Any, image: np.ndarray) -> Case:
    """A network's forward pass as the package runs it, by the kernel of its attention.

    FLOPs are counted without loops: over the whole batch, and with XLA's attention.
    """
    placed = place((params, image))
    compiled = jit_in_slices(function("own")).lower(*placed).compile()
    return Case(
        lambda: jax.block_until_ready(compiled(*placed)),
        len(image),
        lambda: jax.jit(function("xla")).lower(*placed).cost_analysis()["flops"],
    )
