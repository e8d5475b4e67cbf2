"""The plain vision transformer: similarity extractor and encoder of the generator.

One module serves every published ViT this project loads: Ti, S, B and L; patches of 8, 14 and 16;
with a class token or without; with LayerScale (DINOv2) or without. LayerNorm's epsilon is 1e-6 and
GELU is exact (AugReg was trained with its tanh form, which differs by 5e-4 at most). Parameters are
float32 whatever the activations' type.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from exits_jax.models.embedding import Embedding
from exits_jax.models.layers import Block, anchored, layer_norm
from exits_jax.models.settings import PIXEL_STATISTICS, SIZES


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
      position_grid: side of the stored position embedding; it is resized to the grid in use.
      position_resize: the kernel for that, one of `position.KERNELS`.
      frozen_blocks: k > 0 stops gradients into the embedding and the first k layers, and through
        the maps those layers hand out. 0 or -1: everything learns. With k = depth only the last
        LayerNorm learns.
      dtype: type of the activations, float32 or bfloat16. LayerNorm, softmax and everything handed
        out stay float32.
      remat: recompute a layer's activations in the backward pass instead of keeping them.
      attention: how values are mixed, "own", "xla" or "cudnn" (`attention.mixed_values`).
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
    attention: str = "own"

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b s s 3"],
        *,
        attention_layers: tuple[int, ...] = (),
        key_layers: tuple[int, ...] = (),
        token_layers: tuple[int, ...] = (),
        features: bool = True,
        begin: tuple[int, Float[Array, "b n D"]] | None = None,
    ) -> tuple[Float[Array, "b N N D"] | None, dict[str, dict[int, Array]]]:
        """Runs the network as far as what is asked for needs.

        Args:
          image: normalised crops (`normalise`), square, side a multiple of `patch`.
          attention_layers: layers, counted from 1, whose attention is wanted.
          key_layers: layers, counted from 1, whose keys are wanted.
          token_layers: layers, counted from 1, whose tokens are wanted.
          begin: a layer and its tokens, computed before: the network continues after it.
          features: whether the final features are wanted. Without them nothing past the last layer
            asked for is computed, and of that layer only queries and keys. (Initialisation always
            runs everything, so the parameters do not depend on what is asked for.)

        Returns:
          features [b,N,N,D] after the last LayerNorm, class token dropped, float32; None when
          `features` is False. And {"attention": {layer: [b,n,n]}, "keys": {layer: [b,n,D]},
          "tokens": {layer: [b,n,D]}}: softmax probabilities averaged over heads, rows summing to 1,
          keys with their heads concatenated, and tokens as the next layer gets them; float32, the
          class token first where there is one.

        Raises:
          ValueError: a crop whose side is not a multiple of `patch`, or a layer outside 1..depth.
        """
        last = self._last_layer((*attention_layers, *key_layers, *token_layers), features)
        out: dict[str, dict[int, Array]] = {"attention": {}, "keys": {}, "tokens": {}}
        done, x = begin or (0, self._embed(image))
        for layer in range(done + 1, last + 1):
            asked = {"attention": layer in attention_layers, "keys": layer in key_layers}
            going_on = layer < last or features or self.is_initializing()
            asked["tokens"] = going_on or layer in token_layers
            x = anchored(x)
            x, maps = self._block(layer, frozenset(kind for kind in asked if asked[kind]))(x)
            if layer <= self.frozen_blocks:
                x, maps = jax.lax.stop_gradient((x, maps))
            for kind, value in maps.items():
                out[kind][layer] = value
            if layer in token_layers:
                out["tokens"][layer] = x.astype(jnp.float32)
        if not (features or self.is_initializing()):
            return None, out
        x = layer_norm("norm")(x)[:, int(self.class_token) :]
        grid = image.shape[1] // self.patch
        return (x.reshape(x.shape[0], grid, grid, -1) if features else None), out

    @property
    def smallest_image(self) -> int:
        """The smallest side of an image; parameters do not depend on the size."""
        return 2 * self.patch

    def learns(self, path: tuple[str, ...]) -> bool:
        """Whether the parameter at a path learns: with frozen blocks the embedding does not."""
        layer = path[0]
        if layer.startswith("block"):
            return int(layer.removeprefix("block")) > self.frozen_blocks
        return self.frozen_blocks <= 0 or layer == "norm"

    def _embed(self, image: Float[Array, "b s s 3"]) -> Float[Array, "b n D"]:
        """Pixels -> tokens, without gradients when blocks are frozen."""
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

    def _last_layer(self, asked: tuple[int, ...], features: bool) -> int:
        """The last layer that has to run; checks the ones asked for."""
        wrong = [layer for layer in asked if not 1 <= layer <= self.depth]
        if wrong:
            raise ValueError(f"layers {wrong}: this ViT has layers 1 to {self.depth}")
        if features or self.is_initializing():
            return self.depth
        return max(asked, default=0)

    def _block(self, layer: int, wanted: frozenset[str]) -> Block:
        """Layer number `layer`, told what to compute."""
        block = nn.remat(Block) if self.remat else Block
        return block(
            self.heads,
            self.layer_scale,
            wanted,
            dtype=self.dtype,
            kernel=self.attention,
            name=f"block{layer:02d}",
        )
