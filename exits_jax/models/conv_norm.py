"""What pyramids and heads are built of: convolution with normalisation, and resizing."""

from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from exits_jax.models.convolution import Conv
from exits_jax.models.group_norm import GroupNorm


class ConvNorm(nn.Module):
    """3x3 convolution without bias, GroupNorm, ReLU.

    Fields:
      width: channels that come out.
      dtype: of the activations.
      stride: 1, or 2 with padding 1 on all sides.
      groups: of GroupNorm.
    """

    width: int
    dtype: Any
    stride: int = 1
    groups: int = 32

    @nn.compact
    def __call__(self, x: Float[Array, "b _h _w d"]) -> Float[Array, "b h w e"]:
        """[b,h,w,d] -> [b,h/stride,w/stride,width]."""
        x = x.astype(self.dtype)
        x = Conv(self.width, self.dtype, stride=self.stride, use_bias=False, name="conv")(x)
        return nn.relu(GroupNorm(self.groups, name="norm")(x)).astype(self.dtype)


def resize(x: Float[Array, "b _h _w d"], size: tuple[int, int]) -> Float[Array, "b h w d"]:
    """Bilinear between pixel centres; making smaller, without smoothing first, as detectors do."""
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)
