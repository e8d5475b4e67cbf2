"""Point retrieval of `exits_jax.retrieval`, in PyTorch: attention or keys in, labelled points out.

Function by function under the same names; a score is [b,p], boxes are [b,4] in crop coordinates.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from exits_jax.retrieval.settings import RetrievalSettings
from experiments.framework_comparison.torch_vit import Maps

NORM_EPS, LOG_EPS = 1e-12, 1e-6
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


def similarity_matrix(maps: Maps, *, settings: RetrievalSettings) -> Tensor:
    """Attention [b,n,n] or keys [b,n,D] of some layers -> the similarity [b,p,p] asked for."""
    found = [maps[settings.source][layer] for layer in settings.layers]
    if settings.source == "attention":
        return (sum(found[1:], found[0]) / len(found))[:, 1:, 1:]
    unit = torch.cat([_unit(keys) for keys in found], dim=-1)[:, 1:]
    exponent = (unit @ unit.mT / len(found) - 1.0) / settings.temperature
    exponent = exponent - _squared_distance(unit) / (2.0 * settings.distance_sigma**2)
    return exponent.clamp(max=0.0).exp()


def transition_matrix(similarity: Tensor, *, iterations: int, symmetric: bool) -> Tensor:
    """Sinkhorn: columns to 1, then rows, `iterations` times; then (T + T^t) / 2."""
    transition = similarity
    for _ in range(iterations):
        transition = _to_one(_to_one(transition, dim=-2), dim=-1)
    return (transition + transition.mT) / 2.0 if symmetric else transition


def power_kernel(transition: Tensor, hops: int) -> Tensor:
    """T^hops."""
    return torch.linalg.matrix_power(transition, hops)


def absorbing_kernel(transition: Tensor, beta: float) -> Tensor:
    """(1 - beta)(I - beta T)^-1."""
    identity = torch.eye(transition.shape[-1], device=transition.device)
    return propagate_absorbing(transition, identity.expand_as(transition), beta)


def propagate_absorbing(transition: Tensor, seeds: Tensor, beta: float) -> Tensor:
    """`absorbing_kernel` applied to seeds [b,p,k]: one solve."""
    identity = torch.eye(transition.shape[-1], device=transition.device)
    return (1.0 - beta) * torch.linalg.solve(identity - beta * transition, seeds)


def walk(transition: Tensor, seeds: Tensor, settings: RetrievalSettings) -> Tensor:
    """The walk from seeds [b,p,k] in the form the settings ask for."""
    if settings.form == "absorbing":
        return propagate_absorbing(transition, seeds, settings.beta)
    if settings.form == "kernel":
        return power_kernel(transition, settings.hops) @ seeds
    for _ in range(settings.hops):
        seeds = transition @ seeds
    return seeds


def propagation_score(similarity: Tensor, batch: Batch, settings: RetrievalSettings) -> Scores:
    """Walks from extreme points and from outside the box, weighed against each other."""
    points, box, valid = similarity.shape[-1], batch["box_xyxy"], batch["valid_xyxy"]
    grid = math.isqrt(points)
    foreground, background = seed_points(batch, grid, settings.delta_share)
    inside = inside_box(box, valid, grid)
    transition = transition_matrix(
        similarity, iterations=settings.sinkhorn_iterations, symmetric=settings.symmetric
    )
    known = mean_seed(foreground)
    if settings.box_only == "centre":
        middle = mean_seed(centre_seed(box, valid, grid))
        known = torch.where(batch["has_points"][:, None], known, middle)
    seeds = torch.stack([known, mean_seed(background)], dim=-1)
    score = decide(points * walk(transition, seeds, settings), settings.decision)
    score = centre_score(score, inside, settings.centring)
    extreme, shown = SEED_SHARE * mean_seed(known), inside_box(valid, valid, grid)
    for _ in range(settings.rounds):
        score = reseed(score, transition, extreme, inside, shown)
        score = centre_score(score, inside, settings.centring)
    score = score * (known > 0.0).any(dim=-1, keepdim=True)
    return Scores(score, foreground, background, inside)


def reseed(
    score: Tensor, transition: Tensor, extreme: Tensor, inside: Tensor, shown: Tensor
) -> Tensor:
    """Sharpens log odds by walking one hop from soft seeds."""
    object_share = score.sigmoid() * inside
    rest = (1.0 - object_share) * shown
    likely = (1.0 - SEED_SHARE) * mean_seed(object_share) + extreme
    seeds = torch.stack([likely, mean_seed(rest)], dim=-1)
    return decide(score.shape[-1] * (transition @ seeds), "log_ratio")


def mean_seed(seeds: Tensor) -> Tensor:
    """1_X / |X|; an empty set gives zeros."""
    return _to_one(seeds, dim=-1)


def decide(reached: Tensor, decision: str) -> Tensor:
    """Difference or logarithm of the ratio of the two walks [b,p,2]."""
    foreground, background = reached.unbind(dim=-1)
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
    finite = maxima.masked_fill(~maxima.isfinite(), math.nan)
    shift = finite.nanquantile(0.05, dim=-1).nan_to_num(0.0)  # of nothing finite: none
    return score - strength * shift.clamp(-3.0, 4.0)[:, None]


def seed_points(batch: Batch, grid: int, delta: float) -> tuple[Tensor, Tensor]:
    """The points known before any propagation: foreground, background, 0 or 1 [b,p]."""
    points_xy, box, valid = batch["points_xy"], batch["box_xyxy"], batch["valid_xyxy"]
    to_centre = (box[:, None, :2] + box[:, None, 2:]) / 2.0 - points_xy
    distance = to_centre.norm(dim=-1, keepdim=True)
    step = distance.clamp(max=delta) / torch.where(distance > 0.0, distance, 1.0)
    cell_xy = ((points_xy + step * to_centre) * grid).floor().clamp(0, grid - 1)
    cell = (cell_xy[..., 1] * grid + cell_xy[..., 0]).long()
    foreground = torch.zeros(len(cell), grid * grid, dtype=torch.bool, device=cell.device)
    foreground = foreground.scatter(1, cell, True)
    foreground = foreground & ~_wholly_outside(valid, grid) & batch["has_points"][:, None]
    background = _wholly_outside(box, grid) & _wholly_inside(valid, grid) & ~foreground
    return foreground.float(), background.float()


def centre_seed(box_xyxy: Tensor, valid_xyxy: Tensor, grid: int) -> Tensor:
    """A soft seed for a box without extreme points: a Gaussian about its centre [b,p]."""
    cell = (torch.arange(grid, device=box_xyxy.device) + 0.5) / grid
    low, high = box_xyxy[:, :2, None], box_xyxy[:, 2:, None]
    along = torch.exp(-0.5 * ((cell - (low + high) / 2) / (CENTRE_SIGMA * (high - low))) ** 2)
    seed = (along[:, 1, :, None] * along[:, 0, None, :]).flatten(1)
    return torch.where(inside_box(box_xyxy, valid_xyxy, grid), seed, 0.0)


def inside_box(box_xyxy: Tensor, valid_xyxy: Tensor, grid: int) -> Tensor:
    """Cells whose centre lies in the tight box and in the image: bool [b,p]."""
    centre = (torch.arange(grid, device=box_xyxy.device) + 0.5) / grid
    both = torch.stack([box_xyxy, valid_xyxy])[..., None]
    along = ((centre >= both[:, :, :2]) & (centre < both[:, :, 2:])).all(dim=0)
    return _cells(along)


def retrieve_points(scores: Scores, settings: RetrievalSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Cuts the score into supervision: labels [b,p], weights [b,p], and empty [b]."""
    inside, foreground, background = scores.inside_box, scores.foreground > 0, scores.background > 0
    found_object = inside & (scores.score > settings.tau_fg)
    found_rest = inside & (scores.score < -settings.tau_bg) & ~found_object
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
    cell = torch.arange(math.isqrt(unit.shape[1]), dtype=torch.float32, device=unit.device)
    cells = torch.cartesian_prod(cell, cell)
    return (cells[:, None] - cells).square().sum(dim=-1)


def _to_one(values: Tensor, dim: int) -> Tensor:
    """Scales the sums along `dim` to 1; a sum of zero stays zero."""
    total = values.sum(dim=dim, keepdim=True)
    return values / torch.where(total > 0.0, total, 1.0)


def _cells(along: Tensor) -> Tensor:
    """Cells whose column and row are chosen, bool [b,2,n] (x, y): [b,n*n]."""
    return (along[:, 1, :, None] & along[:, 0, None, :]).flatten(1)


def _wholly_outside(box_xyxy: Tensor, grid: int) -> Tensor:
    """Cells that share no area with the box: bool [b,p]."""
    low, high, box = *_cell_borders(box_xyxy, grid), box_xyxy[..., None] * grid
    out = (high <= box[:, :2]) | (low >= box[:, 2:])
    return (out[:, 1, :, None] | out[:, 0, None, :]).flatten(1)


def _wholly_inside(box_xyxy: Tensor, grid: int) -> Tensor:
    """Cells the box covers completely: bool [b,p]."""
    low, high, box = *_cell_borders(box_xyxy, grid), box_xyxy[..., None] * grid
    return _cells((low >= box[:, :2]) & (high <= box[:, 2:]))


def _cell_borders(box_xyxy: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Lower and upper border of each cell of a line, moved inwards by the tolerance."""
    cell = torch.arange(grid, device=box_xyxy.device)
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
