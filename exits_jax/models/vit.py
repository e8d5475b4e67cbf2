"""The plain vision transformer: similarity extractor and encoder of the generator.

One module serves every published ViT this project loads: Ti, S, B and L; patches of 8, 14 and 16;
with a class token or without; with LayerScale (DINOv2) or without. LayerNorm's epsilon is 1e-6 and
GELU is exact in all of them. Parameters are float32 whatever the activations' type.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from exits_jax.models.position import resize_positions

# name -> (width, depth, heads)
SIZES = {"Ti": (192, 12, 3), "S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16)}

LAYER_NORM_EPSILON = 1e-6
# CaiT's advice for networks of up to 18 layers; pretrained weights overwrite it.
LAYER_SCALE_START = 0.1

PIXEL_STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}

# What a layer hands out: "attention" [b,n,n] and "keys" [b,n,D], those that were asked for.
Maps = dict[str, Array]


def normalise(
    image: Num[Array, "b h w 3"] | Num[np.ndarray, "b h w 3"], kind: str = "imagenet"
) -> Float[Array, "b h w 3"]:
    """RGB in 0..255 (uint8 or float) -> float32 as the weights expect it.

    Args:
      image: RGB images, channels last.
      kind: "imagenet" (MAE, DeiT, DINO, DINOv2: minus mean, over standard deviation) or "half"
        (AugReg: 0..255 to -1..1).

    Raises:
      ValueError: another `kind`.
    """
    if kind not in PIXEL_STATISTICS:
        raise ValueError(f"normalise: found kind {kind!r}, expected one of {[*PIXEL_STATISTICS]}")
    mean, deviation = (np.asarray(row, np.float32) for row in PIXEL_STATISTICS[kind])
    return (jnp.asarray(image, jnp.float32) / 255.0 - mean) / deviation


def build_vit(size: str, patch: int, **options: Any) -> "ViT":
    """A ViT by the name of its size: "Ti", "S", "B" or "L". `options` are fields of `ViT`."""
    if size not in SIZES:
        raise ValueError(f"build_vit: found size {size!r}, expected one of {[*SIZES]}")
    width, depth, heads = SIZES[size]
    return ViT(patch=patch, width=width, depth=depth, heads=heads, **options)


class ViT(nn.Module):
    """A plain vision transformer that hands out attention and keys of the layers asked for.

    Fields:
      patch: side of a patch in pixels.
      width, depth, heads: D, number of layers, attention heads per layer.
      class_token: whether a class token is put before the p patch tokens (n = p + 1).
      layer_scale: whether both branches of a layer are scaled per channel (DINOv2).
      stem: "patch" (one projection of each patch) or "conv" (four 3x3 convolutions of stride 2;
        patch 16 only). The paper's 93 M generator is the second (inferred; see `ConvStem`).
      position_grid: side of the stored position table; resized to the grid in use.
      position_resize: "pytorch" or "jax", the kernel of that (`position.resize_positions`).
      frozen_blocks: k > 0 stops gradients into the embedding and the first k layers, and through
        the maps those layers hand out. 0 or -1: everything learns. With k = depth only the last
        LayerNorm learns.
      dtype: type of the activations, float32 or bfloat16. LayerNorm, softmax and everything handed
        out stay float32.
      remat: recompute a layer's activations in the backward pass instead of keeping them.
    """

    patch: int
    width: int
    depth: int
    heads: int
    class_token: bool = True
    layer_scale: bool = False
    stem: str = "patch"
    position_grid: int = 14
    position_resize: str = "pytorch"
    frozen_blocks: int = 0
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b s s 3"],
        *,
        attention_layers: tuple[int, ...] = (),
        key_layers: tuple[int, ...] = (),
        features: bool = True,
    ) -> tuple[Float[Array, "b N N D"] | None, dict[str, dict[int, Array]]]:
        """Runs the network as far as what is asked for needs.

        Args:
          image: normalised crops (`normalise`), square, side a multiple of `patch`.
          attention_layers: layers, counted from 1, whose attention is wanted.
          key_layers: layers, counted from 1, whose keys are wanted.
          features: whether the final features are wanted. Without them nothing past the last layer
            asked for is computed, and of that layer only queries and keys. (Initialisation always
            walks through everything, so the parameters do not depend on what is asked for.)

        Returns:
          features [b,N,N,D] after the last LayerNorm, class token dropped, float32; None when
          `features` is False. And {"attention": {layer: [b,n,n]}, "keys": {layer: [b,n,D]}}:
          softmax probabilities averaged over heads, rows summing to 1, and keys with their heads
          concatenated; float32, the class token first where there is one.

        Raises:
          ValueError: a crop whose side is not a multiple of `patch`, or a layer outside 1..depth.
        """
        last = self._last_layer(attention_layers, key_layers, features)
        out: dict[str, dict[int, Array]] = {"attention": {}, "keys": {}}
        x = self._embed(image)
        for layer in range(1, last + 1):
            asked = {"attention": layer in attention_layers, "keys": layer in key_layers}
            asked["tokens"] = layer < last or features or self.is_initializing()
            x, maps = self._block(layer, frozenset(kind for kind in asked if asked[kind]))(x)
            if layer <= self.frozen_blocks:
                x, maps = jax.lax.stop_gradient((x, maps))
            for kind, value in maps.items():
                out[kind][layer] = value
        if not (features or self.is_initializing()):
            return None, out
        x = _layer_norm("norm")(x)[:, int(self.class_token) :]
        grid = image.shape[1] // self.patch
        return (x.reshape(x.shape[0], grid, grid, -1) if features else None), out

    def _embed(self, image: Float[Array, "b s s 3"]) -> Float[Array, "b n D"]:
        """Pixels -> tokens, out of gradients' reach when blocks are frozen."""
        x = Embedding(
            patch=self.patch,
            width=self.width,
            class_token=self.class_token,
            stem=self.stem,
            position_grid=self.position_grid,
            position_resize=self.position_resize,
            dtype=self.dtype,
            name="embedding",
        )(image)
        return jax.lax.stop_gradient(x) if self.frozen_blocks > 0 else x

    def _last_layer(
        self, attention_layers: tuple[int, ...], key_layers: tuple[int, ...], features: bool
    ) -> int:
        """The last layer that has to run, after checking the ones asked for."""
        asked = (*attention_layers, *key_layers)
        wrong = [layer for layer in asked if not 1 <= layer <= self.depth]
        if wrong:
            raise ValueError(f"layers {wrong}: this ViT has layers 1 to {self.depth}")
        if features or self.is_initializing():
            return self.depth
        return max(asked, default=0)

    def _block(self, layer: int, wanted: frozenset[str]) -> "Block":
        """Layer number `layer`, told what to compute."""
        block = nn.remat(Block) if self.remat else Block
        return block(
            self.heads, self.layer_scale, wanted, dtype=self.dtype, name=f"block{layer:02d}"
        )


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
        if image.shape[1] % self.patch:
            raise ValueError(
                f"crop side {image.shape[1]} is not a multiple of the patch side {self.patch}"
            )
        x = self._stem()(image.astype(self.dtype))
        normal = nn.initializers.normal(0.02)
        grid, width = self.position_grid, self.width
        table = self.param("position", normal, (grid, grid, width), jnp.float32)
        x = x + resize_positions(table, x.shape[1], self.position_resize).astype(self.dtype)
        x = x.reshape(x.shape[0], -1, width)
        if not self.class_token:
            return x
        token = self.param("class_token", normal, (1, width), jnp.float32)
        token += self.param("class_position", normal, (1, width), jnp.float32)
        first = jnp.broadcast_to(token.astype(self.dtype), (x.shape[0], 1, width))
        return jnp.concatenate([first, x], axis=1)

    def _stem(self) -> nn.Module:
        """The module that turns pixels into a grid of vectors."""
        if self.stem == "patch":
            side = (self.patch, self.patch)
            return nn.Conv(
                self.width, side, side, padding="VALID", dtype=self.dtype, name="patch_projection"
            )
        if self.stem != "conv":
            raise ValueError(f"stem: found {self.stem!r}, expected 'patch' or 'conv'")
        if self.patch != 16:
            raise ValueError(f"stem 'conv' makes patches of 16 pixels, found patch {self.patch}")
        return ConvStem(self.width, self.dtype, name="conv_stem")


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


class Block(nn.Module):
    """One pre-norm transformer layer: x + attention(norm(x)), then x + mlp(norm(x)).

    `wanted` names what is computed: any of "tokens", "attention", "keys". Without "tokens" only
    queries and keys are.
    """

    heads: int
    layer_scale: bool
    wanted: frozenset[str]
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n D"]) -> tuple[Float[Array, "b n D"] | None, Maps]:
        """Tokens -> tokens after this layer (None if not wanted), and the maps wanted."""
        attention = SelfAttention(self.heads, self.wanted, self.dtype, name="attention")
        mixed, maps = attention(_layer_norm("norm1")(x).astype(self.dtype))
        if mixed is None:
            return None, maps
        x = x + self._scaled(mixed, "scale1")
        y = _layer_norm("norm2")(x).astype(self.dtype)
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

    @nn.compact
    def __call__(self, x: Float[Array, "b n D"]) -> tuple[Float[Array, "b n D"] | None, Maps]:
        """Normalised tokens -> mixed tokens (None if not wanted), and the maps wanted."""
        b, n, width = x.shape
        split = (b, n, self.heads, width // self.heads)
        keys = _dense(width, self.dtype, "key")(x)
        maps = {"keys": keys.astype(jnp.float32)} if "keys" in self.wanted else {}
        if not self.wanted & {"attention", "tokens"}:
            return None, maps
        query = _dense(width, self.dtype, "query")(x) * split[-1] ** -0.5
        probability = attention_probability(query.reshape(split), keys.reshape(split))
        if "attention" in self.wanted:
            maps["attention"] = probability.mean(axis=1)
        if "tokens" not in self.wanted:
            return None, maps
        value = _dense(width, self.dtype, "value")(x).reshape(split)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", probability.astype(self.dtype), value)
        return _dense(width, self.dtype, "out")(mixed.reshape(b, n, width)), maps


def attention_probability(
    query: Float[Array, "b n heads d"], key: Float[Array, "b n heads d"]
) -> Float[Array, "b heads n n"]:
    """Softmax over keys of <query, key>, float32; `query` is scaled by 1/sqrt(d) already.

    Written out rather than `jax.nn.dot_product_attention`: on two CPU cores, ViT-S, 577 tokens,
    batch 8, forward 72 ms against 136 ms, gradient 222 ms against 245 ms; and it yields the maps.
    """
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
    return jax.nn.softmax(logits, axis=-1)


class Mlp(nn.Module):
    """Two dense layers, 4 D wide inside, exact GELU between."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n D"]) -> Float[Array, "b n D"]:
        """Normalised tokens -> the branch to be added."""
        width = x.shape[-1]
        x = _dense(4 * width, self.dtype, "fc1")(x)
        return _dense(width, self.dtype, "fc2")(nn.gelu(x, approximate=False))


def _dense(width: int, dtype: Any, name: str) -> nn.Dense:
    """A dense layer, initialised as ViTs are."""
    start = nn.initializers.xavier_uniform()
    return nn.Dense(width, dtype=dtype, kernel_init=start, name=name)


def _layer_norm(name: str) -> nn.LayerNorm:
    """LayerNorm in float32, by the two-pass variance: DINOv2 has activations in the hundreds, for
    which E[x^2] - E[x]^2 loses digits."""
    return nn.LayerNorm(
        epsilon=LAYER_NORM_EPSILON, dtype=jnp.float32, use_fast_variance=False, name=name
    )
