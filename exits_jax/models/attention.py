"""Multi-head attention that never holds all attention maps at once.

What is kept for the backward pass is linear in the number of tokens: queries, keys, values, the
result and the logarithm of each softmax's denominator; the maps are computed again from them. A CPU
takes one image after the other, two of its heads at a time, whose maps stay in the cache (ViT-S,
577 tokens, batch 8, two cores: forward 53 against 152 ms for all at once, forward and backward 167
against 337 ms). Accelerators take the whole batch at once.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

CPU_HEADS = 2  # at a time; 1, 3 and 6 are slower on two cores


def mixed_values(
    query: Float[Array, "b n D"],
    key: Float[Array, "b n D"],
    value: Float[Array, "b n D"],
    heads: int,
    kernel: str = "own",
) -> Float[Array, "b n D"]:
    """softmax(<query, key> / sqrt(d)) value, head by head, d = D / heads.

    Args:
      query, key, value: the heads side by side, of one type.
      heads: their number.
      kernel: "own", the one described above; "xla" or "cudnn", that implementation of
        `jax.nn.dot_product_attention` (cuDNN needs an NVIDIA GPU and 16-bit activations).

    Returns:
      The heads side by side, in the type of the values; logits and softmax are float32.
    """
    if kernel != "own":
        cut = (*query.shape[:2], heads, query.shape[-1] // heads)
        mixed = jax.nn.dot_product_attention(
            *(x.reshape(cut) for x in (query, key, value)), implementation=kernel
        )
        return mixed.reshape(value.shape)
    return _attend(query, key, value, heads)


def mean_probability(
    query: Float[Array, "b n D"], key: Float[Array, "b n D"], heads: int
) -> Float[Array, "b n n"]:
    """The attention that `mixed_values` mixes by, averaged over heads: float32, rows sum to 1."""

    def of_image(pair: tuple[Array, Array]) -> Array:
        return jax.nn.softmax(_logits(*pair), axis=-1).mean(axis=0)

    pair = tuple(_split(x, heads) for x in (query, key))
    return _by_platform(of_image, pair)


class _Kept(NamedTuple):
    """What the backward pass needs; arrays [b*heads/c, c, n, d], c heads at a time."""

    query: Array
    key: Array
    value: Array
    mixed: Array
    denominator: Array  # logarithm of the softmax's, [.., c, n]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attend(query: Array, key: Array, value: Array, heads: int) -> Array:
    return _forward(query, key, value, heads)[0]


def _forward(query: Array, key: Array, value: Array, heads: int) -> tuple[Array, _Kept]:
    parts = tuple(_split(x, heads, math.gcd(heads, CPU_HEADS)) for x in (query, key, value))
    mixed, denominator = _by_platform(_forward_part, parts)
    return _joined(mixed, query.shape, heads), _Kept(*parts, mixed, denominator)


def _backward(heads: int, kept: _Kept, gradient: Array) -> tuple[Array, Array, Array]:
    part = _split(gradient, heads, kept.query.shape[1])
    gradients = _by_platform(_backward_part, (*kept, part))
    return tuple(_joined(x, gradient.shape, heads) for x in gradients)


_attend.defvjp(_forward, _backward)


def _forward_part(part: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """Some heads of one image: the mixed values, and the logarithm of the denominators."""
    query, key, value = part
    logits = _logits(query, key)
    highest = logits.max(axis=-1, keepdims=True)
    weights = jnp.exp(logits - highest)
    total = weights.sum(axis=-1, keepdims=True)
    mixed = _product("hqk,hkd->hqd", weights.astype(value.dtype), value)
    # Divided after the product: d numbers a row instead of n.
    return (mixed / total).astype(value.dtype), (highest + jnp.log(total))[..., 0]


def _backward_part(part: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    """Gradients of some heads' queries, keys and values, from the maps computed again."""
    query, key, value, mixed, denominator, gradient = part
    kind, scale = query.dtype, query.shape[-1] ** -0.5
    probability = jnp.exp(_logits(query, key) - denominator[..., None])
    to_value = _product("hqk,hqd->hkd", probability.astype(kind), gradient)
    inner = _product("hqd,hqd->hq", gradient, mixed)[..., None]
    slope = _product("hqd,hkd->hqk", gradient, value) - inner
    to_logits = (probability * slope).astype(kind)
    to_query = scale * _product("hqk,hkd->hqd", to_logits, key)
    to_key = scale * _product("hqk,hqd->hkd", to_logits, query)
    return tuple(x.astype(kind) for x in (to_query, to_key, to_value))


def _logits(query: Array, key: Array) -> Array:
    """<query, key> / sqrt(d), float32 [h, n, n]."""
    return _product("hqd,hkd->hqk", query * query.shape[-1] ** -0.5, key)


_product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)


def _by_platform(function: Callable[[Any], Any], parts: Any) -> Any:
    """One slice after the other on a CPU, all at once elsewhere; decided when code is lowered.

    A loop cannot be divided along a sharded batch: several devices of a CPU need pmap, not jit.
    """
    return jax.lax.platform_dependent(
        parts, cpu=lambda xs: jax.lax.map(function, xs), default=jax.vmap(function)
    )


def _split(x: Array, heads: int, together: int | None = None) -> Array:
    """[b,n,D] -> [b * heads / c, c, n, d], c heads `together` (all of an image by default)."""
    b, n, width = x.shape
    cut = x.reshape(b, n, heads, width // heads).swapaxes(1, 2)
    return cut.reshape(-1, together or heads, n, width // heads)


def _joined(x: Array, shape: tuple[int, ...], heads: int) -> Array:
    """The inverse of `_split`: [..., n, d] -> [b,n,D]."""
    b, n, width = shape
    return x.reshape(b, heads, n, width // heads).swapaxes(1, 2).reshape(shape)
