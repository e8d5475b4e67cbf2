"""What every phase starts from: the config, the workdir, and the annotations they name."""

import dataclasses
from collections.abc import Sequence

from ml_collections import ConfigDict

from exits_jax.annotations import Annotations, Instance, Problem, problem_line, read_annotations
from exits_jax.data.source import usable_instances
from exits_jax.errors import UserError
from exits_jax.progress import track
from exits_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: its config and its folder."""

    config: ConfigDict
    workdir: Workdir


def annotations_to_label(run: Run) -> Annotations:
    """The annotation file whose instances are labelled and evaluated."""
    data = run.config.data
    return _read(run, data.annotations, data.images)


def instances_to_train(run: Run) -> list[Instance]:
    """Instances of the training file whose box is large enough to learn from [I].

    With `data.on_error = "skip"` those with unreadable images are left out, and listed.
    """
    data = run.config.data
    file, images = data.train_annotations, data.train_images
    annotations = _read(run, file or data.annotations, images if file else data.images)
    large = [i for i in annotations.instances if box_area(i) >= data.min_train_area]
    if not large:
        raise UserError(
            f"{annotations.file}: none of its {len(annotations.instances)} boxes covers "
            f"{data.min_train_area} square pixels (data.min_train_area)"
        )
    return usable(run, large)


def usable(run: Run, instances: Sequence[Instance]) -> list[Instance]:
    """The instances whose images can be decoded; the others are listed, or stop the run."""
    if run.config.data.on_error != "skip":
        return list(instances)
    with track("check images", len({i.image.id for i in instances})) as progress:
        good, problems = usable_instances(instances, progress.advance)
    report_problems(run, problems)
    return good


def report_problems(run: Run, problems: Sequence[Problem]) -> None:
    """Prints what was skipped, one line each, and keeps it in `skipped.txt`."""
    if not problems:
        return
    lines = [problem_line(run.config.data.annotations, problem) for problem in problems]
    print(f"skipped {len(lines)} (data.on_error=skip):", *lines, sep="\n  ")
    path = run.workdir.folder / "skipped.txt"
    known = path.read_text().splitlines() if path.exists() else []
    new = [line for line in lines if line not in known]
    path.write_text("".join(f"{line}\n" for line in known + new))


def box_area(instance: Instance) -> float:
    """Square pixels of the box."""
    x0, y0, x1, y1 = instance.box_xyxy
    return float((x1 - x0) * (y1 - y0))


def _read(run: Run, file: str, images: str) -> Annotations:
    data = run.config.data
    if not file:
        raise UserError(
            "no annotations: give --config.data.annotations=FILE --config.data.images=DIR"
        )
    annotations = read_annotations(
        file, images, kind=data.kind, points=data.points, on_error=data.on_error
    )
    report_problems(run, annotations.problems)
    return annotations
