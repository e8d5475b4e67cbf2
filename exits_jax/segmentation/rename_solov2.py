"""How published SOLOv2s with a ResNet call the parameters of `build.Segmenter`: tables only.

* mmdetection, Apache-2.0, COCO: solov2_r50_fpn_1x_coco (mask AP 34.8),
  https://download.openmmlab.com/mmdetection/v2.0/solov2/solov2_r50_fpn_1x_coco/\
solov2_r50_fpn_1x_coco_20220512_125858-a357fa23.pth; and solov2_r50_fpn_3x_coco (37.5),
  https://download.openmmlab.com/mmdetection/v2.0/solov2/solov2_r50_fpn_3x_coco/\
solov2_r50_fpn_3x_coco_20220512_125856-fed092d4.pth.
* The authors' own, for academic use only: https://github.com/WXinlong/SOLO lists them.
"""

from exits_jax.models.rename import Family, Table
from exits_jax.models.rename_resnet import COUNTERS, PYRAMID, TORCHVISION, conv, conv_norm, under

# Released ones have towers of four convolutions, light ones of two.
DEPTH = 4
LEVELS = range(4)  # P2 to P5, that the mask branch reads
ENCODER_AND_NECK = under(TORCHVISION, "encoder/", "backbone.") | under(PYRAMID, "neck/", "")


def _layer(ours: str, theirs: str) -> Table:
    return conv_norm((f"{ours}/conv", f"{ours}/norm"), (f"{theirs}.conv", f"{theirs}.gn"))


def _head(towers: dict[str, str], outputs: dict[str, str], mask: str, last: str) -> Table:
    """The rows of the head.

    Args:
      towers, outputs: our name -> theirs.
      mask: their name of the mask branch.
      last: and of its last layer.
    """
    rows: Table = {}
    for ours, theirs in towers.items():
        for number in range(DEPTH):
            rows |= _layer(f"head/{ours}/layers_{number}", f"{theirs}.{number}")
    for ours, theirs in outputs.items():
        rows |= conv(f"head/{ours}", theirs)
    for level in LEVELS:
        for step in range(max(level, 1)):
            theirs = f"{mask}.convs_all_levels.{level}.conv{step}"
            rows |= _layer(f"head/mask/level{level}_{step}", theirs)
    last = f"{mask}.{last}"
    return rows | conv_norm(("head/mask/out", "head/mask/norm"), (f"{last}.conv", f"{last}.gn"))


_IGNORED = (COUNTERS, r"backbone\.fc\..*")

MMDETECTION = Family(
    "mmdetection",
    ("mask_head.conv_kernel.weight",),
    ENCODER_AND_NECK
    | _head(
        {"kernel_tower": "mask_head.kernel_convs", "class_tower": "mask_head.cls_convs"},
        {"kernel": "mask_head.conv_kernel", "classes": "mask_head.conv_cls"},
        "mask_head.mask_feature_head",
        "conv_pred",
    ),
    _IGNORED,
)

# The authors' code.
SOLO = Family(
    "solo",
    ("bbox_head.solo_kernel.weight",),
    ENCODER_AND_NECK
    | _head(
        {"kernel_tower": "bbox_head.kernel_convs", "class_tower": "bbox_head.cate_convs"},
        {"kernel": "bbox_head.solo_kernel", "classes": "bbox_head.solo_cate"},
        "mask_feat_head",
        "conv_pred.0",
    ),
    _IGNORED,
)

SOLOV2S = (MMDETECTION, SOLO)
