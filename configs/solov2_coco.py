"""SOLOv2 with ResNet-50 on COCO, trained on this workdir's pseudo labels of train2017.

The released settings: 12 epochs (1x), or with `:3x` 36 and images of several sizes; `:light` is the
light form, on images of 448 pixels. ResNet-50's ImageNet weights are a file of yours:
--config.segmentation.weights=FILE. Sizes are a GPU's or a TPU's; on a CPU see solov2_mini and
solov2_scenes.
"""

import ml_collections

from configs import coco


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Label train2017, train on the labels, find objects in val2017.

    `variant`: "", "3x" or "light".
    """
    config = coco.get_config()
    config.name = f"solov2_coco{':' * bool(variant)}{variant}"
    root = config.data.get_ref("root")
    config.segmentation.test_annotations = root + "/annotations/instances_val2017.json"
    config.segmentation.test_images = root + "/val2017"
    released(config, variant)
    return config


def released(config: ml_collections.ConfigDict, variant: str = "") -> None:
    """The schedule of SOLOv2's released models [I]; sizes and widths are the defaults."""
    config.segmentation.weights = "data/resnet50.safetensors"
    config.segmentation.device_batch = 8
    if variant == "light":
        light(config)
    if variant in ("3x", "light"):
        # Short sides from 640 to 800 (light: 358 to 448); drops as in the released configuration.
        config.segmentation.update(epochs=36.0, drops=(27.0, 33.0), scales=(0.8, 1.0))
    elif variant:
        raise ValueError(f"{config.name}: expected the variant '3x', 'light' or none")
    else:
        config.segmentation.update(epochs=12.0, drops=(8.0, 11.0))


def light(config: ml_collections.ConfigDict) -> None:
    """The released light form: towers of two narrower convolutions, smaller images [I]."""
    config.segmentation.update(
        canvases=((448, 768), (768, 448)),
        ranges=((1.0, 56.0), (28.0, 112.0), (56.0, 224.0), (112.0, 448.0), (224.0, 896.0)),
        head_width=256,
        head_depth=2,
        kernel_width=128,
    )
