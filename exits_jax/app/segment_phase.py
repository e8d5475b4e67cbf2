"""The phase that trains stage 2's model on masks."""

import math
import pathlib
import shutil
from collections.abc import Callable

import jax

from exits_jax.annotations import Annotations, read_annotations
from exits_jax.app.fit_task import TRAIN_OVER_FORWARD, fit_task
from exits_jax.app.networks import digest
from exits_jax.app.outputs import file_digest
from exits_jax.app.phases import Counts, Estimate
from exits_jax.app.run import (
    Run,
    files_of,
    images_to_predict,
    prepared_data,
    read_files,
    report_problems,
    say_notes,
)
from exits_jax.app.segment_estimate import USUAL_CLASSES, crops_of_an_image, parameter_count
from exits_jax.app.training_pictures import training_pictures
from exits_jax.data.source import Source
from exits_jax.models.params_io import read_made_with, save_params
from exits_jax.segmentation import schedule
from exits_jax.segmentation.build import (
    Segmenter,
    build_segmenter,
    check_weights,
    initial_params,
)
from exits_jax.segmentation.classes import Classes, classes_of
from exits_jax.segmentation.examples import ImageSource, image_source, surplus, usable_images
from exits_jax.segmentation.objective import FOCAL_OFFSET, solov2_counts, solov2_objective
from exits_jax.segmentation.plan import image_plan
from exits_jax.segmentation.tokens import kept_tokens, tokens_key, with_tokens
from exits_jax.segmentation.trained import made_with
from exits_jax.system.errors import UserError
from exits_jax.system.hosts import wait_for_all
from exits_jax.system.progress import track
from exits_jax.system.types import Batch, Params
from exits_jax.training.schedule import steps_in
from exits_jax.training.state import merge_params, split_params
from exits_jax.training.task import Task

LABELS_SHA256 = "labels_sha256"  # kept beside a model of the workdir's own labels


def segment(run: Run) -> None:
    """Trains the model of `segmentation.model`.

    Raises:
      UserError: the settings ask for no training; nothing to train on.
    """
    if not run.config.segmentation.epochs:
        raise UserError(
            "segmentation.epochs is 0, so there is nothing to train; use a config with a stage 2 "
            "(configs/solov2_*.py), or set --config.segmentation.epochs"
        )
    labels = _labels_digest(run)
    source, classes = masks_to_train(run)
    if run.hosts.first:
        if not is_trained(run):
            _forget_other_labels(run)
        _say_seen(run, source)
    params = train_segmenter(run, source, classes)
    if run.hosts.first:
        facts = made_with(run.config.segmentation, classes)
        save_params(run.workdir.segmentation, params, facts | {LABELS_SHA256: labels})
    wait_for_all("segment")


def check(run: Run) -> None:
    """Before anything else of a run: what stage 2 would stop at after hours.

    Raises:
      UserError: a network that cannot be built, weights or annotations that are not there.
    """
    settings = run.config.segmentation
    if not settings.epochs:
        return
    build_segmenter(settings, 1)
    check_weights(settings)
    if settings.annotations and not pathlib.Path(settings.annotations).exists():
        raise UserError(f"{settings.annotations}: no such file (segmentation.annotations)")


def _say_seen(run: Run, source: ImageSource) -> None:
    """Says how many of the images that will be searched are learnt from."""
    file, folder = files_of(run, "predict")
    if not pathlib.Path(file or folder).exists():
        return  # it is missed when it is needed
    searched = {record.path for record in images_to_predict(run, report=False).records} - {None}
    seen = sum(record.path in searched for record in source.images)
    if seen:
        run.note(
            f"segment: {seen} of the {len(searched)} images that --mode=predict will search are "
            "learnt from, so their AP says little of other images (segmentation.test_annotations)"
        )


def _labels_digest(run: Run) -> str:
    """Of the workdir's own labels; "" where a file of its own is trained on."""
    return "" if run.config.segmentation.annotations else file_digest(run.workdir.labels)


def _forget_other_labels(run: Run) -> None:
    """Removes a finished model of labels that have changed since, and its checkpoints."""
    if run.workdir.segmentation.exists():
        print("segment: the labels have changed since the model was trained; it is trained anew")
        shutil.rmtree(run.workdir.folder / "checkpoints" / "segment", ignore_errors=True)
        run.workdir.segmentation.unlink()


def masks_to_train(run: Run) -> tuple[ImageSource, Classes]:
    """Whole images with their masks, and the classes of the network.

    Raises:
      UserError: no file to train on, or nothing in it.
    """
    settings, data = run.config.segmentation, run.config.data
    file, _ = files_of(run, "masks")
    if not settings.annotations and not run.workdir.labels.exists():
        raise UserError(
            f"{file}: no masks to train on; run --mode=label first, or name a file with "
            "--config.segmentation.annotations=FILE --config.segmentation.images=DIR"
        )
    annotations = _read(run)
    say_notes(run, file, annotations)
    report_problems(run, "masks", annotations.problems)
    packed = _packed_images(run)
    classes = classes_of(annotations, settings.classes)
    source = image_source(
        annotations,
        classes,
        packed=packed,
        trust=settings.trust,
        keep_empty=settings.keep_empty,
    )
    if data.on_error == "skip" and packed is None:  # only decodable images are packed
        with track("check images", len(source)) as progress:
            source, problems = usable_images(source, progress.advance)
        report_problems(run, "masks", problems)
    notes = [problem.text for problem in source.notes]
    for note in filter(None, [*notes, surplus(source, settings.max_instances)]):
        run.note(note)
    return source, classes


def _read(run: Run) -> Annotations:
    """The file with masks to train on; crowds are never trained on."""
    data = run.config.data
    return read_annotations(
        *files_of(run, "masks"),
        kind=data.kind if run.config.segmentation.annotations else "coco",
        on_error=data.on_error,
        exif=data.exif,
        masks=True,
    )


def _packed_images(run: Run) -> Source | None:
    """The prepared data whose images are trained on; None where they are read from files."""
    settings, data = run.config.segmentation, run.config.data
    labelled = settings.images in ("", data.images)
    return prepared_data(run, "label")[1] if data.source == "tfds" and labelled else None


def train_segmenter(run: Run, source: ImageSource, classes: Classes) -> Params:
    """The model's parameters after training."""
    config, settings = run.config, run.config.segmentation
    processes = jax.process_count()
    network = build_segmenter(settings, len(classes))
    params = initial_params(settings, network, config.seed)
    trained, frozen = split_params(params, network.learns)
    plan = image_plan(
        source,
        settings,
        batch_size=settings.batch_size // processes,
        seed=config.seed,
        shard=(jax.process_index(), processes),
    )
    batches = plan.batches_per_epoch
    steps, rate = steps_in(settings, batches), schedule.rates(settings, batches)
    if run.hosts.first:
        together = settings.learning_rate * settings.batch_size
        print(
            f"segment: {len(source)} images, {len(classes)} classes, {steps} steps of "
            f"{settings.batch_size}; rate {settings.learning_rate:g} an image, {together:g} a step"
        )
        if steps <= (warmup := schedule.warmup_steps(settings, batches)):
            run.note(
                f"segment: all {steps} steps are in the warm-up of the rate, {warmup} steps: ask "
                "for more epochs, or less of segmentation.rate_warmup_steps"
            )
    task = Task(
        plan=plan,
        objective=solov2_objective(network, settings),
        counts=solov2_counts(settings),
        trained=trained,
        frozen=frozen,
        offsets=FOCAL_OFFSET,
        extend=_extension(run, network, params, source),
        pictures=training_pictures(source, classes, network, frozen, settings),
    )
    optimiser = schedule.optimiser(settings, rate)
    learnt = fit_task(run, "segment", settings, task, optimiser, rate, steps)
    return merge_params(learnt, frozen)


def _extension(
    run: Run, network: Segmenter, params: Params, source: ImageSource
) -> Callable[[Batch], Batch]:
    """What is added to a batch: with `cache_features` what the frozen layers say of it."""
    settings = run.config.segmentation
    if not settings.cache_features:
        return dict
    seen = tokens_key(network, source, settings)
    folder = run.workdir.tokens / f"{digest(params['encoder'])}-{seen}"
    return with_tokens(network, kept_tokens(network, params, source, settings, folder))


def is_trained(run: Run) -> bool:
    """Whether the model of the labels as they are is there, or none is asked for."""
    settings, file = run.config.segmentation, run.workdir.segmentation
    if not settings.epochs or settings.params:
        return True
    if not file.exists():
        return False
    labels = _labels_digest(run)  # a file that does not say is taken for a model of these
    return read_made_with(file).get(LABELS_SHA256, labels) == labels


def estimate(run: Run, counts: Counts) -> Estimate:
    """For `--dry_run`; a checkpoint has parameters and at most Adam's two moments, float32."""
    settings = run.config.segmentation
    images = _images_to_train(run, counts)
    batches = math.ceil(images / settings.batch_size)
    steps = steps_in(settings, batches) if settings.epochs else 0
    passes = steps * settings.batch_size * TRAIN_OVER_FORWARD
    classes = len(settings.classes) or USUAL_CLASSES
    return Estimate(
        f"{images} images, {settings.epochs:g} epochs, {steps} steps of {settings.batch_size}",
        passes * crops_of_an_image(run.config, settings, classes) if passes else 0.0,
        2 * 3 * 4 * parameter_count(settings, classes) / 1e6 if passes else 0.0,
    )


def _images_to_train(run: Run, counts: Counts) -> int:
    """Images with objects, those to be labelled before there are labels; else the published."""
    if pathlib.Path(files_of(run, "masks")[0]).exists():
        annotations = _read(run)
    elif pathlib.Path(files_of(run, "label")[0]).exists():
        annotations = read_files(run, "label", report=False)
    else:
        return counts.images
    return len({instance.image.id for instance in annotations.instances})
