"""COCO with the paper's settings: ViT-B/16, MAE weights, crops of 512 pixels.

Sizes are for a GPU or a TPU; for a CPU see coco_mini. What the paper does not publish is marked [?]
by --help=settings.
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    """Train and label train2017; `data.root` holds annotations/ and train2017/."""
    config = base.get_config()
    config.name = "coco"
    config.data.root = "data/coco"
    root = config.data.get_ref("root")
    config.data.annotations = root + "/annotations/instances_train2017.json"
    config.data.images = root + "/train2017"
    config.data.workers = 8
    config.retrieval.target_empty = 0.07  # about 7 % of images retrieve nothing [S]
    config.generator.stem = "conv"  # 93 M parameters [S]; the stem itself is inferred [I]
    config.generator.bf16 = True  # [?]
    config.extractor.bf16 = True  # [?]
    config.label.device_batch = 32
    config.label.part_size = 1024
    return config
