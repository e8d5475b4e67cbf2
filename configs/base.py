"""The settings every config starts from: the paper's for COCO where it gives them, else our own.

`python main.py --help=settings` lists them all with their defaults, sources and meanings; each is
written down once, in the room of the package that uses it (`settings.py`). A config names its data
and changes what its data set needs; a key that is not a setting is an error.
"""

import dataclasses

import ml_collections

from exits_jax.app.settings import default_config
from exits_jax.models.published import DEFAULT
from exits_jax.pseudo_labels.settings import BEST_LABELS
from exits_jax.retrieval.settings import RESEEDED_KEYS


def get_config() -> ml_collections.ConfigDict:
    """Every setting with its default."""
    return default_config()


def embedded_backbone(config: ml_collections.ConfigDict) -> None:
    """DINOv2-S/14, which `make backbone` fetches, as extractor and encoder."""
    config.extractor.weights = config.generator.weights = DEFAULT
    config.generator.class_token = True


def best_retrieval(config: ml_collections.ConfigDict) -> None:
    """Changes the retrieval to what measured best with DINOv2 (none of it is in the paper)."""
    config.retrieval.update(dataclasses.asdict(RESEEDED_KEYS))


def best_labelling(config: ml_collections.ConfigDict) -> None:
    """Changes how masks are made to what measured best (none of it is in the paper)."""
    for field in dataclasses.fields(BEST_LABELS):
        value = getattr(BEST_LABELS, field.name)
        if value != field.default:
            config.label[field.name] = value
