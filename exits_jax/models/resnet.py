"""ResNet (He et al. 2016), the encoder of stage 2, with the stride on the 3x3 convolution.

No running statistics are kept: they are frozen as published weights have them (`FrozenNorm`), or
there are none (`GroupNorm`).
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exits_jax.models.convolution import Conv
from exits_jax.models.group_norm import EPSILON, GroupNorm

NORMS = ("frozen", "group")
STEM_WIDTH = 64
EXPANSION = 4  # of a bottleneck: channels out for one inside
Norm = Callable[..., nn.Module]  # (name, where the scale starts) -> a layer
STATISTICS = ("mean", "var")  # of a `FrozenNorm`: they never learn


class ResNet(nn.Module):
    """Normalised images -> the maps C2 to C5. The defaults are ResNet-50.

    Fields:
      depths: blocks of each stage.
      width: channels of the first stage, doubled by each later one; a bottleneck hands out
        `EXPANSION` times as many.
      bottleneck: whether a block is 1x1, 3x3, 1x1 (ResNet-50 and deeper), or two 3x3.
      norm: "frozen" (batch statistics of published weights, `FrozenNorm`) or "group".
      frozen_stages: k > 0 stops gradients into the stem and the first k stages. 0: everything
        learns but statistics.
      groups: of group norm.
      dtype: type of the activations, float32 or bfloat16. Parameters are float32.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    bottleneck: bool = True
    norm: str = "frozen"
    frozen_stages: int = 1
    groups: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"]) -> list[Float[Array, "b _h _w _c"]]:
        """Runs the network.

        Args:
          image: normalised (`vit.normalise`), of any size.

        Returns:
          The map of each stage, strides 4, 8, 16 and 32, sides rounded up.

        Raises:
          ValueError: another `norm`.
        """
        if self.norm not in NORMS:
            raise ValueError(f"ResNet: found norm {self.norm!r}, expected one of {[*NORMS]}")
        norm = functools.partial(_norm, self.norm, self.groups)
        x = Stem(norm, self.dtype, name="stem")(image.astype(self.dtype))
        maps = []
        for number, depth in enumerate(self.depths, 1):
            x = Stage(
                depth,
                self.width * 2 ** (number - 1),
                1 if number == 1 else 2,
                self.bottleneck,
                norm,
                self.dtype,
                name=f"stage{number}",
            )(x)
            if number <= self.frozen_stages:
                x = jax.lax.stop_gradient(x)
            maps.append(x)
        return maps

    def learns(self, path: tuple[str, ...]) -> bool:
        """Whether the parameter at a path learns: frozen statistics and stages do not.

        Scale and bias behind frozen statistics do, from the first stage on that is not frozen.
        """
        if self.norm == "frozen" and path[-1] in STATISTICS:
            return False
        stage = 0 if path[0] == "stem" else int(path[0].removeprefix("stage"))
        return self.frozen_stages <= 0 or stage > self.frozen_stages


class Stem(nn.Module):
    """7x7 convolution of stride 2, norm, ReLU, max-pool: a quarter of the sides."""

    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(self, image: Float[Array, "b _h _w 3"]) -> Float[Array, "b h w c"]:
        """[b,h,w,3] -> [b,h/4,w/4,64]."""
        x = Conv(STEM_WIDTH, self.dtype, 7, 2, use_bias=False, name="conv")(image)
        return max_pool(nn.relu(self.norm("norm")(x)))


class Stage(nn.Module):
    """Blocks one after the other; the first one has the stride."""

    depth: int
    width: int
    stride: int
    bottleneck: bool
    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b _h _w _c"]) -> Float[Array, "b h w c"]:
        """[b,h,w,c] -> [b,h/stride,w/stride,width or 4 width]."""
        for number in range(1, self.depth + 1):
            stride = self.stride if number == 1 else 1
            name = f"block{number:02d}"
            x = Block(self.width, stride, self.bottleneck, self.norm, self.dtype, name=name)(x)
        return x


class Block(nn.Module):
    """x + branch(x), then ReLU; x goes through a 1x1 convolution where the channels differ.

    With group norm the branch's last scale starts at 0 (Wu and He 2018, after Goyal et al. 2017): a
    fresh block hands on what it gets, however deep the network.
    """

    width: int
    stride: int
    bottleneck: bool
    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b _h _w _c"]) -> Float[Array, "b h w c"]:
        """[b,h,w,c] -> [b,h/stride,w/stride,width or 4 width]."""
        layers = [(3, self.width, self.stride), (3, self.width, 1)]
        if self.bottleneck:
            wide = EXPANSION * self.width
            layers = [(1, self.width, 1), (3, self.width, self.stride), (1, wide, 1)]
        y = x
        for number, (size, width, stride) in enumerate(layers, 1):
            last = number == len(layers)
            y = self._conv(width, size, stride, f"conv{number}")(y)
            y = self.norm(f"norm{number}", 0.0 if last else 1.0)(y)
            y = y if last else nn.relu(y)
        if x.shape[-1] != y.shape[-1]:
            x = self._conv(y.shape[-1], 1, self.stride, "shortcut")(x)
            x = self.norm("shortcut_norm")(x)
        return nn.relu(x + y)

    def _conv(self, width: int, size: int, stride: int, name: str) -> Conv:
        return Conv(width, self.dtype, size, stride, use_bias=False, name=name)


class FrozenNorm(nn.Module):
    """Batch normalisation by statistics that never change: a factor and a term per channel.

    What it starts with normalises nothing: mean 0, variance 1. It is there for published weights.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """[b,h,w,c] -> the same shape and type; float32 inside."""
        starts = {"scale": 1.0, "bias": 0.0, "mean": 0.0, "var": 1.0}
        scale, bias, mean, variance = (
            self.param(name, nn.initializers.constant(start), x.shape[-1:], jnp.float32)
            for name, start in starts.items()
        )
        mean, variance = jax.lax.stop_gradient((mean, variance))
        factor = scale * jax.lax.rsqrt(variance + EPSILON)
        return (x.astype(jnp.float32) * factor + (bias - mean * factor)).astype(x.dtype)


def _norm(kind: str, groups: int, name: str, scale: float = 1.0) -> FrozenNorm | GroupNorm:
    """The normalisation of a kind; `scale` is where a fresh group norm's starts."""
    return FrozenNorm(name=name) if kind == "frozen" else GroupNorm(groups, scale, name=name)


def max_pool(x: Float[Array, "b _h _w c"]) -> Float[Array, "b h w c"]:
    """The largest of 3x3 cells at every other cell, nothing counting beyond the edge.

    Rows first, then columns: the gradient of a window's maximum takes a CPU four times as long.
    """
    for axis in (1, 2):
        cells = (x.shape[axis] + 1) // 2
        around = [(0, 0, 0)] * 4
        around[axis] = (1, 1, 0)
        padded = jax.lax.pad(x, jnp.array(-jnp.inf, x.dtype), around)
        shifted = (
            jax.lax.slice_in_dim(padded, start, start + 2 * cells - 1, 2, axis)
            for start in range(3)
        )
        x = functools.reduce(jnp.maximum, shifted)
    return x
