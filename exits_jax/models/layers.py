"""One layer of a ViT: attention that can return its maps, an MLP, and their norms."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exits_jax.models.attention import mean_probability, mixed_values

LAYER_NORM_EPSILON = 1e-6
# CaiT's advice for networks of up to 18 layers; pretrained weights overwrite it.
LAYER_SCALE_START = 0.1
DENSE_START = nn.initializers.xavier_uniform()

# What a layer hands out: "attention" [b,n,n] and "keys" [b,n,D], those that were asked for.
Maps = dict[str, Array]


class Block(nn.Module):
    """One pre-norm transformer layer: x + attention(norm(x)), then x + mlp(norm(x)).

    `wanted` names what is computed: any of "tokens", "attention", "keys". Without "tokens" only
    queries and keys are. `kernel`: see `attention.mixed_values`.
    """

    heads: int
    layer_scale: bool
    wanted: frozenset[str]
    dtype: Any
    kernel: str = "own"

    @nn.compact
    def __call__(self, x: Float[Array, "b n D"]) -> tuple[Float[Array, "b n D"] | None, Maps]:
        """Tokens -> tokens after this layer (None if not wanted), and the maps wanted."""
        attention = SelfAttention(
            self.heads, self.wanted, self.dtype, self.kernel, name="attention"
        )
        mixed, maps = attention(layer_norm("norm1")(x).astype(self.dtype))
        if mixed is None:
            return None, maps
        x = x + self._scaled(mixed, "scale1")
        y = layer_norm("norm2")(x).astype(self.dtype)
        return x + self._scaled(Mlp(self.dtype, name="mlp")(y), "scale2"), maps

    def _scaled(self, branch: Float[Array, "b n D"], name: str) -> Float[Array, "b n D"]:
        """LayerScale, where the network has it: one learned factor per channel."""
        if not self.layer_scale:
            return branch
        start = nn.initializers.constant(LAYER_SCALE_START)
        factor = self.param(name, start, (branch.shape[-1],), jnp.float32)
        return branch * factor.astype(self.dtype)


class SelfAttention(nn.Module):
    """Multi-head self-attention that can hand out its probabilities and its keys."""

    heads: int
    wanted: frozenset[str]
    dtype: Any
    kernel: str

    @nn.compact
    def __call__(self, x: Float[Array, "b n D"]) -> tuple[Float[Array, "b n D"] | None, Maps]:
        """Normalised tokens -> mixed tokens (None if not wanted), and the maps wanted."""
        width = x.shape[-1]
        if not self.wanted & {"attention", "tokens"}:
            (key,) = self._projected(x, "key")
            return None, {"keys": key.astype(jnp.float32)}
        if "tokens" in self.wanted:
            query, key, value = self._projected(x, "query", "key", "value")
        else:
            query, key = self._projected(x, "query", "key")
        maps = {}
        if "keys" in self.wanted:
            maps["keys"] = key.astype(jnp.float32)
        if "attention" in self.wanted:
            maps["attention"] = mean_probability(query, key, self.heads)
        if "tokens" not in self.wanted:
            return None, maps
        mixed = mixed_values(query, key, value, self.heads, self.kernel)
        return _dense(width, self.dtype, "out")(mixed), maps

    def _projected(self, x: Float[Array, "b n D"], *names: str) -> list[Float[Array, "b n D"]]:
        """Dense layers of the same input as one product, which is faster than one by one."""
        weights = [DenseWeights(x.shape[-1], name=name)(x.shape[-1]) for name in names]
        kernel, bias = (
            jnp.concatenate([x.astype(self.dtype) for x in part], axis=-1)
            for part in zip(*weights, strict=True)
        )
        return jnp.split(x @ kernel + bias, len(names), axis=-1)


class DenseWeights(nn.Module):
    """The parameters of an `nn.Dense` of `width`, with the same names and initialisation."""

    width: int

    @nn.compact
    def __call__(self, features: int) -> tuple[Float[Array, "f w"], Float[Array, "w"]]:
        """Length of the input's vectors -> kernel and bias, float32."""
        kernel = self.param("kernel", DENSE_START, (features, self.width), jnp.float32)
        return kernel, self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)


class Mlp(nn.Module):
    """Two dense layers, 4 D wide inside, exact GELU between."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n D"]) -> Float[Array, "b n D"]:
        """Normalised tokens -> the branch to be added."""
        width = x.shape[-1]
        x = _dense(4 * width, self.dtype, "fc1")(x)
        return _dense(width, self.dtype, "fc2")(gelu(x))


def gelu(x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """x times the normal distribution's integral, float32 inside; no tanh.

    Uses the error function: `jax.nn.gelu` uses its complement, which keeps more digits of results
    that are nearly 0 and takes twice the time.
    """
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1 + jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype)


@jax.custom_vjp
def anchored(x: Float[Array, "b n D"]) -> Float[Array, "b n D"]:
    """The same tokens, whose gradient is written to memory on its way back on a CPU.

    Otherwise XLA:CPU computes the sum of all later layers' gradients again in every earlier layer
    (a third of the time of the backward pass of 12 layers). It looks through barriers, but not into
    loops.
    """
    return x


def _anchored_backward(_: None, gradient: Array) -> tuple[Array]:
    def copied(x: Array) -> Array:
        return jax.lax.map(jax.lax.optimization_barrier, x)

    return (jax.lax.platform_dependent(gradient, cpu=copied, default=lambda x: x),)


anchored.defvjp(lambda x: (x, None), _anchored_backward)


def _dense(width: int, dtype: Any, name: str) -> nn.Dense:
    """A dense layer, initialised as ViTs are."""
    return nn.Dense(width, dtype=dtype, kernel_init=DENSE_START, name=name)


def layer_norm(name: str) -> nn.LayerNorm:
    """LayerNorm in float32, by the two-pass variance: DINOv2 has activations in the hundreds, for
    which E[x^2] - E[x]^2 loses digits."""
    return nn.LayerNorm(
        epsilon=LAYER_NORM_EPSILON, dtype=jnp.float32, use_fast_variance=False, name=name
    )
