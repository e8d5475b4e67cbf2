"""`exits_jax.label_image`, `segment_image` and `Session`: masks in Python, without a config."""

import functools
import os
import pathlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from exits_jax.annotations import ImageRecord, Instance, Problem, problem_line
from exits_jax.annotations.fields import stated_box
from exits_jax.annotations.instances import PointRule, read_instances
from exits_jax.app.workdir import Workdir
from exits_jax.data.images import RGBImage, decode_image, rgb_of
from exits_jax.models.published import DEFAULT
from exits_jax.models.slices import CPU_SLICE
from exits_jax.pseudo_labels.session import OpenImage, check_backbone
from exits_jax.segmentation.predict import Detecting, detecting, found_in
from exits_jax.segmentation.trained import Trained, load_trained
from exits_jax.system.cpu import prefer_eigen
from exits_jax.system.errors import UserError

MANY = 8  # views that an accelerator looks at together
ImageLike = Any  # a path, a Pillow image, or what numpy takes for an array


def label_image(
    image: ImageLike,
    extreme_points: Any = None,
    *,
    boxes: Any = None,
    backbone: str = DEFAULT,
    threshold: float = 0.5,
) -> tuple[Bool[np.ndarray, "k h w"], Float[np.ndarray, " k"]]:
    """Masks of the objects whose extreme points or boxes are given; nothing is trained.

    Label propagation with the settings that measured best with DINOv2 (`RESEEDED_KEYS`, shape
    evidence); see docs/results.md for how good the masks are. For many images use the command line.
    The first call may set XLA_FLAGS in this process (`exits_jax.system.cpu`).

    Args:
      image: a path, a Pillow image, or an array [h,w] or [h,w,c] of 1 (grey), 3 (RGB) or 4
        (RGBA) channels: uint8, wider whole numbers, or floats from 0 to 1 or 0 to 255.
      extreme_points: [k,4,2] or, for one object, [4,2]: x, y in continuous pixel coordinates (the
        middle of the first pixel is (0.5, 0.5)), four points per object in any order. With boxes, a
        list of k arrays of one to four points; None uses the boxes alone, with weaker masks.
      boxes: [k,4] or, for one object, [4]: xyxy, in pixels; None uses the bounding boxes of the
        points.
      backbone: a name in `exits_jax.models.published.BACKBONES` with at least 11 layers.
      threshold: of the mask probability.

    Returns:
      masks bool[k,h,w] and scores float[k], the predicted IoU of each mask.

    Raises:
      UserError: the image cannot be read; points or boxes are malformed, off the image or far off
        each other, or not as many boxes as objects; the backbone is unknown, has too few layers, or
        its file is missing (the message says how to get it).
    """
    prefer_eigen()
    pixels = _pixels(image)
    height, width = pixels.shape[:2]
    instances = _instances(extreme_points, boxes, height, width)
    check_backbone(backbone)
    opened = OpenImage(pixels, backbone, threshold) if instances else None
    masks = np.zeros((len(instances), height, width), bool)
    scores = np.zeros(len(instances))
    together = CPU_SLICE if jax.default_backend() == "cpu" else MANY
    for first in range(0, len(instances), together):
        chosen = instances[first : first + together]
        opened.see(chosen)
        for number, instance in enumerate(chosen, start=first):
            masks[number], scores[number] = opened.mask(instance, own_view=True)
    return masks, scores


def segment_image(
    image: ImageLike, run_or_params: str | os.PathLike, *, min_score: float = 0.3
) -> tuple[Bool[np.ndarray, "k h w"], list[str], Float[np.ndarray, " k"]]:
    """The objects that a trained model of stage 2 finds in an image, without any prompt.

    The model is read, and compiled for its canvases, by the first call and kept for the next ones.

    Args:
      image: as `label_image` takes it.
      run_or_params: the folder of a run with a trained model, or a .safetensors file of one; what
        the network is like stands in the file.
      min_score: of the detections, 0..1; all that a model finds with 0.

    Returns:
      masks bool[k,h,w], the names of their classes and scores float[k], best first.

    Raises:
      UserError: the image cannot be read; there is no trained model, or the file is none.
    """
    prefer_eigen()
    pixels = _pixels(image)
    path = pathlib.Path(run_or_params)
    if path.is_dir():
        path = Workdir(path).segmentation
    if not path.is_file():
        raise UserError(f"{path}: no trained model; --mode=segment trains one")
    model, detect = _trained(path.resolve(), path.stat().st_mtime_ns)
    masks, classes, scores = found_in(pixels, detect, model.settings, min_score)
    return masks, [model.classes.names[number] for number in classes], scores


@functools.lru_cache(maxsize=2)
def _trained(path: pathlib.Path, changed: int) -> tuple[Trained, Detecting]:
    """A model, ready to be used; read again if its file has changed since."""
    del changed
    model = load_trained(path)
    return model, detecting(model)


class Session:
    """Masks for one prompt after another: what the network saw of a view is kept for the next one.

    The settings are those of `label_image`, and the first prompt gives the same mask. A later
    prompt in a view that was seen (a dragged point, a correction, a part of the object) needs no
    pass of the network.

        session = exits_jax.Session()
        session.open("photograph.jpg")
        mask, score = session.mask([[410, 95], [322, 260], [398, 388], [471, 201]])
        mask, score = session.mask(points, corrections=[(350, 120, -1)])

    Args:
      backbone: a name in `exits_jax.models.published.BACKBONES` with at least 11 layers.
      threshold: of the mask probability.
    """

    def __init__(self, backbone: str = DEFAULT, *, threshold: float = 0.5) -> None:
        prefer_eigen()
        check_backbone(backbone)
        self._backbone, self._threshold = backbone, threshold
        self._last: OpenImage | None = None

    def open(self, image: ImageLike) -> OpenImage:
        """Takes an image (as `label_image` does); the handle lets several be open at once."""
        self._last = OpenImage(_pixels(image), self._backbone, self._threshold)
        return self._last

    def mask(
        self,
        points_xy: Any = None,
        *,
        box: Any = None,
        corrections: Any = (),
        view: OpenImage | None = None,
    ) -> tuple[Bool[np.ndarray, "h w"], float]:
        """The mask bool[h,w] of one object and its predicted IoU.

        Args:
          points_xy: four extreme points [4,2] in any order; with a box one to four, or None.
          box: xyxy, in pixels.
          corrections: clicks (x, y, 1 to add or -1 to take away), in the order they were made. Not
            given in the paper.
          view: what `open` gave; None: the last one.

        Raises:
          UserError: as `label_image`; or no image is open.
        """
        opened = view or self._last
        if opened is None:
            raise UserError("there is no image yet: call Session.open(image) first")
        points = None if points_xy is None else [points_xy]
        boxes = None if box is None else [box]
        (instance,) = _instances(points, boxes, opened.height, opened.width)
        return opened.mask(instance, _checked(corrections, opened))


def _pixels(image: ImageLike) -> RGBImage:
    """The image itself, or what is in its file."""
    if isinstance(image, str | os.PathLike):
        if not os.path.exists(image):
            raise UserError(f"{os.fspath(image)}: no such image")
        return decode_image(image)
    if not isinstance(image, np.ndarray | Image.Image):
        try:
            image = np.asarray(image)
        except Exception as error:  # an object of another library may raise anything
            raise UserError(f"image is a {type(image).__name__} ({error})") from error
        if image.dtype == object:
            raise UserError("image is not an array, a Pillow image or a path")
    return rgb_of(image)


def _instances(points: Any, boxes: Any, height: int, width: int) -> list[Instance]:
    """The objects as an annotation file would have them, numbered from 1."""
    if points is None and boxes is None:
        raise UserError("neither extreme_points nor boxes are given")
    given = None if points is None else _points(points)
    rows = [{} for _ in given] if given is not None else None
    if boxes is not None:
        corners = _box_rows(boxes, None if given is None else len(given))
        rows = rows or [{} for _ in corners]
        for row, (x0, y0, x1, y1) in zip(rows, corners, strict=True):
            if x1 <= x0 or y1 <= y0:
                text = f"box {[x0, y0, x1, y1]}: width and height must be positive; expected xyxy"
                raise UserError(f"{text} (x0, y0, x1, y1), not x, y, width, height")
            row["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            stated_box(row, width, height)  # refused here: a file's bad box would only be left out
    for row, some in zip(rows, given or (), strict=False):
        if some:
            row["extreme_points"] = some
    common = {"image_id": 0, "category_id": 0}
    rows = [{"id": number, **common, **row} for number, row in enumerate(rows, start=1)]
    records = {0: ImageRecord(0, "image", width, height, None)}
    return read_instances({"annotations": rows}, records, {0: "object"}, PointRule(), _refuse)


def _points(points: Any) -> list[list[list[float]]]:
    """The extreme points of each object."""
    expected = "[k,4,2] or, for one object, [4,2]; with boxes one to four points per object"
    objects = list(points) if np.iterable(points) and not isinstance(points, str) else None
    if objects is None:
        raise UserError(f"extreme_points is not an array of numbers; expected {expected}")
    if objects and np.ndim(_ragged(objects[0], expected)) == 1:
        objects = [points]  # of one object
    arrays = [_ragged(one, expected) for one in objects]
    for array in arrays:
        if array.size and (array.ndim != 2 or array.shape[1] != 2 or len(array) > 4):
            raise UserError(
                f"extreme_points of an object have shape {array.shape}, expected {expected}"
            )
    return [array.reshape(-1, 2).tolist() for array in arrays]


def _ragged(given: Any, expected: str) -> Float[np.ndarray, "..."]:
    return _numbers("extreme_points", given, expected)


def _numbers(name: str, given: Any, expected: str) -> Float[np.ndarray, "..."]:
    """An argument as an array; `expected` is what the error says about its shape."""
    try:
        return np.asarray(given, np.float64)
    except (ValueError, TypeError, OverflowError) as error:  # ragged, or not numbers
        raise UserError(
            f"{name} is not an array of numbers ({error}); expected {expected}"
        ) from error


def _box_rows(boxes: Any, count: int | None) -> list[list[float]]:
    """The boxes of `count` objects (None: as many as there are), xyxy."""
    expected = f"[{'k' if count is None else count},4]: x0, y0, x1, y1 for each object"
    corners = _numbers("boxes", boxes, expected)
    if corners.shape == (4,) and count in (1, None):
        corners = corners[None]
    if corners.size == 0 and not count:
        return []
    if corners.shape != (len(corners) if count is None else count, 4):
        raise UserError(f"boxes has shape {corners.shape}, expected {expected}")
    return corners.tolist()


def _checked(corrections: Any, opened: OpenImage) -> list[tuple[float, float, int]]:
    """Corrections, checked.

    Raises:
      UserError: one is not a click on the image.
    """
    rows = _numbers("corrections", corrections, "clicks (x, y, 1 or -1)")
    if rows.size == 0:
        return []
    if rows.ndim != 2 or rows.shape[1] != 3 or not np.isin(rows[:, 2], (-1, 1)).all():
        raise UserError("corrections: expected clicks (x, y, 1 to add or -1 to take away)")
    inside = (rows[:, :2] >= 0) & (rows[:, :2] <= (opened.width, opened.height))
    if not inside.all():
        raise UserError("corrections: a click is off the image")
    return [(x, y, int(sign)) for x, y, sign in rows.tolist()]


def _refuse(problem: Problem) -> None:
    if not problem.note:
        raise UserError(problem_line("label_image", problem))
