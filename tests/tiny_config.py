"""A config whose whole run takes seconds: a random ViT-Ti on small pictures."""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    """Everything at work: warm-up, retrieval once, CRF, teacher, parts of three annotations."""
    config = base.get_config()
    config.name = "tiny"
    for section in (config.extractor, config.generator):
        section.update(weights="random", size="Ti", patch=16, position_grid=4)
    config.crop.size = 64
    config.crop.colour = False
    config.retrieval.layers = (2,)
    config.retrieval.when = "once"
    config.data.min_train_area = 64
    config.loss.crf_sweeps = 3
    for section in (config.warmup, config.train):
        section.update(epochs=2, batch_size=4, learning_rate=1e-5, train_blocks=2)
    config.train.min_steps = 0
    config.label.accept_worse = True  # of a random network nothing can be asked
    config.train.checkpoint_every = 2
    config.train.log_every = 1
    config.label.device_batch = 2
    config.label.part_size = 3
    return config
