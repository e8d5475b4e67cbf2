"""SOLOv2 on DINOv2's features, for two cores: coco_mini's photographs; class-agnostic by default.

`:person` has two classes, persons and everything else. Trains on segmentation.annotations (by
default the true masks of train2017) and finds objects in val2017, without any box.
"""

import ml_collections

from configs import coco_mini
from exits_jax.models.published import DEFAULT


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Settings for two cores, not tuned yet; `variant`: "", or "person"."""
    config = coco_mini.get_config()
    config.name = f"solov2_mini{':' * bool(variant)}{variant}"
    if variant not in ("", "person"):
        raise ValueError(f"solov2_mini has the variant 'person', not '{variant}'")
    light(config)
    config.segmentation.classes = ("person", "*") if variant else ("*",)
    root = config.data.get_ref("root")
    config.segmentation.annotations = root + "/annotations/instances_train2017.json"
    config.segmentation.images = root + "/train2017"
    return config


def light(config: ml_collections.ConfigDict) -> None:
    """A narrow head on a frozen ViT's features, which are computed once."""
    narrow(config)
    config.segmentation.update(
        encoder="vit",
        weights=DEFAULT,
        layers=(6, 9, 12),
        train_blocks=0,
        canvases=((448, 448),),
        grids=(28, 24, 20, 12, 8),
        ranges=((1.0, 56.0), (28.0, 112.0), (56.0, 224.0), (112.0, 448.0), (224.0, 896.0)),
        neck_width=48,
        head_width=96,
        kernel_width=32,
        mask_width=48,
        max_instances=64,
        focal=2.0,
        cache_features=True,
        epochs=24.0,
        batch_size=4,
        learning_rate=1e-3 / 4,
        rate_warmup_steps=100,
    )


def narrow(config: ml_collections.ConfigDict) -> None:
    """A pyramid and a head of few channels, and AdamW on a cosine."""
    config.segmentation.update(
        groups=8,
        head_depth=2,
        optimiser="adamw",
        betas=(0.9, 0.999),
        drops=(),
        final_rate=0.01,
        clip_norm=10.0,
    )
