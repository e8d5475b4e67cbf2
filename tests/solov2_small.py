"""The small SOLOv2 of the fixtures: both who makes them and who reads them build it from here."""

from exits_jax.segmentation.settings import SegmentationSettings

CANVAS = (64, 96)
CLASSES = 3
DEPTHS, WIDTH = (1, 1, 1, 1), 4

# Widths of which 32 groups have several channels, or fewer groups have three or five.
SMALL = {
    "canvases": (CANVAS,),
    "neck_width": 16,
    "grids": (10, 8, 6, 4, 3),
    "ranges": ((1.0, 24.0), (16.0, 32.0), (24.0, 48.0), (32.0, 64.0), (48.0, 128.0)),
    "head_width": 40,
    "head_depth": 2,
    "kernel_width": 16,
    "mask_width": 40,
    "max_instances": 6,
}


def small_settings(**options) -> SegmentationSettings:
    """The settings, some of them others."""
    return SegmentationSettings(**{**SMALL, **options})
