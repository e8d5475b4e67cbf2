"""The demo: photographs that ship with scikit-image, annotated in demo/. Sized for a CPU."""

import importlib.util
import pathlib

import ml_collections

from configs import base, solov2_mini

ROOT = pathlib.Path(__file__).resolve().parent.parent


def get_config() -> ml_collections.ConfigDict:
    """Both stages and their evaluation on the demo's own photographs, in minutes."""
    config = base.get_config()
    config.name = "demo"
    config.data.annotations = str(ROOT / "demo" / "annotations.json")
    config.data.images = photographs()
    config.data.min_train_area = 256  # the photographs are small
    base.embedded_backbone(config)
    config.crop.size = 336
    config.crop.train_margin = 0.6
    config.crop.colour = False  # the frozen blocks then serve student and teacher alike
    base.best_retrieval(config)
    base.best_labelling(config)
    config.warmup.update(epochs=2, batch_size=8, learning_rate=1e-6, train_blocks=4)
    config.warmup.decoder_rate = 30.0
    config.train.update(epochs=6, batch_size=8, learning_rate=1e-5, train_blocks=2)
    config.train.decoder_rate = 10.0
    config.generator.prior = 1.0
    config.loss.update(soft=1.0, point=0.25, crf=0.0)  # as in coco_mini
    config.train.log_every = 1
    config.train.checkpoint_every = 20
    config.label.part_size = 16
    config.report.apart = "coin"
    config.report.max_panels = 24
    # Stage 2 on the labels of these seven photographs: whether it learns them, not more.
    solov2_mini.light(config)
    config.segmentation.update(classes=("*",), epochs=50.0, rate_warmup_steps=10, flip=0.0)
    return config


def photographs() -> str:
    """The folder of photographs in scikit-image's wheel."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise ImportError("the demo's photographs are in scikit-image: pip install scikit-image")
    return str(pathlib.Path(package.origin).parent / "data")
