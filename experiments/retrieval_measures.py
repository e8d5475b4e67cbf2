"""How good retrieved points and propagation maps are, measured on true masks.

Shared by `retrieval_quality`, `growth` and `supplement`.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from exits_jax.annotations import Instance, read_annotations
from exits_jax.annotations.masks import decode_segmentation
from exits_jax.annotations.regions import box_pixels
from exits_jax.data.crop import fixed_window
from exits_jax.data.source import by_image
from exits_jax.models.vit import ViT, normalise
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.pseudo_labels.paste import paste_probability
from exits_jax.retrieval.crops import layers_asked, score_inputs
from exits_jax.retrieval.points import retrieve_points
from exits_jax.retrieval.score import Scores, propagation_score, similarity_matrix
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.progress import track
from exits_jax.training.state import Params

SMALLEST = 32**2  # square pixels: smaller instances are not measured
Mask = Bool[np.ndarray, "h w"]


class Examples(NamedTuple):
    """Instances, those of an image together, and their masks to measure with."""

    instances: list[Instance]
    masks: list[Mask]

    def take(self, indices: np.ndarray | range) -> "Examples":
        """Some of them."""
        return Examples([self.instances[i] for i in indices], [self.masks[i] for i in indices])


class Row(NamedTuple):
    """What one setting came to."""

    tau_fg: float
    tau_bg: float
    empty: float  # share of crops
    fg_precision: float
    fg_coverage: float  # share of the box's cells
    bg_precision: float
    bg_coverage: float
    auc: float  # of the score over the box's cells, mean over crops
    iou: float  # of score > 0 in the box, at native resolution
    iou_75: float  # share of instances above .75


def examples(root: str, split: str, count: int | None = None, seed: int = 0) -> Examples:
    """Instances of at least 32 x 32 pixels of a COCO folder.

    Args:
      root: the folder; holds annotations/ and the images of the splits.
      split: "train2017" or "val2017".
      count: as many, drawn at random by `seed`; None takes them all.
      seed: of the draw.
    """
    folder = pathlib.Path(root)
    annotations = read_annotations(
        folder / "annotations" / f"instances_{split}.json", folder / split
    )
    large = [instance for instance in annotations.instances if instance.area >= SMALLEST]
    if count is not None:
        order = np.random.default_rng(seed).permutation(len(large))[:count]
        large = [large[index] for index in order]
    chosen = by_image(large)
    entries = annotations.document["annotations"]
    masks = [
        decode_segmentation(entries[i.index]["segmentation"], i.image.height, i.image.width)
        for i in chosen
    ]
    return Examples(chosen, masks)


def object_shares(chosen: Examples, grid: int, margin: float) -> Float[np.ndarray, "n p"]:
    """`object_share` of every instance's labelling crop."""
    windows = [fixed_window(instance.box_xyxy, margin) for instance in chosen.instances]
    return np.stack([object_share(*pair, grid) for pair in zip(chosen.masks, windows, strict=True)])


def score_all(
    instances: Sequence[Instance],
    settings: Mapping[str, RetrievalSettings],
    vit: ViT,
    params: Params,
    *,
    size: int,
    margin: float,
    pixels: str = "imagenet",
    batch_size: int = 4,
) -> dict[str, Scores]:
    """Scores of every instance's labelling crop under every setting, as numpy arrays [n, p].

    The extractor runs once; all settings read its attention and keys. One whose `box_only` is not
    "nothing" is scored as if no instance had extreme points, which is what it is for.

    Args:
      instances: in the order of the scores; those of an image together.
      settings: by name.
      vit, params: the similarity extractor.
      size: side of a crop in pixels.
      margin: of the crops.
      pixels: normalisation of its input.
      batch_size: crops at a time.
    """
    asked: dict[str, tuple[int, ...]] = {}
    for one in settings.values():
        for kind, layers in layers_asked(one, vit.depth).items():
            asked[kind] = tuple(sorted({*asked.get(kind, ()), *layers}))

    @jax.jit
    def forward(image: jax.Array) -> dict[str, Any]:
        return vit.apply({"params": params}, normalise(image, pixels), features=False, **asked)[1]

    # A program each: jaxlib 0.10 hung in one that solved several absorbing systems side by side.
    score_of = {
        name: jax.jit(functools.partial(_score, vit=vit, size=size, settings=one))
        for name, one in settings.items()
    }

    def scores(batch: dict[str, Any]) -> dict[str, Scores]:
        inputs = score_inputs(batch)
        out = forward(inputs["image"])
        return {name: one(out, inputs) for name, one in score_of.items()}

    return in_batches("scores", instances, scores, size=size, margin=margin, batch_size=batch_size)


def in_batches(
    label: str,
    instances: Sequence[Instance],
    function: Callable[[dict[str, Any]], Any],
    *,
    size: int,
    margin: float,
    batch_size: int = 4,
) -> Any:
    """Applies a function to the labelling crops of all instances, a batch at a time.

    Args:
      label: of the progress bar.
      instances: those of an image together.
      function: batch (`exits_jax.pseudo_labels.crops`) -> a tree of arrays with a row per crop.
      size: side of a crop in pixels.
      margin: of the crops.
      batch_size: crops at a time.

    Returns:
      The same tree of numpy arrays with a row per instance; what filled the last batch is left out.
    """
    parts = []
    with track(label, len(instances)) as progress:
        for batch in label_batches(instances, crop_size=size, margin=margin, batch_size=batch_size):
            valid, found = batch["valid"], jax.device_get(function(batch))
            parts.append(jax.tree.map(lambda rows, valid=valid: rows[valid], found))
            progress.advance(int(valid.sum()))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def _score(
    out: dict, batch: dict[str, Any], *, vit: ViT, size: int, settings: RetrievalSettings
) -> Scores:
    """One setting's scores, from the extractor's intermediates."""
    return propagation_score(
        similarity_matrix(out, class_token=vit.class_token, settings=settings),
        batch["points_xy"],
        batch["has_points"] & (settings.box_only == "nothing"),
        batch["box_xyxy"],
        batch["valid_xyxy"],
        grid=size // vit.patch,
        settings=settings,
    )


def object_share(
    mask: Mask, window_xyxy: Float[np.ndarray, "4"], grid: int
) -> Float[np.ndarray, "p"]:
    """Exact share of every cell's area that the object covers, by the mask's integral image."""
    integral = np.pad(mask.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    x = np.linspace(window_xyxy[0], window_xyxy[2], grid + 1).clip(0, mask.shape[1])
    y = np.linspace(window_xyxy[1], window_xyxy[3], grid + 1).clip(0, mask.shape[0])
    by_row = np.stack([np.interp(y, range(len(integral)), column) for column in integral.T], 1)
    at_corners = np.stack([np.interp(x, range(row.size), row) for row in by_row])
    width, height = window_xyxy[2:] - window_xyxy[:2]
    return np.diff(np.diff(at_corners, axis=0), axis=1).ravel() * grid**2 / (width * height)


def auc(score: Float[np.ndarray, "k"], truth: Bool[np.ndarray, "k"]) -> float:
    """Chance that a point on the object scores above one that is not; nan without both kinds."""
    on, off = score[truth], score[~truth]
    if not on.size or not off.size:
        return float("nan")
    return float(np.mean((on[:, None] > off) + 0.5 * (on[:, None] == off)))


def mask_iou(
    score: Float[np.ndarray, "p"], instance: Instance, truth: Mask, margin: float
) -> float:
    """IoU of the mask `score > 0` in the box, pasted at native resolution.

    Args:
      score: of the cells of the instance's labelling crop, row by row; logits serve as well.
      instance: whose crop it is.
      truth: its mask.
      margin: of the crop (`crop.fixed_window`).
    """
    height, width = truth.shape
    grid = round(score.size**0.5)
    window = fixed_window(instance.box_xyxy, margin)
    patch, (x0, y0, x1, y1) = paste_probability(score.reshape(grid, grid), window, height, width)
    label = np.zeros((height, width), bool)
    label[y0:y1, x0:x1] = patch > 0
    left, top, right, bottom = box_pixels(instance.box_xyxy, height, width)
    inside = np.zeros((height, width), bool)
    inside[top:bottom, left:right] = True
    label &= inside
    return float((label & truth).sum() / (label | truth).sum())


def measure(
    scores: Scores,
    chosen: Examples,
    shares: Float[np.ndarray, "n p"],
    *,
    tau_fg: float,
    tau_bg: float,
    margin: float,
) -> Row:
    """What scores and thresholds come to on instances with masks.

    Args:
      scores: of the instances' labelling crops, as numpy arrays.
      chosen: the instances.
      shares: `object_shares` at the scores' grid.
      tau_fg, tau_bg: thresholds of retrieval.
      margin: of the crops.
    """
    score, inside = scores.score, scores.inside_box
    nothing, cells = np.zeros_like(inside), scores.retrievable  # seeds are no find
    labels, weights, empty = map(
        np.asarray,
        retrieve_points(score, cells, nothing, nothing, tau_fg=tau_fg, tau_bg=tau_bg),
    )
    truth = shares > 0.5
    found, rest = labels == 1, (weights == 1) & (labels == 0)
    ious = [mask_iou(z, *pair, margin) for z, *pair in zip(score, *chosen, strict=True)]
    aucs = [auc(z[i], t[i]) for z, i, t in zip(score, inside, truth, strict=True)]
    return Row(
        tau_fg,
        tau_bg,
        empty.mean(),
        truth[found].mean(),
        found.sum() / inside.sum(),
        1 - truth[rest].mean(),
        rest.sum() / inside.sum(),
        float(np.nanmean(aucs)),
        float(np.mean(ious)),
        float(np.mean(np.array(ious) > 0.75)),
    )
