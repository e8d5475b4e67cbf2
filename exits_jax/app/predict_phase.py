"""The phase that finds objects on images without any box, with stage 2's trained model."""

import collections
import hashlib
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax

from exits_jax.annotations import Problem
from exits_jax.app.label_files import say_written
from exits_jax.app.networks import digest
from exits_jax.app.outputs import PREDICTIONS, REPORT, Outputs, file_digest, summary
from exits_jax.app.phases import Counts, Estimate
from exits_jax.app.run import ImageSet, Run, images_to_predict, report_problems
from exits_jax.app.segment_estimate import USUAL_CLASSES, crops_of_an_image
from exits_jax.app.settings import SECTIONS, free_settings
from exits_jax.export.formats import write_format
from exits_jax.export.in_parts import PartsToMake
from exits_jax.export.parts import Share, StoredRows, positions_in_parts
from exits_jax.segmentation.predict import (
    ImagePredictions,
    Pictures,
    Predicted,
    detecting,
    part_maker,
    result_rows,
    shown_document,
)
from exits_jax.segmentation.trained import Trained, load_trained, trained_settings
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_json_rows
from exits_jax.system.interruption import stop_between_steps
from exits_jax.system.progress import track
from exits_jax.system.settings import Affects, affected

IMAGE_BYTES = 10_000  # of an image's detections in parts and in predictions.json, typical of COCO


def predict(run: Run) -> None:
    """Writes predictions.json; images that cannot be used are listed and left out."""
    model = trained_model(run)
    images = images_to_predict(run)
    folder = _make_parts(run, model, images)
    if not run.hosts.first:
        return print(
            "every part of the predictions is there; process 0 puts them together (start it again "
            "if it has ended)"
        )
    found = StoredRows(folder, len(_parts(run, images)), ImagePredictions)
    errors = ((row.image_id, row.error) for row in found.values() if row.error)
    report_problems(run, "predict", [Problem("image", text, image_id=key) for key, text in errors])
    _write(run, model, found.values())
    _write_formats(run, model, images, found.values())


def check(run: Run) -> None:
    """Raises UserError before anything else of a run if the file of what is searched is missing."""
    settings = run.config.segmentation
    file = settings.test_annotations
    if (settings.epochs or settings.params) and file and not pathlib.Path(file).exists():
        raise UserError(f"{file}: no such file (segmentation.test_annotations)")


def needs_no_predictions(run: Run) -> bool:
    """Whether there are predictions of the model that is there, or none are asked for."""
    settings, workdir = run.config.segmentation, run.workdir
    if not (settings.epochs or settings.params):
        return True
    outputs = Outputs(workdir.outputs)
    made, formats = outputs.settings(PREDICTIONS) or {}, {*map(_output, settings.formats)}
    return (
        workdir.predictions.exists()
        and made.get("model_sha256") == file_digest(_file(run))
        and made.get("free") == free_settings(run.config, "segmentation")
        and outputs.formats(PREDICTIONS) == formats
        and not any(map(outputs.is_unfinished, formats))
    )


def estimate(run: Run, counts: Counts) -> Estimate:
    """For `--dry_run`."""
    settings, classes = run.config.segmentation, USUAL_CLASSES
    if _file(run).exists():
        settings, known = trained_settings(_file(run), settings)
        classes = len(known)
    parts = len(positions_in_parts(counts.images, settings.part_size))
    return Estimate(
        f"{counts.images} images in {parts} part{'s' * (parts != 1)}",
        counts.images * crops_of_an_image(run.config, settings, classes),
        counts.images * IMAGE_BYTES / 1e6,
    )


def trained_model(run: Run) -> Trained:
    """The model to predict with: `segmentation.params`, or what was trained in the workdir.

    Raises:
      UserError: there is none, or one with other classes than the settings name.
    """
    if not run.config.segmentation.params and not _file(run).exists():
        raise UserError(
            f"{_file(run)}: no trained model; run --mode=segment first, or name one with "
            "--config.segmentation.params=FILE"
        )
    return load_trained(_file(run), run.config.segmentation)


def _file(run: Run) -> pathlib.Path:
    return pathlib.Path(run.config.segmentation.params or run.workdir.segmentation)


def _parts(run: Run, images: ImageSet) -> list[range]:
    return positions_in_parts(len(images.records), run.config.segmentation.part_size)


def _make_parts(run: Run, model: Trained, images: ImageSet) -> pathlib.Path:
    """Makes every part that is not there; their folder, named after all that they are made with."""
    pictures = Pictures(images.records, images.decoded)
    skip = run.config.data.on_error == "skip"
    folder = run.workdir.prediction_parts / _made_with(run, model, images)
    with track("predict", len(images.records)) as progress, stop_between_steps() as stop:
        PartsToMake(
            _parts(run, images),
            folder,
            share=Share(run.hosts.index, run.hosts.count),
            progress=progress,
            stop=lambda: stop.requested,
            kind=Predicted,
        ).make(
            [
                part_maker(
                    detecting(model, device), model.settings, model.classes, pictures, skip=skip
                )
                for device in jax.local_devices()
            ]
        )
    return folder


def _made_with(run: Run, model: Trained, images: ImageSet) -> str:
    """Changes with the model and all that predictions rest on."""
    names = affected(SECTIONS["segmentation"], Affects.NETWORK, Affects.LABELS)
    names = [name for name in names if name != "params"]  # its content counts
    values = [getattr(model.settings, name) for name in names]
    state = hashlib.sha256(str((values, run.config.segmentation.part_size)).encode())
    for record in images.records:
        state.update(f"{record.id} {record.file_name} {record.width} {record.height},".encode())
    state.update(str(model.classes.record()).encode())
    return f"{digest(model.params)[:8]}-{state.hexdigest()[:8]}"


def _write(run: Run, model: Trained, found: Iterable[ImagePredictions]) -> None:
    """predictions.json; a report that shows other predictions is removed."""
    outputs, workdir = Outputs(run.workdir.outputs), run.workdir
    counts: collections.Counter[str] = collections.Counter()
    shown_score = run.config.segmentation.shown_score
    outputs.begin(PREDICTIONS)
    write_json_rows(workdir.predictions, _rows(found, counts, shown_score))
    settings = {
        "model_sha256": file_digest(_file(run)),
        "classes": model.classes.record(),
        "free": free_settings(run.config, "segmentation"),
    }
    outputs.finish(PREDICTIONS, [workdir.predictions.name], "", settings)
    shown = (outputs.settings(REPORT) or {}).get("predictions_sha256", "")
    if shown not in ("", file_digest(workdir.predictions)):
        print(f"removed, of other predictions: {', '.join(summary(outputs.remove([REPORT])))}")
    print(
        f"{counts['detections']} detections in {counts['images']} images, {counts['shown']} of "
        f"them of score {shown_score:g} or more"
    )
    say_written(workdir, outputs.files(PREDICTIONS))


def _write_formats(
    run: Run, model: Trained, images: ImageSet, found: Iterable[ImagePredictions]
) -> None:
    """The further formats, in a folder of their own; those that are not asked for are removed."""
    outputs, settings = Outputs(run.workdir.outputs), run.config.segmentation
    outputs.remove(sorted(outputs.formats(PREDICTIONS) - {*map(_output, settings.formats)}))
    if not settings.formats:
        return
    annotations = images.annotations
    document = shown_document(
        annotations.document["images"], model.classes, found, settings.shown_score
    )
    made_with = free_settings(run.config, "segmentation")
    for name in settings.formats:

        def write(folder: pathlib.Path, name: str = name) -> str:
            place, simplify = folder / PREDICTIONS, run.config.label.simplify
            return write_format(name, place, document, annotations.images, simplify=simplify)

        output = _output(name)
        print(f"{name}: {outputs.replace(output, write, '', made_with)}")
        say_written(run.workdir, outputs.files(output))


def _output(name: str) -> str:
    """What a format of predictions is called in outputs.json."""
    return f"{PREDICTIONS}_{name}"


def _rows(
    found: Iterable[ImagePredictions], counts: collections.Counter[str], shown_score: float
) -> Iterator[dict[str, Any]]:
    """The rows of predictions.json, counted as they pass."""
    for predictions in found:
        counts["images"] += not predictions.error
        for row in result_rows(predictions):
            counts["detections"] += 1
            counts["shown"] += row["score"] >= shown_score
            yield row
