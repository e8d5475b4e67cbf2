"""The labels of a run: which predictor, which parts."""

import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax

from exits_jax.annotations import Instance, Problem
from exits_jax.annotations.summary import by_image
from exits_jax.app import networks
from exits_jax.app.fitting import saved_thresholds
from exits_jax.app.run import DataSet, Run, report_problems
from exits_jax.export.in_parts import PartsToMake
from exits_jax.export.parts import Share, StoredRows, part_positions
from exits_jax.export.quality import Label
from exits_jax.pseudo_labels import predicted_iou
from exits_jax.pseudo_labels.label import Labeller, part_maker
from exits_jax.pseudo_labels.predict import (
    Predict,
    generator_predictor,
    propagation_predictor,
    with_flip,
    with_prior,
    with_shape,
)
from exits_jax.system.errors import UserError
from exits_jax.system.interruption import stop_between_steps
from exits_jax.system.progress import track
from exits_jax.system.types import Params


def make_labels(run: Run, data: DataSet, source: str) -> Mapping[int, Label]:
    """Labels of every instance from `source`, resuming where an earlier run stopped.

    Instances with `item_error` are listed, whichever process met them, in whichever run.
    """
    folder, known = make_parts(run, data, source)
    labels = StoredRows(folder, len(_parts(run, data)), Label)
    if run.config.data.on_error == "skip":
        text = "its image could not be used by another process or an earlier run"
        faulty = [i for i in data.instances if "item_error" in labels[i.id].flags]
        others = [
            Problem("item_error", text, i.id, i.image.id) for i in faulty if i.id not in known
        ]
        report_problems(run, "label", by_image(others))
    return labels


def make_parts(run: Run, data: DataSet, source: str) -> tuple[pathlib.Path, set[int]]:
    """Makes every missing part of the labels; returns their folder, and unusable images.

    Every local device takes parts, and so does every process of the run. Parts lie in a folder that
    is named after everything they were made with, so that labels of other parameters or of edited
    annotations are never taken for these.
    """
    skipped: list[Problem] = []

    def skip(instance: Instance, error: UserError) -> None:
        skipped.append(Problem("item_error", str(error), instance.id, instance.image.id))

    with track(f"masks ({source})", len(data.instances)) as progress:
        params = label_params(run, source)
        folder = run.workdir.label_parts / f"{source}-{_made_with(run, params, data)}"
        labellers = _labellers(run, source, params, skip)
        with stop_between_steps() as stop:
            PartsToMake(
                _parts(run, data),
                folder,
                share=Share(run.hosts.index, run.hosts.count),
                progress=progress,
                stop=lambda: stop.requested,
            ).make([part_maker(label, data.source, data.instances) for label in labellers])
    report_problems(run, "label", by_image(skipped))
    return folder, {problem.annotation_id for problem in skipped}


def _parts(run: Run, data: DataSet) -> list[range]:
    """The positions of the instances of each part: those of an image are never parted."""
    return part_positions(data.instances, run.config.label.part_size)


def _labellers(
    run: Run, source: str, params: Params, skip: Callable[[Instance, UserError], None]
) -> list[Callable[..., list[Label]]]:
    """A labeller for each of this process's devices."""
    config = run.config
    labellers = []
    for device in jax.local_devices():
        with jax.default_device(device):
            predict = predictor(run, source, params)
        labeller = Labeller(
            predict,
            crop_size=config.crop.size,
            margin=config.crop.label_margin,
            batch_size=config.label.device_batch,
            threshold=config.label.threshold,
            joint=config.label.compete and not config.data.boxes,
            edges=config.label,
            judge=predicted_iou.predicted_iou if config.label.score == "predicted_iou" else None,
            on_error=skip if config.data.on_error == "skip" else None,
        )
        labellers.append(_on(device, labeller))
    return labellers


def _on(device: jax.Device, labeller: Labeller) -> Callable[..., list[Label]]:
    """The labeller, running on one of this process's devices."""

    def label(*arguments: Any) -> list[Label]:
        with jax.default_device(device):
            return labeller(*arguments)

    return label


def _made_with(run: Run, params: Params, data: DataSet) -> str:
    """A digest of all that labels depend on besides the config."""
    facts = data.source.fingerprint(), predicted_iou.COEFFICIENTS, saved_thresholds(run)
    state = hashlib.sha256(str(facts).encode())
    for instance in data.instances:
        state.update(f"{instance.id} {instance.image.id} {instance.category_id},".encode())
    return f"{networks.digest(params)[:8]}-{state.hexdigest()[:8]}"


def label_params(run: Run, source: str) -> Params:
    """The parameters that a source needs: {"extractor": ..., "generator": ...}, or one of them."""
    config = run.config
    params: Params = {}
    if source == "propagation" or config.generator.prior:
        params["extractor"] = networks.extractor_params(config, run.workdir)
    if source == "generator":
        params["generator"] = networks.trained_generator(
            config, run.workdir, params.get("extractor")
        )
    return jax.device_get(params)  # every device gets its own copy


def predictor(run: Run, source: str, params: Params) -> Predict:
    """Mask logits by the generator or by propagation alone, on the default device."""
    config = run.config
    predict = propagation = None
    if "extractor" in params:
        predict = propagation = propagation_predictor(
            networks.scores_function(config, saved_thresholds(run), config.crop.size),
            params["extractor"],
            networks.grid(config),
        )
    if source == "generator":
        predict = generator_predictor(
            networks.generator(config), params["generator"], config.generator.normalise
        )
        if config.generator.prior:
            predict = with_prior(predict, propagation, config.generator.prior)
    if config.label.flip:
        predict = with_flip(predict)
    if config.label.shape:
        predict = with_shape(predict, config.label.shape)
    return predict
