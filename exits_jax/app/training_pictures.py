"""What TensorBoard shows of stage 2's training: images, what is found on them, what is learnt."""

import jax
import numpy as np
from jaxtyping import Int, UInt8

from exits_jax.data.images import RGBImage
from exits_jax.report.side_by_side import MaskSet, mask_set, side_by_side
from exits_jax.segmentation.build import Segmenter
from exits_jax.segmentation.classes import Classes
from exits_jax.segmentation.detect import Detections, make_detect
from exits_jax.segmentation.examples import ImageSource
from exits_jax.segmentation.predict import found_in
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.system.types import Params
from exits_jax.training.state import merge_params
from exits_jax.training.task import Pictures

SHOWN_IMAGES = 4  # evenly spread over the source


def training_pictures(
    source: ImageSource,
    classes: Classes,
    network: Segmenter,
    frozen: Params,
    settings: SegmentationSettings,
) -> Pictures:
    """The function from the parameters that learn to pictures by file name.

    Args:
      source: of the images that are trained on.
      classes, network: of the model.
      frozen: the parameters that do not learn.
      settings: of the detections that are drawn.
    """
    detect = jax.jit(make_detect(network, settings))
    places = np.linspace(0, len(source) - 1, min(len(source), SHOWN_IMAGES)).round().astype(int)

    def pictures(params: Params) -> dict[str, RGBImage]:
        whole = merge_params(params, frozen)

        def detecting(
            image: UInt8[np.ndarray, "b H W 3"], extent: Int[np.ndarray, "b 2"]
        ) -> Detections:
            return jax.device_get(detect(whole, image, extent))

        drawn = {}
        for place in places.tolist():
            example = source[place]
            found = found_in(example["image"], detecting, settings, settings.shown_score)
            called = zip(found[1].tolist(), found[2].tolist(), strict=True)
            names = [f"{classes.names[number]} {score:.2f}" for number, score in called]
            learnt = [classes.names[number] for number in example["classes"].tolist()]
            sets = {
                "found": MaskSet(found[0], names),
                "learnt from": mask_set(example["masks"], learnt, example["image"].shape[:2]),
            }
            drawn[source.images[place].file_name] = side_by_side(example["image"], sets)
        return drawn

    return pictures
