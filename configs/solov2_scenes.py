"""SOLOv2 from scratch on synthetic scenes (experiments/shape_scenes.py), for two cores: 8 minutes.

`:long` takes 25, on 4,000 scenes (`python -m experiments.shape_scenes --train=4000`).

`data.root` is the folder that the scenes were written to. Trains on segmentation.annotations, by
default the true masks of train.json; finds objects in val.json.
"""

import ml_collections

from configs import own, solov2_mini


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """A narrow ResNet with group norm on canvases of 128 pixels; `variant`: "", or "long"."""
    if variant not in ("", "long"):
        raise ValueError(f"solov2_scenes has the variant 'long', not '{variant}'")
    config = own.get_config()
    config.name = f"solov2_scenes{':' * bool(variant)}{variant}"
    config.data.root = "data/shape_scenes"
    root = config.data.get_ref("root")
    config.data.annotations = root + "/val.json"
    config.data.images = root + "/val"
    config.data.train_annotations = root + "/train.json"
    config.data.train_images = root + "/train"
    config.segmentation.annotations = root + "/train.json"
    config.segmentation.images = root + "/train"
    solov2_mini.narrow(config)
    config.segmentation.update(
        encoder="resnet_mini",
        norm="group",
        canvases=((128, 128),),
        # The finest level for most objects: on coarser maps shapes this small cannot be told apart.
        grids=(12, 8, 6, 4, 3),
        ranges=((1.0, 80.0), (64.0, 112.0), (96.0, 160.0), (128.0, 200.0), (160.0, 400.0)),
        neck_width=64,
        head_width=96,
        head_depth=3,
        kernel_width=64,
        mask_width=64,
        max_instances=8,
        positives=64,
        focal=4.0,
        epochs=11.0 if variant else 7.0,
        batch_size=8,
        learning_rate=2e-3 / 8,
        rate_warmup_steps=100,
    )
    return config
