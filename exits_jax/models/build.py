"""One way to a network and its parameters, for the command line and the Python API alike."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from exits_jax.models.backbones import backbone_path
from exits_jax.models.generator import Generator
from exits_jax.models.pretrained import load_vit
from exits_jax.models.published import published
from exits_jax.models.settings import BackboneSettings
from exits_jax.models.vit import ViT, build_vit, normalise
from exits_jax.system.errors import UserError
from exits_jax.system.types import Params


def build_backbone(
    settings: BackboneSettings, crop_size: int | None = None, train_blocks: int = -1
) -> ViT:
    """The ViT of a backbone's settings.

    Args:
      settings: none of them None (`published.resolved`).
      crop_size: side of the crops, pixels, if all have one size.
      train_blocks: how many of the last blocks learn; -1: all, and the embedding.

    Raises:
      UserError: the side of a crop is not a multiple of the patch's.
    """
    if crop_size is not None and crop_size % settings.patch:
        raise UserError(
            f"a crop of {crop_size} pixels does not divide into patches of {settings.patch}"
        )
    network = build_vit(
        settings.size,
        settings.patch,
        class_token=settings.class_token,
        layer_scale=settings.layer_scale,
        stem=settings.stem,
        position_grid=settings.position_grid,
        position_resize=settings.position_resize,
        dtype=jnp.bfloat16 if settings.bf16 else jnp.float32,
        remat=settings.remat,
        attention=settings.attention,
    )
    frozen = 0 if train_blocks < 0 else max(network.depth - train_blocks, 0)
    return network.clone(frozen_blocks=frozen)


def pretrained_params(settings: BackboneSettings, network: ViT, seed: int = 0) -> Params:
    """The parameters that `weights` names: a known backbone, a file, or "random".

    Args:
      settings: as for `build_backbone`.
      network: built from them.
      seed: of "random", and of what the file does not hold.
    """
    if settings.weights == "random":
        return fresh_params(network, seed)
    return load_vit(backbone_path(settings.weights), network, settings.family, stem_seed=seed)


def load_backbone(name: str, train_blocks: int = -1) -> tuple[ViT, Params]:
    """A published backbone and its parameters; arguments as `build_backbone`."""
    settings = published(name)
    network = build_backbone(settings, train_blocks=train_blocks)
    return network, pretrained_params(settings, network)


def fresh_params(network: Generator | ViT, seed: int, part: str = "") -> Params:
    """A network's initialisation, or one part of it; compiled, so nothing else is computed."""

    def start(key: jax.Array) -> Params:
        params = network.init(key, _example(network))["params"]
        return params[part] if part else params

    return jax.jit(start)(jax.random.key(seed))


def param_shapes(network: Generator | ViT) -> Params:
    """Names and shapes of a network's parameters, without computing them."""
    return jax.eval_shape(network.init, jax.random.key(0), _example(network))["params"]


def attend(network: ViT, pixels: str) -> Callable[..., dict[str, dict[int, Any]]]:
    """The extractor as retrieval takes it: (parameters, image uint8, layers) -> intermediates."""

    def intermediates(params: Params, image: Any, **asked: tuple[int, ...]) -> dict:
        return network.apply({"params": params}, normalise(image, pixels), features=False, **asked)[
            1
        ]

    return intermediates


def _example(network: Generator | ViT) -> jax.Array:
    """The smallest image a network takes; parameters do not depend on the size."""
    return jnp.zeros((1, network.smallest_image, network.smallest_image, 3))
