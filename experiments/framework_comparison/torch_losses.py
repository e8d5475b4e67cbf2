"""The three losses of `exits_jax.losses`, each per crop [b], in PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor

LOWEST, HIGHEST = 0.1, 0.9
NORMALISE_EPS = 1e-6
DICE_EPS = 1e-3
OFFSETS = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2)]


def point_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, *, balanced: bool = False
) -> Tensor:
    """Binary cross-entropy at the supervised points [b,p], its mean over each crop."""
    # Logits without a label must not leak into the gradient, not even as 0 * infinity.
    logits = torch.where(weights > 0.0, logits, 0.0)
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    if not balanced:
        return _mean(loss, weights)[0]
    foreground, has_foreground = _mean(loss, weights * labels)
    background, has_background = _mean(loss, weights * (1.0 - labels))
    return (foreground + background) / (has_foreground + has_background).clamp(min=1.0)


def mil_loss(probability: Tensor, box_mask: Tensor, *, valid: Tensor) -> Tensor:
    """Soft dice of row maxima plus soft dice of column maxima; all [b,h,w]."""
    probability = torch.where(valid, probability, 0.0)
    box_mask = (box_mask & valid).float()
    # amax shares the gradient among equal maxima, as JAX does; max gives it to one of them.
    rows = dice_loss(probability.amax(dim=2), box_mask.amax(dim=2))
    columns = dice_loss(probability.amax(dim=1), box_mask.amax(dim=1))
    return rows + columns


def dice_loss(prediction: Tensor, target: Tensor, eps: float = DICE_EPS) -> Tensor:
    """1 - 2 <x, y> / (|x|^2 + |y|^2 + eps) of vectors [b,k]."""
    overlap = (prediction * target).sum(dim=-1)
    size = prediction.square().sum(dim=-1) + target.square().sum(dim=-1)
    return 1.0 - 2.0 * overlap / (size + eps)


def crf_loss(probability: Tensor, refined: Tensor) -> Tensor:
    """Soft dice between a mask inside the box [b,h,w] and its mean-field refinement."""
    return dice_loss(probability.flatten(1), refined.flatten(1))


# Where a step is compiled, this loop stays in Python and its sweeps are compiled: it ends when
# nothing changes any more, which no graph can know.
@torch.compiler.disable(recursive=False)
@torch.no_grad()
def mean_field(
    probability: Tensor,
    image: Tensor,
    box_mask: Tensor,
    *,
    sweeps: int,
    sigma: float,
    valid: Tensor,
) -> Tensor:
    """The mask [b,h,w] refined by mean-field inference to 0 or 1, float32.

    Args:
      probability: of the object [b,h,w].
      image: normalised, at mask resolution [b,3,h,w].
      box_mask, valid: the tight box and the image, bool [b,h,w].
      sweeps: at most this many; it stops when a sweep changes no float.
      sigma: of the colour kernel.
    """
    box = (box_mask & valid).float()
    kernel = colour_kernel(image, valid, sigma)
    start = (probability * box).clamp(LOWEST, HIGHEST)
    both = torch.stack([start, 1.0 - start])
    for _ in range(sweeps):
        before, both = both, sweep(both, kernel, box)
        if torch.equal(before, both):
            break
    return (both[0] > 0.5).float()


def colour_kernel(image: Tensor, inside: Tensor, sigma: float) -> Tensor:
    """exp(-|I_i - I_j|^2 / (2 sigma^2)) for the 3 x 3 neighbours j of every pixel i: [9,b,h,w]."""
    height, width = inside.shape[1:]
    padded_image, padded_inside = F.pad(image, (1, 1, 1, 1)), F.pad(inside, (1, 1, 1, 1))
    rows = []
    for dy, dx in OFFSETS:
        neighbour = padded_image[:, :, dy : dy + height, dx : dx + width]
        present = padded_inside[:, dy : dy + height, dx : dx + width] & inside
        distance = (image - neighbour).square().sum(dim=1)
        rows.append(torch.exp(-distance / (2.0 * sigma**2)) * present)
    return torch.stack(rows)


def sweep(both: Tensor, kernel: Tensor, box: Tensor) -> Tensor:
    """One mean-field update of foreground and background [2,b,h,w]."""
    height, width = box.shape[1:]
    logs = F.pad(both.log(), (1, 1, 1, 1))
    message = torch.zeros_like(both)
    for weight, (dy, dx) in zip(kernel, OFFSETS, strict=True):
        message.addcmul_(weight, logs[:, :, dy : dy + height, dx : dx + width])
    votes = message.exp()
    votes = torch.stack([votes[0] * box, votes[1]])
    return (votes / (NORMALISE_EPS + votes.sum(dim=0))).clamp(LOWEST, HIGHEST)


def _mean(loss: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean per crop (0 without weight) and whether there is any weight, as 0 or 1."""
    total = weights.sum(dim=-1)
    mean = (weights * loss).sum(dim=-1) / torch.where(total > 0.0, total, 1.0)
    return mean, (total > 0.0).float()
