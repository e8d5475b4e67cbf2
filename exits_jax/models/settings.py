"""The settings of a backbone, and those that a published one fixes. Loads no JAX."""

import dataclasses
from typing import ClassVar

from exits_jax.system.settings import (
    Affects,
    Section,
    again,
    at_least,
    one_of,
    setting,
)

# name -> (width, depth, heads)
SIZES = {"Ti": (192, 12, 3), "S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16)}
# kind of `vit.normalise` -> mean and deviation of RGB in 0..1
PIXEL_STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
KERNELS = ("pytorch", "antialias", "zoom")  # of `position.resize_positions`

NETWORK, PARAMETERS = Affects.NETWORK, Affects.PARAMETERS


@dataclasses.dataclass(frozen=True)
class BackboneSettings(Section):
    """Architecture and weights of a ViT; None means what the record of the weights says.

    For weights without a record (a file, "random") None means ViT-B/16's value (`PLAIN`).
    """

    weights: str = setting(
        "mae_b16",
        "a name of `python -m exits_jax.models.backbones --help`, a file (.safetensors, .npz, "
        '.pth, .onnx), or "random"',
        mark="P",
        affects=PARAMETERS,
        path=True,
    )
    family: str | None = setting(
        None,
        "naming of the file's keys (`models.rename.FAMILIES`); auto recognises it from the keys",
        mark="?",
        affects=Affects.NOTHING,
    )
    size: str | None = setting(
        None, "size of the ViT", mark="S", affects=PARAMETERS, check=one_of(*SIZES)
    )
    patch: int | None = setting(
        None, "side of a patch, pixels", mark="S", affects=PARAMETERS, check=at_least(1)
    )
    class_token: bool | None = setting(
        None, "whether there is a class token", mark="I", affects=PARAMETERS
    )
    layer_scale: bool | None = setting(
        None,
        "a learned scale per channel after each branch; DINOv2 has it",
        mark="?",
        affects=NETWORK,
    )
    stem: str = setting(
        "patch",
        'embedding of patches: "patch", or "conv" for four convolutions',
        mark="I",
        affects=PARAMETERS,
        check=one_of("patch", "conv"),
    )
    position_grid: int | None = setting(
        None,
        "side of the stored position embedding, patches",
        mark="?",
        affects=PARAMETERS,
        check=at_least(1),
    )
    normalise: str | None = setting(
        None,
        "how pixels are normalised for the weights: imagenet, or half: (x / 255 - 0.5) / 0.5",
        mark="?",
        affects=NETWORK,
        check=one_of(*PIXEL_STATISTICS),
    )
    position_resize: str | None = setting(
        None,
        "kernel that resizes the position embedding: pytorch (MAE, DeiT, DINO, DINOv2), "
        "antialias (DINOv2 with registers), zoom (AugReg in Flax)",
        mark="?",
        affects=NETWORK,
        check=one_of(*KERNELS),
    )
    bf16: bool = setting(False, "activations in bfloat16", mark="?", affects=PARAMETERS)
    remat: bool = setting(
        False, "recompute activations in the backward pass", mark="?", affects=PARAMETERS
    )
    attention: str = setting(
        "own",
        "how attention is computed: own (keeps no maps), or xla or cudnn of "
        "jax.nn.dot_product_attention; cuDNN needs bf16 and an NVIDIA GPU, where it is untested",
        mark="?",
        affects=PARAMETERS,
        check=one_of("own", "xla", "cudnn"),
    )


# In place of a record of published weights (`published.Backbone`), for weights without one:
# ViT-B/16.
PLAIN = {
    "family": "auto",
    "size": "B",
    "patch": 16,
    "class_token": True,
    "layer_scale": False,
    "position_grid": 14,
    "normalise": "imagenet",
    "position_resize": "pytorch",
}


@dataclasses.dataclass(frozen=True)
class ExtractorSettings(BackboneSettings):
    """The frozen similarity extractor."""

    NAME: ClassVar[str] = "extractor"

    normalise: str | None = again(BackboneSettings, "normalise", None, affects=Affects.MAP)
    position_resize: str | None = again(
        BackboneSettings, "position_resize", None, affects=Affects.MAP
    )
    params: str = setting(
        "",
        "file of a warmed-up extractor to use instead of the workdir's own",
        mark="?",
        affects=PARAMETERS,
        path=True,
    )


@dataclasses.dataclass(frozen=True)
class GeneratorSettings(BackboneSettings):
    """The mask generator's encoder."""

    NAME: ClassVar[str] = "generator"

    class_token: bool | None = again(BackboneSettings, "class_token", False)
    params: str = setting(
        "",
        "file of a trained generator to label with instead of the workdir's own",
        mark="?",
        affects=PARAMETERS,
        path=True,
    )
    prior: float = setting(
        0.0,
        "strength of the propagation map that the generator's logits are added to; 0: none, as in "
        "the paper. With it, labelling needs the extractor, too",
        mark="?",
        affects=NETWORK,
        check=at_least(0),
    )
