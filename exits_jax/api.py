"""`exits_jax.label_image`: masks of one image in Python, without a config or a workdir."""

import functools
import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from exits_jax import networks
from exits_jax.annotations import ImageRecord, Instance, Problem, coco, problem_line
from exits_jax.annotations.masks import decode_segmentation
from exits_jax.data.images import decode_image
from exits_jax.data.source import table_source
from exits_jax.errors import UserError
from exits_jax.labelling.label import Labeller
from exits_jax.labelling.predict import Predict, propagation_predictor
from exits_jax.models import backbones
from exits_jax.retrieval import RESEEDED_KEYS, crop_scores

CROP_SIZE, MARGIN, BATCH_SIZE = 336, 0.3, 8


def label_image(
    image: UInt8[np.ndarray, "h w 3"] | str | os.PathLike,
    extreme_points: ArrayLike,
    *,
    boxes: ArrayLike | None = None,
    backbone: str = backbones.DEFAULT,
    threshold: float = 0.5,
) -> tuple[Bool[np.ndarray, "k h w"], Float[np.ndarray, " k"]]:
    """Masks of the objects whose extreme points are given; nothing is trained.

    Label propagation with the settings that measured best with DINOv2 (`RESEEDED_KEYS`); see the
    README for what to expect of the masks. For many images use the command line.

    Args:
      image: RGB pixels, or the path of an image file.
      extreme_points: [k,4,2] or, for one object, [4,2]: x, y in continuous pixel coordinates (the
        middle of the first pixel is (0.5, 0.5)), four points an object in any order.
      boxes: [k,4] xyxy; None takes the bounding boxes of the points.
      backbone: a name in `exits_jax.models.backbones.BACKBONES` with at least 11 layers.
      threshold: of the mask probability.

    Returns:
      masks bool[k,h,w] and scores float[k], the mean probability inside each mask.

    Raises:
      UserError: the backbone's file is absent (the message says how to get it), the image cannot be
        read, or points are malformed or off the image.
    """
    pixels = image if isinstance(image, np.ndarray) else decode_image(image)
    instances = _instances(pixels, np.asarray(extreme_points, np.float64), boxes)
    if not instances:
        return np.zeros((0, *pixels.shape[:2]), bool), np.zeros(0)
    content = _encoded(pixels)
    labeller = Labeller(
        _predictor(backbone),
        crop_size=CROP_SIZE,
        margin=MARGIN,
        batch_size=BATCH_SIZE,
        threshold=threshold,
    )
    labels = labeller(table_source(instances, lambda position, record: content), instances)
    masks = np.stack([decode_segmentation(label.rle, *pixels.shape[:2]) for label in labels])
    return masks, np.array([label.score for label in labels])


def _instances(
    pixels: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "..."], boxes: ArrayLike | None
) -> Sequence[Instance]:
    """The objects as an annotation file would have them, numbered from 1."""
    if points.shape[-2:] != (4, 2) or points.ndim not in (2, 3):
        raise UserError(f"extreme_points has shape {points.shape}, expected [k,4,2] or [4,2]")
    points = points.reshape(-1, 4, 2)
    rows = [
        {"id": k + 1, "image_id": 0, "extreme_points": p} for k, p in enumerate(points.tolist())
    ]
    if boxes is not None:
        for row, (x0, y0, x1, y1) in zip(rows, np.asarray(boxes).tolist(), strict=True):
            row["bbox"] = [x0, y0, x1 - x0, y1 - y0]
    height, width = pixels.shape[:2]
    records = {0: ImageRecord(0, "image", width, height, pathlib.Path("image"))}
    rows = [row | {"category_id": 0} for row in rows]
    document = {"annotations": rows}
    return coco.read_instances(document, records, {0: "object"}, coco.PointRule(), _refuse)


def _refuse(problem: Problem) -> None:
    raise UserError(problem_line("label_image", problem))


@functools.cache
def _predictor(backbone: str) -> Predict:
    """The compiled predictor, made once per backbone."""
    network, params = backbones.load_backbone(backbone)
    settings = RESEEDED_KEYS
    grid = CROP_SIZE // network.patch
    scores = crop_scores(
        networks.attend(network, backbones.BACKBONES[backbone].pixels),
        depth=network.depth,
        class_token=network.class_token,
        grid=grid,
        settings=settings,
    )
    return propagation_predictor(scores, params, grid)


def _encoded(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The pixels as a lossless image file: what a `Source` reads."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
