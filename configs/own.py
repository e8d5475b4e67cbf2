"""Your own data: the best measured settings, trained on the data they label. CPU-sized.

--config.data.annotations=FILE.json --config.data.images=DIR is all there is to give.
"""

import ml_collections

from configs import base, coco_mini


def get_config() -> ml_collections.ConfigDict:
    """coco_mini's settings without its data."""
    config = base.get_config()
    config.name = "own"
    coco_mini.small(config)
    coco_mini.best(config)
    return config
