"""SOLOv2's head: a kernel and classes for each cell of five grids, and one map of mask features.

Wang et al. 2020; widths as in the released configuration.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from exits_jax.models.conv_norm import ConvNorm, resize
from exits_jax.models.convolution import Conv
from exits_jax.models.group_norm import GroupNorm

RARE = 0.01  # probability of a class that a fresh head begins with
OUTPUT_START = nn.initializers.normal(0.01)


class Outputs(NamedTuple):
    """What the network says of a batch; n cells, those of all levels one after the other.

    Attributes:
      kernels: of each cell.
      logits: of the classes, for each cell.
      features: of the masks: the logit of a cell's mask is kernel . features.
    """

    kernels: Float[Array, "b n e"]
    logits: Float[Array, "b n c"]
    features: Float[Array, "b h w e"]


class SOLOv2(nn.Module):
    """Pyramid -> `Outputs`.

    Fields:
      classes: C.
      grids: cells along a side, by level.
      width, depth: channels and convolutions of the towers.
      kernel_width: E.
      mask_width: channels inside the mask branch.
      groups: of group norm.
      dtype: of the activations; what is handed out is float32.
    """

    classes: int
    grids: tuple[int, ...]
    width: int = 512
    depth: int = 4
    kernel_width: int = 256
    mask_width: int = 128
    groups: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pyramid: Sequence[Float[Array, "b _h _w d"]]) -> Outputs:
        """The head on a pyramid, finest level first, one level more than the mask branch reads."""
        kinds = {"dtype": self.dtype, "groups": self.groups}
        mask_branch = MaskBranch(self.mask_width, self.kernel_width, **kinds, name="mask")
        features = mask_branch(pyramid[:-1])
        kernel_tower = Tower(self.width, self.depth, **kinds, name="kernel_tower")
        class_tower = Tower(self.width, self.depth, **kinds, name="class_tower")
        kernel = self._output(self.kernel_width, "kernel")
        classes = self._output(self.classes, "classes", -float(np.log((1 - RARE) / RARE)))
        kernels, logits = [], []
        for level, grid in zip(_levels(pyramid), self.grids, strict=True):
            level = resize(with_coordinates(level), (grid, grid))
            kernels.append(_cells(kernel(kernel_tower(level))))
            logits.append(_cells(classes(class_tower(level[..., :-2]))))
        return Outputs(jnp.concatenate(kernels, 1), jnp.concatenate(logits, 1), features)

    def _output(self, width: int, name: str, bias: float = 0.0) -> Conv:
        return Conv(
            width,
            self.dtype,
            kernel_init=OUTPUT_START,
            bias_init=nn.initializers.constant(bias),
            name=name,
        )


class Tower(nn.Module):
    """Convolutions of one width, shared by the levels."""

    width: int
    depth: int
    dtype: Any
    groups: int

    def setup(self) -> None:
        """Made once, used for every level."""
        self.layers = [
            ConvNorm(self.width, self.dtype, groups=self.groups) for _ in range(self.depth)
        ]

    def __call__(self, x: Float[Array, "b s s d"]) -> Float[Array, "b s s w"]:
        """[b,s,s,d] -> [b,s,s,width]."""
        for layer in self.layers:
            x = layer(x)
        return x


class MaskBranch(nn.Module):
    """Pyramid -> one map of mask features at its finest level's size."""

    width: int
    kernel_width: int
    dtype: Any
    groups: int

    @nn.compact
    def __call__(self, pyramid: Sequence[Float[Array, "b _h _w d"]]) -> Float[Array, "b h w e"]:
        """Level k gets max(k, 1) convolutions, and k times double the size; then their sum."""
        total = 0
        for number, level in enumerate(pyramid):
            if number and number == len(pyramid) - 1:
                level = with_coordinates(level)
            for step in range(max(number, 1)):
                layer = ConvNorm(
                    self.width, self.dtype, groups=self.groups, name=f"level{number}_{step}"
                )
                level = layer(level)
                if number:
                    level = resize(level, pyramid[number - 1 - step].shape[1:3])
            total = total + level
        x = Conv(self.kernel_width, self.dtype, 1, use_bias=False, name="out")(total)
        return nn.relu(GroupNorm(self.groups, name="norm")(x)).astype(jnp.float32)


def with_coordinates(x: Float[Array, "b h w d"]) -> Float[Array, "b h w e"]:
    """The map with two channels more: x and y of each cell, -1 to 1 from edge cell to edge cell."""
    b, h, w, _ = x.shape
    y, x_ = jnp.meshgrid(jnp.linspace(-1, 1, h), jnp.linspace(-1, 1, w), indexing="ij")
    places = jnp.broadcast_to(jnp.stack([x_, y], axis=-1).astype(x.dtype), (b, h, w, 2))
    return jnp.concatenate([x, places], axis=-1)


def _levels(pyramid: Sequence[Float[Array, "b _h _w d"]]) -> list[Float[Array, "b _h _w d"]]:
    """The levels as the head reads them: the finest and the coarsest at their neighbour's size."""
    first, *middle, last = pyramid
    return [resize(first, middle[0].shape[1:3]), *middle, resize(last, middle[-1].shape[1:3])]


def _cells(x: Float[Array, "b s s d"]) -> Float[Array, "b n d"]:
    return x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32)
