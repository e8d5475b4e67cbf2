"""Whole images -> the objects a trained model finds in them, as rows of COCO's results form.

The network sees an image on a canvas and says masks on a coarser map. A mask of the image is that
map, bilinear to the canvas, cut to what the image covers of it, bilinear to the image's own size,
where it is above the threshold. All of that is linear in rows and columns: one small matrix for
each, on the cells and pixels that the object can reach alone. Masks are made one by one, so memory
does not grow with how many there are.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from pycocotools import mask as coco_masks

from exits_jax.annotations import ImageRecord
from exits_jax.annotations.regions import Region, encode_in_image
from exits_jax.data.ahead import in_order
from exits_jax.data.images import RGBImage
from exits_jax.export.in_parts import Maker
from exits_jax.segmentation.canvas import CanvasSize, choose_canvas, place, placed_size
from exits_jax.segmentation.classes import Classes
from exits_jax.segmentation.detect import Detections, make_detect
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.segmentation.trained import Trained
from exits_jax.system.errors import UserError

THREADS = 2  # that decode images ahead of the network


@dataclass(frozen=True)
class ImagePredictions:
    """What was found in an image.

    Attributes:
      image_id: of it.
      detections: best first, {category_id, score, segmentation} each.
      error: why the image could not be used; "" where it was.
    """

    image_id: int
    detections: list[dict[str, Any]]
    error: str = ""


class Predicted(NamedTuple):
    """What was found in the images of a batch: their positions in the part, and rows as JSON."""

    index: Int[np.ndarray, " k"]
    rows: UInt8[np.ndarray, " bytes"]


class Pictures(NamedTuple):
    """Images by position.

    Attributes:
      records: of the images.
      decoded: position -> the image; UserError where it cannot be used.
    """

    records: Sequence[ImageRecord]
    decoded: Callable[[int], RGBImage]


class Placed(NamedTuple):
    """The images of a batch on one canvas, which rows without one fill.

    Attributes:
      positions: of the images, without those that cannot be used.
      image, extent: as in a batch (`canvas`).
      errors: by position, why an image cannot be used.
    """

    positions: list[int]
    image: UInt8[np.ndarray, "b H W 3"]
    extent: Int[np.ndarray, "b 2"]
    errors: dict[int, str]


Detecting = Callable[[UInt8[np.ndarray, "b H W 3"], Int[np.ndarray, "b 2"]], Detections]


def detecting(model: Trained, device: jax.Device | None = None) -> Detecting:
    """The model on a device (None: the default one): (image, extent) -> arrays of NumPy."""
    detect = jax.jit(make_detect(model.network, model.settings))
    params = jax.device_put(model.params, device)

    def run(image: UInt8[np.ndarray, "b H W 3"], extent: Int[np.ndarray, "b 2"]) -> Detections:
        with jax.default_device(device):
            return jax.device_get(detect(params, image, extent))

    return run


def part_maker(
    detect: Detecting,
    settings: SegmentationSettings,
    classes: Classes,
    pictures: Pictures,
    *,
    skip: bool = False,
) -> Maker:
    """The maker of parts of the predictions, rows being `ImagePredictions`.

    Batches are of images of one canvas and always full, so that rows do not depend on what else is
    in a part.

    Args:
      detect: of `detecting`.
      settings, classes: of the model.
      pictures: all of them.
      skip: an image that cannot be used gives a row that says why; else it ends the work.
    """

    def make(
        positions: range, made: Sequence[Predicted], keep: Callable[[Predicted], None]
    ) -> list[ImagePredictions]:
        records = pictures.records
        found = {row.image_id: row for batch in made for row in _unpacked(batch)}
        batches = _batches([(i, records[i]) for i in positions], settings)[len(made) :]
        load = functools.partial(_placed, pictures, settings.device_batch, skip)
        for batch in in_order(load, batches, THREADS):
            rows = _rows(batch, detect, settings, classes, records)
            keep(_packed(rows, positions, records))
            found |= {row.image_id: row for row in rows}
        return [found[records[i].id] for i in positions]

    return make


def found_in(
    image: RGBImage, detect: Detecting, settings: SegmentationSettings, min_score: float
) -> tuple[Bool[np.ndarray, "k h w"], Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """The objects of one image, best first: masks, classes and scores of at least `min_score`.

    Args:
      image: the image.
      detect: of `detecting`.
      settings: of the model.
      min_score: of the detections.
    """
    size = image.shape[:2]
    canvas = settings.canvases[choose_canvas(*size, settings.canvases)]
    extent = placed_size(*size, canvas)
    batch = (place(image, extent, canvas)[None], np.array([extent], np.int32))
    found = Detections(*(column[0] for column in detect(*batch)))
    count = int(((found.scores > 0) & (found.scores >= min_score)).sum())
    masks = np.zeros((count, *size), bool)
    parts = image_masks(
        found.masks[:count],
        canvas=canvas,
        extent=extent,
        size=size,
        threshold=settings.mask_threshold,
    )
    for mask, (part, (x0, y0, x1, y1)) in zip(masks, parts, strict=True):
        mask[y0:y1, x0:x1] = part
    kept = np.flatnonzero(masks.any(axis=(1, 2)))
    return masks[kept], found.classes[kept], found.scores[kept]


def image_masks(
    probabilities: Float[np.ndarray, "n r c"],
    *,
    canvas: CanvasSize,
    extent: tuple[int, int],
    size: tuple[int, int],
    threshold: float,
) -> Iterator[tuple[Bool[np.ndarray, "_h _w"], Region]]:
    """The masks of an image one by one: each on the region (x0, y0, x1, y1) that it may reach.

    Args:
      probabilities: of the masks, on the map that covers the canvas.
      canvas: rows and columns.
      extent: rows and columns of it that the image covers.
      size: height and width of the image.
      threshold: a mask is where its probability is greater.
    """
    rows, columns = (
        _axis(*sides) for sides in zip(probabilities.shape[1:], canvas, extent, size, strict=True)
    )
    for probability in probabilities:
        above = probability > threshold
        (top, bottom), (left, right) = (_range(above.any(axis=axis)) for axis in (1, 0))
        y0, y1, down = rows.reached(top, bottom)
        x0, x1, along = columns.reached(left, right)
        part = rows.matrix[y0:y1, down] @ probability[down, along] @ columns.matrix[x0:x1, along].T
        yield part > threshold, (x0, y0, x1, y1)


class Axis(NamedTuple):
    """How the pixels along an image's side are made of the cells along a map's.

    Attributes:
      matrix: the share of each cell in each pixel.
      first, last: cell that a pixel takes from; neither ever falls from a pixel to the next.
    """

    matrix: Float[np.ndarray, "pixels cells"]
    first: Int[np.ndarray, " pixels"]
    last: Int[np.ndarray, " pixels"]

    def reached(self, begin: int, end: int) -> tuple[int, int, slice]:
        """First and one past the last pixel that cells begin:end reach; all the cells of those."""
        start = int(np.searchsorted(self.last, begin))
        stop = max(int(np.searchsorted(self.first, end)), start)
        if start == stop:
            return start, stop, slice(0, 0)
        return start, stop, slice(int(self.first[start]), int(self.last[stop - 1]) + 1)


@functools.lru_cache(maxsize=16)  # neighbours in a folder are of one size or two
def _axis(cells: int, canvas: int, extent: int, size: int) -> Axis:
    """Cells -> the canvas's pixels, cut to the extent -> the image's pixels, both bilinear."""
    on_canvas = _bilinear(np.eye(cells, dtype=np.float32), canvas)[:extent]
    matrix = _bilinear(on_canvas, size)
    used = matrix > 0
    return Axis(matrix, used.argmax(axis=1), cells - 1 - used[:, ::-1].argmax(axis=1))


def _bilinear(rows: Float[np.ndarray, "n c"], size: int) -> Float[np.ndarray, "size c"]:
    """Rows resized to `size` of them: two neighbours each, pixel centres at .5, no antialiasing."""
    place = np.clip((np.arange(size) + 0.5) * len(rows) / size - 0.5, 0, len(rows) - 1)
    low = np.floor(place).astype(int)
    share = (place - low).astype(np.float32)[:, None]
    return rows[low] * (1 - share) + rows[np.minimum(low + 1, len(rows) - 1)] * share


def _range(there: Bool[np.ndarray, " n"]) -> tuple[int, int]:
    """First and one past the last place that is there; an empty range for none."""
    places = np.flatnonzero(there)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def _batches(
    images: Sequence[tuple[int, ImageRecord]], settings: SegmentationSettings
) -> list[list[tuple[int, CanvasSize]]]:
    """Positions and canvas of the images of each batch: one canvas a batch, otherwise in order."""
    groups: dict[CanvasSize, list[int]] = {}
    for position, record in images:
        canvas = settings.canvases[choose_canvas(record.height, record.width, settings.canvases)]
        groups.setdefault(canvas, []).append(position)
    size = settings.device_batch
    return [
        [(position, canvas) for position in group[first : first + size]]
        for canvas, group in groups.items()
        for first in range(0, len(group), size)
    ]


def _placed(
    pictures: Pictures, batch_size: int, skip: bool, batch: list[tuple[int, CanvasSize]]
) -> Placed:
    """The images of a batch, decoded and placed on their canvas."""
    canvas = batch[0][1]
    placed = Placed(
        [], np.zeros((batch_size, *canvas, 3), np.uint8), np.ones((batch_size, 2), np.int32), {}
    )
    for position, _ in batch:
        try:
            image = pictures.decoded(position)
        except UserError as error:
            if not skip:
                raise
            placed.errors[position] = str(error)
            continue
        row = len(placed.positions)
        extent = placed_size(*image.shape[:2], canvas)
        placed.image[row], placed.extent[row] = place(image, extent, canvas), extent
        placed.positions.append(position)
    return placed


def _rows(
    batch: Placed,
    detect: Detecting,
    settings: SegmentationSettings,
    classes: Classes,
    records: Sequence[ImageRecord],
) -> list[ImagePredictions]:
    """What is found in the images of a batch, and the rows of those that cannot be used."""
    rows = [ImagePredictions(records[i].id, [], text) for i, text in batch.errors.items()]
    if not batch.positions:
        return rows
    found = detect(batch.image, batch.extent)
    for number, position in enumerate(batch.positions):
        record, canvas = records[position], batch.image.shape[1:3]
        one = Detections(*(column[number] for column in found))
        extent = tuple(batch.extent[number].tolist())
        size = record.height, record.width
        detections = image_detections(one, classes, canvas, extent, size, settings.mask_threshold)
        rows.append(ImagePredictions(record.id, detections))
    return rows


def image_detections(
    found: Detections,
    classes: Classes,
    canvas: CanvasSize,
    extent: tuple[int, int],
    size: tuple[int, int],
    threshold: float,
) -> list[dict[str, Any]]:
    """The detections of one image in its own pixels; without those of which no pixel is left.

    Args:
      found: of one image (no batch axis).
      classes: of the model.
      canvas, extent, size, threshold: as `image_masks`.

    Returns:
      Best first, {category_id, score (four decimals), segmentation (compressed run lengths)} each.
      No `bbox`: beside one, pycocotools takes the box's area for the mask's.
    """
    count = int((found.scores > 0).sum())  # best first
    masks = image_masks(
        found.masks[:count], canvas=canvas, extent=extent, size=size, threshold=threshold
    )
    detections = []
    for (mask, region), number, score in zip(
        masks, found.classes[:count].tolist(), found.scores[:count].tolist(), strict=True
    ):
        if mask.any():
            rle = encode_in_image(mask, region, *size)
            detections.append(
                {
                    "category_id": classes.ids[number],
                    "score": round(score, 4),
                    "segmentation": rle,
                }
            )
    return detections


def result_rows(predictions: ImagePredictions) -> Iterator[dict[str, Any]]:
    """The detections of an image as rows of COCO's results form."""
    for detection in predictions.detections:
        yield {"image_id": predictions.image_id, **detection}


def shown_document(
    images: Sequence[Any],
    classes: Classes,
    predictions: Iterable[ImagePredictions],
    min_score: float,
) -> dict[str, Any]:
    """Detections of at least `min_score` as the document that the export formats take.

    Args:
      images: of the annotation file, as it lists them.
      classes: of the model, which become the categories.
      predictions: of the images.
      min_score: see above.
    """
    shown = [row for one in predictions for row in result_rows(one) if row["score"] >= min_score]
    ids_and_names = zip(classes.ids, classes.names, strict=True)
    return {
        "images": list(images),
        "categories": [{"id": key, "name": name} for key, name in ids_and_names],
        "annotations": [
            {
                **{"id": number, "iscrowd": 0},
                "area": float(coco_masks.area(row["segmentation"])),
                "bbox": coco_masks.toBbox(row["segmentation"]).tolist(),
                **row,
                "exits": {"score": row["score"], "flags": []},
            }
            for number, row in enumerate(shown, start=1)
        ],
    }


def _packed(
    rows: Sequence[ImagePredictions], positions: range, records: Sequence[ImageRecord]
) -> Predicted:
    """Rows as they are kept until their part is finished."""
    places = {records[i].id: place for place, i in enumerate(positions)}
    text = json.dumps([[row.image_id, row.detections, row.error] for row in rows])
    index = np.array([places[row.image_id] for row in rows], np.int64)
    return Predicted(index, np.frombuffer(text.encode(), np.uint8))


def _unpacked(batch: Predicted) -> list[ImagePredictions]:
    return [ImagePredictions(*row) for row in json.loads(batch.rows.tobytes())]
