"""The pseudo-label generator: a ViT encoder and the mask decoder on it."""

import flax.linen as nn
from jaxtyping import Array, Float

from exits_jax.models.decoder import MaskDecoder
from exits_jax.models.vit import ViT


class Generator(nn.Module):
    """Crop around one object -> mask logits (supplement, section A).

    Parameters are {"encoder": ..., "decoder": ...}, so a pretrained ViT goes in as it is. The
    paper's encoder is ViT-B/16 without class token; any network will do that returns features
    [b,N,N,D] and has `width`, `dtype`, `smallest_image` and `learns`, as `ViT` has. This is also
    the network of the extractor's warm-up; its encoder then is the similarity extractor.

    Fields:
      encoder: the ViT; the decoder takes width and activation type from it.
    """

    encoder: ViT

    @property
    def smallest_image(self) -> int:
        """The smallest side of an image; parameters do not depend on the size."""
        return self.encoder.smallest_image

    def learns(self, path: tuple[str, ...]) -> bool:
        """Whether the parameter at a path learns: all those of the decoder do."""
        return path[0] != "encoder" or self.encoder.learns(path[1:])

    def setup(self) -> None:
        """Names the decoder; the encoder is named by its field."""
        self.decoder = MaskDecoder(self.encoder.width, self.encoder.dtype)

    def __call__(self, image: Float[Array, "b s s 3"]) -> Float[Array, "b m m"]:
        """Normalised crops (`vit.normalise`) -> mask logits, m = 2 s / patch, float32."""
        features, _ = self.encoder(image)
        return self.decoder(features)

    def decode(self, features: Float[Array, "b N N D"]) -> Float[Array, "b m m"]:
        """The decoder alone, on features computed before (a frozen encoder's, say)."""
        return self.decoder(features)
