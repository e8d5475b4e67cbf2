"""SOLOv2 with ResNet-50 on PASCAL VOC 2012, as in the supplement's tables a3 and a4 (1x).

VOC's folder is not split here: --config.data.annotations=TRAIN.json names what is labelled and
trained on, `segmentation.test_annotations`, val.json of the root by default, what is predicted.
"""

import ml_collections

from configs import solov2_coco, voc


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Label the training set, train on the labels, find objects in the validation set."""
    config = voc.get_config()
    config.name = f"solov2_voc{':' * bool(variant)}{variant}"
    root = config.data.get_ref("root")
    config.segmentation.test_annotations = root + "/val.json"
    config.segmentation.test_images = root + "/JPEGImages"
    solov2_coco.released(config, variant)
    return config
