"""One way to a segmentation network and its parameters."""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, UInt8

from exits_jax.models.build import build_backbone, pretrained_params
from exits_jax.models.fpn import FPN
from exits_jax.models.pretrained import load_resnet
from exits_jax.models.published import resolved
from exits_jax.models.resnet import ResNet
from exits_jax.models.settings import BackboneSettings
from exits_jax.models.vit import ViT, normalise
from exits_jax.models.vit_pyramid import ViTPyramid
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.segmentation.solov2 import Outputs, SOLOv2
from exits_jax.system.errors import UserError
from exits_jax.system.types import Params

# Of a batch: tokens of a ViT's frozen layers, computed before.
Tokens = dict[int, Float[Array, "b n D"]]


class Segmenter(nn.Module):
    """Whole images -> what a model's head says of them.

    Parameters are {"encoder", "neck", "head"}.

    Fields:
      encoder: a ResNet, or a ViT.
      neck: the pyramid on it.
      head: the model.
      layers: of a ViT, whose tokens the neck reads.
      pixels: how the encoder's pixels are normalised, see `vit.normalise`.
    """

    encoder: ResNet | ViT
    neck: FPN | ViTPyramid
    head: SOLOv2
    layers: tuple[int, ...] = ()
    pixels: str = "imagenet"

    def learns(self, path: tuple[str, ...]) -> bool:
        """Whether the parameter at a path learns: all of neck and head do."""
        return path[0] != "encoder" or self.encoder.learns(path[1:])

    def __call__(
        self,
        image: UInt8[ArrayLike, "b h w 3"],
        extent: Int[ArrayLike, "b 2"],
        tokens: Tokens | None = None,
    ) -> Outputs:
        """Canvases -> outputs.

        Args:
          image: RGB.
          extent: rows and columns of a canvas that its image covers.
          tokens: what `frozen_tokens` gave for these images, so that it is not computed again.
        """
        pixels = on_mean(image, extent, self.pixels)
        if not self.layers:
            return self.head(self.neck(self.encoder(pixels)))
        tokens = dict(tokens or {})
        begun = max(tokens, default=0)
        missing = tuple(layer for layer in self.layers if layer not in tokens)
        if missing or self.is_initializing():
            begin = (begun, tokens[begun]) if begun else None
            tokens |= self.encoder(
                pixels, token_layers=missing, features=self.is_initializing(), begin=begin
            )[1]["tokens"]
        return self.head(self.neck(pixels, [self._map(tokens[n], image) for n in self.layers]))

    def frozen_tokens(
        self, image: UInt8[ArrayLike, "b h w 3"], extent: Int[ArrayLike, "b 2"]
    ) -> Tokens:
        """The tokens of a ViT's frozen layers that the rest of the network begins with."""
        pixels, asked = on_mean(image, extent, self.pixels), self.frozen_layers
        return self.encoder(pixels, token_layers=asked, features=False)[1]["tokens"]

    @property
    def frozen_layers(self) -> tuple[int, ...]:
        """Layers that do not learn and are read, or begun behind."""
        frozen = self.encoder.frozen_blocks
        read = {layer for layer in self.layers if layer <= frozen}
        begun = {frozen} if max(self.layers, default=0) > frozen > 0 else set()
        return tuple(sorted(read | begun))

    def _map(
        self, tokens: Float[Array, "b n D"], image: UInt8[ArrayLike, "b h w 3"]
    ) -> Float[Array, "b g g D"]:
        side = image.shape[1] // self.encoder.patch
        patches = tokens[:, int(self.encoder.class_token) :]
        return patches.astype(jnp.float32).reshape(len(tokens), side, side, -1)


def on_mean(
    image: UInt8[ArrayLike, "b h w 3"], extent: Int[ArrayLike, "b 2"], pixels: str = "imagenet"
) -> Float[Array, "b h w 3"]:
    """Canvases as the networks expect them: normalised, and 0, the mean, beyond their images.

    Args:
      image, extent: as `Segmenter` takes them.
      pixels: how they are normalised, see `vit.normalise`.
    """
    rows = jnp.arange(image.shape[1])[:, None] < extent[:, 0, None, None]
    columns = jnp.arange(image.shape[2]) < extent[:, 1, None, None]
    return jnp.where((rows & columns)[..., None], normalise(image, pixels), 0.0)


def build_segmenter(settings: SegmentationSettings, classes: int) -> Segmenter:
    """The network of stage 2.

    Args:
      settings: of the network.
      classes: how many.

    Raises:
      UserError: another number of levels than a pyramid has; canvases or layers that the encoder
        does not take.
    """
    for name in ("grids", "ranges"):
        if (found := len(getattr(settings, name))) != LEVELS:
            raise UserError(f"segmentation.{name} has {found} levels, expected {LEVELS}")
    head = SOLOv2(
        classes,
        settings.grids,
        settings.head_width,
        settings.head_depth,
        settings.kernel_width,
        settings.mask_width,
        settings.groups,
    )
    if settings.encoder == "vit":
        backbone = vit_settings(settings)
        encoder = build_backbone(backbone, train_blocks=settings.train_blocks)
        _check_vit(settings, encoder)
        neck = ViTPyramid(settings.neck_width, settings.groups)
        return Segmenter(encoder, neck, head, settings.layers, backbone.normalise)
    narrow = {} if settings.encoder == "resnet50" else MINI
    frozen = _frozen_stages(settings)
    encoder = ResNet(norm=settings.norm, frozen_stages=frozen, groups=settings.groups, **narrow)
    return Segmenter(encoder, FPN(settings.neck_width), head)


LEVELS = 5  # of a pyramid
# The ResNet for two cores, trained from scratch: ResNet-18, its stages of fewer channels.
MINI = {"depths": (2, 2, 2, 2), "width": 24, "bottleneck": False}


def vit_settings(settings: SegmentationSettings) -> BackboneSettings:
    """The settings of the ViT that `segmentation.weights` names."""
    return resolved(BackboneSettings(weights=settings.weights))


def _frozen_stages(settings: SegmentationSettings) -> int:
    """Published statistics come with a frozen stem and first stage; a fresh network learns all."""
    return 1 if settings.norm == "frozen" else 0


def _check_vit(settings: SegmentationSettings, encoder: ViT) -> None:
    """Raises UserError for canvases or layers that the ViT does not take."""
    for rows, columns in settings.canvases:
        if rows != columns or rows % encoder.patch or rows % 32:
            raise UserError(
                f"segmentation.canvases has {rows} x {columns}: a ViT takes squares, their side a "
                f"multiple of its patch ({encoder.patch}) and of 32"
            )
    wrong = [layer for layer in settings.layers if not 1 <= layer <= encoder.depth]
    if wrong or not settings.layers:
        raise UserError(
            f"segmentation.layers is {settings.layers}, the ViT has layers 1 to {encoder.depth}"
        )


def example_input(
    settings: SegmentationSettings,
) -> tuple[UInt8[Array, "1 h w 3"], Int[Array, "1 2"]]:
    """The smallest image that the network takes; parameters do not depend on the size."""
    patch = vit_settings(settings).patch if settings.encoder == "vit" else 1
    side = 32 * patch if 32 % patch else 64
    return jnp.zeros((1, side, side, 3), jnp.uint8), jnp.full((1, 2), side, jnp.int32)


def param_shapes(settings: SegmentationSettings, network: Segmenter) -> Params:
    """Names and shapes of the parameters, without computing them."""
    return jax.eval_shape(network.init, jax.random.key(0), *example_input(settings))["params"]


def initial_params(settings: SegmentationSettings, network: Segmenter, seed: int) -> Params:
    """The parameters before training: a pretrained encoder, everything else fresh.

    Raises:
      UserError: weights that do not fit, or none where batch statistics are to be frozen.
    """
    check_weights(settings)
    params = jax.jit(network.init)(jax.random.key(seed), *example_input(settings))["params"]
    if settings.weights != "random":
        params = {**params, "encoder": _pretrained(settings, network.encoder)}
    return params


def check_weights(settings: SegmentationSettings) -> None:
    """Raises UserError where a ResNet's batch statistics or its file are missing."""
    if settings.encoder == "vit":
        return  # its weights are looked for, and named, where they are read
    if settings.weights == "random" and settings.norm == "frozen":
        raise UserError(
            "segmentation.norm is 'frozen', which keeps the statistics of published weights: name "
            "them with --config.segmentation.weights=FILE, or set segmentation.norm to 'group'"
        )
    if settings.weights != "random" and not pathlib.Path(settings.weights).exists():
        raise UserError(
            f"{settings.weights}: no such file (segmentation.weights); where ResNets' weights are "
            "published: docs/segmentation.md"
        )


def _pretrained(settings: SegmentationSettings, encoder: ResNet | ViT) -> Params:
    if isinstance(encoder, ViT):
        return pretrained_params(vit_settings(settings), encoder)
    return load_resnet(settings.weights, encoder)
