"""Your own data: labels by propagation with the settings that measured best; no training.

--config.data.annotations=FILE.json --config.data.images=DIR is all you have to give. With
--config.label.source=generator a generator is first trained on the data and then labels it. Sized
for a CPU.
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
