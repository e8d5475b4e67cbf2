"""Measures the masks' edges: how the map is enlarged, smoothing, and filled holes.

    python -m experiments.edges --root=data/coco-mini

Chosen on one in five images of train2017, reported on val2017. The propagation maps are computed
once and kept (--cache). Masks are read only to measure. Writes experiments/results/edges.md.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from absl import app, flags
from jaxtyping import Bool, Float
from scipy import ndimage

from exits_jax.annotations import decode_segmentation, encode_rle, mask_to_polygons
from exits_jax.evaluation.iou import GroundTruth, Prediction, ScoredMask, label_ious
from exits_jax.evaluation.summary import paired_bootstrap
from exits_jax.evaluation.tables import Rows, markdown
from exits_jax.pseudo_labels.compete import Crop, compete
from exits_jax.pseudo_labels.label import label_from_logits
from exits_jax.pseudo_labels.settings import SMOOTH, Edges
from exits_jax.system.files import write_bytes
from experiments.propagation_maps import final_crops, read_split

RESULTS = pathlib.Path(__file__).parent / "results"
ROOT = flags.DEFINE_string("root", "data/coco-mini", "folder of the COCO subset")
CACHE = flags.DEFINE_string("cache", "runs/masks", "folder the maps are kept in")
OUTPUT = flags.DEFINE_string("output", str(RESULTS), "folder of edges.md")

EVERY = {"train2017": 5, "val2017": 1}  # one image in so many
LARGE = 32**2  # square pixels; the figures are of instances from this area on
RIM = 0.02  # of the image's diagonal: how wide the rim is that a boundary IoU compares
TOLERANCES = (0.0, 0.5, 1.0, 2.0, 3.0)  # of polygons, pixels

Labels = dict[int, ScoredMask]
Make = Callable[[Sequence[Crop]], Labels]


def drawn(edges: Edges) -> Make:
    """Labels with these edges."""
    return lambda crops: {c.instance.id: label_from_logits(*c, edges=edges) for c in crops}


def blurred(cells: float) -> Make:
    """Labels of maps after a Gaussian over their cells."""

    def make(crops: Sequence[Crop]) -> Labels:
        return drawn(Edges())([_blurred(crop, cells) for crop in crops])

    return make


def _blurred(crop: Crop, cells: float) -> Crop:
    return crop._replace(logits=ndimage.gaussian_filter(crop.logits, cells, mode="nearest"))


def opened(pixels: int) -> Make:
    """Labels after what is thinner than so many pixels on each side is taken away."""

    def make(crops: Sequence[Crop]) -> Labels:
        labels = drawn(Edges())(crops)
        return {key: Prediction(_opened(label, pixels), 1.0) for key, label in labels.items()}

    return make


def _opened(label: ScoredMask, pixels: int) -> dict:
    mask = decode_segmentation(label.rle, *label.rle["size"])
    less = ndimage.binary_opening(mask, iterations=pixels)
    return encode_rle(less) if less.any() else label.rle


OPTIONS: dict[str, Make] = {
    "as it was": drawn(Edges()),
    "`cubic`": drawn(Edges(cubic=True)),
    "`smooth` 0.25": drawn(Edges(smooth=0.25)),
    "`smooth` 0.5": drawn(Edges(smooth=0.5)),
    "`smooth` 1": drawn(Edges(smooth=1.0)),
    "`fill_holes` 0.01": drawn(Edges(fill_holes=0.01)),
    "`fill_holes` 0.05": drawn(Edges(fill_holes=0.05)),
    "`fill_holes` 1": drawn(Edges(fill_holes=1.0)),
    "`cubic`, `smooth` 0.25": drawn(Edges(True, 0.25)),
    "`cubic`, `smooth` 0.5": drawn(Edges(True, 0.5)),
    "`cubic`, `smooth` 0.5, `fill_holes` 0.05": drawn(Edges(True, 0.5, 0.05)),
    "`cubic`, `smooth` 0.5, `fill_holes` 1": drawn(Edges(True, 0.5, 1.0)),
    "`cubic`, `smooth` 0.75": drawn(Edges(True, 0.75)),
    "a Gaussian over the map, 0.5 cells (no option)": blurred(0.5),
    "thin parts opened, 1 pixel (no option)": opened(1),
    "thin parts opened, 2 pixels (no option)": opened(2),
}


class Measured(NamedTuple):
    """IoU and boundary IoU of the large instances."""

    ious: Float[np.ndarray, " n"]
    rims: Float[np.ndarray, " n"]


def measure(truth: GroundTruth, labels: Labels) -> Measured:
    """Of one option's labels."""
    large = [i.area >= LARGE for i in truth.instances]
    pairs = zip(truth.instances, truth.rles, strict=True)
    rims = [
        boundary_iou(*(decode_segmentation(one, *rle["size"]) for one in (labels[i.id].rle, rle)))
        for i, rle in pairs
        if i.area >= LARGE
    ]
    return Measured(label_ious(truth, labels)[large], np.array(rims))


def boundary_iou(one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    """The IoU of the masks' rims, as wide as 2 % of the image's diagonal (Cheng et al., 2021)."""
    width = max(round(RIM * float(np.hypot(*one.shape))), 1)
    rows, columns = ndimage.find_objects((one | other).astype(np.uint8))[0]
    first, second = (_rim(mask[rows, columns], width) for mask in (one, other))
    return float((first & second).sum() / (first | second).sum())


def _rim(mask: Bool[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    """Pixels of a mask that are at most so far from its outside."""
    return mask & (ndimage.distance_transform_cdt(np.pad(mask, 1))[1:-1, 1:-1] <= width)


def option_table(found: dict[str, dict[str, Measured]], images: dict[str, list[int]]) -> str:
    """A row an option: on each split the IoU, its difference, and that of the boundary IoU."""
    heads = []
    for split in EVERY:
        count = len(images[split])
        heads += [f"{split} (n {count})", "minus as it was, 95 %", "boundary IoU, minus as it was"]
    rows: Rows = [["`label.`", *heads]]
    for option in OPTIONS:
        row = [option]
        for split in EVERY:
            base, here = found[split][next(iter(OPTIONS))], found[split][option]
            row.append(f"{here.ious.mean():.4f}")
            row += [_change(a, b, images[split]) for a, b in zip(here, base, strict=True)]
        rows.append(row)
    return markdown(rows)


def _change(here: Float[np.ndarray, " n"], base: Float[np.ndarray, " n"], images: list[int]) -> str:
    if here is base:
        return ""
    mean, low, high = paired_bootstrap(here, base, groups=images)
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"


def polygon_table(labels: Labels) -> str:
    """What a tolerance (`label.simplify`) leaves of the corners, and what it costs."""
    rows: Rows = [["`label.simplify`", "corners an object", "mean IoU", "5th percentile", "lowest"]]
    masks = [decode_segmentation(label.rle, *label.rle["size"]) for label in labels.values()]
    for tolerance in TOLERANCES:
        made = [mask_to_polygons(mask, tolerance) for mask in masks]
        corners = sum(len(polygon) // 2 for polygons, _, _ in made for polygon in polygons)
        ious = np.array([iou for *_, iou in made])
        figures = [ious.mean(), np.percentile(ious, 5), ious.min()]
        rows.append(
            [f"{tolerance:g}", f"{corners / len(masks):.1f}", *(f"{one:.4f}" for one in figures)]
        )
    return markdown(rows)


def main(argv: list[str]) -> None:
    """Measures everything, prints and writes the page."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    root, found, images = pathlib.Path(ROOT.value), {}, {}
    for name, every in EVERY.items():
        kept = pathlib.Path(CACHE.value) / (name + f"-every{every}" * (every > 1) + ".npz")
        file = root / "annotations" / f"instances_{name}.json"
        split = read_split(file, root / name, kept, every)
        crops = final_crops(split, shape=True, joint=compete)
        found[name] = {
            option: measure(split.truth, make(crops)) for option, make in OPTIONS.items()
        }
        images[name] = [i.image.id for i in split.truth.instances if i.area >= LARGE]
    page = PAGE.format(
        options=option_table(found, images), polygons=polygon_table(drawn(SMOOTH)(crops))
    )
    print(page)
    write_bytes(pathlib.Path(OUTPUT.value) / "edges.md", page.encode())


PAGE = """\
# The edges of masks, and polygons to a tolerance

Masks of the propagation map with shape evidence and competition (`configs/coco_mini.py` with
`label.source=propagation`), 24 x 24 cells a crop, of the instances of area >= 32^2. Chosen on one
in five images of train2017, reported on val2017; intervals by a paired bootstrap over images.

{options}
`cubic`: the map enlarged by Catmull and Rom's cubic instead of linearly. `smooth`: a Gaussian over
the cut mask inside its box, in cells of the map, cut at a half. `fill_holes`: holes of at most this
share of the mask are filled.

The best settings (`base.best_labelling`) have `cubic` and `smooth` 0.5: better on both splits by
both measures, and the stairs of the map's cells are gone to the eye. `fill_holes` stays off: what
it gains is of a truth that cannot say holes (COCO's polygons), and it would close a ring.

## Polygons

Every label of val2017 with the best settings, small ones too, its outline to a tolerance in pixels.
The IoU is with the mask, by pycocotools; at 0 it is what filled holes cost.

{polygons}
Command: `python -m experiments.edges --root=ROOT` (a fifth of a second an instance for the maps,
once; six minutes for the rest on two cores).
"""


if __name__ == "__main__":
    app.run(main)
