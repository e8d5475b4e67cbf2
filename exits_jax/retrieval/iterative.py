"""Iterative retrieval: the result of a walk becomes the seeds of the next.

Not given in the paper. Four seeds know little about an object; the first walk finds other points
like them, and a second walk from all of those knows more. It needs scores that are log odds and, to
be useful, tightness centring: without it an error of the first round only grows.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from exits_jax.retrieval.decision import centre_score, decide, mean_seed
from exits_jax.retrieval.propagation import propagate

SEED_SHARE = 0.2  # of the foreground's mass that stays on the extreme points in every round


def reseed(
    score: Float[Array, "b p"],
    transition: Float[Array, "b p p"],
    known: Float[Array, "b p"],
    inside: Bool[Array, "b p"],
    shown: Bool[Array, "b p"],
    *,
    rounds: int,
    centring: float,
) -> Float[Array, "b p"]:
    """Sharpens log odds by walking one hop from soft seeds, `rounds` times.

    Soft foreground is the probability in the box, w = sigmoid(score), mixed with the extreme
    points; soft background is 1 - w in the box and 1 outside. Both are scaled to mass 1, walk one
    hop and are compared by the log ratio, which is centred like the first.

    Args:
      score: log odds of the first walk.
      transition: of the same walk.
      known: the first walk's foreground seeds; only their proportions matter.
      inside: cells in the box.
      shown: cells that show the image; padding is not background.
      rounds: how often; a Python int.
      centring: strength of the tightness centring in every round.
    """
    points = score.shape[-1]
    extreme = SEED_SHARE * mean_seed(known)
    for _ in range(rounds):
        object_share = jnp.where(inside, jax.nn.sigmoid(score), 0.0)
        rest = jnp.where(shown, 1.0 - object_share, 0.0)
        likely = (1.0 - SEED_SHARE) * mean_seed(object_share) + extreme
        reached = points * propagate(transition, jnp.stack([likely, mean_seed(rest)], -1), 1)
        score = decide(reached[..., 0], reached[..., 1], "log_ratio")
        score = centre_score(score, inside, centring)
    return score
