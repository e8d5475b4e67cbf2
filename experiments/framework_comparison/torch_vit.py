"""The vision transformer of `exits_jax.models`, as a PyTorch module.

The same network with the same parameters (`weights.py` carries them over) in DINOv2's form, with a
class token and LayerScale, and in PyTorch's idiom: images NCHW in channels_last memory, one
projection for queries, keys and values, and `scaled_dot_product_attention` wherever nobody asked to
see the attention.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exits_jax.models.settings import PIXEL_STATISTICS

LayerNorm = functools.partial(nn.LayerNorm, eps=1e-6)

# {"attention": {layer: [b,n,n]}, "keys": {layer: [b,n,D]}}, layers counted from 1
Maps = dict[str, dict[int, Tensor]]


def normalise(image: Tensor, kind: str = "imagenet") -> Tensor:
    """uint8 [b,s,s,3] -> float32 [b,3,s,s] in channels_last memory, as the weights expect it."""
    mean, deviation = (image.new_tensor(row, dtype=torch.float32) for row in PIXEL_STATISTICS[kind])
    return ((image.float() / 255.0 - mean) / deviation).permute(0, 3, 1, 2)


class ViT(nn.Module):
    """A plain vision transformer that hands out attention and keys of the layers asked for.

    With `frozen_blocks` k > 0 the embedding and the first k layers take no gradient.
    """

    def __init__(
        self,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        position_grid: int,
        frozen_blocks: int = 0,
    ) -> None:
        super().__init__()
        self.patch, self.depth = patch, depth
        self.embedding = Embedding(patch, width, position_grid)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = LayerNorm(width)
        if frozen_blocks > 0:
            for part in (self.embedding, *self.blocks[:frozen_blocks]):
                part.requires_grad_(False)

    def forward(
        self,
        image: Tensor,
        *,
        attention_layers: tuple[int, ...] = (),
        key_layers: tuple[int, ...] = (),
        features: bool = True,
    ) -> tuple[Tensor | None, Maps]:
        """Normalised crops [b,3,s,s] -> features [b,D,N,N] (None if not wanted), and the maps.

        Without `features` nothing past the last layer asked for is computed, and of that layer only
        queries and keys.
        """
        last = self.depth if features else max((*attention_layers, *key_layers), default=0)
        maps: Maps = {"attention": {}, "keys": {}}
        x = self.embedding(image)
        for layer, block in enumerate(self.blocks[:last], start=1):
            x, attention, keys = block(
                x,
                tokens=layer < last or features,
                attention=layer in attention_layers,
                keys=layer in key_layers,
            )
            if attention is not None:
                maps["attention"][layer] = attention
            if keys is not None:
                maps["keys"][layer] = keys
        if not features:
            return None, maps
        grid = image.shape[-1] // self.patch
        return self.norm(x)[:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2), maps


class Embedding(nn.Module):
    """Image -> tokens with their positions added, the class token first."""

    def __init__(self, patch: int, width: int, position_grid: int) -> None:
        super().__init__()
        self.patch_projection = nn.Conv2d(3, width, patch, stride=patch)
        self.position = nn.Parameter(torch.randn(position_grid, position_grid, width) * 0.02)
        self.class_token = nn.Parameter(torch.randn(1, width) * 0.02)
        self.class_position = nn.Parameter(torch.randn(1, width) * 0.02)

    def forward(self, image: Tensor) -> Tensor:
        """[b,3,s,s] -> [b,n,D]."""
        x, table = self.patch_projection(image), self.position.permute(2, 0, 1)[None]
        if x.shape[-2:] != table.shape[-2:]:
            table = F.interpolate(table, size=x.shape[-2:], mode="bicubic")
        x = (x + table).flatten(2).transpose(1, 2)
        first = (self.class_token + self.class_position).expand(len(x), 1, -1)
        return torch.cat([first, x], dim=1)


class Block(nn.Module):
    """One pre-norm transformer layer: x + s1 * attention(norm(x)), then x + s2 * mlp(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp = Mlp(width)
        self.scale1, self.scale2 = (nn.Parameter(torch.full((width,), 0.1)) for _ in range(2))

    def forward(
        self, x: Tensor, *, tokens: bool = True, attention: bool = False, keys: bool = False
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Tokens -> tokens after this layer, attention and keys; None for what is not wanted."""
        mixed, *maps = self.attention(self.norm1(x), tokens=tokens, attention=attention, keys=keys)
        if mixed is None:
            return None, *maps
        x = x + mixed * self.scale1
        return x + self.mlp(self.norm2(x)) * self.scale2, *maps


class SelfAttention(nn.Module):
    """Multi-head self-attention that can hand out its probabilities and its keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, *, tokens: bool, attention: bool, keys: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Normalised tokens -> mixed tokens, mean attention of the heads, keys; or None."""
        if not tokens and not attention:
            return None, None, self._projected(x, 1, 2)
        if not tokens:
            query, key = self._projected(x, 0, 2).chunk(2, dim=-1)
            return None, self._probability(query, key).mean(dim=1), key if keys else None
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        shown = key if keys else None
        if not attention:
            mixed = F.scaled_dot_product_attention(*map(self._heads, (query, key, value)))
            return self._joined(mixed), None, shown
        probability = self._probability(query, key)
        return self._joined(probability @ self._heads(value)), probability.mean(dim=1), shown

    def _projected(self, x: Tensor, first: int, last: int) -> Tensor:
        """Some of queries (0), keys (1) and values (2) without computing the rest."""
        rows = slice(first * self.width, last * self.width)
        return F.linear(x, self.qkv.weight[rows], self.qkv.bias[rows])

    def _heads(self, x: Tensor) -> Tensor:
        """[b,n,D] -> [b,heads,n,d]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _joined(self, mixed: Tensor) -> Tensor:
        """[b,heads,n,d] -> [b,n,D], projected."""
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _probability(self, query: Tensor, key: Tensor) -> Tensor:
        """Softmax over keys, [b,heads,n,n]."""
        query, key = self._heads(query), self._heads(key)
        return (query * query.shape[-1] ** -0.5 @ key.mT).softmax(dim=-1)


class Mlp(nn.Module):
    """Two dense layers, 4 D wide inside, exact GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[b,n,D] -> [b,n,D]."""
        return self.fc2(F.gelu(self.fc1(x)))
