"""The programs of a run can be made for accelerators; no accelerator is needed to see that."""

import dataclasses

import jax
import numpy as np
import pytest
from jax import export

from configs import solov2_coco, solov2_lvis, solov2_voc
from exits_jax.app.networks import attend
from exits_jax.app.settings import read_settings
from exits_jax.models.generator import Generator
from exits_jax.models.vit import ViT, normalise
from exits_jax.pseudo_labels.objectives import LossSettings, generator_objective, warmup_objective
from exits_jax.pseudo_labels.supervision import supervise_once, supervise_online, supervise_seeds
from exits_jax.retrieval.crops import crop_scores, score_inputs
from exits_jax.retrieval.settings import RESEEDED_KEYS, RetrievalSettings
from exits_jax.segmentation import schedule
from exits_jax.segmentation.build import build_segmenter, param_shapes
from exits_jax.segmentation.detect import make_detect
from exits_jax.segmentation.objective import FOCAL_OFFSET, solov2_counts, solov2_objective
from exits_jax.training.optimiser import make_optimiser
from exits_jax.training.state import init_state, split_params
from exits_jax.training.step import make_step
from exits_jax.training.task import count_rows, over_rows

SIDE, GRID, BATCH = 32, 4, 2
NETWORK = ViT(patch=8, width=12, depth=12, heads=2)
STUDENT = Generator(NETWORK)
PAPER = RetrievalSettings()


@pytest.fixture(scope="module")
def batch():
    boxes = np.tile(np.float32([0.2, 0.2, 0.8, 0.8]), (BATCH, 1))
    whole = np.tile(np.float32([0, 0, 1, 1]), (BATCH, 1))
    points = np.float32([[0.5, 0.2], [0.2, 0.5], [0.5, 0.8], [0.8, 0.5]])
    return {
        "image": np.zeros((BATCH, SIDE, SIDE, 3), np.uint8),
        "points_xy": np.tile(points, (BATCH, 1, 1)),
        "has_points": np.ones(BATCH, bool),
        "box_xyxy": boxes,
        "valid_xyxy": whole,
        "window_xyxy": 100 * whole,
        "flip": np.zeros(BATCH, bool),
        "valid": np.ones(BATCH, bool),
        "canonical_score": np.zeros((BATCH, GRID, GRID), np.float32),
        "canonical_window": 100 * whole,
    }


@pytest.fixture(scope="module")
def params(batch):
    image = normalise(batch["image"])
    return jax.eval_shape(STUDENT.init, jax.random.key(0), image)["params"]


def scores(settings):
    return crop_scores(
        attend(NETWORK, "imagenet"), depth=12, class_token=True, grid=GRID, settings=settings
    )


def step(objective, params, frozen, batch):
    optimiser = make_optimiser(
        lambda step: 1e-3, betas=(0.9, 0.9), weight_decay=0.1, clip_norm=1.0, decoder_rate=2.0
    )
    state = jax.eval_shape(lambda p: init_state(p, optimiser, teacher=True), params)
    function = make_step(
        over_rows(objective), count_rows, optimiser, teacher_rate=0.9, microbatches=2
    )
    return function, (state, {"generator": {}, "extractor": frozen}, batch)


def program(name, params, batch):
    """(function, arguments) of one of the programs."""
    encoder, losses = params["encoder"], LossSettings(crf_sweeps=3)
    if name == "generator":
        forward = lambda p, image: STUDENT.apply({"params": p}, normalise(image))  # noqa: E731
        return forward, (params, batch["image"])
    if name.startswith("retrieval"):
        form = name.removeprefix("retrieval_")
        settings = RESEEDED_KEYS if form == "keys" else RetrievalSettings(form=form)
        return scores(settings), (encoder, score_inputs(batch))
    if name == "warmup":
        objective = warmup_objective(STUDENT, "imagenet", supervise_seeds(GRID, 0.05), losses)
        return step(objective, params, {}, batch)
    online = name == "train_online"
    supervise = (
        supervise_online(scores(PAPER), PAPER) if online else supervise_once(GRID, RESEEDED_KEYS)
    )
    objective = generator_objective(
        STUDENT, "imagenet", supervise, losses, prior=0.0 if online else 1.0
    )
    return step(objective, params, encoder if online else {}, batch)


PROGRAMS = (
    "generator",
    "retrieval_applied",
    "retrieval_kernel",
    "retrieval_absorbing",
    "retrieval_keys",
    "warmup",
    "train_online",
    "train_once",
)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowering(name, platform, params, batch):
    function, arguments = program(name, params, batch)
    exported = export.export(jax.jit(function), platforms=[platform])(*arguments)
    assert exported.platforms == (platform,)
    assert len(exported.mlir_module_serialized) > 1000


CANVAS = 256  # pixels; the released one takes minutes to lower
CLASSES = {solov2_voc: 20, solov2_coco: 80, solov2_lvis: 1203}


def stage2(config, name):
    """(function, arguments) of training or detection with the whole network of a config."""
    settings = read_settings(config.get_config()).segmentation
    settings = dataclasses.replace(settings, canvases=((CANVAS, CANVAS),))
    network = build_segmenter(settings, CLASSES[config])
    shapes = param_shapes(settings, network)
    image, extent = np.zeros((2, CANVAS, CANVAS, 3), np.uint8), np.full((2, 2), CANVAS, np.int32)
    if name == "detect":
        return make_detect(network, settings), (shapes, image, extent)
    trained, frozen = split_params(shapes, network.learns)
    optimiser = schedule.optimiser(settings, schedule.rates(settings, batches=7))
    state = jax.eval_shape(lambda p: init_state(p, optimiser, teacher=False), trained)
    function = make_step(
        solov2_objective(network, settings),
        solov2_counts(settings),
        optimiser,
        offsets=FOCAL_OFFSET,
    )
    places, cells = settings.max_instances, CANVAS // 4
    instances = {
        "masks": np.zeros((2, places, cells, cells), np.uint8),
        "classes": np.zeros((2, places), np.int32),
        "centre_xy": np.zeros((2, places, 2), np.float32),
        "size_wh": np.zeros((2, places, 2), np.float32),
        "area": np.zeros((2, places), np.float32),
        "weight": np.zeros((2, places), np.float32),
        "draw": np.zeros(2, np.uint32),
        "valid": np.ones(2, bool),
    }
    return function, (state, frozen, {"image": image, "extent": extent, **instances})


@pytest.mark.parametrize("name", ["detect", "train"])
@pytest.mark.parametrize("config", CLASSES, ids=lambda config: config.__name__)
def test_lowering_of_stage_2(config, name):
    function, arguments = stage2(config, name)
    exported = export.export(jax.jit(function), platforms=["cuda", "tpu"])(*arguments)
    assert exported.platforms == ("cuda", "tpu")
    assert len(exported.mlir_module_serialized) > 1000
