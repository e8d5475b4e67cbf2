"""Your own data: labels by propagation with the best measured settings, CPU-sized; no training.

--config.data.annotations=FILE.json --config.data.images=DIR is all there is to give. With
--config.label.source=generator a generator is trained on the data first and labels them.
"""

import ml_collections

from configs import base, coco_mini


def get_config() -> ml_collections.ConfigDict:
    """coco_mini's settings without its data."""
    config = base.get_config()
    config.name = "own"
    coco_mini.small(config)
    coco_mini.best(config)
    config.label.source = "propagation"  # on little data a generator learns nothing more
    return config
