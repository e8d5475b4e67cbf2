"""From SOLOv2's outputs to an image's objects: peaks, masks, matrix NMS (Wang et al., 2020)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from exits_jax.segmentation.settings import SegmentationSettings
from experiments.framework_comparison.torch_solov2 import Outputs, resize

STRIDES = (8, 8, 16, 32, 32)  # of the head's levels
MASK_STRIDE = 4


class Detections(NamedTuple):
    """The objects of an image, the surest first.

    Attributes:
      masks: probabilities at stride 4, [n,H/4,W/4].
      classes: int64 [n].
      scores: [n].
    """

    masks: Tensor
    classes: Tensor
    scores: Tensor


@torch.inference_mode()
def detect(outputs: Outputs, image: int, settings: SegmentationSettings) -> Detections:
    """The objects of one image of a batch."""
    found = _by_score(candidates(outputs, image, settings), settings.candidates)
    masks = found.masks > settings.mask_threshold
    scores = matrix_nms(masks, found.classes, found.scores, settings.suppression_sigma)
    found = found._replace(scores=scores)
    return _by_score(_chosen(found, scores >= settings.min_score), settings.max_detections)


def candidates(outputs: Outputs, image: int, settings: SegmentationSettings) -> Detections:
    """Every peak of a class map whose mask is larger than a cell's side is long, in any order.

    A score is the class probability times the mean probability inside the mask.
    """
    features, levels = outputs.features[image], []
    for kernels, logits, stride in zip(outputs.kernels, outputs.logits, STRIDES, strict=False):
        probability = peaks(logits[image].sigmoid())
        classes, rows, columns = (probability > settings.score_floor).nonzero(as_tuple=True)
        masks = (kernels[image][:, rows, columns].T @ features.flatten(1)).sigmoid()
        inside = masks > settings.mask_threshold
        area = inside.sum(dim=1)
        scores = probability[classes, rows, columns] * (masks * inside).sum(dim=1) / area
        level = Detections(masks.unflatten(1, features.shape[1:]), classes, scores)
        levels.append(_chosen(level, area > stride))
    return Detections(*map(torch.cat, zip(*levels, strict=True)))


def peaks(probability: Tensor) -> Tensor:
    """[C,S,S], 0 where the cell to the left, above or both has a larger one."""
    highest = F.max_pool2d(probability, 2, stride=1, padding=1)[:, :-1, :-1]
    return torch.where(probability == highest, probability, 0.0)


def matrix_nms(masks: Tensor, classes: Tensor, scores: Tensor, sigma: float) -> Tensor:
    """Scores [n], in falling order, lowered by what surer masks [n,h,w] of the class cover."""
    if len(scores) == 0:
        return scores
    flat = masks.flatten(1).to(scores)
    overlap = flat @ flat.T
    area = flat.sum(dim=1)
    union = area[:, None] + area - overlap
    same = classes[:, None] == classes
    iou = torch.where(same, overlap / union, 0.0).triu(diagonal=1)
    covered = iou.amax(dim=0)  # how far the surer one is itself covered
    decay = torch.exp(-sigma * (iou.square() - covered.square()[:, None])).amin(dim=0)
    return scores * decay


def image_masks(masks: Tensor, extent: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Masks [n,H/4,W/4] of a canvas -> bool [n,h,w] of the image that covers its `extent`.

    Args:
      masks: probabilities.
      extent: rows and columns of the canvas that the image covers.
      size: height and width of the image itself.
    """
    if len(masks) == 0:
        return masks.new_zeros((0, *size), dtype=torch.bool)
    height, width = masks.shape[-2:]
    canvas = resize(masks[None], (MASK_STRIDE * height, MASK_STRIDE * width))
    return resize(canvas[..., : extent[0], : extent[1]], size)[0] > 0.5


def _chosen(found: Detections, which: Tensor) -> Detections:
    return Detections(*(part[which] for part in found))


def _by_score(found: Detections, most: int) -> Detections:
    """The surest, in falling order."""
    return _chosen(found, found.scores.argsort(descending=True, stable=True)[:most])
