"""The training step of `exits_jax.training`, in PyTorch: objectives, AdamW, the teacher."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from exits_jax.pseudo_labels.settings import LossSettings
from exits_jax.retrieval.settings import RetrievalSettings
from experiments.framework_comparison import torch_retrieval as retrieval
from experiments.framework_comparison.problem import TOTAL_STEPS, TRAINING, WARMUP_STEPS
from experiments.framework_comparison.torch_generator import Generator
from experiments.framework_comparison.torch_losses import (
    crf_loss,
    mean_field,
    mil_loss,
    point_loss,
)
from experiments.framework_comparison.torch_retrieval import Batch
from experiments.framework_comparison.torch_vit import normalise

Losses = tuple[Tensor, dict[str, Tensor]]


class Points(NamedTuple):
    """What retrieval tells a training step about each crop."""

    labels: Tensor
    weights: Tensor
    empty: Tensor
    score: Tensor


Supervise = Callable[[Batch], Points]


def supervise_online(
    scores_of: Callable[[Batch], retrieval.Scores], settings: RetrievalSettings
) -> Supervise:
    """Retrieval in every training step, on the very crop that is trained on."""
    return lambda batch: _cut(scores_of(batch), settings)


def supervise_once(grid: int, settings: RetrievalSettings) -> Supervise:
    """Retrieval from scores that were computed before training, on a canonical crop."""

    def supervise(batch: Batch) -> Points:
        names = ("canonical_score", "canonical_window", "window_xyxy", "flip")
        score = retrieval.resample_score(*(batch[name] for name in names), grid=grid).flatten(1)
        inside = retrieval.inside_box(batch["box_xyxy"], batch["valid_xyxy"], grid)
        seeds = retrieval.seed_points(batch, grid, settings.delta_share)
        return _cut(retrieval.Scores(score, *seeds, inside), settings)

    return supervise


def supervise_seeds(grid: int, delta: float) -> Supervise:
    """The warm-up's supervision: the seeds alone, with nothing retrieved."""

    def supervise(batch: Batch) -> Points:
        foreground, background = retrieval.seed_points(batch, grid, delta)
        empty = torch.ones_like(batch["has_points"])
        weights = torch.maximum(foreground, background)
        return Points(foreground, weights, empty, torch.zeros_like(foreground))

    return supervise


class Objective:
    """point * L_point + crf * L_crf + [nothing retrieved] * mil * L_mil + soft * L_soft, per crop.

    Args:
      student: the generator that learns; the teacher, its moving average, starts as its copy.
      supervise: labelled points of a batch.
      settings: weights and forms of the losses.
      prior: strength of the propagation map to which the logits are added.
    """

    def __init__(
        self, student: Generator, supervise: Supervise, settings: LossSettings, prior: float
    ) -> None:
        self.student, self.supervise, self.settings, self.prior = (
            student,
            supervise,
            settings,
            prior,
        )
        self.teacher = copy.deepcopy(student).requires_grad_(False)

    def __call__(self, batch: Batch) -> Losses:
        """A batch -> loss [b], and its parts by name."""
        settings, image = self.settings, normalise(batch["image"])
        with torch.no_grad():
            points = self.supervise(batch)
        logits, start = self.student(image), 0.0
        if self.prior:
            start = retrieval.prior_logits(points.score, logits.shape[-1], self.prior)
            logits = logits + start
        parts = supervised_parts(logits, points, batch, settings)
        if settings.crf:
            with torch.no_grad():
                teacher_logits = self.teacher(image) + start
            parts["crf"] = crf_part(logits, teacher_logits, image, batch, settings)
        names = [name for name in ("point", "mil", "crf", "soft") if name in parts]
        return sum(getattr(settings, name) * parts[name] for name in names), parts


def supervised_parts(
    logits: Tensor, points: Points, batch: Batch, settings: LossSettings
) -> dict[str, Tensor]:
    """Point, MIL and soft loss per crop, and whether retrieval was empty."""
    at_cells = at_points(logits, math.isqrt(points.labels.shape[-1]))
    box_mask, valid = _boxes(batch, logits.shape[-1])
    mil = mil_loss(logits.sigmoid(), box_mask, valid=valid)
    parts = {
        "point": point_loss(at_cells, points.labels, points.weights),
        "mil": mil if settings.mil_everywhere else torch.where(points.empty, mil, 0.0),
        "empty": points.empty.float(),
    }
    return parts | ({"soft": soft_loss(at_cells, points.score, batch)} if settings.soft else {})


def soft_loss(logits: Tensor, score: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy against the propagation map in the box and background outside it."""
    grid = math.isqrt(score.shape[-1])
    inside = retrieval.inside_box(batch["box_xyxy"], batch["valid_xyxy"], grid)
    shown = retrieval.inside_box(batch["valid_xyxy"], batch["valid_xyxy"], grid)
    known = shown & (score != 0).any(dim=-1, keepdim=True)
    return point_loss(logits, score.sigmoid() * inside, known.float())


def crf_part(
    logits: Tensor, teacher_logits: Tensor, image: Tensor, batch: Batch, settings: LossSettings
) -> Tensor:
    """Dice between the mask in the box and the mean field of the student's and teacher's mean."""
    box_mask, valid = _boxes(batch, logits.shape[-1])
    probability = logits.sigmoid()
    refined = mean_field(
        (probability.detach() + teacher_logits.sigmoid()) / 2,
        small_image(image, logits.shape[-1]),
        box_mask,
        sweeps=settings.crf_sweeps,
        sigma=settings.crf_sigma,
        valid=valid,
    )
    return crf_loss(probability * box_mask, refined)


def small_image(image: Tensor, side: int) -> Tensor:
    """Normalised crops [b,3,s,s] at mask resolution."""
    return F.interpolate(image, size=(side, side), mode="bilinear", antialias=True)


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
      rate: peak of the learning rate.
      teacher_rate: teacher = rate * teacher + (1 - rate) * student after each step.
      sgd: plain SGD in AdamW's place.
    """

    def __init__(
        self, objective: Objective, rate: float, teacher_rate: float, sgd: bool = False
    ) -> None:
        self.objective: Callable[[Batch], Losses] = objective
        self._optimiser = make_optimiser(objective.student, rate, sgd)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, rate_share)
        pairs = zip(objective.student.parameters(), objective.teacher.parameters(), strict=True)
        trained = [(own, copied) for own, copied in pairs if own.requires_grad]
        self._trained, self._teacher = ([*side] for side in zip(*trained, strict=True))
        self._follow = get_ema_multi_avg_fn(teacher_rate)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One step on the mean over valid crops; one that is not finite changes nothing."""
        self._optimiser.zero_grad(set_to_none=True)
        losses, parts = self.objective(batch)
        valid, logs = batch["valid"], {"loss": losses, **parts}
        count = valid.sum().clamp(min=1)
        logs = {name: torch.where(valid, x, 0.0).sum() / count for name, x in logs.items()}
        logs["loss"].backward()
        norm = nn.utils.get_total_norm([parameter.grad for parameter in self._trained])
        if logs["loss"].isfinite() & norm.isfinite():
            self._optimiser.step()
            self._schedule.step()
            self._follow(self._teacher, self._trained, None)
        return {name: value.detach() for name, value in logs.items()}


def make_optimiser(network: Generator, rate: float, sgd: bool) -> torch.optim.Optimizer:
    """AdamW (or SGD): weight decay on matrices only, a rate of its own for the decoder."""
    groups = []
    for part, share in ((network.encoder, 1.0), (network.decoder, TRAINING.decoder_rate)):
        trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
        for is_matrix, decay in ((True, TRAINING.weight_decay), (False, 0.0)):
            chosen = [parameter for parameter in trained if (parameter.ndim > 1) == is_matrix]
            groups.append({"params": chosen, "lr": share * rate, "weight_decay": decay})
    if sgd:
        return torch.optim.SGD(groups, fused=True)
    return torch.optim.AdamW(groups, betas=TRAINING.betas, fused=True)


def rate_share(step: int) -> float:
    """Linear warm-up to 1, then a cosine down to `final_rate`: shares of the peak."""
    if step < WARMUP_STEPS:
        return step / WARMUP_STEPS
    progress = min((step - WARMUP_STEPS) / (TOTAL_STEPS - WARMUP_STEPS), 1.0)
    final = TRAINING.final_rate
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _boxes(batch: Batch, side: int) -> tuple[Tensor, Tensor]:
    """Mask cells in the box, and those in the image."""
    box, valid = batch["box_xyxy"], batch["valid_xyxy"]
    return box_masks(box, valid, side), box_masks(valid, valid, side)


def _cut(scores: retrieval.Scores, settings: RetrievalSettings) -> Points:
    return Points(*retrieval.retrieve_points(scores, settings), scores.score)
