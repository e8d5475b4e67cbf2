"""Stage 2's losses and step: what they are, and the same on any number of devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import solov2_coco
from exits_jax.annotations import read_annotations
from exits_jax.app.settings import read_settings
from exits_jax.losses import focal_loss
from exits_jax.models.vit import build_vit
from exits_jax.models.vit_pyramid import ViTPyramid
from exits_jax.segmentation import schedule
from exits_jax.segmentation.build import (
    Segmenter,
    build_segmenter,
    initial_params,
    on_mean,
    param_shapes,
)
from exits_jax.segmentation.canvas import image_row, placed_size
from exits_jax.segmentation.classes import classes_of
from exits_jax.segmentation.examples import image_source
from exits_jax.segmentation.objective import FOCAL_OFFSET, solov2_counts, solov2_objective
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.segmentation.solov2 import SOLOv2
from exits_jax.segmentation.targets import assign
from exits_jax.segmentation.tokens import kept_tokens, tokens_key, with_tokens
from exits_jax.system.errors import UserError
from exits_jax.training.parallel import parallel_step, replicate
from exits_jax.training.schedule import steps_in
from exits_jax.training.state import init_state, split_params
from exits_jax.training.step import make_step
from tests.segmentation_examples import document, save

CANVAS, CLASSES, PLACES = (64, 96), 3, 4
SETTINGS = SegmentationSettings(
    encoder="resnet_mini",
    norm="group",
    canvases=(CANVAS,),
    grids=(8, 6, 4, 3, 2),
    ranges=((1.0, 24.0), (16.0, 32.0), (24.0, 48.0), (32.0, 64.0), (48.0, 200.0)),
    neck_width=16,
    head_width=32,
    head_depth=1,
    kernel_width=8,
    mask_width=32,
    positives=24,
    max_instances=PLACES,
)


def make_batch(count, seed=0, objects=2):
    """Rows of random pictures with rectangles for objects."""
    rng = np.random.default_rng(seed)
    h, w = CANVAS
    batch = {
        "image": rng.integers(0, 256, (count, h, w, 3), dtype=np.uint8),
        "extent": np.tile(np.int32([h - 8, w]), (count, 1)),
        "masks": np.zeros((count, PLACES, h // 4, w // 4), np.uint8),
        "classes": np.zeros((count, PLACES), np.int32),
        "centre_xy": np.zeros((count, PLACES, 2), np.float32),
        "size_wh": np.zeros((count, PLACES, 2), np.float32),
        "area": np.zeros((count, PLACES), np.float32),
        "weight": np.zeros((count, PLACES), np.float32),
        "draw": np.arange(count, dtype=np.uint32),
        "flip": np.zeros(count, bool),
        "valid": np.ones(count, bool),
    }
    for row in range(count):
        for place in range(objects):
            x0, y0 = 4 * rng.integers(0, w // 8), 4 * rng.integers(0, h // 8)
            x1, y1 = x0 + 4 * rng.integers(3, 10), y0 + 4 * rng.integers(3, 7)
            batch["masks"][row, place, y0 // 4 : y1 // 4, x0 // 4 : x1 // 4] = 1
            batch["classes"][row, place] = rng.integers(CLASSES)
            batch["centre_xy"][row, place] = (x0 + x1) / 2, (y0 + y1) / 2
            batch["size_wh"][row, place] = x1 - x0, y1 - y0
            batch["area"][row, place] = (x1 - x0) * (y1 - y0)
            batch["weight"][row, place] = 1
    return batch


@pytest.fixture(scope="module")
def problem():
    network = build_segmenter(SETTINGS, CLASSES)
    params = initial_params(SETTINGS, network, seed=0)
    trained, frozen = split_params(params, network.learns)
    return network, trained, frozen


def a_step(network, **options):
    return make_step(
        solov2_objective(network, SETTINGS),
        solov2_counts(SETTINGS),
        optax.sgd(0.1),
        offsets=FOCAL_OFFSET,
        **options,
    )


@functools.lru_cache(maxsize=1)
def compiled(network):
    return jax.jit(a_step(network, microbatches=2))


def one_step(problem, batch):
    network, trained, frozen = problem
    return compiled(network)(init_state(trained, optax.sgd(0.1)), frozen, batch)


def test_loss_is_its_definition(problem):
    """3 x mean dice over pairs + focal / (cells with an object + 1), in plain numpy."""
    network, trained, _ = problem
    batch = make_batch(4)
    _, logs = one_step(problem, batch)
    outputs = jax.device_get(network.apply({"params": trained}, batch["image"], batch["extent"]))
    targets = jax.device_get(assign(batch, CANVAS, SETTINGS))
    dice, focal, cells = [], 0.0, 0
    for row in range(4):
        for cell, instance, share in zip(
            targets.cell[row], targets.instance[row], targets.share[row], strict=True
        ):
            if share:
                logits = outputs.features[row] @ outputs.kernels[row, cell]
                mask, p = batch["masks"][row, instance], 1 / (1 + np.exp(-logits))
                dice.append(1 - 2 * (p * mask).sum() / ((p**2).sum() + mask.sum() + 2e-3))
        p = 1 / (1 + np.exp(-outputs.logits[row].astype(np.float64)))
        hot = targets.classes[row][:, None] == np.arange(CLASSES)
        cells += int(hot.sum())
        focal += np.where(hot, -0.25 * (1 - p) ** 2 * np.log(p), -0.75 * p**2 * np.log(1 - p)).sum()
    assert len(dice) > 4
    assert float(logs["dice"]) == pytest.approx(3 * np.mean(dice), rel=1e-4)
    assert float(logs["focal"]) == pytest.approx(focal / (cells + 1), rel=1e-4)


@pytest.mark.parametrize("kind", ["pmap", "jit"])
def test_four_devices_are_one(problem, kind):
    """Unequal numbers of objects on the devices, and a row that only fills the batch."""
    network, trained, frozen = problem
    parts = [make_batch(1, seed, objects) for seed, objects in enumerate((1, 4, 0, 2))]
    batch = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    batch["valid"][2] = False
    devices = jax.devices()[:4]
    step = parallel_step(lambda axis: a_step(network, axis_name=axis), kind, devices, batch_size=4)
    state = init_state(trained, optax.sgd(0.1))
    state, logs = step(state, replicate(frozen, kind, devices), batch)
    single, expected = one_step(problem, batch)
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=2e-4, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        jax.device_get(state.params),
        jax.device_get(single.params),
    )


def test_images_without_objects_give_a_finite_loss(problem):
    state, logs = one_step(problem, make_batch(4, objects=0))
    assert bool(logs["finite"])
    assert float(logs["dice"]) == 0
    assert float(logs["focal"]) > 0
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, problem[1])
    assert max(jax.tree.leaves(moved["head"]["classes"])) > 0


def test_an_instance_weighs_as_much_as_it_is_trusted(problem):
    """An object of weight 0 is none; of two that weigh the same the loss is that of weight 1."""
    batch = make_batch(4, objects=2)
    alike = {**batch, "weight": 0.5 * batch["weight"]}
    whole, half = (one_step(problem, rows)[1] for rows in (batch, alike))
    assert float(half["dice"]) == pytest.approx(float(whole["dice"]), rel=1e-5)
    batch["weight"][:, 1] = 0
    without = one_step(problem, batch)[1]
    for name in ("masks", "classes", "centre_xy", "size_wh", "area"):
        batch[name][:, 1] = 0
    alone = one_step(problem, batch)[1]
    assert float(without["dice"]) == pytest.approx(float(alone["dice"]), rel=1e-5)


def test_learning_reaches_everything_that_learns(problem):
    batch = make_batch(4, objects=3)
    network, trained, frozen = problem
    state, losses = init_state(trained, optax.sgd(0.1)), []
    for _ in range(20):
        state, logs = compiled(network)(state, frozen, batch)
        losses.append(float(logs["loss"]))
    assert losses[-1] < 0.8 * losses[0]
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()) > 0, state.params, trained)
    assert all(jax.tree.leaves(moved))


def test_focal_loss_at_the_ends():
    logits = jnp.array([-40.0, 0.0, 40.0])
    right = focal_loss(logits, jnp.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(right, [0, 0.75 * 0.25 * np.log(2), 0], atol=1e-6)
    wrong = focal_loss(logits, jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(wrong, [10, 0.25 * 0.25 * np.log(2), 30], rtol=1e-5)
    slope = jax.grad(lambda x: jnp.sum(focal_loss(x, jnp.zeros(3))))(logits)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(("variant", "count"), [("", 46_592_912), ("light", 31_340_560)])
def test_the_published_number_of_parameters(variant, count):
    settings = read_settings(solov2_coco.get_config(variant)).segmentation
    shapes = param_shapes(settings, build_segmenter(settings, 80))
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    counted = [x.size for path, x in leaves if path[-1].key not in ("mean", "var")]
    assert sum(counted) == count


def test_beyond_the_image_there_is_the_mean():
    image = jnp.full((1, 4, 6, 3), 255, jnp.uint8)
    seen = np.asarray(on_mean(image, jnp.array([[2, 5]])))[0]
    assert (seen[:2, :5] > 2).all()
    assert not seen[2:].any()
    assert not seen[:, 5:].any()


def tiny_vit(frozen):
    network = build_vit("Ti", 8, position_grid=4).clone(
        width=24, depth=3, heads=2, frozen_blocks=frozen
    )
    head = SOLOv2(CLASSES, (4, 3, 2, 2, 2), 32, 1, 8, 32)
    return Segmenter(network, ViTPyramid(16), head, layers=(1, 3))


@pytest.mark.parametrize(("frozen", "kept"), [(1, (1,)), (2, (1, 2)), (3, (1, 3))])
def test_frozen_tokens_stand_for_the_layers_that_gave_them(frozen, kept):
    network = tiny_vit(frozen)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    extent = np.int32([[64, 64], [64, 48]])
    params = jax.jit(network.init)(jax.random.key(0), image, extent)
    assert network.frozen_layers == kept
    tokens = network.apply(params, image, extent, method="frozen_tokens")
    assert {*tokens} == {*kept}
    whole = network.apply(params, image, extent)
    begun = network.apply(params, image, extent, tokens)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, begun)


def test_frozen_statistics_without_weights_are_refused():
    settings = dataclasses.replace(SETTINGS, norm="frozen")
    with pytest.raises(UserError, match=r"segmentation.weights=FILE, or set segmentation.norm"):
        initial_params(settings, build_segmenter(settings, 2), 0)


def test_a_vit_takes_squares_and_its_own_layers():
    settings = SegmentationSettings(encoder="vit", weights="dinov2_s14", canvases=((448, 448),))
    with pytest.raises(UserError, match=r"segmentation.layers is .* layers 1 to 12"):
        build_segmenter(dataclasses.replace(settings, layers=(13,)), 2)
    with pytest.raises(UserError, match="has 448 x 336: a ViT takes squares"):
        build_segmenter(dataclasses.replace(settings, canvases=((448, 336),)), 2)


def test_the_rate_rises_and_falls_in_steps():
    settings = SegmentationSettings(
        epochs=12.0, drops=(8.0, 11.0), rate_warmup_steps=10, batch_size=4
    )
    rate = schedule.rates(settings, batches=100)
    peak = 0.01 / 4  # of batch 16, at a quarter of it
    expected = {0: 0.1 * peak, 4: 0.5 * peak, 9: peak, 799: peak, 801: 0.1 * peak}
    for step, value in {**expected, 1150: 0.01 * peak}.items():
        assert float(rate(step)) == pytest.approx(value, rel=1e-5)
    assert steps_in(settings, 100) == 1200


def test_kept_tokens_are_those_of_the_image_and_its_mirror_image(tmp_path):
    annotations = read_annotations(save(tmp_path, document(images=3)), tmp_path, masks=True)
    source = image_source(annotations, classes_of(annotations))
    settings = SegmentationSettings(encoder="vit", canvases=((64, 64),))
    network = tiny_vit(2)
    whole = jnp.zeros((1, 64, 64, 3), jnp.uint8), jnp.full((1, 2), 64)
    params = jax.jit(network.init)(jax.random.key(0), *whole)["params"]
    kept = kept_tokens(network, params, source, settings, tmp_path / "tokens")
    written = [path.stat().st_mtime_ns for path in (tmp_path / "tokens").iterdir()]
    record = source.images[1]
    size = placed_size(record.height, record.width, (64, 64))
    rows = [
        image_row(source[1], (64, 64), size=size, flip=flip, max_instances=4)
        for flip in (False, True)
    ]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    added = with_tokens(network, kept)(batch)["tokens"]
    seen = network.apply(
        {"params": params}, batch["image"], batch["extent"], method="frozen_tokens"
    )
    assert {*added} == {*seen} == {1, 2}
    for layer, tokens in seen.items():
        np.testing.assert_allclose(added[layer], tokens, rtol=2e-3, atol=2e-3)
        assert np.abs(np.float32(tokens[0] - tokens[1])).max() > 0.1
    again = kept_tokens(network, params, source, settings, tmp_path / "tokens")
    np.testing.assert_array_equal(again[0], kept[0])
    assert written == [path.stat().st_mtime_ns for path in (tmp_path / "tokens").iterdir()]


def test_kept_tokens_are_told_apart_by_images_placing_and_layers_and_not_by_masks(tmp_path):
    content = document(images=3)
    annotations = read_annotations(save(tmp_path, content), tmp_path, masks=True)
    source = image_source(annotations, classes_of(annotations))
    settings = SegmentationSettings(encoder="vit", canvases=((64, 64),))
    key = tokens_key(tiny_vit(2), source, settings)
    one_class = image_source(annotations, classes_of(annotations, ("*",)))
    assert one_class.fingerprint() != source.fingerprint()
    assert tokens_key(tiny_vit(2), one_class, settings) == key
    larger = dataclasses.replace(settings, canvases=((128, 128),))
    others = [(3, source, settings), (2, source.take([0, 1]), settings), (2, source, larger)]
    keys = {tokens_key(tiny_vit(frozen), *rest) for frozen, *rest in others}
    assert len(keys | {key}) == 4
