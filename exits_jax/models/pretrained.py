"""Published weights -> the parameters of `vit.ViT` and of `resnet.ResNet`."""

import os

import jax
import jax.numpy as jnp

from exits_jax.models.embedding import ConvStem
from exits_jax.models.load_by_table import Shapes, load_by_table
from exits_jax.models.params_io import flatten
from exits_jax.models.rename import FAMILIES
from exits_jax.models.rename_resnet import RESNETS
from exits_jax.models.resnet import ResNet
from exits_jax.models.vit import ViT
from exits_jax.system.types import Params

_STEM = "embedding/conv_stem/"
# Of a file, what a ViT may be asked to go without: class token, projection.
_OPTIONAL = ("embedding/class_token", "embedding/class_position", "embedding/patch_projection/")


def load_vit(
    path: str | os.PathLike, vit: ViT, family: str = "auto", *, stem_seed: int = 0
) -> Params:
    """Reads a file of published weights into the parameters of `vit`.

    Every array of the file must be used or listed as ignored in `rename.FAMILIES` (heads,
    decoders, mask tokens), and every parameter has to be found. Two exceptions follow from the
    fields of `vit`: without `class_token` the file's class token is left out; with `stem="conv"`
    the file's patch projection is left out and the stem starts afresh from `stem_seed`.

    Args:
      path: .safetensors, .npz, .pth, .pt or .onnx (`read_tensors`).
      vit: the network to fill.
      family: a name in `rename.FAMILIES`, or "auto" to recognise it from the names in the file.
      stem_seed: seed of a convolution stem's parameters.

    Returns:
      The nested dict for `vit.apply({"params": ...}, ...)`, float32.

    Raises:
      UserError: unreadable file, unknown family, or a network that does not fit: missing, unused
        and mis-shaped arrays are listed together.
    """
    params = load_by_table(path, _expected(vit), FAMILIES, family, _words(vit), _OPTIONAL)
    if vit.stem == "conv":
        params["embedding"]["conv_stem"] = _fresh_stem(vit, stem_seed)
    return params


def load_resnet(path: str | os.PathLike, resnet: ResNet, family: str = "auto") -> Params:
    """Reads a file of published weights into the parameters of `resnet`.

    Args:
      path: as for `load_vit`.
      resnet: the network to fill.
      family: a name in `rename_resnet.RESNETS`, or "auto".

    Returns:
      The nested dict for `resnet.apply({"params": ...}, ...)`, float32.

    Raises:
      UserError: as `load_vit`.
    """
    network = (
        f"ResNet(depths={resnet.depths}, width={resnet.width}, bottleneck={resnet.bottleneck}, "
        f"norm={resnet.norm!r})"
    )
    return load_by_table(path, _shapes(resnet, 32), RESNETS, family, network)


def _expected(vit: ViT) -> Shapes:
    """What a file has to provide; a convolution stem is not."""
    shapes = _shapes(vit, vit.patch)
    return {name: shape for name, shape in shapes.items() if not name.startswith(_STEM)}


def _shapes(network: ViT | ResNet, side: int) -> Shapes:
    """Our '/'-joined name -> shape of every parameter; `side` of an image the network takes."""
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    return {name: tuple(leaf.shape) for name, leaf in flatten(params).items()}


def _fresh_stem(vit: ViT, seed: int) -> Params:
    """Initial parameters of the convolution stem."""
    image = jnp.zeros((1, vit.patch, vit.patch, 3))
    return ConvStem(vit.width).init(jax.random.key(seed), image)["params"]


def _words(vit: ViT) -> str:
    """The network's fields, for an error message."""
    return (
        f"ViT(patch={vit.patch}, width={vit.width}, depth={vit.depth}, "
        f"class_token={vit.class_token}, layer_scale={vit.layer_scale}, stem={vit.stem!r}, "
        f"position_grid={vit.position_grid})"
    )
