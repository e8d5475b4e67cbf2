"""A feature pyramid on a plain ViT, after ViTDet (Li et al. 2022), with an eye for edges."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from exits_jax.models.conv_norm import ConvNorm, resize
from exits_jax.models.convolution import Conv
from exits_jax.models.layers import layer_norm

STEM_WIDTH = 32  # channels of the stem at stride 4


class ViTPyramid(nn.Module):
    """Maps of several layers of a ViT, all of one size -> levels of strides 4, 8, 16, 32 and 64.

    Every level is a resized mixture of the layers; the finest one also sees the pixels themselves,
    through two strided convolutions: a ViT's cells are too coarse for outlines.

    Fields:
      width: channels of a level.
      groups: of group norm.
      dtype: of the activations.
    """

    width: int = 256
    groups: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b s s 3"], maps: Sequence[Float[Array, "b g g D"]]
    ) -> list[Float[Array, "b _h _w w"]]:
        """The normalised image and the layers' maps -> the levels, finest first."""
        normed = [layer_norm(f"norm{n}")(layer) for n, layer in enumerate(maps)]
        mixed = jnp.concatenate(normed, axis=-1).astype(self.dtype)
        mixed = nn.Dense(self.width, dtype=self.dtype, name="mix")(mixed)
        edges = self._layer(STEM_WIDTH // 2, "stem1", 2)(image)
        edges = self._layer(STEM_WIDTH, "stem2", 2)(edges)
        levels = []
        for number in range(4):
            side = image.shape[1] // (4 * 2**number)
            level = resize(mixed, (side, side))
            if number == 0:
                level = jnp.concatenate([level, edges], axis=-1)
            level = self._layer(self.width, f"inner{number}")(level)
            levels.append(Conv(self.width, self.dtype, name=f"outer{number}")(level))
        return [*levels, levels[-1][:, ::2, ::2]]

    def _layer(self, width: int, name: str, stride: int = 1) -> ConvNorm:
        return ConvNorm(width, self.dtype, stride, self.groups, name=name)
