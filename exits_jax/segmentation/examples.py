"""Random access to whole images with their masks: where the examples of stage 2 come from.

An `ImageSource` keeps the masks as the annotation file has them, packed; run lengths are made of
them when an image is asked for, so that memory does not grow with the pixels of a data set.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pycocotools import mask as coco_masks

from exits_jax.annotations import Annotations, ImageRecord, Instance, Problem, problem_line
from exits_jax.annotations.fields import is_marked
from exits_jax.annotations.masks import run_lengths
from exits_jax.annotations.numbers import finite_number, shown
from exits_jax.annotations.packed import PackedRows
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.summary import counted
from exits_jax.data.images import RGBImage, decode_record
from exits_jax.data.source import Source, image_faults, read_file
from exits_jax.segmentation.classes import Classes
from exits_jax.system.errors import UserError

# image uint8[h,w,3]; masks, a list of compressed run lengths of size [h,w], none empty; their
# classes int32[n], weights float32[n] and annotation_ids int64[n]; id of the image; index, its
# position in the source.
ImageExample = dict[str, Any]
# Position in a prepared data set, and the record there -> the encoded bytes.
Read = Callable[[int, ImageRecord], bytes]
# Of an instance in the loss: 0 would make background of an object that is not trusted.
LEAST_WEIGHT = 1e-3


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Images by position: `source[i]` decodes the image and returns an `ImageExample`.

    It holds no cache and may be read from several threads and processes.

    Attributes:
      file: of the annotations, for messages.
      images: one for each position.
      record_index: position that `read` knows an image by.
      rows: first and one past the last of an image's instances in the columns below.
      annotation_id: per instance.
      classes: position in `Classes`, per instance.
      weights: in the loss, per instance.
      segmentations: polygons or run lengths, per instance.
      read: an image's encoded bytes.
      class_list: what classes there are, as text.
      notes: what of the annotations is not trained on.
    """

    file: str
    images: tuple[ImageRecord, ...]
    record_index: Int[np.ndarray, " images"]
    rows: Int[np.ndarray, "images 2"]
    annotation_id: Int[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]
    weights: Float[np.ndarray, " n"]
    segmentations: PackedRows
    read: Read
    class_list: str
    notes: tuple[Problem, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> ImageExample:
        """The example at position `index`.

        Raises:
          UserError: its image or one of its masks cannot be used; names the file and either.
        """
        record = self.images[index]
        rows = np.arange(*self.rows[index])
        masks = [self._mask(row, record) for row in rows.tolist()]
        seen = [k for k, mask in enumerate(masks) if coco_masks.area(mask)]
        return {
            "image": self.image(index),
            "masks": [masks[k] for k in seen],
            "classes": self.classes[rows[seen]],
            "weights": self.weights[rows[seen]],
            "annotation_ids": self.annotation_id[rows[seen]],
            "id": record.id,
            "index": int(index),
        }

    def image(self, index: int) -> RGBImage:
        """The image at position `index`; UserError naming the annotation file and the image's."""
        record = self.images[index]
        try:
            return decode_record(self.read(int(self.record_index[index]), record), record)
        except UserError as error:
            problem = Problem("image", str(error), image_id=record.id)
            raise UserError(problem_line(self.file, problem)) from error

    def instances(self) -> Int[np.ndarray, " images"]:
        """How many instances each image has."""
        return self.rows[:, 1] - self.rows[:, 0]

    def fingerprint(self) -> str:
        """Changes with classes, and with all that is known of the images but their pixels."""
        state = hashlib.sha256(self.class_list.encode())
        ids = np.array([record.id for record in self.images], np.int64)
        for column in (ids, self.rows, self.annotation_id, self.classes, self.weights):
            state.update(np.ascontiguousarray(column))
        state.update(self.segmentations.text)
        return state.hexdigest()[:16]

    def take(self, positions: Sequence[int] | Int[np.ndarray, " k"]) -> "ImageSource":
        """The source of the images at `positions`, in that order and numbered from 0."""
        chosen = np.asarray(positions, np.int64)
        return replace(
            self,
            images=tuple(self.images[i] for i in chosen),
            record_index=self.record_index[chosen],
            rows=self.rows[chosen],
        )

    def _mask(self, row: int, record: ImageRecord) -> dict[str, Any]:
        try:
            return run_lengths(self.segmentations[row], record.height, record.width)
        except BadItem as bad:
            key = int(self.annotation_id[row])
            text = f"{bad.text} (image {record.file_name})"
            raise UserError(problem_line(self.file, Problem(bad.code, text, key))) from bad


def image_source(
    annotations: Annotations,
    classes: Classes,
    *,
    packed: Source | None = None,
    trust: bool = False,
    keep_empty: bool = False,
) -> ImageSource:
    """The images of an annotation file with the objects that can be trained on.

    Left out, and told in `notes`: objects without a mask, and those of no class. Crowds are no
    instances of the file and never among them.

    Args:
      annotations: of any kind of file, our own pseudo labels included.
      classes: of the network.
      packed: of a prepared data set with these images, which they are read from; None: from files.
      trust: weighs an instance with its label's exits.score, 1 where there is none.
      keep_empty: also the images without any object of a class, but not those on which something
        may be one that is left out: a crowd, an object without a mask, or a mistake. A prepared
        data set has no images without any object.

    Raises:
      UserError: nothing is left; an image is not in `packed`; trust is asked for where no label has
        a score; a score is none.
    """
    rows = annotations.document["annotations"]
    class_of = {key: classes.of(key) for key in annotations.categories}
    named = [x for x in annotations.instances if class_of[x.category_id] is not None]
    used = [x for x in named if _has_mask(x, rows[x.index])]
    bare = [x for x in named if not _has_mask(x, rows[x.index])]
    if not used:
        raise UserError(f"{annotations.file}: nothing to train on: {_why(annotations, bare)}")
    kept = _by_image(used)
    if keep_empty:
        wanted = annotations.images.keys() - kept.keys() - _doubtful(annotations, bare)
        known = _numbers(annotations.images.values() if packed is None else packed.images)
        kept |= {key: [] for key, _ in known if key in wanted}
    images = tuple(annotations.images[key] for key in kept)
    ordered = [instance for found in kept.values() for instance in found]
    ends = np.cumsum([len(found) for found in kept.values()])
    return ImageSource(
        file=str(annotations.file),
        images=images,
        record_index=_record_index(annotations, images, packed),
        rows=np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1),
        annotation_id=np.array([x.id for x in ordered], np.int64),
        classes=np.array([class_of[x.category_id] for x in ordered], np.int32),
        weights=_weights(annotations, ordered, trust),
        segmentations=_packed(annotations, ordered),
        read=read_file if packed is None else packed.read,
        class_list=str(classes.record()),
        notes=tuple(_notes(annotations, used, bare)),
    )


def usable_images(
    source: ImageSource, progress: Callable[[int], object] | None = None
) -> tuple[ImageSource, list[Problem]]:
    """Decodes every image file once and leaves out those that cannot be used.

    Done before training, as `data.source.usable_instances`.

    Args:
      source: that reads its images from files.
      progress: called with 1 after each image.

    Returns:
      The source of the usable images, and a problem "image" for each one left out.

    Raises:
      UserError: none is left.
    """
    faults = image_faults(source.images, progress)
    good = [i for i, record in enumerate(source.images) if record not in faults]
    problems = [Problem("image", fault, image_id=record.id) for record, fault in faults.items()]
    if not good:
        line = problem_line(source.file, problems[0])
        raise UserError(
            f"none of the {counted(len(faults), 'image')} can be used; the first: {line}"
        )
    return source.take(good), problems


def surplus(source: ImageSource, most: int) -> str:
    """How many instances `segmentation.max_instances` leaves out, in words; "" for none."""
    over = source.instances() - most
    images = int((over > 0).sum())
    if not images:
        return ""
    return (
        f"{counted(images, 'image')} with more than {most} instances "
        f"(segmentation.max_instances): {counted(int(over[over > 0].sum()), 'instance')}, the "
        "smallest of each, not trained on"
    )


def _has_mask(instance: Instance, row: dict[str, Any]) -> bool:
    """Whether an instance has a mask; one of no pixel is none, and gave no points."""
    return bool(row.get("segmentation")) and instance.points_source != "box"


def _by_image(instances: Iterable[Instance]) -> dict[int, list[Instance]]:
    """The instances by image id."""
    members: dict[int, list[Instance]] = {}
    for instance in instances:
        members.setdefault(instance.image.id, []).append(instance)
    return members


def _record_index(
    annotations: Annotations, images: Sequence[ImageRecord], packed: Source | None
) -> Int[np.ndarray, " images"]:
    """The position of each image in a prepared data set; without one, among the images.

    Raises:
      UserError: an image is not in it.
    """
    known = _numbers(images if packed is None else packed.images)
    for record in images:
        if (record.id, record.file_name) not in known:
            text = f"{record.file_name} is not in the prepared data set; prepare it again with it"
            problem = Problem("absent_image", text, image_id=record.id)
            raise UserError(problem_line(annotations.file, problem))
    return np.array([known[record.id, record.file_name] for record in images], np.int64)


def _numbers(images: Iterable[ImageRecord]) -> dict[tuple[int, str], int]:
    """The positions of images by id and name: an id alone may be that of another data set."""
    return {(record.id, record.file_name): number for number, record in enumerate(images)}


def _packed(annotations: Annotations, instances: Sequence[Instance]) -> PackedRows:
    """The segmentations of instances; UserError for one with NaN, which no mask has."""
    rows, reached = annotations.document["annotations"], None

    def outlines() -> Iterator[Any]:
        nonlocal reached
        for instance in instances:
            reached = instance.id
            yield rows[instance.index]["segmentation"]

    try:
        return PackedRows(outlines())
    except ValueError as error:
        problem = Problem("bad_segmentation", "NaN or infinity in the segmentation", reached)
        raise UserError(problem_line(annotations.file, problem)) from error


def _doubtful(annotations: Annotations, bare: Iterable[Instance]) -> set[int | None]:
    """The ids of the images on which there may be an object that is not trained on."""
    rows = annotations.document["annotations"]
    crowded = {row.get("image_id") for row in rows if isinstance(row, dict) and is_marked(row)}
    skipped = {problem.image_id for problem in annotations.problems}
    return {instance.image.id for instance in bare} | crowded | skipped


def _weights(
    annotations: Annotations, instances: Sequence[Instance], trust: bool
) -> Float[np.ndarray, " n"]:
    """The weights of instances in the loss.

    Raises:
      UserError: trust is asked for and there is no score, or one is none.
    """
    if not trust:
        return np.ones(len(instances), np.float32)
    rows = annotations.document["annotations"]
    labels = [rows[instance.index].get("exits") for instance in instances]
    scores = [label.get("score") if isinstance(label, dict) else None for label in labels]
    if all(score is None for score in scores):
        raise UserError(
            f"{annotations.file}: segmentation.trust is set, and no annotation has an exits.score; "
            "train on labels of ours (pseudo_labels.json) or leave it out"
        )
    for instance, score in zip(instances, scores, strict=True):
        number = finite_number(score)
        if score is not None and (number is None or not 0 <= number <= 1):
            text = f"exits.score is {shown(score)}; expected a number from 0 to 1"
            line = problem_line(annotations.file, Problem("bad_score", text, instance.id))
            raise UserError(line)
    weights = [1 if score is None else max(score, LEAST_WEIGHT) for score in scores]
    return np.array(weights, np.float32)


def _why(annotations: Annotations, bare: Sequence[Instance]) -> str:
    """Why there is nothing to train on."""
    total = counted(len(annotations.instances), "annotation")
    if not bare:
        return f"none of its {total} is of a class (segmentation.classes)"
    return (
        f"none of its {total} of a class has a mask (points or boxes only); label them first, or "
        "give a file with `segmentation`"
    )


def _notes(
    annotations: Annotations, used: Sequence[Instance], bare: Sequence[Instance]
) -> Iterable[Problem]:
    """What of the annotations is not trained on."""
    if bare:
        text = f"{counted(len(bare), 'object')} without a mask, not trained on; the first"
        text += f" is annotation {bare[0].id}"
        yield Problem("no_mask", text, note=True)
    other = len(annotations.instances) - len(used) - len(bare)
    if other:
        text = f"{counted(other, 'object')} of no class (segmentation.classes), not trained on"
        yield Problem("no_class", text, note=True)
