"""Tiny networks for tiny images (experiments/synthetic.py): to test endurance, not quality."""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    """A random ViT-Ti on crops of 32 pixels: every step is run, the networks do little."""
    config = base.get_config()
    config.name = "synthetic"
    for section in (config.extractor, config.generator):
        section.update(weights="random", size="Ti", patch=8, position_grid=4, class_token=True)
    config.crop.update(size=32, colour=False)
    config.retrieval.layers = (1,)
    config.data.min_train_area = 64
    config.loss.crf = 0.0
    config.warmup.epochs = 0
    config.train.update(epochs=4, min_steps=0, batch_size=4, learning_rate=1e-5, train_blocks=1)
    config.train.update(checkpoint_every=3, log_every=1, heartbeat=10)
    config.label.update(source="propagation", device_batch=32, part_size=32)
    return config
