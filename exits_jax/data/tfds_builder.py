"""A data set packed into few files: a TFDS builder over ArrayRecord, without TensorFlow.

One record per *image*, with all its instances, so that no image is stored twice; instances are
reached through an index of their columns beside the records. A prepared folder holds

  exits_instances/1.0.0/   the TFDS data set: the encoded image files as they are, and per image its
                           instances; other programs read it with `tfds.builder_from_directory`
  instances.npz            the instances by column, float64 as they were read; `image` is the number
                           of the record
  document.json            the annotation file in COCO form, for writing labels back
  prepared.json            images, categories, problems and notes; written last, so a folder with
                           it is complete

tf.Example knows only float32, so coordinates travel as the bytes of float64 arrays.
"""

import functools
import io
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from exits_jax.annotations import Annotations, ImageRecord, Instance, Problem
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.images import image_records
from exits_jax.data.images import decode_record
from exits_jax.data.prepared_index import (
    image_record,
    instance_columns,
    instances_from,
    make_index,
    read_index,
)
from exits_jax.data.source import Source, file_source, table_source
from exits_jax.system import files
from exits_jax.system.errors import UserError

SPLIT = "images"
Progress = Callable[[int], object]  # called with 1 after each image


class ExitsInstances(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder; use `prepare` and `read_prepared`.

    Derived from TFDS's class because TFDS builds nothing else.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self, *, source: Source, instances: list[Instance], progress: Progress | None, data_dir: str
    ) -> None:
        self._source, self._instances, self._progress = source, instances, progress
        super().__init__(data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        def column(dtype: Any, *shape: int) -> tfds.features.Tensor:
            encoding = "bytes" if dtype == np.float64 else "none"
            return tfds.features.Tensor(shape=(None, *shape), dtype=dtype, encoding=encoding)

        features = {
            "image": tfds.features.Image(doc="the encoded file as it was"),
            "image_id": tfds.features.Scalar(np.int64),
            "file_name": tfds.features.Text(),
            "width": tfds.features.Scalar(np.int64),
            "height": tfds.features.Scalar(np.int64),
            "instances": {
                "id": column(np.int64),
                "category_id": column(np.int64),
                "box_xyxy": column(np.float64, 4),
                "points_xy": column(np.float64, 4, 2),
                "has_points": column(np.int64),
                "area": column(np.float64),
            },
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Instances with extreme points: top, left, bottom, right; pixels, xy.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # a record's number is the image's place in the source
        )

    def _log_download_bytes(self) -> None:
        """Silent: nothing is downloaded, and TFDS would print that it is."""

    def _log_download_done(self) -> None:
        """Silent, for the same reason."""

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        members: list[list[int]] = [[] for _ in self._source.images]
        for index, image in enumerate(self._source.image_index):
            members[image].append(index)
        for position, record in enumerate(self._source.images):
            content = self._source.read(position, record)
            decode_record(content, record)  # raises here rather than in the middle of training
            yield position, self._example(record, content, members[position])
            if self._progress is not None:
                self._progress(1)

    def _example(self, record: ImageRecord, content: bytes, rows: list[int]) -> dict[str, Any]:
        source, chosen = self._source, [self._instances[row] for row in rows]
        return {
            "image": io.BytesIO(content),
            "image_id": record.id,
            "file_name": record.file_name,
            "width": record.width,
            "height": record.height,
            "instances": {
                "id": np.array([x.id for x in chosen], np.int64),
                "category_id": np.array([x.category_id for x in chosen], np.int64),
                "box_xyxy": source.box_xyxy[rows],
                "points_xy": source.points_xy[rows],
                "has_points": source.has_points[rows].astype(np.int64),
                "area": np.array([x.area for x in chosen], np.float64),
            },
        }


def prepare(
    annotations: Annotations, out_dir: str | os.PathLike, progress: Progress | None = None
) -> pathlib.Path:
    """Packs the instances of `annotations` and their images into `out_dir`.

    A folder that holds the same data set already is left as it is; one that an interrupted call
    left behind is written again from the beginning.

    Args:
      annotations: what to pack; images are read from their files.
      out_dir: a folder for this data set alone.
      progress: called with 1 after each image.

    Returns:
      `out_dir`, for `read_prepared`.

    Raises:
      UserError: an image cannot be used; `out_dir` holds another data set; the disk is full.
    """
    folder = pathlib.Path(out_dir)
    source = file_source(annotations.instances)
    document = json.dumps(annotations.document, separators=(",", ":")).encode()
    index = make_index(annotations, source, document)
    state = read_index(folder)
    if state is not None and state["digest"] == index["digest"]:
        return folder
    if state is not None or (folder.is_dir() and _foreign(folder)):
        raise UserError(
            f"{folder}: holds something other than this data set; give an empty folder or delete it"
        )
    _write_records(folder, source, annotations.instances, progress)
    files.write_bytes(folder / "document.json", document)
    files.write_bytes(folder / "instances.npz", instance_columns(annotations.instances, source))
    files.write_json(folder / "prepared.json", index)
    return folder


def read_prepared(
    folder: str | os.PathLike, images: str | os.PathLike | None = None
) -> tuple[Annotations, Source]:
    """What `prepare` was given, and the source that reads images from the records.

    Args:
      folder: from `prepare`.
      images: folder of the image files, only to fill in `ImageRecord.path`, for what shows or
        places photographs; it may be missing.

    Returns:
      The annotations (`file` is the copy in `folder`), and a source whose instance i is
      `annotations.instances[i]`.

    Raises:
      UserError: `folder` is not a complete prepared data set.
    """
    folder = pathlib.Path(folder)
    state = read_index(folder)
    if state is None:
        raise UserError(f"{folder}: not a prepared data set; make it with --mode=prepare")
    try:
        document = json.loads((folder / "document.json").read_bytes())
        with np.load(folder / "instances.npz") as stored:
            columns = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: damaged ({error}); delete it and prepare it again") from error
    paths = _image_paths(document, images)
    records = {r.id: r for r in (image_record(row, paths) for row in state["images"])}
    categories = {int(key): name for key, name in state["categories"].items()}
    instances = instances_from(columns, records, categories)
    annotations = Annotations(
        file=folder / "document.json",
        document=document,
        images=records,
        categories=categories,
        instances=instances,
        problems=[Problem(**problem) for problem in state["problems"]],
        notes=[Problem(**note) for note in state.get("notes", [])],
    )
    source = table_source(instances, functools.partial(_read_image, str(folder.resolve())))
    return annotations, source


def _image_paths(
    document: dict[str, Any], images: str | os.PathLike | None
) -> dict[int, pathlib.Path | None]:
    """The image files by image id, found as when an annotation file is read."""
    if images is None or not pathlib.Path(images).is_dir():
        return {}
    found = image_records(document, ImageFolder(images), lambda _: None)
    return {key: record.path for key, record in found.items()}


def _foreign(folder: pathlib.Path) -> bool:
    """Whether a folder without prepared.json holds what no interrupted `prepare` leaves."""
    ours = {ExitsInstances.name, "document.json", "instances.npz"}
    return any(x.name not in ours and not x.name.endswith(".tmp") for x in folder.iterdir())


def _write_records(
    folder: pathlib.Path, source: Source, instances: list[Instance], progress: Progress | None
) -> None:
    records = folder / ExitsInstances.name
    shutil.rmtree(records, ignore_errors=True)
    tfds.disable_progress_bar()
    builder = ExitsInstances(
        source=source, instances=instances, progress=progress, data_dir=str(folder)
    )
    try:
        builder.download_and_prepare(
            download_dir=str(records / "downloads"), file_format="array_record"
        )
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _read_image(folder: str, position: int, record: ImageRecord) -> bytes:
    """The encoded image of record `position`."""
    example = _open_records(folder)[position]
    if int(example["image_id"]) != record.id:
        raise UserError(
            f"{folder}: record {position} is image {int(example['image_id'])}, expected image "
            f"{record.id}; delete the folder and prepare it again"
        )
    return example["image"]


@functools.lru_cache(maxsize=2)  # opened once per process; what is pickled is the folder's name
def _open_records(folder: str) -> Any:
    path = pathlib.Path(folder) / ExitsInstances.name / str(ExitsInstances.VERSION)
    try:
        builder = tfds.builder_from_directory(path)
        return builder.as_data_source(SPLIT, decoders={"image": tfds.decode.SkipDecoding()})
    except Exception as error:  # TFDS may raise anything on a missing or damaged file
        raise UserError(f"{path}: cannot be read ({error}); prepare it again") from error
