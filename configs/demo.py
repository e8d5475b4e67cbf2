"""The embedded default: photographs that ship with scikit-image, annotated in demo/. CPU-sized."""

import importlib.util
import pathlib

import ml_collections

from configs import base

ROOT = pathlib.Path(__file__).resolve().parent.parent


def get_config() -> ml_collections.ConfigDict:
    """Warm-up, training, labelling and evaluation on the demo's own photographs."""
    config = base.get_config()
    config.name = "demo"
    config.data.annotations = str(ROOT / "demo" / "annotations.json")
    config.data.images = photographs()
    return config


def photographs() -> str:
    """The folder of photographs in scikit-image's wheel."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise ImportError("the demo's photographs are in scikit-image: pip install scikit-image")
    return str(pathlib.Path(package.origin).parent / "data")
