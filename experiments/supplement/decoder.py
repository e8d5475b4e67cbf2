"""The small generator of the sweeps: the mask decoder on the frozen encoder's features.

With the encoder frozen and the crops fixed, features and propagation scores are computed once and
an epoch of 1,000 crops takes less than a minute. Losses, decision, optimiser and step are those of
the package; thresholds and loss weights are arguments of the compiled step, so that a sweep
compiles once.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from exits_jax.models.decoder import MaskDecoder
from exits_jax.models.vit import normalise
from exits_jax.pseudo_labels.objectives import LossSettings, crf_part, supervised_parts
from exits_jax.pseudo_labels.supervision import Points
from exits_jax.retrieval.points import retrieve_points
from exits_jax.retrieval.score import Scores
from exits_jax.training.optimiser import learning_rate_schedule, make_optimiser
from exits_jax.training.state import Params, init_state
from exits_jax.training.step import make_step
from exits_jax.training.task import count_rows, over_rows
from experiments.retrieval_measures import Examples, mask_iou
from experiments.supplement.kept import Crops
from experiments.supplement.protocol import MARGIN

BATCH, EPOCHS = 8, 1.0
RATE = 1e-3  # see `decoder_rate`
TEACHER = 0.95  # 0.996 [inferred] is for ten epochs of COCO; an epoch here has 125 steps
LOSSES = LossSettings()  # COCO's (mil, point, crf) [supplement, B]
WEIGHTS = {"mil": LOSSES.mil, "point": LOSSES.point, "crf": LOSSES.crf}
# All that a run depends on but its own arguments.
FACTS = (BATCH, EPOCHS, RATE, TEACHER, LOSSES)


def objective(
    params: Params, teacher: Params, frozen: dict[str, Any], batch: dict[str, Any]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The paper's loss, with thresholds and weights out of `frozen`; see `training.objectives`."""
    scores = Scores(*(batch[name] for name in Scores._fields))
    labels, weights, empty = retrieve_points(
        scores.score, scores.inside_box, scores.foreground, scores.background, **frozen["tau"]
    )
    student = _decode(params, batch["features"])
    parts = supervised_parts(student, Points(labels, weights, empty, scores.score), batch, LOSSES)
    tutor = _decode(teacher, batch["features"])
    parts["crf"] = crf_part(student, tutor, normalise(batch["image"]), batch, LOSSES)
    return sum(frozen["weight"][name] * parts[name] for name in WEIGHTS), parts


def _decode(params: Params, features: jax.Array) -> jax.Array:
    decoder = MaskDecoder(features.shape[-1])
    return decoder.apply({"params": params}, features.astype(jnp.float32))


@functools.cache
def _step(total: int, rate: float) -> tuple[Any, optax.GradientTransformation]:
    """The compiled step and its optimiser."""
    optimiser = make_optimiser(
        learning_rate_schedule(rate, total_steps=total, warmup_steps=total // 10, final_rate=0.2),
        betas=(0.9, 0.9),
        weight_decay=5e-4,
        clip_norm=0.0,
        decoder_rate=1.0,
    )
    return jax.jit(
        make_step(over_rows(objective), count_rows, optimiser, teacher_rate=TEACHER)
    ), optimiser


def train(
    crops: Crops,
    scores: Scores,
    tau: tuple[float, float],
    *,
    weights: Mapping[str, float] = WEIGHTS,
    seed: int = 0,
    epochs: float = EPOCHS,
    rate: float = RATE,
) -> Params:
    """Trains a decoder from its initialisation.

    Args:
      crops: of the training instances.
      scores: of the same crops on the same grid.
      tau: tau_FG and tau_BG.
      weights: of the losses.
      seed: of the initialisation and of the order.
      epochs: passes over the crops.
      rate: the highest learning rate.

    Raises:
      FloatingPointError: a loss was not finite.
    """
    count = len(crops.features)
    rows = crops.batch | scores._asdict() | {"features": crops.features}
    total = round(epochs * count / BATCH)
    step, optimiser = _step(total, rate)
    decoder = MaskDecoder(crops.features.shape[-1])
    start = jax.jit(decoder.init)(
        jax.random.key(seed), jnp.asarray(crops.features[:1], jnp.float32)
    )
    state = init_state(start["params"], optimiser, teacher=True)
    frozen = {"tau": {"tau_fg": tau[0], "tau_bg": tau[1]}, "weight": dict(weights)}
    passes = range(int(np.ceil(epochs)) + 1)
    order = np.concatenate([np.random.default_rng([seed, e]).permutation(count) for e in passes])
    finite = []
    for chosen in order[: total * BATCH].reshape(total, BATCH):
        state, logs = step(state, frozen, {name: value[chosen] for name, value in rows.items()})
        finite.append(logs["finite"])
    if not np.all(finite):
        raise FloatingPointError(f"a loss was not finite (tau {tau}, weights {weights})")
    return jax.device_get(state.params)


def logits(params: Params, crops: Crops) -> Float[np.ndarray, "n m m"]:
    """Mask logits of every crop."""
    decode = jax.jit(_decode)
    parts = np.array_split(crops.features, max(1, len(crops.features) // 32))
    return np.concatenate([np.asarray(decode(params, part)) for part in parts])


def ious(params: Params, crops: Crops, chosen: Examples) -> Float[np.ndarray, " n"]:
    """IoU of every mask `sigmoid(logits) > 0.5` in its box, at native resolution."""
    rows = zip(logits(params, crops), *chosen, strict=True)
    return np.array([mask_iou(row.ravel(), *pair, MARGIN) for row, *pair in rows])
