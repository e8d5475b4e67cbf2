"""What an image of stage 2 costs, for `--dry_run`."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from exits_jax.app import networks
from exits_jax.app.settings import Settings
from exits_jax.models.build import param_shapes as generator_shapes
from exits_jax.segmentation.build import build_segmenter, param_shapes
from exits_jax.segmentation.detect import make_detect
from exits_jax.segmentation.settings import SegmentationSettings

USUAL_CLASSES = 80  # COCO's


def crops_of_an_image(config: Settings, settings: SegmentationSettings, classes: int) -> float:
    """The forward passes of a crop that finding the objects of an image is worth.

    Args:
      config: of the generator, whose pass is meant.
      settings: of the network of stage 2.
      classes: that it has.
    """
    network = build_segmenter(settings, classes)
    rows, columns = settings.canvases[0]
    canvas = np.zeros((1, rows, columns, 3), np.uint8), np.zeros((1, 2), np.int32)
    detect = make_detect(network, settings)
    generator = networks.generator(config)
    crop = np.zeros((1, config.crop.size, config.crop.size, 3), np.float32)
    one = _operations(
        lambda p, x: generator.apply({"params": p}, x), generator_shapes(generator), crop
    )
    return _operations(detect, param_shapes(settings, network), *canvas) / one


def parameter_count(settings: SegmentationSettings, classes: int) -> int:
    """Of the network of stage 2."""
    shapes = param_shapes(settings, build_segmenter(settings, classes))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def _operations(function: Callable[..., Any], *arguments: Any) -> float:
    """Floating-point operations of a call, as the compiler counts them."""
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]
