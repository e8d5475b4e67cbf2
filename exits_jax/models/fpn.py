"""The feature pyramid network (Lin et al. 2017): every level sees what the coarser ones saw."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from exits_jax.models.convolution import Conv

START = nn.initializers.xavier_uniform()


class FPN(nn.Module):
    """C2 to C5 -> P2 to P6, all of one width; biases, neither norm nor ReLU.

    P6 is every other cell of P5.

    Fields:
      width: channels of a level.
      dtype: type of the activations.
    """

    width: int = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[Float[Array, "b _h _w _c"]]
    ) -> list[Float[Array, "b _h _w d"]]:
        """Runs the network.

        Args:
          maps: finest first, each half the sides of the one before (rounded up).

        Returns:
          A level of each map's size, and one of half the sides of the last.
        """
        levels = [
            self._conv(1, f"lateral{number}")(x.astype(self.dtype))
            for number, x in enumerate(maps, 2)
        ]
        for finer in range(len(levels) - 2, -1, -1):
            levels[finer] += doubled(levels[finer + 1], levels[finer].shape[1:3])
        levels = [self._conv(3, f"output{number}")(x) for number, x in enumerate(levels, 2)]
        return [*levels, levels[-1][:, ::2, ::2]]

    def _conv(self, size: int, name: str) -> Conv:
        return Conv(self.width, self.dtype, size, kernel_init=START, name=name)


def doubled(x: Float[Array, "b _h _w d"], size: tuple[int, int]) -> Float[Array, "b h w d"]:
    """Every cell as 2x2 cells, cut to `size`: of twice the sides, or one less."""
    rows, columns = size
    return x.repeat(2, axis=1).repeat(2, axis=2)[:, :rows, :columns]
