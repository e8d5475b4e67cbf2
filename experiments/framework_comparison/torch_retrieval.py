"""Point retrieval of `exits_jax.retrieval`, in PyTorch: attention or keys in, labelled points out.

Function by function under the same names. The settings arrive as a dict of the other side's, so
there is one place where values are chosen.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from exits_jax.retrieval.settings import RetrievalSettings
from experiments.framework_comparison.torch_vit import Maps, ViT, normalise

NORM_EPS = 1e-12
LOG_EPS = 1e-6
CELL_TOLERANCE = 1e-3
CENTRE_SIGMA = 0.4
SEED_SHARE = 0.2
PRIOR_LIMIT = 4.0
QUADRILATERAL_STRENGTH, USUAL_QUADRILATERAL = 1.0, 0.45
TIGHTNESS_STRENGTH, USUAL_TIGHTNESS = 0.3, 0.58
TIGHTNESS_LIMITS = (-2.0, 4.0)

Batch = dict[str, Tensor]


class Scores(NamedTuple):
    """What retrieval knows about every point before the thresholds; all [b,p]."""

    score: Tensor
    foreground: Tensor
    background: Tensor
    inside_box: Tensor


def attention_similarity(
    attention: dict[int, Tensor], layers: tuple[int, ...], *, class_token: bool
) -> Tensor:
    """Mean attention of some layers [b,n,n] -> similarity [b,p,p]."""
    first, *rest = (attention[layer] for layer in layers)
    mean = sum(rest, first) / len(layers)
    return mean[:, 1:, 1:] if class_token else mean


def key_similarity(
    keys: dict[int, Tensor],
    layers: tuple[int, ...],
    *,
    class_token: bool,
    temperature: float,
    distance_sigma: float,
) -> Tensor:
    """exp((cosine - 1) / temperature), times a Gaussian of the distance: [b,p,p]."""
    unit = torch.cat([_unit(keys[layer]) for layer in layers], dim=-1)
    unit = unit[:, 1:] if class_token else unit
    cosine = unit @ unit.transpose(1, 2) / len(layers)
    exponent = (cosine - 1.0) / temperature
    if distance_sigma:
        exponent = exponent - _squared_distance(unit) / (2.0 * distance_sigma**2)
    return exponent.clamp(max=0.0).exp()


def similarity_matrix(maps: Maps, *, class_token: bool, settings: RetrievalSettings) -> Tensor:
    """The similarity the settings ask for, from the extractor's intermediates."""
    if settings.source == "attention":
        return attention_similarity(maps["attention"], settings.layers, class_token=class_token)
    return key_similarity(
        maps["keys"],
        settings.layers,
        class_token=class_token,
        temperature=settings.temperature,
        distance_sigma=settings.distance_sigma,
    )


def transition_matrix(similarity: Tensor, *, iterations: int, symmetric: bool) -> Tensor:
    """Sinkhorn: columns to 1, then rows, `iterations` times; then (T + T^t) / 2."""
    transition = similarity
    for _ in range(iterations):
        transition = _to_one(_to_one(transition, dim=-2), dim=-1)
    return (transition + transition.mT) / 2.0 if symmetric else transition


def power_kernel(transition: Tensor, hops: int) -> Tensor:
    """T^hops."""
    return torch.linalg.matrix_power(transition, hops)


def propagate(transition: Tensor, seeds: Tensor, hops: int) -> Tensor:
    """T(T(...T seeds)), seeds [b,p,k]."""
    for _ in range(hops):
        seeds = transition @ seeds
    return seeds


def absorbing_kernel(transition: Tensor, beta: float) -> Tensor:
    """(1 - beta)(I - beta T)^-1."""
    identity = torch.eye(transition.shape[-1], device=transition.device)
    return propagate_absorbing(transition, identity.expand_as(transition), beta)


def propagate_absorbing(transition: Tensor, seeds: Tensor, beta: float) -> Tensor:
    """`absorbing_kernel` applied to seeds: one solve."""
    identity = torch.eye(transition.shape[-1], device=transition.device)
    return (1.0 - beta) * torch.linalg.solve(identity - beta * transition, seeds)


def walk(transition: Tensor, seeds: Tensor, settings: RetrievalSettings) -> Tensor:
    """The walk in the form the settings ask for."""
    if settings.form == "absorbing":
        return propagate_absorbing(transition, seeds, settings.beta)
    if settings.form == "kernel":
        return power_kernel(transition, settings.hops) @ seeds
    return propagate(transition, seeds, settings.hops)


def propagation_score(
    similarity: Tensor,
    points_xy: Tensor,
    has_points: Tensor,
    box_xyxy: Tensor,
    valid_xyxy: Tensor,
    *,
    grid: int,
    settings: RetrievalSettings,
) -> Scores:
    """Walks from extreme points and from outside the box, weighed against each other."""
    foreground, background = seed_points(
        points_xy,
        box_xyxy,
        valid_xyxy,
        grid=grid,
        delta=settings.delta_share,
        has_points=has_points,
    )
    inside = inside_box(box_xyxy, valid_xyxy, grid)
    transition = transition_matrix(
        similarity, iterations=settings.sinkhorn_iterations, symmetric=settings.symmetric
    )
    known = mean_seed(foreground)
    if settings.box_only == "centre":
        middle = mean_seed(centre_seed(box_xyxy, valid_xyxy, grid))
        known = torch.where(has_points[:, None], known, middle)
    seeds = torch.stack([known, mean_seed(background)], dim=-1)
    reached = grid * grid * walk(transition, seeds, settings)
    score = decide(reached[..., 0], reached[..., 1], settings.decision)
    score = centre_score(score, inside, settings.centring)
    if settings.rounds:
        shown = inside_box(valid_xyxy, valid_xyxy, grid)
        score = reseed(score, transition, known, inside, shown, settings)
    score = score * (known > 0.0).any(dim=-1, keepdim=True)
    return Scores(score, foreground, background, inside)


def crop_scores(extractor: ViT, batch: Batch, settings: RetrievalSettings, pixels: str) -> Scores:
    """From pixels to scores, without gradient."""
    asked = {"attention": "attention_layers", "keys": "key_layers"}[settings.source]
    image = normalise(batch["image"], pixels)
    _, maps = extractor(image, features=False, **{asked: settings.layers})
    return propagation_score(
        similarity_matrix(maps, class_token=extractor.class_token, settings=settings),
        batch["points_xy"],
        batch["has_points"],
        batch["box_xyxy"],
        batch["valid_xyxy"],
        grid=image.shape[-1] // extractor.patch,
        settings=settings,
    )


def reseed(
    score: Tensor,
    transition: Tensor,
    known: Tensor,
    inside: Tensor,
    shown: Tensor,
    settings: RetrievalSettings,
) -> Tensor:
    """Sharpens log odds by walking one hop from soft seeds, `settings.rounds` times."""
    points = score.shape[-1]
    extreme = SEED_SHARE * mean_seed(known)
    for _ in range(settings.rounds):
        object_share = score.sigmoid() * inside
        rest = (1.0 - object_share) * shown
        likely = (1.0 - SEED_SHARE) * mean_seed(object_share) + extreme
        seeds = torch.stack([likely, mean_seed(rest)], dim=-1)
        reached = points * propagate(transition, seeds, 1)
        score = decide(reached[..., 0], reached[..., 1], "log_ratio")
        score = centre_score(score, inside, settings.centring)
    return score


def mean_seed(seeds: Tensor) -> Tensor:
    """1_X / |X|; an empty set gives zeros."""
    return _to_one(seeds, dim=-1)


def decide(foreground: Tensor, background: Tensor, decision: str) -> Tensor:
    """Difference or logarithm of the ratio of the two walks."""
    if decision == "difference":
        return foreground - background
    seeded = (background > 0.0).any(dim=-1, keepdim=True)
    background = torch.where(seeded, background, 1.0)
    return (foreground + LOG_EPS).log() - (background + LOG_EPS).log()


def centre_score(score: Tensor, inside: Tensor, strength: float) -> Tensor:
    """Shifts each crop's score so that the object touches its box."""
    if strength == 0.0:
        return score
    grid = math.isqrt(score.shape[-1])
    boxed = score.masked_fill(~inside, -math.inf).unflatten(-1, (grid, grid))
    maxima = torch.cat([boxed.amax(dim=2), boxed.amax(dim=1)], dim=1)
    shift = _low_quantile(maxima, share=0.05)
    return score - strength * shift.clamp(-3.0, 4.0)[:, None]


def seed_points(
    points_xy: Tensor,
    box_xyxy: Tensor,
    valid_xyxy: Tensor,
    *,
    grid: int,
    delta: float,
    has_points: Tensor,
) -> tuple[Tensor, Tensor]:
    """The points known before any propagation: foreground, background, 0 or 1 [b,p]."""
    centre = (box_xyxy[:, None, :2] + box_xyxy[:, None, 2:]) / 2.0
    to_centre = centre - points_xy
    distance = to_centre.norm(dim=-1, keepdim=True)
    step = distance.clamp(max=delta) / torch.where(distance > 0.0, distance, 1.0)
    cell_xy = ((points_xy + step * to_centre) * grid).floor().clamp(0, grid - 1)
    cell = (cell_xy[..., 1] * grid + cell_xy[..., 0]).long()
    foreground = torch.zeros(len(cell), grid * grid, dtype=torch.bool, device=cell.device)
    foreground = foreground.scatter(1, cell, True)
    foreground = foreground & ~_wholly_outside(valid_xyxy, grid) & has_points[:, None]
    background = _wholly_outside(box_xyxy, grid) & _wholly_inside(valid_xyxy, grid) & ~foreground
    return foreground.float(), background.float()


def centre_seed(box_xyxy: Tensor, valid_xyxy: Tensor, grid: int) -> Tensor:
    """A soft seed for a box without extreme points: a Gaussian about its centre [b,p]."""
    x0, y0, x1, y1 = box_xyxy.split(1, dim=-1)
    cell = (torch.arange(grid, device=box_xyxy.device) + 0.5) / grid
    along_x, along_y = (
        torch.exp(-0.5 * ((cell - (low + high) / 2) / (CENTRE_SIGMA * (high - low))) ** 2)
        for low, high in ((x0, x1), (y0, y1))
    )
    seed = (along_y[:, :, None] * along_x[:, None, :]).flatten(1)
    return torch.where(inside_box(box_xyxy, valid_xyxy, grid), seed, 0.0)


def inside_box(box_xyxy: Tensor, valid_xyxy: Tensor, grid: int) -> Tensor:
    """Cells whose centre lies in the tight box and in the image: bool [b,p]."""
    centre = (torch.arange(grid, device=box_xyxy.device) + 0.5) / grid
    columns = rows = True
    for x0, y0, x1, y1 in (box_xyxy.split(1, dim=-1), valid_xyxy.split(1, dim=-1)):
        columns = columns & (centre >= x0) & (centre < x1)
        rows = rows & (centre >= y0) & (centre < y1)
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


def retrieve_points(
    scores: Scores, *, tau_fg: float, tau_bg: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cuts the score into supervision: labels [b,p], weights [b,p], and empty [b]."""
    inside, foreground, background = scores.inside_box, scores.foreground > 0, scores.background > 0
    found_object = inside & (scores.score > tau_fg)
    found_rest = inside & (scores.score < -tau_bg) & ~found_object
    empty = ~((found_object | found_rest) & ~foreground).any(dim=-1)
    labels = foreground | (found_object & ~background)
    weights = labels | background | found_rest
    return labels.float(), weights.float(), empty


def resample_score(
    score: Tensor, from_window: Tensor, to_window: Tensor, flip: Tensor, *, grid: int
) -> Tensor:
    """The score [b,M,M] of one window of the image, read at the cells of another: [b,N,N]."""
    centre = ((torch.arange(grid, device=score.device) + 0.5) / grid).expand(len(score), grid)
    mirrored = torch.where(flip[:, None], 1.0 - centre, centre)
    cells = score.shape[-1]
    rows = _interpolation(centre, from_window[:, 1::2], to_window[:, 1::2], cells)
    columns = _interpolation(mirrored, from_window[:, 0::2], to_window[:, 0::2], cells)
    return rows @ score @ columns.mT


def prior_logits(score: Tensor, side: int, strength: float) -> Tensor:
    """Propagation scores [b,p] as mask logits [b,m,m] for a generator that learns the residual."""
    grid = math.isqrt(score.shape[-1])
    limited = (strength * score).clamp(-PRIOR_LIMIT, PRIOR_LIMIT).view(-1, 1, grid, grid)
    return torch.nn.functional.interpolate(limited, size=(side, side), mode="bilinear")[:, 0]


def shape_offset(
    logits: Tensor, points_xy: Tensor, has_points: Tensor, box_xyxy: Tensor, valid_xyxy: Tensor
) -> Tensor:
    """What to add to each crop's logits [b,m,m] before they are cut at 0: [b]."""
    side = logits.shape[-1]
    inside = inside_box(box_xyxy, valid_xyxy, side).unflatten(1, (side, side))
    tightness = _weakest_line(logits, inside).clamp(*TIGHTNESS_LIMITS)
    x, y = points_xy.unbind(dim=-1)
    area = 0.5 * (x * y.roll(-1, 1) - y * x.roll(-1, 1)).sum(dim=1).abs()
    box_area = (box_xyxy[:, 2:] - box_xyxy[:, :2]).prod(dim=1).clamp(min=1e-6)
    quadrilateral = torch.where(has_points, area / box_area, USUAL_QUADRILATERAL)
    offset = QUADRILATERAL_STRENGTH * (quadrilateral - USUAL_QUADRILATERAL)
    offset = offset - TIGHTNESS_STRENGTH * (tightness - USUAL_TIGHTNESS)
    return offset * (logits != 0.0).flatten(1).any(dim=1)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1; a zero vector stays zero."""
    return vectors * torch.rsqrt(vectors.square().sum(dim=-1, keepdim=True) + NORM_EPS)


def _squared_distance(unit: Tensor) -> Tensor:
    """Squared distances between the cells of the square grid, in cells: [p,p]."""
    grid = math.isqrt(unit.shape[1])
    cell = torch.arange(grid, dtype=torch.float32, device=unit.device)
    cells = torch.cartesian_prod(cell, cell)
    return (cells[:, None] - cells).square().sum(dim=-1)


def _to_one(values: Tensor, dim: int) -> Tensor:
    """Scales the sums along `dim` to 1; a sum of zero stays zero."""
    total = values.sum(dim=dim, keepdim=True)
    return values / torch.where(total > 0.0, total, 1.0)


def _low_quantile(values: Tensor, share: float) -> Tensor:
    """Quantile of the finite values of each row; 0 where there is none."""
    finite = values.masked_fill(~values.isfinite(), math.nan)
    return finite.nanquantile(share, dim=-1).nan_to_num(0.0)


def _wholly_outside(box_xyxy: Tensor, grid: int) -> Tensor:
    """Cells that share no area with the box: bool [b,p]."""
    x0, y0, x1, y1 = (box_xyxy * grid).split(1, dim=-1)
    low, high = _cell_borders(grid, box_xyxy.device)
    columns = (high <= x0) | (low >= x1)
    rows = (high <= y0) | (low >= y1)
    return (rows[:, :, None] | columns[:, None, :]).flatten(1)


def _wholly_inside(box_xyxy: Tensor, grid: int) -> Tensor:
    """Cells the box covers completely: bool [b,p]."""
    x0, y0, x1, y1 = (box_xyxy * grid).split(1, dim=-1)
    low, high = _cell_borders(grid, box_xyxy.device)
    columns = (low >= x0) & (high <= x1)
    rows = (low >= y0) & (high <= y1)
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


def _cell_borders(grid: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lower and upper border of each cell of a line, moved inwards by the tolerance."""
    cell = torch.arange(grid, device=device)
    return cell + CELL_TOLERANCE, cell + 1 - CELL_TOLERANCE


def _interpolation(place: Tensor, source: Tensor, target: Tensor, cells: int) -> Tensor:
    """Weights [b, target cell, source cell] of linear interpolation along one axis."""
    coordinate = target[:, :1] + place * (target[:, 1:] - target[:, :1])
    cell = (coordinate - source[:, :1]) / (source[:, 1:] - source[:, :1]) * cells - 0.5
    index = torch.arange(cells, device=place.device)
    return (1.0 - (cell.clamp(0, cells - 1)[..., None] - index).abs()).clamp(min=0.0)


def _weakest_line(logits: Tensor, inside: Tensor) -> Tensor:
    """The lowest of the maxima over the box's rows and columns; the usual one without any cell."""
    boxed = logits.masked_fill(~inside, -math.inf)
    lines = [boxed.amax(dim).masked_fill(~inside.any(dim), math.inf).amin(dim=1) for dim in (1, 2)]
    weakest = torch.minimum(*lines)
    return torch.where(weakest.isfinite(), weakest, USUAL_TIGHTNESS)
