"""Settings that contradict each other: what a config asks for and a phase will not do.

A phase's row (`phases`) says which of these it looks at.
"""

from collections.abc import Callable, Sequence
from typing import Any

from exits_jax.app.settings import Settings

# When a setting is not used, and the note for it.
Unused = tuple[Callable[[Settings], Any], str]


def _draws_polygons(config: Settings) -> bool:
    return bool({*config.label.formats} & {"polygons", "yolo", "label_studio_polygons"})


_TRAIN_IMAGES: Unused = (
    lambda c: c.data.train_images and not c.data.train_annotations,
    "data.train_images is not used without data.train_annotations: training uses "
    "data.annotations and data.images",
)
_PREPARED: Unused = (
    lambda c: c.data.prepared and c.data.source == "files",
    "data.prepared is not used: data.source=files reads the annotations and images themselves",
)

WARMUP: tuple[Unused, ...] = (
    (
        lambda c: c.extractor.params,
        "extractor.params is set, so what is warmed up here will not be used",
    ),
    (
        lambda c: not c.warmup.epochs,
        "warmup.epochs is 0: --mode=run then makes no warm-up, and --mode=warmup takes one step",
    ),
    _TRAIN_IMAGES,
    _PREPARED,
)
SEGMENT: tuple[Unused, ...] = (
    (
        lambda c: c.segmentation.params,
        "segmentation.params is set, and so predictions will not come from the model trained here",
    ),
)
TRAIN: tuple[Unused, ...] = (
    (
        lambda c: c.generator.params,
        "generator.params is set, so labels will not come from the generator trained here",
    ),
    (
        lambda c: c.retrieval.when == "once" and c.retrieval.form == "absorbing",
        "retrieval.form=absorbing does not suit retrieval.when=once: the seeds' own scores, far "
        "above all others, spread into the cells beside them; use retrieval.when=online",
    ),
    (
        lambda c: c.retrieval.when == "online" and c.retrieval.canonical_size,
        "retrieval.canonical_size is not used: it belongs to retrieval.when=once",
    ),
    _TRAIN_IMAGES,
    _PREPARED,
)
LABEL: tuple[Unused, ...] = (
    (
        lambda c: c.label.source == "propagation" and c.generator.params,
        "generator.params is not used: label.source=propagation labels without a generator",
    ),
    (
        lambda c: c.label.compete and c.data.boxes,
        "label.compete is not used: duplicates among a detector's boxes (data.boxes) would take "
        "each other's pixels",
    ),
    (
        lambda c: c.label.simplify and not _draws_polygons(c),
        "label.simplify is not used: no format in label.formats has polygons",
    ),
    _PREPARED,
    (
        lambda c: c.label.score == "predicted_iou" and c.retrieval.decision != "log_ratio",
        "label.score=predicted_iou was fitted to maps of retrieval.decision=log_ratio: for "
        "others its numbers say little",
    ),
)
PREDICT: tuple[Unused, ...] = (
    (
        lambda c: c.data.boxes,
        "data.boxes is not used: predictions need no boxes",
    ),
    _PREPARED,
)


def unused_settings(config: Settings, looked_at: Sequence[Unused]) -> list[str]:
    """What a phase will not do although the config asks for it, one line each.

    Args:
      config: of the run.
      looked_at: by the phase.
    """
    return [text for unused, text in looked_at if unused(config)]
