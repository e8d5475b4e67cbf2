"""Stage 2's timed rows in JAX, by the package's own functions."""

import jax
import numpy as np

from exits_jax.segmentation import schedule
from exits_jax.segmentation.build import Segmenter, build_segmenter
from exits_jax.segmentation.detect import make_detect
from exits_jax.segmentation.objective import FOCAL_OFFSET, solov2_counts, solov2_objective
from exits_jax.segmentation.pretrained import load_segmenter
from exits_jax.system.types import Params
from exits_jax.training.parallel import automatic_microbatches, parallel_step, replicate
from exits_jax.training.state import init_state, split_params
from exits_jax.training.step import make_step
from experiments.framework_comparison.rows import Case
from experiments.framework_comparison.stage2_scene import CLASSES, RATE, Scene


def train_step(scene: Scene) -> Case:
    """Steps on one device, as `fit` takes them: the state stays there, the batch comes in."""
    (network, params), settings = _network(scene), scene.settings
    trained, frozen = split_params(params, network.learns)
    optimiser = schedule.optimiser(settings, lambda step: RATE)
    count, devices = len(scene.batch["image"]), jax.local_devices()[:1]
    parts = settings.microbatches or automatic_microbatches(count)
    pure = make_step(
        solov2_objective(network, settings),
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
    network, params = _network(scene)
    detect, placed = jax.jit(make_detect(network, scene.settings)), jax.device_put(params)
    given = tuple(scene.batch[name] for name in ("image", "extent"))
    return Case(lambda: jax.block_until_ready(detect(placed, *given)), len(given[0]))


def _network(scene: Scene) -> tuple[Segmenter, Params]:
    network = build_segmenter(scene.settings, CLASSES)
    return network, load_segmenter(scene.weights, scene.settings, network)
