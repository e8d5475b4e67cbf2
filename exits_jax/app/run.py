"""What every phase starts from: the config, the workdir, and the annotations they name."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from exits_jax.annotations import (
    Annotations,
    ImageRecord,
    Instance,
    Problem,
    problem_line,
    read_annotations,
    read_images,
)
from exits_jax.app.settings import Settings
from exits_jax.app.workdir import Workdir
from exits_jax.data.images import RGBImage, decode_record
from exits_jax.data.source import Source, file_source, image_order, read_file, usable_instances
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_bytes
from exits_jax.system.hosts import ALONE, Hosts
from exits_jax.system.progress import track


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: its config, its folder, which of its processes this is, and what it has said."""

    config: Settings
    workdir: Workdir
    hosts: Hosts = ALONE
    said: set[str] = dataclasses.field(default_factory=set)

    def note(self, line: str) -> None:
        """Prints a note, only once per run however many of its phases meet it."""
        if self.hosts.first and self.is_new(line):
            print(f"note: {line}")

    def is_new(self, line: str) -> bool:
        """Whether this line is asked about for the first time."""
        new = line not in self.said
        self.said.add(line)
        return new


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Annotations, and where their images are read from: `source[i]` is `instances[i]`."""

    annotations: Annotations
    instances: list[Instance]
    source: Source

    def take(self, positions: Sequence[int] | Int[np.ndarray, " k"]) -> "DataSet":
        """The instances at `positions`, in that order."""
        chosen = [self.instances[i] for i in positions]
        return DataSet(self.annotations, chosen, self.source.take(positions))


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Whole images, and where they are read from: `decoded(i)` is the picture of `records[i]`."""

    annotations: Annotations
    records: Sequence[ImageRecord]
    read: Callable[[int, ImageRecord], bytes]

    def decoded(self, index: int) -> RGBImage:
        """The picture at position `index`; UserError naming its file where it cannot be used."""
        return decode_record(self.read(index, self.records[index]), self.records[index])


def images_to_predict(run: Run, *, report: bool = True) -> ImageSet:
    """What is predicted: every image of an annotation file, or of a folder alone.

    Raises:
      UserError: no image, or one that cannot be told.
    """
    data, (file, images) = run.config.data, files_of(run, "predict")
    if data.source == "tfds" and (file, images) == files_of(run, "label"):
        annotations, source = prepared_data(run, "label")
        if missing := len(annotations.images) - len(source.images):
            run.note(f"{missing} images without objects are not in prepared data: not predicted")
        return ImageSet(annotations, source.images, source.read)
    if not file and not images:
        raise UserError("no images: give --config.data.images=DIR, or data.annotations besides")
    found = read_images(
        file or images,
        images,
        kind=_kind(run, "predict") if file else "images",
        on_error=data.on_error,
        exif=data.exif,
    )
    if report:
        say_notes(run, file or images, found)
        report_problems(run, "predict", found.problems)
    return ImageSet(found, [*found.images.values()], read_file)


def data_to_label(run: Run) -> DataSet:
    """What is labelled and evaluated: every instance, those of an image together."""
    data = _read(run, "label")
    return data.take(image_order(data.instances))


def data_to_train(run: Run) -> DataSet:
    """What is trained on: instances whose box is large enough to learn from [I].

    With `data.on_error = "skip"` those with unreadable images are left out and listed.
    """
    data, smallest = _read(run, "train"), run.config.data.min_train_area
    large = [n for n, i in enumerate(data.instances) if i.box_area >= smallest]
    if not large:
        raise UserError(
            f"{data.annotations.file}: none of its {len(data.instances)} boxes covers "
            f"{smallest} square pixels (data.min_train_area)"
        )
    data = data.take(large)
    if run.config.data.source == "tfds":
        return data  # only decodable images are packed
    good = {i.id for i in usable(run, "train", data.instances)}
    return data.take([n for n, i in enumerate(data.instances) if i.id in good])


def usable(run: Run, role: str, instances: list[Instance]) -> list[Instance]:
    """The instances whose image files can be decoded; the others are listed, or stop the run."""
    if run.config.data.on_error != "skip":
        return instances
    with track("check images", len({i.image.id for i in instances})) as progress:
        good, problems = usable_instances(instances, progress.advance)
    report_problems(run, role, problems)
    return good


def files_of(run: Run, role: str) -> tuple[str, str]:
    """Annotation file and image folder of a role.

    Roles are "label", "train", "truth", "predict", and "masks", which stage 2 is trained on.
    """
    data, stage2 = run.config.data, run.config.segmentation
    if role == "masks":
        return str(stage2.annotations or run.workdir.labels), stage2.images or data.images
    if role == "predict" and stage2.test_annotations:
        return stage2.test_annotations, stage2.test_images
    if role == "train" and data.train_annotations:
        return data.train_annotations, data.train_images
    return data.annotations, data.images


def prepared_folder(run: Run, role: str) -> pathlib.Path:
    """Where `--mode=prepare` packs the data of a role; one folder if both are the same."""
    same = files_of(run, role) == files_of(run, "label")
    base = pathlib.Path(run.config.data.prepared or run.workdir.folder / "prepared")
    return base / ("label" if same else role)


def read_files(run: Run, role: str, *, report: bool = True) -> Annotations:
    """The annotation file of a role, as the config says; what it skips is listed."""
    data = run.config.data
    file, images = files_of(run, role)
    bare = not file and images and data.boxes  # a detector's boxes only need a folder of images
    if not file and not bare:
        raise UserError(
            "no annotations: give --config.data.annotations=FILE --config.data.images=DIR"
        )
    annotations = read_annotations(
        images if bare else file,
        images,
        kind="images" if bare else _kind(run, role),
        points=data.points,
        on_error=data.on_error,
        seed=run.config.seed,
        boxes=data.boxes if role == "label" else None,
        boxes_by=data.boxes_by,
        # The kind of a detector's boxes, if there are any: the other files are COCO's.
        box_form=data.box_form if role == "label" or not data.boxes else "auto",
        crowds=data.crowds,
        exif=data.exif,
    )
    if report:
        say_notes(run, file or images, annotations)
        report_problems(run, role, annotations.problems)
    return annotations


def _kind(run: Run, role: str) -> str:
    """The kind of the annotation file of a role; `data.kind` is not that of a test file."""
    same = files_of(run, role)[0] != run.config.segmentation.test_annotations
    return run.config.data.kind if same else "auto"


def say_notes(run: Run, file: str, annotations: Annotations) -> None:
    """Says what was read otherwise than it is written."""
    for note in annotations.notes:
        run.note(problem_line(file, note))


def report_problems(run: Run, role: str, problems: Sequence[Problem]) -> None:
    """Prints what was skipped, one line each and only once, and keeps it in `skipped.txt`."""
    if not problems:
        return
    file, images = files_of(run, role)
    lines = [problem_line(file or images, problem) for problem in problems]
    unsaid = [line for line in lines if run.is_new(line)]
    if unsaid:
        print(f"skipped {len(unsaid)} (data.on_error=skip):", *unsaid, sep="\n  ")
    path = run.workdir.folder / "skipped.txt"
    known = dict.fromkeys(path.read_text().splitlines() if path.exists() else [])
    new = [line for line in lines if line not in known]
    write_bytes(path, "".join(f"{line}\n" for line in [*known, *new]).encode())


def prepared_data(run: Run, role: str) -> tuple[Annotations, Source]:
    """The prepared data of a role."""
    from exits_jax.data.tfds_builder import read_prepared  # heavy, and not always installed

    file, images = files_of(run, role)
    annotations, source = read_prepared(prepared_folder(run, role), images)
    say_notes(run, file, annotations)
    return annotations, source


def _read(run: Run, role: str) -> DataSet:
    if run.config.data.source == "tfds":
        annotations, source = prepared_data(run, role)
        return DataSet(annotations, annotations.instances, source)
    annotations = read_files(run, role)
    return DataSet(annotations, annotations.instances, file_source(annotations.instances))
