"""Networks: the vision transformer, the mask decoder, the generator; and pretrained weights.

`exits_jax.models.backbones` is imported by its own name: it is also a command.
"""

from exits_jax.models.decoder import MaskDecoder
from exits_jax.models.generator import Generator
from exits_jax.models.params_io import Params, load_params, save_params
from exits_jax.models.pretrained import load_vit
from exits_jax.models.slices import jit_in_slices
from exits_jax.models.vit import SIZES, ViT, build_vit, normalise

__all__ = [
    "SIZES",
    "Generator",
    "MaskDecoder",
    "Params",
    "ViT",
    "build_vit",
    "jit_in_slices",
    "load_params",
    "load_vit",
    "normalise",
    "save_params",
]
