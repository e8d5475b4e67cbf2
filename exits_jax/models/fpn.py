"""A feature pyramid on a network of stages (Lin et al. 2017)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exits_jax.models.convolution import Conv

START = nn.initializers.xavier_uniform()


class FPN(nn.Module):
    """C2 to C5 -> P2 to P6, all of one width: what is coarse is added to what is fine.

    Neither norm nor ReLU. P6 is every second cell of P5.

    Fields:
      width: channels of a level.
      dtype: of the activations.
    """

    width: int = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[Float[Array, "b _h _w _c"]]
    ) -> list[Float[Array, "b _h _w w"]]:
        """The maps, finest first -> the levels, finest first, one more."""
        levels: list[Array] = []
        above = None
        for number in reversed(range(len(maps))):
            lateral = self._conv(1, f"lateral{number + 2}")(maps[number])
            if above is not None:
                shape = (*lateral.shape[:3], self.width)
                lateral += jax.image.resize(above, shape, "nearest")
            above = lateral
            levels.insert(0, self._conv(3, f"output{number + 2}")(lateral))
        return [*levels, levels[-1][:, ::2, ::2]]

    def _conv(self, size: int, name: str) -> Conv:
        return Conv(self.width, self.dtype, size, kernel_init=START, name=name)
