"""The training step: the same numbers on one device, on four by pmap, on four by jit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from exits_jax.models.generator import Generator
from exits_jax.models.vit import build_vit
from exits_jax.pseudo_labels.objectives import (
    LossSettings,
    generator_objective,
    soft_loss,
    supervised_parts,
    warmup_objective,
)
from exits_jax.pseudo_labels.predict import with_prior
from exits_jax.pseudo_labels.supervision import supervise_once, supervise_online, supervise_seeds
from exits_jax.retrieval.crops import crop_scores
from exits_jax.retrieval.points import inside_box
from exits_jax.retrieval.prior import prior_logits
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.errors import UserError
from exits_jax.training.optimiser import learning_rate_schedule, make_optimiser
from exits_jax.training.parallel import parallel_step, replicate
from exits_jax.training.state import init_state, merge_params, split_params
from exits_jax.training.step import make_step
from exits_jax.training.task import Sums, count_rows, over_rows

SIZE, PATCH, GRID = 64, 8, 8


def tiny_vit(frozen_blocks=0):
    return build_vit("Ti", PATCH, position_grid=4).clone(
        width=24, depth=3, heads=2, frozen_blocks=frozen_blocks
    )


def make_batch(count, seed=0, invalid=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0.1, 0.3, (count, 2))
    high = rng.uniform(0.65, 0.9, (count, 2))
    middle = (low + high) / 2
    points = np.stack(
        [
            np.stack([middle[:, 0], low[:, 1]], 1),
            np.stack([low[:, 0], middle[:, 1]], 1),
            np.stack([middle[:, 0], high[:, 1]], 1),
            np.stack([high[:, 0], middle[:, 1]], 1),
        ],
        axis=1,
    )
    valid = np.arange(count) < count - invalid
    return {
        "image": rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8),
        "points_xy": points.astype(np.float32),
        "has_points": np.ones(count, bool),
        "box_xyxy": np.concatenate([low, high], 1).astype(np.float32),
        "valid_xyxy": np.tile(np.float32([0, 0, 1, 1]), (count, 1)),
        "window_xyxy": np.tile(np.float32([10, 20, 110, 100]), (count, 1)),
        "flip": np.zeros(count, bool),
        "valid": valid,
    }


def online(extractor, settings):
    def attend(params, image, **asked):
        image = jnp.asarray(image, jnp.float32) / 255 - 0.5
        return extractor.apply({"params": params}, image, features=False, **asked)[1]

    scores = crop_scores(
        attend, depth=extractor.depth, class_token=True, grid=GRID, settings=settings
    )
    return supervise_online(scores, settings)


@pytest.fixture(scope="module")
def problem():
    """A tiny generator, its objective with all three losses at work, state and frozen parts."""
    extractor, generator = tiny_vit(), Generator(tiny_vit(frozen_blocks=1))
    settings = RetrievalSettings(layers=(2,), tau_fg=0.05, tau_bg=0.05)
    weights = LossSettings(mil_everywhere=True, crf_sweeps=5)
    objective = generator_objective(generator, "imagenet", online(extractor, settings), weights)
    image = jnp.zeros((1, SIZE, SIZE, 3))
    params = generator.init(jax.random.key(1), image)["params"]
    trained, rest = split_params(params, generator.learns)
    frozen = {"generator": rest, "extractor": extractor.init(jax.random.key(2), image)["params"]}
    return objective, trained, frozen


def run_steps(problem, devices, kind, microbatches=1, steps=3):
    """SGD, not Adam: Adam hides a gradient that is too large by a constant factor."""
    objective, trained, frozen = problem
    optimiser = optax.sgd(0.05)

    def step_on(axis):
        return make_step(
            over_rows(objective),
            count_rows,
            optimiser,
            teacher_rate=0.9,
            microbatches=microbatches,
            axis_name=axis,
        )

    chosen = jax.devices()[:devices]
    step = parallel_step(step_on, kind, chosen, batch_size=8, microbatches=microbatches)
    frozen = replicate(frozen, kind, chosen)
    state = init_state(trained, optimiser, teacher=True)
    for seed in range(steps):
        state, logs = step(state, frozen, make_batch(8, seed, invalid=3 * (seed == 1)))
    return jax.device_get(state), jax.device_get(logs)


@pytest.fixture(scope="module")
def single(problem):
    return run_steps(problem, 1, "jit")


@pytest.mark.parametrize(
    ("devices", "kind", "microbatches"),
    [(4, "pmap", 1), (4, "jit", 1), (1, "pmap", 2), (4, "jit", 2)],
)
def test_devices_and_microbatches_leave_the_numbers_alone(
    problem, single, devices, kind, microbatches
):
    state, logs = run_steps(problem, devices, kind, microbatches)
    for name, value in logs.items():
        np.testing.assert_allclose(value, single[1][name], rtol=2e-4, atol=1e-6, err_msg=name)
    assert int(state.step) == 3
    start = problem[1]
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), single[0].params, start)
    assert max(jax.tree.leaves(moved)) > 1e-3
    for tree in ("params", "teacher"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-6),
            getattr(state, tree),
            getattr(single[0], tree),
        )


def test_padding_never_counts(problem):
    """What stands in the invalid rows of a batch changes neither loss nor parameters."""
    objective, trained, frozen = problem
    optimiser = optax.sgd(0.05)
    step = jax.jit(make_step(over_rows(objective), count_rows, optimiser, teacher_rate=0.9))
    batch = make_batch(4, invalid=2)
    other = {k: v.copy() for k, v in batch.items()}
    other["image"][2:] = 255 - other["image"][2:]
    other["box_xyxy"][2:] = [0.4, 0.4, 0.6, 0.6]
    first, logs = step(init_state(trained, optimiser, teacher=True), frozen, batch)
    second, more = step(init_state(trained, optimiser, teacher=True), frozen, other)
    assert float(logs["loss"]) == float(more["loss"])
    assert float(logs["items"]) == 2
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)


def two_counts(params, teacher, frozen, batch):
    """Two terms with denominators of their own, as detectors have them, and a number to look at."""
    weight = params["w"] * batch["valid"]
    far = jnp.sum((weight * batch["x"] - 1.0) ** 2 * batch["positive"])
    near = jnp.sum(jnp.abs(params["w"]) * batch["cells"] * batch["valid"])
    return Sums({"far": 3 * far, "near": near}, {"seen": jnp.sum(batch["valid"])})


def counts_of_two(batch):
    return {
        "items": jnp.sum(batch["valid"].astype(jnp.float32)),
        "far": jnp.sum(batch["positive"]),
        "near": jnp.sum(batch["cells"] * batch["valid"]),
    }


@pytest.mark.parametrize(
    ("devices", "kind", "parts"), [(1, "jit", 1), (4, "pmap", 1), (4, "jit", 2), (2, "pmap", 2)]
)
def test_terms_with_counts_of_their_own_are_exact(devices, kind, parts):
    """3 * mean over positives + mean over cells, whatever the batch is cut into."""
    rng = np.random.default_rng(0)
    valid = np.arange(8) < 6
    positive = (np.array([1, 0, 0, 0, 0, 2, 0, 0]) * valid).astype(np.float32)
    batch = {"x": rng.normal(size=8).astype(np.float32), "positive": positive, "valid": valid}
    batch["cells"] = np.arange(1, 9, dtype=np.float32)
    optimiser, chosen = optax.sgd(1.0), jax.devices()[:devices]

    def step_on(axis):
        return make_step(two_counts, counts_of_two, optimiser, microbatches=parts, axis_name=axis)

    step = parallel_step(step_on, kind, chosen, batch_size=8, microbatches=parts)
    state = init_state({"w": np.float32(0.5)}, optimiser)
    assert state.teacher == {}
    after, logs = step(state, replicate({}, kind, chosen), batch)
    far = np.sum((0.5 * valid * batch["x"] - 1) ** 2 * positive) / 3
    assert float(logs["far"]) == pytest.approx(3 * far, rel=1e-5)
    assert float(logs["near"]) == pytest.approx(0.5, rel=1e-5)
    assert float(logs["loss"]) == pytest.approx(3 * far + 0.5, rel=1e-5)
    assert float(logs["seen"]) == 1.0
    slope = np.sum(2 * (0.5 * batch["x"] - 1) * batch["x"] * positive) / 3
    assert float(after.params["w"]) == pytest.approx(0.5 - 3 * slope - 1, rel=1e-4)


def test_a_step_that_is_not_finite_changes_nothing(problem):
    objective, trained, frozen = problem

    def broken(params, teacher, frozen, batch):
        loss, parts = objective(params, teacher, frozen, batch)
        return loss / 0.0, parts

    optimiser = optax.sgd(0.05)
    state = init_state(trained, optimiser, teacher=True)
    after, logs = jax.jit(make_step(over_rows(broken), count_rows, optimiser, teacher_rate=0.9))(
        state, frozen, make_batch(2)
    )
    assert not bool(logs["finite"])
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_teacher_follows_at_its_rate(problem):
    objective, trained, frozen = problem
    optimiser = optax.sgd(0.05)
    step = jax.jit(make_step(over_rows(objective), count_rows, optimiser, teacher_rate=0.75))
    state, _ = step(init_state(trained, optimiser, teacher=True), frozen, make_batch(2))
    expected = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, trained, state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.teacher, expected)


def test_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(UserError, match="6 cannot be shared by 4"):
        parallel_step(lambda axis: None, "pmap", jax.devices(), batch_size=6)
    with pytest.raises(UserError, match="expected pmap or jit"):
        parallel_step(lambda axis: None, "shmap", jax.devices(), batch_size=8)
    with pytest.raises(UserError, match="microbatches is 4, but a device has 2 crops"):
        parallel_step(lambda axis: None, "jit", jax.devices(), batch_size=8, microbatches=4)


def test_split_and_merge_are_inverse():
    image = jnp.zeros((1, SIZE, SIZE, 3))
    network = Generator(tiny_vit(frozen_blocks=2))
    params = network.init(jax.random.key(0), image)["params"]
    trained, frozen = split_params(params, network.learns)
    assert set(trained["encoder"]) == {"block03", "norm"}
    assert set(frozen) == {"encoder"}
    merged = merge_params(trained, frozen)
    assert jax.tree.structure(merged) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, merged, params)


def test_warmup_supervises_seeds_only_and_mil_everywhere():
    network = Generator(tiny_vit())
    objective = warmup_objective(
        network, "imagenet", supervise_seeds(GRID, 24 / 512), LossSettings()
    )
    params = network.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))["params"]
    frozen = {"generator": {}, "extractor": {}}
    loss, parts = jax.jit(objective)(params, params, frozen, make_batch(3))
    assert set(parts) == {"point", "mil", "empty"}
    assert np.all(parts["empty"] == 1)
    np.testing.assert_allclose(loss, 0.5 * parts["point"] + 10 * parts["mil"], rtol=1e-6)
    assert np.all(parts["mil"] > 0)


def test_mil_only_where_retrieval_is_empty():
    extractor, generator = tiny_vit(), Generator(tiny_vit())
    image = jnp.zeros((1, SIZE, SIZE, 3))
    params = generator.init(jax.random.key(0), image)["params"]
    frozen = {"generator": {}, "extractor": extractor.init(jax.random.key(2), image)["params"]}
    for tau, empty in ((-1e9, 0.0), (1e9, 1.0)):
        settings = RetrievalSettings(layers=(2,), tau_fg=tau, tau_bg=abs(tau))
        objective = generator_objective(
            generator, "imagenet", online(extractor, settings), LossSettings(crf=0.0)
        )
        _, parts = jax.jit(objective)(params, params, frozen, make_batch(3))
        assert np.all(parts["empty"] == empty)
        assert np.all((parts["mil"] > 0) == bool(empty))


def test_once_on_the_crop_itself_is_online():
    """With the canonical window equal to the crop's, resampling is the identity."""
    extractor = tiny_vit()
    settings = RetrievalSettings(layers=(2,), tau_fg=0.05, tau_bg=0.05)
    params = extractor.init(jax.random.key(2), jnp.zeros((1, SIZE, SIZE, 3)))["params"]
    batch = jax.tree.map(jnp.asarray, make_batch(3))

    def attend(params, image, **asked):
        image = jnp.asarray(image, jnp.float32) / 255 - 0.5
        return extractor.apply({"params": params}, image, features=False, **asked)[1]

    scores = crop_scores(attend, depth=3, class_token=True, grid=GRID, settings=settings)
    direct = supervise_online(scores, settings)(params, batch)
    canonical = scores(params, batch).score.reshape(3, GRID, GRID)
    batch |= {"canonical_score": canonical, "canonical_window": batch["window_xyxy"]}
    once = supervise_once(GRID, settings)({}, batch)
    jax.tree.map(np.testing.assert_array_equal, direct, once)
    assert 0 < float(direct.weights.mean()) < 1


def test_schedule_warms_up_and_ends_at_its_share():
    schedule = learning_rate_schedule(1.0, total_steps=100, warmup_steps=10, final_rate=0.2)
    assert float(schedule(0)) == 0.0
    assert float(schedule(5)) == pytest.approx(0.5)
    assert float(schedule(10)) == pytest.approx(1.0)
    assert float(schedule(100)) == pytest.approx(0.2)


def test_decoder_rate_and_clipping():
    params = {"encoder": {"w": jnp.ones((2, 2))}, "decoder": {"w": jnp.ones((2, 2))}}
    gradient = jax.tree.map(lambda x: 100 * x, params)
    optimiser = make_optimiser(
        optax.constant_schedule(1.0),
        betas=(0.9, 0.9),
        weight_decay=0.0,
        clip_norm=1.0,
        decoder_rate=3.0,
        sgd=True,
    )
    updates, _ = optimiser.update(gradient, optimiser.init(params), params)
    share = 1 / np.sqrt(8)
    np.testing.assert_allclose(updates["encoder"]["w"], -share * np.ones((2, 2)), rtol=1e-5)
    np.testing.assert_allclose(updates["decoder"]["w"], -3 * share * np.ones((2, 2)), rtol=1e-5)


def test_prior_adds_the_propagation_map_to_the_logits():
    """With a decoder that says nothing the mask is the map, in training as in labelling."""
    extractor, generator = tiny_vit(), Generator(tiny_vit())
    image = jnp.zeros((1, SIZE, SIZE, 3))
    silent = jax.tree.map(jnp.zeros_like, generator.init(jax.random.key(0), image)["params"])
    frozen = {"generator": {}, "extractor": extractor.init(jax.random.key(2), image)["params"]}
    supervise = online(extractor, RetrievalSettings(layers=(2,), tau_fg=0.05, tau_bg=0.05))
    batch = jax.tree.map(jnp.asarray, make_batch(3))
    points = supervise(frozen["extractor"], batch)
    expected = prior_logits(points.score, 2 * GRID, 0.5)
    assert float(jnp.abs(expected).max()) > 0.01
    parts = supervised_parts(expected, points, batch, LossSettings())
    objective = generator_objective(
        generator, "imagenet", supervise, LossSettings(crf=0.0), prior=0.5
    )
    _, found = jax.jit(objective)(silent, silent, frozen, batch)
    np.testing.assert_allclose(found["point"], parts["point"], rtol=1e-5)
    predict = with_prior(
        lambda batch: np.zeros((3, 2 * GRID, 2 * GRID), np.float32),
        lambda batch: np.asarray(points.score).reshape(3, GRID, GRID),
        0.5,
    )
    np.testing.assert_allclose(predict(batch), expected, atol=1e-6)


def test_soft_loss_is_least_at_the_map_and_leaves_out_what_it_does_not_know():
    batch = make_batch(2)
    rng = np.random.default_rng(0)
    score = jnp.asarray(rng.normal(size=(2, 256)), jnp.float32).at[1].set(0.0)
    loss = jax.jit(lambda logits: soft_loss(logits, score, batch))
    inside = np.asarray(inside_box(batch["box_xyxy"], batch["valid_xyxy"], 16))
    at_map = jnp.where(inside, score, -20.0)
    best = loss(at_map)
    assert float(best[1]) == 0.0  # nothing is known of the second crop
    for change in (0.5, -0.5):
        assert float(loss(at_map + change * inside)[0]) > float(best[0])
    assert float(loss(jnp.where(inside, score, 0.0))[0]) > float(best[0])  # outside is background
