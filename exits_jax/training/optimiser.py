"""AdamW with the schedule of the paper's relatives, and SGD with a stepped one for detectors."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from exits_jax.system.types import Params


def learning_rate_schedule(
    peak: float, *, total_steps: int, warmup_steps: int, final_rate: float
) -> optax.Schedule:
    """Linear warm-up to `peak`, then a cosine down to `final_rate * peak` [I]."""
    warmup_steps = min(warmup_steps, total_steps - 1)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup_steps else peak,
        peak_value=peak,
        warmup_steps=warmup_steps,
        decay_steps=total_steps,
        end_value=final_rate * peak,
    )


def stepped_schedule(
    peak: float, *, drops: Sequence[int], warmup_steps: int, factor: float = 0.1
) -> optax.Schedule:
    """Linear warm-up to `peak`, then `factor` of the rate from each of the steps `drops` on."""
    falls = optax.piecewise_constant_schedule(peak, dict.fromkeys(drops, factor))

    def rate(step: ArrayLike) -> Array:
        return falls(step) * jnp.minimum((step + 1) / max(warmup_steps, 1), 1.0)

    return rate


def make_sgd(
    schedule: optax.Schedule, *, momentum: float, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """SGD as detectors are trained: decay of every parameter goes into the momentum (PyTorch's).

    Args:
      schedule: learning rate by step.
      momentum: share of the last update's direction that is kept.
      weight_decay: added to the gradient, times the parameter.
      clip_norm: bound on the global gradient norm, 0 for none.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum),
        optax.scale_by_learning_rate(schedule),
    )


def make_optimiser(
    schedule: optax.Schedule,
    *,
    betas: tuple[float, float],
    weight_decay: float,
    clip_norm: float,
    decoder_rate: float,
    sgd: bool = False,
) -> optax.GradientTransformation:
    """AdamW; weight decay on matrices only; the decoder's rate may differ from the encoder's.

    Args:
      schedule: learning rate of the encoder by step.
      betas: of Adam; (0.9, 0.9) [I].
      weight_decay: decoupled; not applied to vectors (biases, norms, scales).
      clip_norm: bound on the global gradient norm, 0 for none.
      decoder_rate: factor on the learning rate of everything outside "encoder".
      sgd: plain SGD in place of Adam: it reveals a wrong constant factor that Adam would hide.
    """

    def is_matrix(params: Params) -> Params:
        return jax.tree.map(lambda x: x.ndim > 1, params)

    def outside_encoder(params: Params) -> Params:
        return {
            name: jax.tree.map(lambda _, n=name: n != "encoder", part)
            for name, part in params.items()
        }

    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.identity() if sgd else optax.scale_by_adam(b1=betas[0], b2=betas[1]),
        optax.add_decayed_weights(weight_decay, mask=is_matrix),
        optax.masked(optax.scale(decoder_rate), outside_encoder),
        optax.scale_by_learning_rate(schedule),
    )
