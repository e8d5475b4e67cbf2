"""The training step of `exits_jax.training`, in PyTorch: objectives, AdamW, the teacher."""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from exits_jax.pseudo_labels.settings import LossSettings
from exits_jax.retrieval.settings import RetrievalSettings
from experiments.framework_comparison import torch_retrieval as retrieval
from experiments.framework_comparison.torch_generator import Generator
from experiments.framework_comparison.torch_losses import (
    crf_loss,
    mean_field,
    mil_loss,
    point_loss,
)
from experiments.framework_comparison.torch_retrieval import Batch
from experiments.framework_comparison.torch_vit import ViT, normalise

Losses = tuple[Tensor, dict[str, Tensor]]


class Points(NamedTuple):
    """What retrieval tells a training step about each crop."""

    labels: Tensor
    weights: Tensor
    empty: Tensor
    score: Tensor


Supervise = Callable[[Batch], Points]


def supervise_online(extractor: ViT, settings: RetrievalSettings, pixels: str) -> Supervise:
    """Retrieval in every training step, on the very crop that is trained on."""

    @torch.no_grad()
    def supervise(batch: Batch) -> Points:
        return _cut(retrieval.crop_scores(extractor, batch, settings, pixels), settings)

    return supervise


def supervise_once(grid: int, settings: RetrievalSettings) -> Supervise:
    """Retrieval from scores that were computed before training, on a canonical crop."""

    @torch.no_grad()
    def supervise(batch: Batch) -> Points:
        score = retrieval.resample_score(
            batch["canonical_score"],
            batch["canonical_window"],
            batch["window_xyxy"],
            batch["flip"],
            grid=grid,
        )
        inside = retrieval.inside_box(batch["box_xyxy"], batch["valid_xyxy"], grid)
        seeds = _seeds(batch, grid, settings.delta_share)
        return _cut(retrieval.Scores(score.flatten(1), *seeds, inside), settings)

    return supervise


def supervise_seeds(grid: int, delta: float) -> Supervise:
    """The warm-up's supervision: the seeds alone, with nothing retrieved."""

    @torch.no_grad()
    def supervise(batch: Batch) -> Points:
        foreground, background = _seeds(batch, grid, delta)
        empty = torch.ones(len(foreground), dtype=torch.bool, device=foreground.device)
        weights = torch.maximum(foreground, background)
        return Points(foreground, weights, empty, torch.zeros_like(foreground))

    return supervise


class Objective:
    """point * L_point + crf * L_crf + [nothing retrieved] * mil * L_mil + soft * L_soft, per crop.

    Args:
      student: the generator that learns.
      teacher: its moving average; None where no CRF loss is wanted.
      supervise: labelled points of a batch.
      settings: weights and forms of the losses.
      pixels: normalisation of the generator's input.
      prior: strength of the propagation map to which the logits are added.
    """

    def __init__(
        self,
        student: Generator,
        teacher: Generator | None,
        supervise: Supervise,
        settings: LossSettings,
        *,
        pixels: str,
        prior: float = 0.0,
    ) -> None:
        self.student, self.teacher, self.supervise = student, teacher, supervise
        self.settings, self.pixels, self.prior = settings, pixels, prior

    def __call__(self, batch: Batch) -> Losses:
        """A batch -> loss [b], and its parts by name."""
        clean = normalise(batch["image"], self.pixels)
        seen = clean
        if "student_image" in batch:
            seen = normalise(batch["student_image"], self.pixels)
        points = self.supervise(batch)
        logits = self.student(seen)
        start = 0.0
        if self.prior:
            start = retrieval.prior_logits(points.score, logits.shape[-1], self.prior)
            logits = logits + start
        parts = supervised_parts(logits, points, batch, self.settings)
        if self.settings.crf:
            with torch.no_grad():
                teacher_logits = self.teacher(clean) + start
            parts["crf"] = _crf(logits, teacher_logits, clean, batch, self.settings)
        names = [name for name in ("point", "mil", "crf", "soft") if name in parts]
        return sum(getattr(self.settings, name) * parts[name] for name in names), parts


def warmup_settings(settings: LossSettings) -> LossSettings:
    """The warm-up of the similarity extractor: point and MIL loss on every crop."""
    return dataclasses.replace(settings, crf=0.0, soft=0.0, mil_everywhere=True)


def supervised_parts(
    logits: Tensor, points: Points, batch: Batch, settings: LossSettings
) -> dict[str, Tensor]:
    """Point, MIL and soft loss per crop, and whether retrieval was empty."""
    grid, side = math.isqrt(points.labels.shape[-1]), logits.shape[-1]
    at_cells = at_points(logits, grid)
    point = point_loss(at_cells, points.labels, points.weights, balanced=settings.balanced)
    box_mask = box_masks(batch["box_xyxy"], batch["valid_xyxy"], side)
    valid = box_masks(batch["valid_xyxy"], batch["valid_xyxy"], side)
    mil = mil_loss(logits.sigmoid(), box_mask, valid=valid)
    if not settings.mil_everywhere:
        mil = torch.where(points.empty, mil, 0.0)
    parts = {"point": point, "mil": mil, "empty": points.empty.float()}
    if settings.soft:
        parts["soft"] = soft_loss(at_cells, points.score, batch)
    return parts


def soft_loss(logits: Tensor, score: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy against the propagation map in the box and background outside it."""
    grid = math.isqrt(score.shape[-1])
    inside = retrieval.inside_box(batch["box_xyxy"], batch["valid_xyxy"], grid)
    shown = retrieval.inside_box(batch["valid_xyxy"], batch["valid_xyxy"], grid)
    known = shown & (score != 0).any(dim=-1, keepdim=True)
    return point_loss(logits, score.sigmoid() * inside, known.float())


def at_points(logits: Tensor, grid: int) -> Tensor:
    """Logits [b,m,m] at the centres of the point grid's cells, bilinear: [b,p]."""
    return F.interpolate(logits[:, None], size=(grid, grid), mode="bilinear").flatten(1)


def box_masks(box_xyxy: Tensor, valid_xyxy: Tensor, side: int) -> Tensor:
    """Mask cells whose centre lies in the box and in the image: bool [b,m,m]."""
    return retrieval.inside_box(box_xyxy, valid_xyxy, side).unflatten(1, (side, side))


class Trainer:
    """One optimiser step after the other, the teacher following the student.

    Args:
      objective: what is minimised; its compiled form may take its place afterwards.
      optimiser: settings of AdamW and its schedule: peak, total_steps, warmup_steps, final_rate,
        betas, weight_decay, clip_norm, decoder_rate, sgd.
      teacher_rate: teacher = rate * teacher + (1 - rate) * student after each step.
      teacher: follows the objective's student.
    """

    def __init__(
        self,
        objective: Objective,
        optimiser: Mapping[str, Any],
        *,
        teacher: Generator,
        teacher_rate: float,
    ) -> None:
        self.objective: Callable[[Batch], Losses] = objective
        student = objective.student
        self._optimiser = make_optimiser(student, optimiser)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: learning_rate(step, optimiser)
        )
        self._clip_norm = optimiser["clip_norm"]
        pairs = zip(student.parameters(), teacher.parameters(), strict=True)
        trained = [(own, copied) for own, copied in pairs if own.requires_grad]
        self._trained, self._teacher = ([*side] for side in zip(*trained, strict=True))
        self._follow = get_ema_multi_avg_fn(teacher_rate)

    def gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Sets the gradient of the mean loss over valid crops; returns the mean of each part."""
        self._optimiser.zero_grad(set_to_none=True)
        losses, parts = self.objective(batch)
        valid = batch["valid"]
        count = valid.sum().clamp(min=1)
        means = {
            name: torch.where(valid, part, 0.0).sum() / count
            for name, part in {"loss": losses, **parts}.items()
        }
        means["loss"].backward()
        return {name: value.detach() for name, value in means.items()} | {"crops": valid.sum()}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One step; a loss or gradient that is not finite changes nothing."""
        logs = self.gradients(batch)
        norm = nn.utils.get_total_norm([parameter.grad for parameter in self._trained])
        if self._clip_norm:
            nn.utils.clip_grads_with_norm_(self._trained, self._clip_norm, norm)
        finite = logs["loss"].isfinite() & norm.isfinite()
        if finite:
            self._optimiser.step()
            self._schedule.step()
            self._follow(self._teacher, self._trained, None)
        return logs | {"gradient_norm": norm, "finite": finite}


def teacher_of(student: Generator) -> Generator:
    """A copy that takes no gradient."""
    return copy.deepcopy(student).requires_grad_(False)


def make_optimiser(network: Generator, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """AdamW (or SGD): weight decay on matrices only, a rate of its own for the decoder."""
    groups = []
    for part, rate in ((network.encoder, 1.0), (network.decoder, settings["decoder_rate"])):
        trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
        for is_matrix, decay in ((True, settings["weight_decay"]), (False, 0.0)):
            chosen = [parameter for parameter in trained if (parameter.ndim > 1) == is_matrix]
            groups.append({"params": chosen, "lr": rate * settings["peak"], "weight_decay": decay})
    if settings["sgd"]:
        return torch.optim.SGD(groups, fused=True)
    return torch.optim.AdamW(groups, betas=tuple(settings["betas"]), fused=True)


def learning_rate(step: int, settings: Mapping[str, Any]) -> float:
    """Linear warm-up to 1, then a cosine down to `final_rate`: shares of the peak."""
    total = settings["total_steps"]
    warmup = min(settings["warmup_steps"], total - 1)
    if step < warmup:
        return step / warmup
    progress = min((step - warmup) / (total - warmup), 1.0)
    final = settings["final_rate"]
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _seeds(batch: Batch, grid: int, delta: float) -> tuple[Tensor, Tensor]:
    """Foreground and background seeds of a batch."""
    return retrieval.seed_points(
        batch["points_xy"],
        batch["box_xyxy"],
        batch["valid_xyxy"],
        grid=grid,
        delta=delta,
        has_points=batch["has_points"],
    )


def _cut(scores: retrieval.Scores, settings: RetrievalSettings) -> Points:
    points = retrieval.retrieve_points(scores, tau_fg=settings.tau_fg, tau_bg=settings.tau_bg)
    return Points(*points, scores.score)


def _crf(
    logits: Tensor, teacher_logits: Tensor, image: Tensor, batch: Batch, settings: LossSettings
) -> Tensor:
    """Dice between the mask in the box and the mean field of the student's and teacher's mean."""
    side = logits.shape[-1]
    box_mask = box_masks(batch["box_xyxy"], batch["valid_xyxy"], side)
    valid = box_masks(batch["valid_xyxy"], batch["valid_xyxy"], side)
    probability = logits.sigmoid()
    small = F.interpolate(image, size=(side, side), mode="bilinear", antialias=True)
    refined = mean_field(
        (probability.detach() + teacher_logits.sigmoid()) / 2,
        small,
        box_mask,
        sweeps=settings.crf_sweeps,
        sigma=settings.crf_sigma,
        valid=valid,
    )
    return crf_loss(probability * box_mask, refined)
