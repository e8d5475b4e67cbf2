"""How published weights call the parameters of `resnet.ResNet` and `fpn.FPN`: tables only.

ResNet-50s of ImageNet that fit: stride on the 3x3 convolution, RGB, pixels as `vit.normalise`'s
"imagenet". They are downloaded by hand.

* torchvision, BSD-3-Clause (the images' terms are ImageNet's): IMAGENET1K_V1, which SOLOv2 begins
  with, https://download.pytorch.org/models/resnet50-0676ba61.pth; and IMAGENET1K_V2,
  https://download.pytorch.org/models/resnet50-11ad3fa6.pth.
* transformers, Apache-2.0: model.safetensors of https://huggingface.co/microsoft/resnet-50.

mmdetection's checkpoints have torchvision's names behind "backbone.". Of detectron2's files those
fit that its convert-torchvision-to-d2.py makes. Its R-50.pkl (MSRA's) has the same names and
shapes, but wants BGR of deviation 1 and strides on the 1x1 convolution: nothing in the file tells,
and the outputs are wrong. Pickles are not read: save the arrays as .safetensors or .pth.
"""

from exits_jax.models.rename import Family, Table
from exits_jax.models.rename_changes import convolution, keep

Names = tuple[str, str]  # of a convolution and of the norm behind it


def conv(ours: str, theirs: str) -> Table:
    """A PyTorch convolution; of one without bias that row is never asked for."""
    return {
        f"{ours}/kernel": (f"{theirs}.weight", convolution),
        f"{ours}/bias": (f"{theirs}.bias", keep),
    }


def norm(ours: str, theirs: str) -> Table:
    """A PyTorch norm: scale and bias, and a batch norm's statistics."""
    kinds = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return {f"{ours}/{kind}": (f"{theirs}.{name}", keep) for kind, name in kinds.items()}


def conv_norm(ours: Names, theirs: Names) -> Table:
    """A convolution and the norm behind it."""
    return {**conv(ours[0], theirs[0]), **norm(ours[1], theirs[1])}


def under(table: Table, ours: str, theirs: str) -> Table:
    """The same with something before our names and theirs."""
    return {f"{ours}{name}": (f"{theirs}{name_}", do) for name, (name_, do) in table.items()}


def _resnet(
    stem: Names, stages: tuple[str, ...], layers: tuple[Names, ...], shortcut: Names
) -> Table:
    """The rows of a ResNet; a basic block asks for the first two layers only."""
    rows = conv_norm(("stem/conv", "stem/norm"), stem)
    block = conv_norm(("shortcut", "shortcut_norm"), shortcut)
    for number, names in enumerate(layers, 1):
        block |= conv_norm((f"conv{number}", f"norm{number}"), names)
    for number, stage in enumerate(stages, 1):
        rows |= under(block, f"stage{number}/block/", f"{stage}.{{layer}}.")
    return rows


# torchvision, timm and, behind "backbone.", mmdetection.
TORCHVISION: Table = _resnet(
    ("conv1", "bn1"),
    ("layer1", "layer2", "layer3", "layer4"),
    (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    ("downsample.0", "downsample.1"),
)


def _transformers(name: str) -> Names:
    return f"{name}.convolution", f"{name}.normalization"


# transformers' ResNetModel.
TRANSFORMERS: Table = _resnet(
    _transformers("embedder.embedder"),
    tuple(f"encoder.stages.{stage}.layers" for stage in range(4)),
    tuple(_transformers(f"layer.{number}") for number in range(3)),
    _transformers("shortcut"),
)


def _detectron2(name: str) -> Names:
    return name, f"{name}.norm"


# detectron2, where a norm is a part of its convolution.
DETECTRON2: Table = _resnet(
    _detectron2("stem.conv1"),
    ("res2", "res3", "res4", "res5"),
    tuple(_detectron2(f"conv{number}") for number in (1, 2, 3)),
    _detectron2("shortcut"),
)

# mmdetection's feature pyramid, and the original SOLO's.
PYRAMID: Table = {
    name: row
    for level in range(4)
    for rows in (
        conv(f"lateral{level + 2}", f"neck.lateral_convs.{level}.conv"),
        conv(f"output{level + 2}", f"neck.fpn_convs.{level}.conv"),
    )
    for name, row in rows.items()
}

# PyTorch's batch norm counts its batches in training.
COUNTERS = r".*\bnum_batches_tracked"

RESNETS = (
    Family(
        "torchvision",
        ("layer1.0.conv1.weight", "layer1.0.bn1.weight"),
        TORCHVISION,
        (COUNTERS, r"fc\..*", r"(neck|\w+_head)\..*"),
    ),
    Family(
        "transformers",
        (
            "embedder.embedder.convolution.weight",
            "encoder.stages.0.layers.0.layer.0.convolution.weight",
        ),
        TRANSFORMERS,
        (COUNTERS, r"classifier\..*"),
    ),
    Family(
        "detectron2",
        ("stem.conv1.weight", "res2.0.conv1.norm.weight"),
        DETECTRON2,
        (COUNTERS, r"(stem\.)?fc\..*"),
    ),
)
