"""The phase that packs annotations and images into ArrayRecord files."""

import dataclasses
import pathlib

from exits_jax.app.phases import Counts, Estimate
from exits_jax.app.published import PUBLISHED
from exits_jax.app.run import Run, prepared_folder, read_files, usable
from exits_jax.system.errors import UserError
from exits_jax.system.progress import track


def prepare(run: Run) -> None:
    """Packs annotations and images into ArrayRecord files, for `data.source=tfds`."""
    from exits_jax.data.tfds_builder import prepare as write  # heavy, and only needed here

    if run.config.data.boxes:
        raise UserError("--mode=prepare packs annotations; leave data.boxes out")

    for role in ("label", "train"):
        annotations = read_files(run, role)
        annotations = dataclasses.replace(
            annotations, instances=usable(run, role, annotations.instances)
        )
        images = len({i.image.id for i in annotations.instances})
        with track(f"prepare ({role})", images) as progress:
            print(f"prepared: {write(annotations, prepared_folder(run, role), progress.advance)}")


def estimate(run: Run, counts: Counts) -> Estimate:
    """For `--dry_run`."""
    work = f"{counts.label} and {counts.train} instances, a copy of their images"
    return Estimate(work, 0.0, _image_megabytes(run))


def _image_megabytes(run: Run) -> float:
    """Megabytes of the image files that would be packed."""
    published = PUBLISHED.get(run.config.name)
    if published and not pathlib.Path(run.config.data.annotations).exists():
        return 1000 * published.gigabytes
    records = {
        i.image
        for role in ("label", "train")
        for i in read_files(run, role, report=False).instances
    }
    paths = [record.path for record in records if record.path and record.path.exists()]
    return sum(path.stat().st_size for path in paths) / 1e6
