"""The mask decoder: a pixel head and a prototype head whose inner product is the mask."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exits_jax.models.convolution import Conv
from exits_jax.system.types import Params


class MaskDecoder(nn.Module):
    """Features of one crop -> logits of one mask (supplement, section A and eq. a1).

    Pixel head: four 3x3 convolutions, D/3 channels, bilinear x2 between the second and the third;
    ReLU between convolutions is not given in the paper. Prototype head: average pool, two dense
    layers of D/3 with ReLU between. The sigmoid of eq. a1 is left to the caller: losses want
    logits.

    Fields:
      width: D of the features; both heads are D // 3 wide.
      dtype: type of the activations, float32 or bfloat16. The inner product is float32.
    """

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "b N N D"]) -> Float[Array, "b m m"]:
        """Encoder features -> mask logits at twice their grid (m = 2 N), float32."""
        features = features.astype(self.dtype)
        pixels = PixelHead(self.width // 3, self.dtype, name="pixel")(features)
        prototype = PrototypeHead(self.width // 3, self.dtype, name="prototype")(features)
        return jnp.einsum("bijd,bd->bij", pixels, prototype, preferred_element_type=jnp.float32)


class PixelHead(nn.Module):
    """Four 3x3 convolutions with a bilinear x2 in the middle: F -> F_pixel."""

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b N N D"]) -> Float[Array, "b m m d"]:
        """[b,N,N,D] -> [b,2N,2N,width]."""
        x = nn.relu(Conv(self.width, self.dtype, name="conv1")(x))
        x = nn.relu(Conv(self.width, self.dtype, name="conv2")(x))
        b, side = x.shape[:2]
        x = jax.image.resize(x, (b, 2 * side, 2 * side, self.width), "bilinear")
        x = nn.relu(Conv(self.width, self.dtype, name="conv3")(x))
        return Conv(self.width, self.dtype, name="conv4")(x)


class PrototypeHead(nn.Module):
    """Average pool and two dense layers: F -> F_proto.

    Features leave a LayerNorm with variance about 1 and He initialisation keeps it in the pixel
    head, so an inner product over D/3 channels with a prototype of variance 1 would start with
    logits of deviation sqrt(D/3) = 16: saturated. The last kernel is therefore initialised
    1/sqrt(D/3) times smaller, so that the first logits are of order 1 or less (not given in the
    paper).
    """

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b N N D"]) -> Float[Array, "b d"]:
        """[b,N,N,D] -> [b,width]."""
        x = x.mean(axis=(1, 2))
        start = nn.initializers.he_normal()
        x = nn.Dense(self.width, dtype=self.dtype, kernel_init=start, name="fc1")(x)
        small = nn.initializers.variance_scaling(1.0 / self.width, "fan_in", "normal")
        return nn.Dense(self.width, dtype=self.dtype, kernel_init=small, name="fc2")(nn.relu(x))


def silent_start(params: Params) -> Params:
    """A decoder's parameters with the prototype head's last layer at zero: every logit is 0.

    For a decoder whose logits are added to a map. Only one factor of the product may be zero:
    the pixel head stays as it is, so that the first step's gradient of the prototype, a sum of
    pixel features, is not zero. It moves `fc2`; from the second step on everything learns. With
    both last layers at zero neither would ever get a gradient. Without a map there is nothing to
    start from, and first logits of order 1 (see `PrototypeHead`) learn sooner.
    """
    head = params["prototype"]
    return params | {"prototype": head | {"fc2": jax.tree.map(jnp.zeros_like, head["fc2"])}}
