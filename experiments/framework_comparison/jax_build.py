"""From a problem to what the package works with: networks, objectives, optimisers."""

import dataclasses
from typing import Any

import jax

from exits_jax.app.networks import attend
from exits_jax.models.generator import Generator
from exits_jax.models.vit import ViT, normalise
from exits_jax.pseudo_labels.objectives import LossSettings, generator_objective, warmup_objective
from exits_jax.pseudo_labels.supervision import supervise_once, supervise_online, supervise_seeds
from exits_jax.retrieval.crops import crop_scores
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.training.optimiser import learning_rate_schedule, make_optimiser
from exits_jax.training.state import split_params
from exits_jax.training.step import Objective
from experiments.framework_comparison.prepare import flax_params
from experiments.framework_comparison.problem import Problem


def vit_of(problem: Problem, frozen_blocks: int = 0, attention: str = "own") -> ViT:
    """The network of the problem."""
    return ViT(**problem.spec["vit"], frozen_blocks=frozen_blocks, attention=attention)


def settings_of(problem: Problem, source: str, **changes: Any) -> RetrievalSettings:
    """The retrieval settings of a source, "attention" or "keys"."""
    values = problem.spec["retrieval"][source]
    values = {**values, "layers": tuple(values["layers"])}
    return dataclasses.replace(RetrievalSettings(**values), **changes)


def clean_image(problem: Problem) -> jax.Array:
    """The normalised crops."""
    return normalise(problem.batch["image"], problem.spec["pixels"])


def objective_of(problem: Problem, name: str, attention: str = "own") -> tuple[Objective, Any, Any]:
    """One of `OBJECTIVES`, its trained parameters, and the frozen ones."""
    spec, form = problem.spec, "paper" if name == "warmup" else name
    network = vit_of(problem, problem.frozen_blocks(form), attention)
    weights, pixels = LossSettings(**spec["losses"][form]), spec["pixels"]
    student, grid = Generator(network), problem.grid
    params = flax_params(problem.generator)
    trained, frozen = split_params(params, student.learns)
    settings = settings_of(problem, "keys" if name == "residual" else "attention")
    if name == "warmup":
        objective = warmup_objective(
            student, pixels, supervise_seeds(grid, settings.delta_share), weights
        )
        return objective, trained, {"generator": frozen, "extractor": {}}
    if name == "residual":
        supervise, extractor = supervise_once(grid, settings), {}
    else:
        scores_of = crop_scores(
            attend(vit_of(problem, attention=attention), pixels),
            depth=network.depth,
            class_token=network.class_token,
            grid=grid,
            settings=settings,
        )
        supervise, extractor = supervise_online(scores_of, settings), problem.extractor
    objective = generator_objective(student, pixels, supervise, weights, prior=spec["prior"][form])
    return objective, trained, {"generator": frozen, "extractor": flax_params(extractor)}


def optimiser_of(settings: dict[str, Any]) -> Any:
    """The package's optimiser with a problem's settings."""
    schedule = learning_rate_schedule(
        settings["peak"],
        total_steps=settings["total_steps"],
        warmup_steps=settings["warmup_steps"],
        final_rate=settings["final_rate"],
    )
    return make_optimiser(
        schedule,
        betas=tuple(settings["betas"]),
        weight_decay=settings["weight_decay"],
        clip_norm=settings["clip_norm"],
        decoder_rate=settings["decoder_rate"],
        sgd=settings["sgd"],
    )
