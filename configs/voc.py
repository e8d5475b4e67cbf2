"""PASCAL VOC 2012 with the paper's settings: COCO's, but for delta and the point loss."""

import ml_collections

from configs import coco


def get_config() -> ml_collections.ConfigDict:
    """Train and label the objects of VOC; `data.root` is the folder VOC2012."""
    config = coco.get_config()
    config.name = "voc"
    config.data.root = "data/VOCdevkit/VOC2012"
    root = config.data.get_ref("root")
    config.data.annotations = root + ""
    config.data.images = root + "/JPEGImages"
    config.data.kind = "voc"
    config.retrieval.delta = 12.0  # [S]
    config.loss.point = 0.05  # [S]
    return config
