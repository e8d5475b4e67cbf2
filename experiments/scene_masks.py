"""What shape evidence and competition bring on synthetic scenes with exact masks, by difficulty.

    python -m experiments.scenes --out=data/scenes
    python -m experiments.scene_masks --root=data/scenes

Writes experiments/results/scenes.md and a picture of the first scene of every difficulty.
"""

import pathlib

import numpy as np
from absl import app, flags
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from exits_jax.annotations import decode_segmentation
from exits_jax.evaluation.iou import GroundTruth, label_ious
from exits_jax.evaluation.summary import paired_bootstrap
from exits_jax.evaluation.tables import markdown
from exits_jax.export.quality import Label
from exits_jax.system.files import write_bytes
from experiments.figures import write_figure
from experiments.propagation_maps import BEST, OPTIONS, Split, option_labels, read_split

RESULTS = pathlib.Path(__file__).parent / "results"
ROOT = flags.DEFINE_string("root", "data/scenes", "folder that experiments/scenes.py wrote")
CACHE = flags.DEFINE_string("cache", "runs/masks", "folder the maps are kept in")

ALONE = next(iter(OPTIONS))


def kinds_table(methods: dict[str, Float[np.ndarray, " n"]], truth: GroundTruth) -> str:
    """Mean IoU of every option and difficulty, and its difference to the map alone."""
    kinds = np.array([instance.category for instance in truth.instances])
    images = [instance.image.id for instance in truth.instances]
    names = list(dict.fromkeys(kinds.tolist()))
    heads = [f"{name} (n {(kinds == name).sum()})" for name in names]
    rows = [["", *heads, f"all (n {len(kinds)})", "minus the map alone, 95 %"]]
    for method, ious in methods.items():
        means = [f"{ious[kinds == name].mean():.3f}" for name in names]
        rows.append([method, *means, f"{ious.mean():.3f}", ""])
        if method != ALONE:
            mean, low, high = paired_bootstrap(ious, methods[ALONE], groups=images)
            rows[-1][-1] = f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
    return markdown(rows)


def scenes_figure(split: Split, methods: dict[str, dict[int, Label]]) -> Figure:
    """The first scene of every difficulty: photograph, true masks, map alone, best options."""
    first: dict[str, int] = {}
    for instance in split.truth.instances:
        first.setdefault(instance.category, instance.image.id)
    shown = ["scene", "true masks", "map alone", "both options"]
    figure = Figure(figsize=(2 * len(first), 2 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), len(first))
    for column, (kind, image_id) in zip(grid.T, first.items(), strict=True):
        pairs = zip(split.truth.instances, split.truth.rles, strict=True)
        chosen = [(instance, rle) for instance, rle in pairs if instance.image.id == image_id]
        pixels = np.array(Image.open(chosen[0][0].image.path).convert("RGB"))
        drawn = [[], [rle for _, rle in chosen]]
        drawn += [[methods[m][i.id].rle for i, _ in chosen] for m in (ALONE, BEST)]
        column[0].set_title(kind)
        for axes, rles in zip(column, drawn, strict=True):
            axes.imshow(
                _painted(pixels, [decode_segmentation(rle, *pixels.shape[:2]) for rle in rles])
            )
            axes.set(xticks=[], yticks=[])
    for axes, name in zip(grid[:, 0], shown, strict=True):
        axes.set_ylabel(name)
    return figure


COLOURS = np.array([[255, 80, 60], [60, 140, 255]], np.float64)


def _painted(pixels: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    """The photograph with each mask in a colour of its own."""
    out = pixels.astype(np.float64)
    for mask, colour in zip(masks, COLOURS, strict=False):
        out[mask] = 0.4 * out[mask] + 0.6 * colour
    return out.astype(np.uint8)


def main(argv: list[str]) -> None:
    """Labels the scenes with every option and writes the page."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    root = pathlib.Path(ROOT.value)
    split = read_split(root / "annotations.json", root, pathlib.Path(CACHE.value) / "scenes.npz")
    labels = option_labels(split)
    ious = {name: label_ious(split.truth, found) for name, found in labels.items()}
    page = PAGE.format(table=kinds_table(ious, split.truth))
    print(page)
    write_figure(RESULTS / "scenes.png", scenes_figure(split, labels))
    write_bytes(RESULTS / "scenes.md", page.encode())


PAGE = """\
# Masks on synthetic scenes with exact masks

Objects cut from photographed textures (`experiments/scenes.py`, seed 0), 320 px, labelled with the
settings of `configs/coco_mini.py`; nothing was tuned on them. Mean IoU; the interval is a paired
bootstrap over scenes.

{table}
![The first scene of every difficulty](scenes.png)

Commands: `python -m experiments.scenes --out=data/scenes`, then
`python -m experiments.scene_masks --root=data/scenes`; a minute on two cores.
"""


if __name__ == "__main__":
    app.run(main)
