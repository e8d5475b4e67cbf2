"""Group normalisation (Wu and He, 2018) that keeps its digits whatever the mean."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-5


class GroupNorm(nn.Module):
    """Mean 0 and variance 1 over the cells and channels of a group, then a scale and a bias.

    The variance is the mean squared distance from the mean, in float32: the difference of E[x^2]
    and E[x]^2 has no digits left where the mean is a thousand times the deviation. An image is
    normalised by itself, so nothing depends on the batch.

    Fields:
      groups: how many; narrow layers have as many of them as divide their channels evenly.
      scale: where the scale starts.
    """

    groups: int = 32
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """[b,h,w,c] -> the same shape and type."""
        width = x.shape[-1]
        start = nn.initializers.constant(self.scale)
        scale = self.param("scale", start, (width,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
        groups = math.gcd(self.groups, width)
        wide = x.astype(jnp.float32)
        centred = wide - _mean(wide, groups)
        factor = scale * jax.lax.rsqrt(_mean(jnp.square(centred), groups) + EPSILON)
        return (centred * factor + bias).astype(x.dtype)


def _mean(x: Float[Array, "b h w c"], groups: int) -> Float[Array, "b 1 1 c"]:
    """The mean of a channel's group, for every channel: over the cells first, which is faster."""
    channels = x.mean(axis=(1, 2))
    means = channels.reshape(len(channels), groups, -1).mean(axis=-1)
    return jnp.repeat(means, x.shape[-1] // groups, axis=-1)[:, None, None]
