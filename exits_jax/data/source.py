"""Random access to instances: where the examples of training and labelling come from.

A `Source` is a table of arrays (so that a million instances cost little to hand to a worker
process) and a function that reads an image's encoded bytes, from a file or from an ArrayRecord.
The code that uses it does not know which, so both give the same examples.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from exits_jax.annotations import ImageRecord, Instance, Problem
from exits_jax.data.images import RGBImage, decode_record, load_image, read_record
from exits_jax.system.errors import UserError

# image uint8[h,w,3], box_xyxy float64[4], points_xy float64[4,2] (zeros where has_points is False),
# has_points, annotation_id, index (position in the source): image coordinates.
Example = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Source:
    """Instances by position: `source[i]` decodes the image and returns an `Example`.

    It holds no cache and may be read from several threads and processes.

    Attributes:
      images: the distinct images, in the order in which the instances first name them.
      image_index: position in `images`, per instance.
      annotation_id: per instance.
      box_xyxy: in image coordinates.
      points_xy: extreme points top, left, bottom, right; zeros where there are none.
      has_points: whether the instance has extreme points.
      read: position in `images`, and the record there -> the encoded bytes.
    """

    images: tuple[ImageRecord, ...]
    image_index: Int[np.ndarray, " n"]
    annotation_id: Int[np.ndarray, " n"]
    box_xyxy: Float[np.ndarray, "n 4"]
    points_xy: Float[np.ndarray, "n 4 2"]
    has_points: Bool[np.ndarray, " n"]
    read: Callable[[int, ImageRecord], bytes]

    def __len__(self) -> int:
        return len(self.annotation_id)

    def __getitem__(self, index: int) -> Example:
        """The example at position `index`.

        Raises:
          UserError: its image cannot be used; names the annotation and the file.
        """
        return self.example(index, self.decoded(index))

    def decoded(self, index: int) -> RGBImage:
        """The image that instance `index` is on; UserError naming the annotation and the file."""
        position = int(self.image_index[index])
        record = self.images[position]
        try:
            return decode_record(self.read(position, record), record)
        except UserError as error:
            raise UserError(f"annotation {self.annotation_id[index]}: {error}") from error

    def example(self, index: int, image: RGBImage) -> Example:
        """The example at position `index`, whose image is already decoded."""
        return {
            "image": image,
            "box_xyxy": self.box_xyxy[index],
            "points_xy": self.points_xy[index],
            "has_points": bool(self.has_points[index]),
            "annotation_id": int(self.annotation_id[index]),
            "index": int(index),
        }

    def fingerprint(self) -> str:
        """A digest of ids, boxes and points of the instances, but not of the images."""
        state = hashlib.sha256()
        for column in (self.annotation_id, self.box_xyxy, self.points_xy, self.has_points):
            state.update(np.ascontiguousarray(column))
        return state.hexdigest()[:16]

    def take(self, positions: Sequence[int] | Int[np.ndarray, " k"]) -> "Source":
        """The source of the instances at `positions`, in that order and numbered from 0."""
        chosen = np.asarray(positions, np.int64)
        rows = ("image_index", "annotation_id", "box_xyxy", "points_xy", "has_points")
        return replace(self, **{name: getattr(self, name)[chosen] for name in rows})


def file_source(instances: Sequence[Instance]) -> Source:
    """The source that reads the instances' image files."""
    return table_source(instances, read_file)


def table_source(
    instances: Sequence[Instance], read: Callable[[int, ImageRecord], bytes]
) -> Source:
    """The source of `instances` whose encoded images `read` returns.

    Args:
      instances: in the order in which the source numbers them.
      read: position in `Source.images`, and the record there -> the encoded bytes. It has to be
        picklable for worker processes.
    """
    images: dict[tuple[int, str], tuple[int, ImageRecord]] = {}
    positions = []
    for instance in instances:
        key = (instance.image.id, instance.image.file_name)
        positions.append(images.setdefault(key, (len(images), instance.image))[0])
    none = np.zeros((4, 2))
    points = [none if x.points_xy is None else x.points_xy for x in instances]
    return Source(
        images=tuple(record for _, record in images.values()),
        image_index=np.array(positions, np.int32),
        annotation_id=np.array([x.id for x in instances], np.int32),
        box_xyxy=np.array([x.box_xyxy for x in instances], np.float64).reshape(-1, 4),
        points_xy=np.array(points, np.float64).reshape(-1, 4, 2),
        has_points=np.array([x.points_xy is not None for x in instances], bool),
        read=read,
    )


def as_source(examples: Source | Sequence[Instance]) -> Source:
    """`examples` itself, or the source of a list of instances whose images are files."""
    return examples if isinstance(examples, Source) else file_source(examples)


def by_image(instances: Sequence[Instance]) -> list[Instance]:
    """The instances with those of an image together; images in the order of their first instance.

    Labelling in this order decodes each image once.
    """
    return [instances[position] for position in image_order(instances)]


def image_order(instances: Sequence[Instance]) -> Int[np.ndarray, " n"]:
    """The positions of the instances in the order of `by_image`."""
    ranks: dict[int, int] = {}
    rank = [ranks.setdefault(instance.image.id, len(ranks)) for instance in instances]
    return np.argsort(rank, kind="stable")


def usable_instances(
    instances: Sequence[Instance], progress: Callable[[int], object] | None = None
) -> tuple[list[Instance], list[Problem]]:
    """Decodes every image once and leaves out the instances whose image cannot be used.

    This is done before training, so that the order of examples never depends on a failure on the
    way.

    Args:
      instances: to be checked; images are read from their files.
      progress: called with 1 after each image.

    Returns:
      The usable instances in their order, and a problem "image" for each one left out.
    """
    faults = image_faults(list({x.image: None for x in instances}), progress)
    usable = [x for x in instances if x.image not in faults]
    problems = [
        Problem("image", faults[x.image], x.id, x.image.id) for x in instances if x.image in faults
    ]
    return usable, problems


def image_faults(
    records: Sequence[ImageRecord], progress: Callable[[int], object] | None = None
) -> dict[ImageRecord, str]:
    """What is wrong with the image files that cannot be used, each decoded once.

    Args:
      records: whose files are read.
      progress: called with 1 after each image.
    """
    faults: dict[ImageRecord, str] = {}
    for record, fault in zip(records, _faults(records), strict=True):
        if fault is not None:
            faults[record] = fault
        if progress is not None:
            progress(1)
    return faults


def _faults(records: Sequence[ImageRecord]) -> Iterator[str | None]:
    """What is wrong with each image, in order; one decoding thread per core."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(records), 64):  # bounded: a decoded image is dropped at once
            yield from pool.map(_fault, records[first : first + 64])


def _fault(record: ImageRecord) -> str | None:
    try:
        load_image(record)
    except UserError as error:
        return str(error)
    return None


def read_file(position: int, record: ImageRecord) -> bytes:
    """The encoded bytes of an image's file, whatever its position in a source."""
    del position
    return read_record(record)
