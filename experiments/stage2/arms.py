"""Labels of all kinds for one training file: the same images, boxes and ids, other masks."""

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_masks

from exits_jax.annotations import Annotations, Instance, read_annotations
from exits_jax.annotations.regions import box_pixels, encode_in_image, filled_box
from exits_jax.export.export import pseudo_label_rows
from exits_jax.export.quality import Label
from exits_jax.system.files import write_json_rows
from experiments.stage2.command import run_mode
from experiments.stage2.data_sets import DataSet

TRUE, OURS, BOXES, ELLIPSES, TRUSTED = "true", "propagation", "boxes", "ellipses", "trusted"


class Made(NamedTuple):
    """How the program makes labels.

    Fields:
      config: file, with its variant.
      settings: changed in it.
      trains: whether a generator is trained first.
    """

    config: str
    settings: Mapping[str, object] = {}
    trains: bool = False


class Arm(NamedTuple):
    """Labels, and how they are trained on.

    Fields:
      title: in tables.
      labels: the name of the labels, an arm's.
      settings: of the training, changed in the data set's config.
    """

    title: str
    labels: str
    settings: Mapping[str, object] = {}


ARMS: Mapping[str, Arm] = {
    TRUE: Arm("true masks", TRUE),
    OURS: Arm("ours, not trained", OURS),
    "generator": Arm("ours, the generator's", "generator"),
    "paper": Arm("the paper's retrieval alone", "paper"),
    ELLIPSES: Arm("ellipses in the boxes", ELLIPSES),
    BOXES: Arm("filled boxes", BOXES),
    TRUSTED: Arm("ours, not trained, weighed by score", OURS, {"segmentation.trust": True}),
}

MADE: Mapping[str, Made] = {
    OURS: Made("configs/own.py"),
    # Taken whatever its masks are like: what is asked here is what they are worth.
    "generator": Made(
        "configs/own.py", {"label.source": "generator", "label.accept_worse": True}, trains=True
    ),
    "paper": Made(
        "configs/coco_mini.py:paper", {"label.source": "propagation", "warmup.epochs": 0}
    ),
}


def label_file(folder: pathlib.Path, data: DataSet, labels: str) -> pathlib.Path:
    """The file of these labels for the training images; what is not there is made.

    Args:
      folder: of everything that is made.
      data: the data set.
      labels: `TRUE`, or a name of `MADE` or `DRAWN`.
    """
    if labels == TRUE:
        return data.train
    place = folder / data.photographs / "labels" / labels
    if labels in MADE:
        _make(place, data, MADE[labels])
        return place / "pseudo_labels.json"
    path = place / "labels.json"
    if not path.exists():
        annotations = read_annotations(data.train, data.train_images)
        found = _drawn(annotations, DRAWN[labels])
        rows = pseudo_label_rows(annotations.document, found, annotations.instances)
        write_json_rows(path, rows, annotations.document)
    return path


def _make(place: pathlib.Path, data: DataSet, made: Made) -> None:
    """Labels the training images with the program."""
    settings = {
        "data.annotations": data.train,
        "data.images": data.train_images,
        "data.train_annotations": "",  # a generator learns from what it labels
        "data.train_images": "",
        **made.settings,
    }
    for mode in ("train", "label") if made.trains else ("label",):
        run_mode(mode, place, settings, config=made.config)


def _drawn(annotations: Annotations, draw: Callable[[Instance], dict]) -> dict[int, Label]:
    """Labels that are one shape in each box, all of score 1."""
    labels = {}
    for instance in annotations.instances:
        rle = draw(instance)
        labels[instance.id] = Label(instance.id, rle, int(coco_masks.area(rle)), 1.0, [])
    return labels


def _box(instance: Instance) -> dict:
    return filled_box(instance.box_xyxy, instance.image.height, instance.image.width)


def ellipse(instance: Instance) -> dict:
    """The pixels whose centre is in the ellipse that touches the sides of the box, as RLE.

    One that holds no centre stands for the box.
    """
    height, width = instance.image.height, instance.image.width
    region = box_pixels(instance.box_xyxy, height, width)
    x0, y0, x1, y1 = instance.box_xyxy
    rows, columns = np.mgrid[region[1] : region[3], region[0] : region[2]] + 0.5
    across = (2 * columns - x0 - x1) / max(x1 - x0, 1.0)
    along = (2 * rows - y0 - y1) / max(y1 - y0, 1.0)
    mask = across**2 + along**2 <= 1
    if not mask.any():
        return _box(instance)
    return encode_in_image(mask, region, height, width)


DRAWN: Mapping[str, Callable[[Instance], dict]] = {BOXES: _box, ELLIPSES: ellipse}
