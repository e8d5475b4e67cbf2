"""From pixels to tokens: the stem, the positions and the class token of a ViT."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from exits_jax.models.position import resize_positions


class Embedding(nn.Module):
    """Image -> tokens with their positions added, the class token first where there is one."""

    patch: int
    width: int
    class_token: bool
    stem: str
    position_grid: int
    position_resize: str
    dtype: Any

    @nn.compact
    def __call__(self, image: Float[Array, "b s s 3"]) -> Float[Array, "b n D"]:
        """Normalised crops -> tokens in `dtype`."""
        height, width = image.shape[1:3]
        if height != width or height % self.patch:
            raise ValueError(
                f"crops of {height} x {width} pixels; expected squares whose side is a multiple of "
                f"the patch's {self.patch}"
            )
        x = self._stem()(image.astype(self.dtype))
        normal = nn.initializers.normal(0.02)
        grid = self.position_grid
        table = self.param("position", normal, (grid, grid, self.width), jnp.float32)
        x = x + resize_positions(table, x.shape[1], self.position_resize).astype(self.dtype)
        x = x.reshape(x.shape[0], -1, self.width)
        if not self.class_token:
            return x
        token = self.param("class_token", normal, (1, self.width), jnp.float32)
        token += self.param("class_position", normal, (1, self.width), jnp.float32)
        first = jnp.broadcast_to(token.astype(self.dtype), (x.shape[0], 1, self.width))
        return jnp.concatenate([first, x], axis=1)

    def _stem(self) -> nn.Module:
        """The module that turns pixels into a grid of vectors."""
        if self.stem == "patch":
            return PatchProjection(self.patch, self.width, self.dtype, name="patch_projection")
        if self.stem != "conv":
            raise ValueError(f"stem: found {self.stem!r}, expected 'patch' or 'conv'")
        if self.patch != 16:
            raise ValueError(f"stem 'conv' makes patches of 16 pixels, found patch {self.patch}")
        return ConvStem(self.width, self.dtype, name="conv_stem")


class PatchProjection(nn.Module):
    """A dense layer on the pixels of each patch; parameters and numbers are those of an `nn.Conv`.

    Computed as a matrix product, because on a CPU the gradient of such a convolution is slow.
    """

    patch: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, image: Float[Array, "b s s 3"]) -> Float[Array, "b N N D"]:
        """Normalised crops -> one vector per patch."""
        shape = (self.patch, self.patch, 3, self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        b, grid = image.shape[0], image.shape[1] // self.patch
        cut = image.reshape(b, grid, self.patch, grid, self.patch, 3).swapaxes(2, 3)
        pixels = cut.reshape(b, grid, grid, -1).astype(self.dtype)
        return pixels @ kernel.reshape(-1, self.width).astype(self.dtype) + bias.astype(self.dtype)


class ConvStem(nn.Module):
    """Four 3x3 convolutions of stride 2, channels doubling up to D, and a 1x1 projection.

    Not given in the paper; inferred from its 93 M generator: with ViT-B and the mask decoder this
    makes 93.1 M parameters, the plain 16x16 projection makes 89.6 M. ReLU after each 3x3, no
    normalisation (Xiao et al. 2021 use batch statistics there, which would need mutable state).
    """

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b s s 3"]) -> Float[Array, "b N N D"]:
        """Normalised crops -> one vector per 16x16 pixels."""
        x = image
        for index, share in enumerate((8, 4, 2, 1)):
            x = nn.Conv(
                self.width // share,
                (3, 3),
                (2, 2),
                padding=1,
                dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv{index + 1}",
            )(x)
            x = nn.relu(x)
        return nn.Conv(self.width, (1, 1), dtype=self.dtype, name="projection")(x)
