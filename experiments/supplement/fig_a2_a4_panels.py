"""Figures a2 to a4: separated objects, crowded scenes, several objects of a class in one box.

python -m experiments.supplement.fig_a2_a4_panels --root=data/coco-mini

Which instances are shown follows from a rule: for a2 and a3 never from how the masks look, for a4,
the failures, from the IoU alone.
"""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from exits_jax.annotations import Instance
from exits_jax.annotations.masks import decode_segmentation
from exits_jax.data.crop import fixed_window
from exits_jax.data.images import load_image
from exits_jax.evaluation.iou import GroundTruth, label_ious
from exits_jax.evaluation.tables import markdown
from exits_jax.export.quality import Label
from exits_jax.pseudo_labels.compete import compete
from exits_jax.pseudo_labels.label import label_from_logits
from exits_jax.report.drawing import distinct_colour, paint_mask
from experiments.propagation_maps import Split, final_crops, labels_from, read_split
from experiments.retrieval_measures import SMALLEST, Examples
from experiments.supplement.kept import scores_of
from experiments.supplement.page import Page
from experiments.supplement.protocol import MARGIN, PAPER, RETRIEVAL_SIZE, arguments

ROWS = 6
VISIBLE = 96**2  # square pixels: smaller objects show nothing in a panel
COLUMNS = ("input", "ours", "paper form", "ground truth")
RULES = {
    "a2": f"Separated objects: of the instances of area >= 96^2 whose mask has several parts of at"
    f" least 2 %, in the order of their ids, {ROWS} evenly spaced ones.",
    "a3": f"Crowded scenes: the {ROWS} photographs with the most instances of area >= 32^2, all of"
    " them drawn.",
    "a4": f"Failures: the {ROWS} instances of area >= 96^2 with the lowest IoU of ours among those"
    " with another of their class in their box (at least 10 % of its own area).",
}


class Masks(NamedTuple):
    """What the columns show, by annotation id, and the IoU of both methods."""

    truth: dict[int, dict]
    ours: dict[int, Label]
    paper: dict[int, Label]
    iou: dict[int, tuple[float, float]]

    def of(self, column: str, instance: Instance) -> Bool[np.ndarray, "h w"]:
        """The mask of one column."""
        size = instance.image.height, instance.image.width
        if column == "ground truth":
            return decode_segmentation(self.truth[instance.id], *size)
        labels = self.ours if column == "ours" else self.paper
        return decode_segmentation(labels[instance.id].rle, *size)


def main() -> None:
    """Makes both kinds of masks of val2017, chooses by the rules and draws."""
    args = arguments(__doc__).parse_args()
    page, root = Page("fig_a2_a4_panels"), pathlib.Path(args.root)
    split = read_split(
        root / "annotations" / "instances_val2017.json",
        root / "val2017",
        pathlib.Path(args.cache) / "val2017.npz",
    )
    masks = both(split, args.cache)
    chosen = {
        "a2": separated(split.truth),
        "a3": crowded(split.truth),
        "a4": failures(split.truth, masks),
    }
    rows = {
        (name, instance.id): {
            "image": instance.image.file_name,
            "ours_iou": masks.iou[instance.id][0],
            "paper_form_iou": masks.iou[instance.id][1],
        }
        for name, groups in chosen.items()
        for group in groups
        for instance in group
    }
    page.ledger(("figure", "annotation")).replace(rows)
    page.write(
        "Fig. a2 to a4 analog: panels",
        [
            means(split.truth, masks),
            *(f"## Fig. {n}\n\n{rule}\n\n![fig_{n}](fig_{n}.png)" for n, rule in RULES.items()),
        ],
        {f"fig_{name}": figure(groups, masks) for name, groups in chosen.items()},
        Config=f"val2017 of coco-mini, DINOv2-S/14, labelling crops of {RETRIEVAL_SIZE} px, margin"
        f" {MARGIN}",
        Ours="`label.source=propagation` with the settings of `configs/coco_mini.py`, nothing"
        " trained",
        Paper_form=f"attention of layer 10, three hops, difference > 0 in the box,"
        f" {RETRIEVAL_SIZE} px, nothing trained; the paper's own masks come from its trained"
        " generator and are not to be had",
        Spread="",
    )


def both(split: Split, cache: str) -> Masks:
    """Masks of both methods; the paper form's of the instances that are shown or counted."""
    truth = split.truth
    large = [i for i in (crop.instance for crop in split.crops) if i.area >= SMALLEST]
    score = scores_of(cache, Examples(large, []), {"paper": PAPER}, RETRIEVAL_SIZE)["paper"].score
    grid = round(score.shape[1] ** 0.5)
    paper = {
        instance.id: label_from_logits(
            instance, row.reshape(grid, grid), fixed_window(instance.box_xyxy, MARGIN)
        )
        for instance, row in zip(large, score, strict=True)
    }
    ours = labels_from(final_crops(split, shape=True, joint=compete))
    pairs = zip(label_ious(truth, ours), label_ious(truth, paper), strict=True)
    return Masks(
        {i.id: rle for i, rle in zip(truth.instances, truth.rles, strict=True)},
        ours,
        paper,
        {i.id: (float(a), float(b)) for i, (a, b) in zip(truth.instances, pairs, strict=True)},
    )


def separated(truth: GroundTruth) -> list[list[Instance]]:
    """By the rule of figure a2; a row of the figure shows one group."""
    found = [
        instance
        for instance, apart in zip(truth.instances, truth.separated, strict=True)
        if apart and instance.area >= VISIBLE
    ]
    found.sort(key=lambda instance: instance.id)
    places = np.linspace(0, len(found) - 1, ROWS).round().astype(int)
    return [[found[place]] for place in dict.fromkeys(places.tolist())]


def crowded(truth: GroundTruth) -> list[list[Instance]]:
    """By the rule of figure a3."""
    images: dict[int, list[Instance]] = {}
    for instance in truth.instances:
        if instance.area >= SMALLEST:
            images.setdefault(instance.image.id, []).append(instance)
    return sorted(images.values(), key=lambda group: (-len(group), group[0].image.id))[:ROWS]


def failures(truth: GroundTruth, masks: Masks) -> list[list[Instance]]:
    """By the rule of figure a4."""
    found = [
        instance
        for instance, crowd in zip(truth.instances, truth.same_class, strict=True)
        if crowd and instance.area >= VISIBLE
    ]
    found.sort(key=lambda instance: (masks.iou[instance.id][0], instance.id))
    return [[instance] for instance in found[:ROWS]]


def means(truth: GroundTruth, masks: Masks) -> str:
    """Mean IoU of the groups the figures are drawn from."""
    large = np.array([instance.area >= SMALLEST for instance in truth.instances])
    iou = np.array([masks.iou[instance.id] for instance in truth.instances])
    crowds = {instance.id for group in crowded(truth) for instance in group}
    groups = {
        "all of area >= 32^2": large,
        "separated (a2)": large & truth.separated,
        "in the photographs of a3": np.array([i.id in crowds for i in truth.instances]),
        "another of the class in the box (a4)": large & truth.same_class,
    }
    rows = [["val2017", "n", "ours", "paper form"]]
    for name, group in groups.items():
        figures = (f"{value:.3f}" for value in iou[group].mean(axis=0))
        rows.append([name, str(group.sum()), *figures])
    return markdown(rows)


def figure(groups: Sequence[Sequence[Instance]], masks: Masks) -> Figure:
    """A row per group of instances of one photograph, a column per kind of mask."""
    drawn = Figure(figsize=(11, 2.6 * len(groups)), layout="constrained")
    panels = drawn.subplots(len(groups), len(COLUMNS), squeeze=False)
    for axes, group in zip(panels, groups, strict=True):
        left, top, right, bottom = view(group)
        for axis, column in zip(axes, COLUMNS, strict=True):
            axis.imshow(panel(group, column, masks))
            if column == "input":
                draw_prompts(axis, group)
            axis.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
            axis.set_title(title(group, column, masks), fontsize=9)
    return drawn


def view(group: Sequence[Instance]) -> tuple[float, float, float, float]:
    """The part of the photograph that is shown, x, y, x, y: around one instance, or all of it."""
    image = group[0].image
    if len(group) > 1:
        return 0, 0, image.width, image.height
    left, top, right, bottom = fixed_window(group[0].box_xyxy, 2 * MARGIN)
    return max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)


def draw_prompts(axis: Axes, group: Sequence[Instance]) -> None:
    """Boxes and extreme points."""
    for number, instance in enumerate(group):
        colour = np.array(distinct_colour(number)) / 255
        left, top, right, bottom = instance.box_xyxy
        axis.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour)
        )
        if instance.points_xy is not None:
            axis.scatter(*instance.points_xy.T, s=18, color=[colour], edgecolor="white", zorder=3)


def title(group: Sequence[Instance], column: str, masks: Masks) -> str:
    """The column's name, with the mean IoU where it has one."""
    if column not in ("ours", "paper form"):
        return column
    which = ("ours", "paper form").index(column)
    return f"{column}, IoU {np.mean([masks.iou[i.id][which] for i in group]):.2f}"


def panel(group: Sequence[Instance], column: str, masks: Masks) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph, with the column's masks if it has any."""
    picture = load_image(group[0].image)
    if column == "input":
        return picture
    for number, instance in enumerate(group):
        picture = paint_mask(picture, masks.of(column, instance), distinct_colour(number))
    return picture


if __name__ == "__main__":
    main()
