"""Propagation maps of a set of instances, and the options applied to them.

What the tables of masks (`masks`, `scene_masks`) share: the maps are made once and kept, then the
options are compared on the same maps.
"""

import dataclasses
import io
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from configs import coco_mini
from exits_jax.annotations import Instance, read_annotations
from exits_jax.app import networks
from exits_jax.app.settings import read_settings
from exits_jax.data.crop import box_to_crop, to_crop, valid_in_crop
from exits_jax.data.source import by_image
from exits_jax.evaluation.iou import GroundTruth, read_ground_truth
from exits_jax.export.quality import Label
from exits_jax.models.build import build_backbone, pretrained_params
from exits_jax.pseudo_labels.compete import Crop, claim, compete, rivals
from exits_jax.pseudo_labels.label import label_from_logits
from exits_jax.pseudo_labels.predict import propagation_predictor
from exits_jax.retrieval.shape import shape_offset
from exits_jax.system.files import write_bytes
from experiments.retrieval_measures import in_batches


class Split(NamedTuple):
    """A split with its maps, one of each instance, in the order of `crops`."""

    truth: GroundTruth
    crops: list[Crop]  # raw maps
    offsets: Float[np.ndarray, " n"]  # `shape_offset` of each


def read_split(
    file: pathlib.Path, images: pathlib.Path, path: pathlib.Path, every: int = 1
) -> Split:
    """Annotations, ground truth and maps.

    Args:
      file: annotations with masks.
      images: folder of their images.
      path: .npz the maps are kept in; made if it is not there.
      every: take one image in so many, in the file's order, the first among them.
    """
    annotations = read_annotations(file, images)
    taken = set(list(annotations.images)[::every])
    chosen = [instance for instance in annotations.instances if instance.image.id in taken]
    annotations = dataclasses.replace(annotations, instances=chosen)
    instances = by_image(annotations.instances)
    if not path.exists():
        buffer = io.BytesIO()
        np.savez(buffer, **_maps(path.stem, instances))
        write_bytes(path, buffer.getvalue())
    kept = np.load(path)
    if kept["ids"].tolist() != [instance.id for instance in instances]:
        raise SystemExit(f"{path}: maps of other annotations; delete it")
    if str(kept["settings"]) != settings_of_maps():
        raise SystemExit(f"{path}: maps of other settings; delete it")
    crops = [Crop(*row) for row in zip(instances, kept["logits"], kept["windows"], strict=True)]
    return Split(read_ground_truth(annotations), crops, offsets_of(crops))


def settings_of_maps() -> str:
    """What the kept maps were made with."""
    config = read_settings(coco_mini.get_config())
    return f"{config.retrieval} {config.extractor.weights} {config.crop}"


def offsets_of(crops: Sequence[Crop]) -> Float[np.ndarray, " n"]:
    """`shape_offset` of each crop."""
    columns = zip(*(_in_crop(crop) for crop in crops), strict=True)
    logits = np.stack([crop.logits for crop in crops])
    return np.asarray(shape_offset(logits, *map(np.stack, columns)))


def _in_crop(crop: Crop) -> tuple[np.ndarray, ...]:
    """Points, whether they are given, box and valid region of a crop, in its coordinates."""
    instance, window = crop.instance, crop.window_xyxy.astype(np.float64)
    points, image = instance.points_xy, instance.image
    return (
        np.zeros((4, 2)) if points is None else to_crop(points, window, False),
        np.array(points is not None),
        box_to_crop(instance.box_xyxy, window, False),
        valid_in_crop(image.width, image.height, window, False),
    )


def _maps(name: str, instances: Sequence[Instance]) -> dict[str, np.ndarray]:
    """Propagation maps with coco_mini's settings."""
    config = read_settings(coco_mini.get_config())
    network = build_backbone(config.extractor, config.crop.size)
    params = pretrained_params(config.extractor, network, config.seed)
    scores = networks.scores_function(config, config.retrieval, config.crop.size)
    predict = propagation_predictor(scores, params, networks.grid(config))
    kept = in_batches(
        f"maps of {name}",
        instances,
        lambda batch: {"logits": predict(batch), "windows": batch["window_xyxy"]},
        size=config.crop.size,
        margin=config.crop.label_margin,
        batch_size=config.label.device_batch,
    )
    ids = np.array([instance.id for instance in instances])
    return kept | {"ids": ids, "settings": np.array(settings_of_maps())}


def final_crops(
    split: Split, *, shape: bool, joint: Callable[[Sequence[Crop]], list] | None
) -> list[Crop]:
    """The maps after the options asked for."""
    moved = [
        crop._replace(logits=crop.logits + np.float32(offset * shape))
        for crop, offset in zip(split.crops, split.offsets, strict=True)
    ]
    if joint is None:
        return moved
    groups: dict[int, list[Crop]] = {}
    for crop in moved:
        groups.setdefault(crop.instance.image.id, []).append(crop)
    return [
        crop._replace(logits=logits)
        for group in groups.values()
        for crop, logits in zip(group, joint(group), strict=True)
    ]


def soft_competition(crops: Sequence[Crop]) -> list[Float[np.ndarray, "m m"]]:
    """Another formulation: every claim of a class-mate is evidence against, log(1 + exp(claim))."""
    return [
        crop.logits - sum(np.logaddexp(0, claim(rival, crop)) for rival in rivals(crop, crops))
        for crop in crops
    ]


def labels_from(crops: Sequence[Crop]) -> dict[int, Label]:
    """Masks of the maps, by annotation id."""
    return {crop.instance.id: label_from_logits(*crop) for crop in crops}


# Option -> whether there is shape evidence, and how the masks of an image are made to compete.
OPTIONS: dict[str, tuple[bool, Callable[[Sequence[Crop]], list] | None]] = {
    "propagation map alone": (False, None),
    "+ shape evidence": (True, None),
    "+ competition": (False, compete),
    "+ soft competition (not an option)": (False, soft_competition),
    "+ shape evidence and competition (`label.source=propagation`)": (True, compete),
}
BEST = [*OPTIONS][-1]


def option_labels(split: Split) -> dict[str, dict[int, Label]]:
    """The labels of every option."""
    return {
        name: labels_from(final_crops(split, shape=shape, joint=joint))
        for name, (shape, joint) in OPTIONS.items()
    }
