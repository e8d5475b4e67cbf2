"""Warm-up of the similarity extractor and training of the generator, from config to parameters."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from exits_jax.app import networks
from exits_jax.app.fit_task import fit_task
from exits_jax.app.run import DataSet, Run, data_to_train
from exits_jax.app.settings import Settings
from exits_jax.models.generator import Generator
from exits_jax.pseudo_labels.crop_plan import crop_plan
from exits_jax.pseudo_labels.objectives import generator_objective, warmup_objective
from exits_jax.pseudo_labels.once import canonical_scores, score_sample, with_canonical
from exits_jax.pseudo_labels.supervision import (
    Supervise,
    supervise_once,
    supervise_online,
    supervise_seeds,
)
from exits_jax.retrieval.calibrate import calibrate_thresholds
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_json
from exits_jax.system.types import Batch, Params
from exits_jax.training.schedule import adamw, rates, steps_asked, total_steps
from exits_jax.training.settings import PhaseSettings
from exits_jax.training.state import (
    merge_params,
    split_params,
)
from exits_jax.training.task import RowObjective, Task, count_rows, over_rows

CALIBRATION_SAMPLE = 512  # instances the thresholds are calibrated on
FEW_STEPS = 10  # Adam's first steps are as large as its rate, whatever the data say [?]


def warm_up(run: Run) -> Params:
    """The similarity extractor's parameters after warm-up (EXITS supplement, section E)."""
    config = run.config
    network = networks.warmup_network(config)
    supervise = supervise_seeds(networks.grid(config), config.retrieval.delta_share)
    objective = warmup_objective(network, config.extractor.normalise, supervise, config.loss)
    params = networks.extractor_with_decoder(config, network)
    return _fit(run, "warmup", network, objective, params, data_to_train(run))["encoder"]


def train(run: Run, extractor: Params) -> Params:
    """The generator's parameters after training on points the frozen extractor retrieves."""
    config = run.config
    data = data_to_train(run)
    network = networks.generator(config)
    supervise, extend, extractor = _supervision(run, extractor, data)
    objective = generator_objective(
        network,
        config.generator.normalise,
        supervise,
        config.loss,
        prior=config.generator.prior,
    )
    params = networks.initial_generator(config, network)
    return _fit(run, "train", network, objective, params, data, extractor, extend)


def thresholds(run: Run, extractor: Params, data: DataSet) -> RetrievalSettings:
    """The settings of retrieval, calibrated once per workdir where the config asks for that.

    No mask is read: the thresholds are scaled until the wanted share of crops retrieves nothing.
    """
    config = run.config
    settings = config.retrieval
    if not config.retrieval.target_empty:
        return settings
    made_with = f"{networks.digest(extractor)}-{data.source.fingerprint()}"
    if _saved(run).get("made_with") != made_with:
        count = min(len(data.instances), CALIBRATION_SAMPLE)
        size, margin = _retrieval_crop(config)
        sample = np.linspace(0, len(data.instances) - 1, count).round().astype(int)
        scores, retrievable = score_sample(
            networks.scores_function(config, settings, size),
            extractor,
            data.source.take(sample),
            crop_size=size,
            margin=margin,
            batch_size=config.label.device_batch,
        )
        ratio = (settings.tau_fg, settings.tau_bg)
        try:
            pair = calibrate_thresholds(
                scores, retrievable, config.retrieval.target_empty, ratio=ratio
            )
        except ValueError as error:
            raise UserError(f"retrieval.target_empty: {error}; set it to 0") from error
        found = {"tau_fg": pair[0], "tau_bg": pair[1], "made_with": made_with}
        write_json(run.workdir.thresholds, found, indent=2)
    return saved_thresholds(run)


def saved_thresholds(run: Run) -> RetrievalSettings:
    """The settings of retrieval with this workdir's calibrated thresholds, if it has any."""
    saved = _saved(run)
    pair = {name: saved[name] for name in ("tau_fg", "tau_bg") if name in saved}
    return dataclasses.replace(run.config.retrieval, **pair)


def _saved(run: Run) -> dict[str, Any]:
    path = run.workdir.thresholds
    return json.loads(path.read_text()) if path.exists() else {}


def _supervision(
    run: Run, extractor: Params, data: DataSet
) -> tuple[Supervise, Callable[[Batch], Batch], Params]:
    """How a batch gets its points: the function, what it adds to a batch, and what it reads."""
    config = run.config
    settings = thresholds(run, extractor, data)
    if config.retrieval.when == "online":
        scores_of = networks.scores_function(config, settings, config.crop.size)
        return supervise_online(scores_of, settings), dict, extractor
    size, margin = _retrieval_crop(config)
    scores = canonical_scores(
        networks.scores_function(config, settings, size),
        extractor,
        data.source,
        run.workdir.retrieval / networks.digest(extractor),
        crop_size=size,
        margin=margin,
        batch_size=config.label.device_batch,
    )
    extend = with_canonical(scores, data.source, margin)
    return supervise_once(networks.grid(config), settings), extend, {}


def _retrieval_crop(config: Settings) -> tuple[int, float]:
    """Side in pixels and margin of the crops that retrieval sees in training.

    Online they are random; this is their average (`data.crop.random_window`).
    """
    if config.retrieval.when == "online":
        return config.crop.size, config.crop.train_margin / 4
    return config.retrieval.canonical_size or config.crop.size, config.retrieval.canonical_margin


def _fit(
    run: Run,
    phase: str,
    network: Generator,
    objective: RowObjective,
    params: Params,
    data: DataSet,
    extractor: Params | None = None,
    extend: Callable[[Batch], Batch] = dict,
) -> Params:
    """Trains `params` as the phase's section of the config says; returns them whole."""
    config, section = run.config, getattr(run.config, phase)
    trained, frozen = split_params(params, network.learns)
    count, processes = len(data.instances), jax.process_count()
    steps = total_steps(section, count)
    if run.hosts.first:
        _say_length(phase, section, count, steps)
    task = Task(
        plan=crop_plan(
            data.source,
            config.crop,
            batch_size=section.batch_size // processes,
            seed=config.seed,
            shard=(jax.process_index(), processes),
        ),
        objective=over_rows(objective),
        counts=count_rows,
        trained=trained,
        frozen={"generator": frozen, "extractor": extractor or {}},
        teacher_rate=config.train.teacher_rate if phase == "train" and config.loss.crf else None,
        extend=extend,
    )
    rate = rates(section, count, steps)
    learnt = fit_task(run, phase, section, task, adamw(section, rate), rate, steps)
    return merge_params(learnt, frozen)


def _say_length(phase: str, section: PhaseSettings, instances: int, steps: int) -> None:
    """One line if there is so little data that a phase is short, or is made longer."""
    asked = max(round(steps_asked(section, instances)), 1)
    if steps > asked:
        print(
            f"{phase}: {section.epochs:g} epochs of {instances} instances are {_count(asked)} of "
            f"{section.batch_size}; {steps} are taken ({phase}.min_steps)"
        )
    elif steps < FEW_STEPS:
        print(
            f"{phase}: {_count(steps)} of {section.batch_size}: too few to learn anything; ask "
            f"for more with --config.{phase}.min_steps or --config.{phase}.epochs"
        )


def _count(steps: int) -> str:
    return f"{steps} step{'s' * (steps != 1)}"
