"""From a problem to the PyTorch counterpart: networks, batches, objectives."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from exits_jax.pseudo_labels.settings import LossSettings
from exits_jax.retrieval.settings import RetrievalSettings
from experiments.framework_comparison.problem import Arrays, Problem
from experiments.framework_comparison.torch_generator import Generator
from experiments.framework_comparison.torch_step import (
    Objective,
    supervise_once,
    supervise_online,
    supervise_seeds,
    teacher_of,
    warmup_settings,
)
from experiments.framework_comparison.torch_vit import ViT
from experiments.framework_comparison.weights import to_torch


def vit_of(problem: Problem, frozen_blocks: int = 0) -> ViT:
    """The network of the problem; random parameters."""
    return ViT(**problem.spec["vit"], frozen_blocks=frozen_blocks)


def extractor_of(problem: Problem, device: str = "cpu") -> ViT:
    """The frozen similarity extractor with its parameters."""
    network = with_params(vit_of(problem), problem.extractor)
    return network.requires_grad_(False).to(device, memory_format=torch.channels_last)


def generator_of(problem: Problem, frozen_blocks: int = 0, device: str = "cpu") -> Generator:
    """The generator with its parameters."""
    network = with_params(Generator(vit_of(problem, frozen_blocks)), problem.generator)
    return network.to(device, memory_format=torch.channels_last)


def with_params(network: Any, params: Arrays) -> Any:
    """Loads flat Flax parameters into a module; every name has to fit."""
    state = {name: torch.from_numpy(array) for name, array in to_torch(params).items()}
    network.load_state_dict(state)
    return network


def settings_of(problem: Problem, source: str, **changes: Any) -> RetrievalSettings:
    """The retrieval settings of a source, "attention" or "keys"."""
    values = problem.spec["retrieval"][source]
    values = {**values, "layers": tuple(values["layers"])}
    return dataclasses.replace(RetrievalSettings(**values), **changes)


def batch_of(problem: Problem, device: str = "cpu") -> dict[str, Tensor]:
    """The batch as tensors."""
    return {name: torch.from_numpy(array).to(device) for name, array in problem.batch.items()}


def objective_of(problem: Problem, name: str, device: str = "cpu") -> Objective:
    """One of `OBJECTIVES` over a student and its teacher."""
    spec, form = problem.spec, "paper" if name == "warmup" else name
    student = generator_of(problem, problem.frozen_blocks(form), device)
    settings = settings_of(problem, "keys" if name == "residual" else "attention")
    weights = LossSettings(**spec["losses"][form])
    if name == "warmup":
        supervise = supervise_seeds(problem.grid, settings.delta_share)
        weights = warmup_settings(weights)
    elif name == "residual":
        supervise = supervise_once(problem.grid, settings)
    else:
        supervise = supervise_online(extractor_of(problem, device), settings, spec["pixels"])
    return Objective(
        student,
        teacher_of(student),
        supervise,
        weights,
        pixels=spec["pixels"],
        prior=spec["prior"][form],
    )
