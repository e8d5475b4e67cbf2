"""Stage 2's timed rows in JAX, by the package's own functions."""

import jax

from exits_jax.segmentation import schedule
from exits_jax.segmentation.classes import Classes
from exits_jax.segmentation.detect import make_detect
from exits_jax.segmentation.objective import FOCAL_OFFSET, solov2_counts, solov2_objective
from exits_jax.segmentation.published import load_published
from exits_jax.segmentation.trained import Trained
from exits_jax.training.parallel import automatic_microbatches, parallel_step, replicate
from exits_jax.training.state import init_state, split_params
from exits_jax.training.step import make_step
from experiments.framework_comparison.rows import Case
from experiments.framework_comparison.stage2_scene import CLASSES, RATE, Scene


def train_step(scene: Scene) -> Case:
    """Steps on one device, as `fit` takes them: the state stays there, the batch comes in."""
    model, settings = _model(scene), scene.settings
    trained, frozen = split_params(model.params, model.network.learns)
    optimiser = schedule.optimiser(settings, lambda step: RATE)
    count, devices = len(scene.batch["image"]), jax.local_devices()[:1]
    parts = settings.microbatches or automatic_microbatches(count)
    pure = make_step(
        solov2_objective(model.network, settings),
        solov2_counts(settings),
        optimiser,
        microbatches=parts,
        offsets=FOCAL_OFFSET,
    )
    step = parallel_step(lambda axis: pure, "jit", devices, count, parts)
    placed = replicate(frozen, "jit", devices)
    states = [replicate(init_state(trained, optimiser), "jit", devices)]

    def run() -> None:
        states[0], logs = step(states[0], placed, scene.batch)
        jax.block_until_ready((states[0], logs))

    return Case(run, count)


def prediction(scene: Scene) -> Case:
    """Images to detections, from arrays on the host."""
    model = _model(scene)
    detect = jax.jit(make_detect(model.network, scene.settings))
    placed = jax.device_put(model.params)
    given = tuple(scene.batch[name] for name in ("image", "extent"))
    return Case(lambda: jax.block_until_ready(detect(placed, *given)), len(given[0]))


def _model(scene: Scene) -> Trained:
    numbers = tuple(range(CLASSES))
    return load_published(scene.weights, Classes(numbers, tuple(map(str, numbers))), scene.settings)
