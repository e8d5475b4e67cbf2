"""Ground-truth masks, and how well labels agree with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pycocotools.mask
from jaxtyping import Bool, Float

from exits_jax.annotations.fields import is_crowd
from exits_jax.annotations.instances import category_of, image_of
from exits_jax.annotations.masks import decode_segmentation, parts_and_holes, run_lengths
from exits_jax.annotations.records import Annotations, Instance
from exits_jax.annotations.regions import filled_box
from exits_jax.system.errors import UserError

SEPARATED_SHARE = 0.02  # of the mask: a smaller component does not make an object a separated one
NEIGHBOUR_SHARE = 0.10  # of the neighbour's own area


@runtime_checkable
class ScoredMask(Protocol):
    """What evaluation needs of a label: `rle`, size [h, w] of the image, and `score` 0..1."""

    rle: dict[str, Any]
    score: float


class Prediction(NamedTuple):
    """The smallest `ScoredMask`."""

    rle: dict[str, Any]
    score: float


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The non-crowd instances that have a mask to be compared with, n of them.

    Attributes:
      instances: in document order.
      rles: compressed run lengths of their masks, one each, never empty.
      separated: bool[n], more than one 8-connected component, each at least 2 % of the mask.
      same_class: bool[n], another instance of the category in the image covers at least 10 % of
        its own area inside this one's box.
      crowds: (image id, category id, run lengths) of crowd regions, which AP does not count.
      without_mask: annotation id -> why it cannot be evaluated.
    """

    instances: list[Instance]
    rles: list[dict[str, Any]]
    separated: Bool[np.ndarray, "n"]
    same_class: Bool[np.ndarray, "n"]
    crowds: list[tuple[int, int, dict[str, Any]]]
    without_mask: dict[int, str]


def read_ground_truth(annotations: Annotations) -> GroundTruth:
    """Decodes the masks of an annotation file for evaluation, the only use they may have.

    Annotations without a readable mask (points or boxes only) are counted in `without_mask` and
    otherwise left out.

    Raises:
      UserError: not one annotation has a mask.
    """
    instances, rles, without_mask = [], [], {}
    for instance in annotations.instances:
        segmentation = annotations.document["annotations"][instance.index].get("segmentation")
        try:
            rle = _true_mask(segmentation, instance.image.height, instance.image.width)
        except UserError as error:
            without_mask[instance.id] = str(error)
            continue
        instances.append(instance)
        rles.append(rle)
    if not instances:
        raise UserError(
            f"{annotations.file}: none of its {len(without_mask)} annotations has a ground-truth"
            " mask (points or boxes only): nothing to compare labels with; evaluate on a file with"
            " `segmentation`, or leave evaluation out"
        )
    separated = [is_separated(rle) for rle in rles]
    same_class = same_class_neighbours(instances, rles)
    crowds = list(_crowds(annotations))
    return GroundTruth(instances, rles, np.array(separated), same_class, crowds, without_mask)


def label_ious(truth: GroundTruth, labels: Mapping[int, ScoredMask]) -> Float[np.ndarray, "n"]:
    """Mask IoU of each ground-truth instance with the label of its annotation id.

    An instance without a label counts as 0; labels of other annotations are ignored.

    Raises:
      UserError: a label's run lengths are malformed or of another image size.
    """
    ious = np.zeros(len(truth.instances))
    for position, (instance, rle) in enumerate(zip(truth.instances, truth.rles, strict=True)):
        if instance.id in labels:
            predicted = checked_rle(labels[instance.id], instance)
            ious[position] = pycocotools.mask.iou([predicted], [rle], [0])[0, 0]
    return ious


def checked_rle(label: ScoredMask, instance: Instance) -> dict[str, Any]:
    """The run lengths of a label, known to be safe and to fit the instance's image.

    Raises:
      UserError: they are malformed or of another size.
    """
    try:
        return run_lengths(label.rle, instance.image.height, instance.image.width)
    except UserError as error:
        raise UserError(
            f"label of annotation {instance.id} ({instance.image.file_name}): {error};"
            " label this annotation file again"
        ) from error


def filled_box_labels(instances: list[Instance]) -> dict[int, Prediction]:
    """The whole box as every instance's label, score 1: the baseline that costs nothing.

    The box is the one the extreme points span, by the whole pixels they lie in: that is the mask's
    tight box where the points are exact. For instances without points it is the annotated box.
    """
    labels = {}
    for instance in instances:
        box = instance.box_xyxy
        if instance.points_xy is not None:
            low, high = instance.points_xy.min(axis=0), instance.points_xy.max(axis=0)
            box = np.concatenate([np.floor(low), np.ceil(high)])
        rle = filled_box(box, instance.image.height, instance.image.width)
        labels[instance.id] = Prediction(rle, 1.0)
    return labels


def is_separated(rle: dict[str, Any]) -> bool:
    """Whether a mask has more than one 8-connected component of at least 2 % of the mask."""
    x, y, width, height = (int(side) for side in pycocotools.mask.toBbox(rle))
    mask = decode_segmentation(rle, *rle["size"])[y : y + height, x : x + width]
    areas, _ = parts_and_holes(mask)
    return sum(area >= SEPARATED_SHARE * sum(areas) for area in areas) > 1


def same_class_neighbours(
    instances: list[Instance], rles: list[dict[str, Any]]
) -> Bool[np.ndarray, "n"]:
    """Which instances share their box with another of their category in the same image.

    The other one must have at least 10 % of its own pixels inside the box.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for position, instance in enumerate(instances):
        groups.setdefault((instance.image.id, instance.category_id), []).append(position)
    crowded = np.zeros(len(instances), bool)
    for members in groups.values():
        if len(members) > 1:
            image = instances[members[0]].image
            boxes = [
                filled_box(instances[position].box_xyxy, image.height, image.width)
                for position in members
            ]
            # Against a "crowd", pycocotools divides the intersection by the first mask's area.
            inside = pycocotools.mask.iou(
                [rles[position] for position in members], boxes, [1] * len(members)
            )
            np.fill_diagonal(inside, 0.0)
            crowded[members] = (inside >= NEIGHBOUR_SHARE).any(axis=0)
    return crowded


def _true_mask(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """The run lengths of one ground-truth mask; UserError where there is none."""
    if not segmentation:
        raise UserError("no segmentation")
    rle = run_lengths(segmentation, height, width)
    if pycocotools.mask.area(rle) == 0:
        raise UserError("the segmentation has no pixel")
    return rle


def _crowds(annotations: Annotations) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The crowd regions that can be read; one that cannot only makes AP stricter."""
    for annotation in annotations.document["annotations"]:
        if not isinstance(annotation, dict):
            continue
        try:
            if not is_crowd(annotation):
                continue
            image = image_of(annotation, annotations.images)
            category_id = category_of(annotation, annotations.categories)
            rle = _true_mask(annotation.get("segmentation"), image.height, image.width)
        except UserError:
            continue
        yield image.id, category_id, rle
