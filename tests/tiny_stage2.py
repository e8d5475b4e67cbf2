"""A config whose stage 2 takes seconds: the narrow ResNet on small canvases."""

import ml_collections

from tests import tiny_config


def get_config() -> ml_collections.ConfigDict:
    """Two epochs on whatever `segmentation.annotations` says."""
    config = tiny_config.get_config()
    config.name = "tiny_stage2"
    config.segmentation.update(
        encoder="resnet_mini",
        norm="group",
        canvases=((64, 96), (96, 64)),
        grids=(8, 6, 4, 3, 2),
        ranges=((1.0, 24.0), (12.0, 48.0), (24.0, 64.0), (48.0, 96.0), (64.0, 200.0)),
        neck_width=16,
        head_width=16,
        head_depth=1,
        kernel_width=8,
        mask_width=8,
        max_instances=4,
        positives=16,
        epochs=2.0,
        batch_size=2,
        rate_warmup_steps=0,
        candidates=30,
        max_detections=10,
        score_floor=0.0,
        min_score=0.0001,
        part_size=2,
    )
    return config
