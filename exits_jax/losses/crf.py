"""A conditional random field on the mask: neighbours of similar colour belong together."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from exits_jax.losses.mil import dice_loss

# None of these is given in the paper.
LOWEST, HIGHEST = 0.1, 0.9  # bounds on probabilities before and after every sweep
NORMALISE_EPS = 1e-6  # added to the sum over the two classes
OFFSETS = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2)]  # 3 x 3, the centre is (1, 1)


def mean_field(
    probability: Float[ArrayLike, "b h w"],
    image: Float[ArrayLike, "b h w 3"],
    box_mask: Shaped[ArrayLike, "b h w"],
    *,
    sweeps: int = 100,
    sigma: float | int = 0.1,
    valid: Shaped[ArrayLike, "b h w"] | None = None,
) -> Float[Array, "b h w"]:
    """The mask refined by mean-field inference, as a target for `crf_loss`.

    A sweep gives both classes y_c(i) = exp(sum_j K_ij log x_c(j)) over the 3 x 3 neighbourhood with
    the centre, where K_ij = exp(-|I_i - I_j|^2 / (2 sigma^2)) compares colours; foreground is
    confined to the box, the two classes are scaled to sum to 1 and clamped. It stops when a sweep
    changes no number of any crop: further sweeps would change nothing either, so the result is that
    of all `sweeps`. (Photographs seldom get there within 100; padding and plain crops do.) Form and
    constants are not given in the paper. No gradient flows through it.

    Args:
      probability: of the object; usually the mean of the teacher's and the student's.
      image: the normalised image at mask resolution.
      box_mask: 1 inside the tight box.
      sweeps: at most this many.
      sigma: of the colour kernel, in units of the normalised image.
      valid: 1 inside the image; padding is never a neighbour and never foreground.

    Returns:
      float32 [b, h, w], 0 or 1.
    """
    probability, image, box = (
        jax.lax.stop_gradient(jnp.asarray(value, jnp.float32))
        for value in (probability, image, box_mask)
    )
    inside = jnp.ones(box.shape, bool) if valid is None else jnp.asarray(valid) != 0
    box = jnp.where(inside, box, 0.0)
    kernel = colour_kernel(image, inside, sigma)
    start = jnp.clip(jnp.where(box > 0.0, probability * box, 0.0), LOWEST, HIGHEST)
    both = jnp.stack([start, 1.0 - start])

    def unfinished(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        step, _, changed = carry
        return changed & (step < sweeps)

    def advance(
        carry: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        step, before, _ = carry
        after = _sweep(before, kernel, box)
        return step + 1, after, jnp.any(after != before)

    _, both, _ = jax.lax.while_loop(unfinished, advance, (0, both, jnp.array(True)))
    return (both[0] > 0.5).astype(jnp.float32)


def crf_loss(
    probability: Float[ArrayLike, "b h w"], refined: Shaped[ArrayLike, "b h w"]
) -> Float[Array, "b"]:
    """Soft dice between a mask and its mean-field refinement (supplement, B: lambda_crf).

    Args:
      probability: of the object *inside the box*: the caller multiplies by the box mask, because
        refined is 0 outside and the loss is about the box's inside alone.
      refined: what `mean_field` returned; a constant.

    Returns:
      float32 [b] in [0, 1]; an empty refinement gives 1 without gradient.
    """
    probability = jnp.asarray(probability, jnp.float32)
    refined = jax.lax.stop_gradient(jnp.asarray(refined, jnp.float32))
    count = probability.shape[0]
    return dice_loss(probability.reshape(count, -1), refined.reshape(count, -1))


def colour_kernel(
    image: Float[Array, "b h w 3"], inside: Bool[Array, "b h w"], sigma: float | int
) -> Float[Array, "9 b h w"]:
    """K_ij of every pixel i and its 3 x 3 neighbours j; 0 where either lies outside the image."""
    padded_image = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    padded_inside = jnp.pad(inside, ((0, 0), (1, 1), (1, 1)))
    height, width = inside.shape[1:]
    rows = []
    for dy, dx in OFFSETS:
        neighbour = padded_image[:, dy : dy + height, dx : dx + width]
        present = padded_inside[:, dy : dy + height, dx : dx + width] & inside
        distance = jnp.sum((image - neighbour) ** 2, axis=-1)
        rows.append(jnp.where(present, jnp.exp(-distance / (2.0 * sigma**2)), 0.0))
    return jnp.stack(rows)


def _sweep(
    both: Float[Array, "2 b h w"], kernel: Float[Array, "9 b h w"], box: Float[Array, "b h w"]
) -> Float[Array, "2 b h w"]:
    """One mean-field update of foreground and background."""
    height, width = box.shape[1:]
    logs = jnp.pad(jnp.log(both), ((0, 0), (0, 0), (1, 1), (1, 1)))
    message = sum(
        weight * logs[:, :, dy : dy + height, dx : dx + width]
        for weight, (dy, dx) in zip(kernel, OFFSETS, strict=True)
    )
    votes = jnp.exp(message)
    votes = jnp.stack([votes[0] * box, votes[1]])
    return jnp.clip(votes / (NORMALISE_EPS + jnp.sum(votes, axis=0)), LOWEST, HIGHEST)
