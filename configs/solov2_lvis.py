"""SOLOv2 with ResNet-50 on LVIS v1, trained on this workdir's pseudo labels.

As solov2_coco. Average precision is COCO's; LVIS's own, which knows which categories were looked
for in an image, is computed from predictions.json by the lvis package.
"""

import ml_collections

from configs import lvis, solov2_coco


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Label the training set, train on the labels, find objects in the validation set."""
    config = lvis.get_config()
    config.name = f"solov2_lvis{':' * bool(variant)}{variant}"
    root = config.data.get_ref("root")
    config.segmentation.test_annotations = root + "/lvis_v1_val.json"
    config.segmentation.test_images = root
    solov2_coco.released(config, variant)
    return config
