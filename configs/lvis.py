"""LVIS v1 with the paper's settings: COCO's, but for delta."""

import ml_collections

from configs import coco


def get_config() -> ml_collections.ConfigDict:
    """Train and label LVIS v1 train; `data.root` holds the JSON and COCO's image folders."""
    config = coco.get_config()
    config.name = "lvis"
    config.data.root = "data/lvis"
    root = config.data.get_ref("root")
    config.data.annotations = root + "/lvis_v1_train.json"
    config.data.images = root
    config.data.kind = "lvis"
    config.retrieval.delta = 16.0  # [S]
    return config
