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

from exits_jax.annotations import ImageRecord, Instance, Problem, problem_line
from exits_jax.annotations.fields import stated_box
from exits_jax.annotations.instances import PointRule, read_instances
from exits_jax.annotations.masks import decode_segmentation
from exits_jax.data.images import decode_image
from exits_jax.data.source import table_source
from exits_jax.models.build import attend, load_backbone
from exits_jax.models.published import DEFAULT, published
from exits_jax.models.settings import SIZES
from exits_jax.pseudo_labels.label import Labeller
from exits_jax.pseudo_labels.predict import Predict, propagation_predictor, with_shape
from exits_jax.pseudo_labels.predicted_iou import predicted_iou
from exits_jax.pseudo_labels.settings import SMOOTH
from exits_jax.retrieval.crops import crop_scores
from exits_jax.retrieval.settings import RESEEDED_KEYS
from exits_jax.system.cpu import prefer_eigen
from exits_jax.system.errors import UserError

CROP_SIZE, MARGIN, BATCH_SIZE = 336, 0.3, 8


def label_image(
    image: np.ndarray | str | os.PathLike,
    extreme_points: ArrayLike,
    *,
    boxes: ArrayLike | None = None,
    backbone: str = DEFAULT,
    threshold: float = 0.5,
) -> tuple[Bool[np.ndarray, "k h w"], Float[np.ndarray, " k"]]:
    """Masks of the objects whose extreme points are given; nothing is trained.

    Label propagation with the settings that measured best with DINOv2 (`RESEEDED_KEYS`, shape
    evidence); see the README for what to expect of the masks. For many images use the command line.
    The first call may set XLA_FLAGS of this process (`exits_jax.system.cpu`).

    Args:
      image: RGB pixels uint8[h,w,3], or the path of an image file.
      extreme_points: [k,4,2] or, for one object, [4,2]: x, y in continuous pixel coordinates (the
        middle of the first pixel is (0.5, 0.5)), four points an object in any order.
      boxes: [k,4] or, for one object, [4]: xyxy, in pixels; None takes the bounding boxes of the
        points.
      backbone: a name in `exits_jax.models.published.BACKBONES` with at least 11 layers.
      threshold: of the mask probability.

    Returns:
      masks bool[k,h,w] and scores float[k], the IoU predicted of each mask.

    Raises:
      UserError: the image cannot be read or is not uint8[h,w,3]; points or boxes are malformed or
        off the image, or not as many boxes as objects; the backbone is not known, has too few
        layers, or its file is absent (the message says how to get it).
    """
    prefer_eigen()
    pixels = _pixels(image)
    instances = _instances(pixels, extreme_points, boxes)
    _check_backbone(backbone)
    if not instances:
        return np.zeros((0, *pixels.shape[:2]), bool), np.zeros(0)
    content = _encoded(pixels)
    labeller = Labeller(
        _predictor(backbone),
        crop_size=CROP_SIZE,
        margin=MARGIN,
        batch_size=BATCH_SIZE,
        threshold=threshold,
        judge=predicted_iou,
        edges=SMOOTH,
    )
    labels = labeller(table_source(instances, lambda position, record: content), instances)
    masks = np.stack([decode_segmentation(label.rle, *pixels.shape[:2]) for label in labels])
    return masks, np.array([label.score for label in labels])


def _pixels(image: np.ndarray | str | os.PathLike) -> UInt8[np.ndarray, "h w 3"]:
    """The image itself, or what is in its file."""
    if isinstance(image, str | os.PathLike):
        if not os.path.exists(image):
            raise UserError(f"{os.fspath(image)}: no such image")
        return decode_image(image)
    if not isinstance(image, np.ndarray):
        raise UserError(f"image is a {type(image).__name__}, expected uint8[h,w,3] or a path")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.dtype}{list(image.shape)}"
        raise UserError(f"image is {found}, expected RGB pixels uint8[h,w,3] (0 to 255)")
    return image


def _numbers(name: str, given: ArrayLike, expected: str) -> Float[np.ndarray, "..."]:
    """An argument as an array; `expected` is what the error says about its shape."""
    try:
        return np.asarray(given, np.float64)
    except (ValueError, TypeError, OverflowError) as error:  # ragged, or not numbers
        raise UserError(f"{name} is no array of numbers ({error}); expected {expected}") from error


def _instances(
    pixels: UInt8[np.ndarray, "h w 3"], extreme_points: ArrayLike, boxes: ArrayLike | None
) -> Sequence[Instance]:
    """The objects as an annotation file would have them, numbered from 1."""
    expected = "[k,4,2] or, for one object, [4,2]"
    points = _numbers("extreme_points", extreme_points, expected)
    if points.shape[-2:] != (4, 2) or points.ndim not in (2, 3):
        raise UserError(f"extreme_points has shape {points.shape}, expected {expected}")
    rows = [
        {"id": k + 1, "image_id": 0, "extreme_points": p}
        for k, p in enumerate(points.reshape(-1, 4, 2).tolist())
    ]
    height, width = pixels.shape[:2]
    if boxes is not None:
        for row, (x0, y0, x1, y1) in zip(rows, _box_rows(boxes, len(rows)), strict=True):
            row["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            stated_box(row, width, height)  # refused here: a file's bad box would only be left out
    records = {0: ImageRecord(0, "image", width, height, pathlib.Path("image"))}
    rows = [row | {"category_id": 0} for row in rows]
    document = {"annotations": rows}
    return read_instances(document, records, {0: "object"}, PointRule(), _refuse)


def _box_rows(boxes: ArrayLike, count: int) -> list[list[float]]:
    """The boxes of `count` objects, xyxy."""
    expected = f"[{count},4]: x0, y0, x1, y1 of each object"
    corners = _numbers("boxes", boxes, expected)
    if corners.shape == (4,) and count == 1:
        corners = corners[None]
    if corners.shape != (count, 4):
        raise UserError(f"boxes has shape {corners.shape}, expected {expected}")
    return corners.tolist()


def _refuse(problem: Problem) -> None:
    if not problem.note:
        raise UserError(problem_line("label_image", problem))


def _check_backbone(name: str) -> None:
    """Whether the backbone is known and deep enough for the layers that are read."""
    depth, deepest = SIZES[published(name).size][1], max(RESEEDED_KEYS.layers)
    if depth < deepest:
        raise UserError(f"backbone {name} has {depth} layers, expected {deepest} or more")


@functools.cache
def _predictor(backbone: str) -> Predict:
    """The compiled predictor, made once per backbone."""
    network, params = load_backbone(backbone)
    settings = RESEEDED_KEYS
    grid = CROP_SIZE // network.patch
    scores = crop_scores(
        attend(network, published(backbone).normalise),
        depth=network.depth,
        class_token=network.class_token,
        grid=grid,
        settings=settings,
    )
    return with_shape(propagation_predictor(scores, params, grid), 1.0)


def _encoded(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The pixels as a lossless image file: what a `Source` reads."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
