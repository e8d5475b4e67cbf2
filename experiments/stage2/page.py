"""experiments/results/stage2.md: tables, the plot of AP by arm, pictures of what was found."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from exits_jax.evaluation.tables import markdown
from experiments.stage2.arms import ARMS, BOXES, ELLIPSES, OURS, TRUE, TRUSTED
from experiments.stage2.compare import (
    Seeds,
    compared,
    mean_over_seeds,
    ratio,
    seed_deviation,
    value_of,
)
from experiments.stage2.detections import SIZES
from experiments.supplement.ledger import Row

GOAL = 0.97  # of the AP with true masks
PAIRS = (
    (OURS, BOXES), (OURS, ELLIPSES), (OURS, "paper"), ("generator", OURS), (TRUSTED, OURS),
)  # fmt: skip


class Section(NamedTuple):
    """What came out on one data set.

    Fields:
      name, title: of the data set.
      arms: what was found, by arm, then seed.
      labels: how good the labels are, by name; not of the true ones.
      minutes: of training and prediction.
    """

    name: str
    title: str
    arms: Mapping[str, Seeds]
    labels: Mapping[str, Row]
    minutes: float


def text_of(section: Section) -> str:
    """The section as Markdown."""
    parts = [f"## {section.title}", verdict(section.arms), _ap_table(section)]
    parts.append(_pair_table(section.arms))
    parts.append(f"![What was found](stage2_{section.name}.png)")
    return "\n\n".join(part.strip() for part in parts if part)


def verdict(arms: Mapping[str, Seeds]) -> str:
    """In words: how much of the AP with true masks remains, and whether points beat boxes."""
    lines = []
    kept = arms.get(TRUE) and arms.get(OURS) and compared(arms[OURS], arms[TRUE], ratio, "ap")
    if kept and kept.known:
        place = "above" if kept.low > GOAL else "below" if kept.high < GOAL else "around"
        lines.append(
            f"**Labels from extreme points, not trained, keep {kept} of the AP with true masks**;"
            f" the interval lies {place} the goal of {GOAL}."
        )
    gain = arms.get(OURS) and arms.get(BOXES)
    gain = gain and compared(arms[OURS], arms[BOXES], np.subtract, "ap")
    if gain:
        word = "is" if gain.is_outside() else "is not"
        lines.append(f"What they gain over filled boxes {word} beyond chance: AP {gain.signed()}.")
    return " ".join(lines)


def _ap_table(section: Section) -> str:
    rows = [["trained on", "labels' mean IoU", "AP", "seeds +-", "AP50", "AP75", *SIZES]]
    rows[0] += ["minus true masks", "share of true masks"]
    for arm, seeds in section.arms.items():
        labels = section.labels.get(ARMS[arm].labels)
        cells = [ARMS[arm].title, f"{float(labels['miou']):.3f}" if labels else "1"]
        cells += [str(value_of(mean_over_seeds(seeds))), _figure(seed_deviation(seeds))]
        cells += [str(value_of(mean_over_seeds(seeds, key))) for key in ("ap50", "ap75")]
        cells += [_mean([found.sizes[size] for found in seeds.values()]) for size in SIZES]
        rows.append(cells + _beside_true(seeds, section.arms.get(TRUE, {}), arm))
    return markdown(rows)


def _mean(values: Sequence[float]) -> str:
    """Over seeds; n/a where the data set has nothing of it."""
    return _figure(float(np.mean(values)))


def _figure(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.3f}"


def _beside_true(seeds: Seeds, true: Seeds, arm: str) -> list[str]:
    if arm == TRUE or not (less := compared(seeds, true, np.subtract, "ap")):
        return ["", ""]
    return [less.signed(), str(compared(seeds, true, ratio, "ap"))]


def _pair_table(arms: Mapping[str, Seeds]) -> str:
    """Differences between arms; "" where none of the pairs is there."""
    rows = [["", "AP", "AP50"]]
    for first, second in PAIRS:
        if first in arms and second in arms:
            found = [compared(arms[first], arms[second], np.subtract, f) for f in ("ap", "ap50")]
            if all(found):
                name = f"{ARMS[first].title} minus {ARMS[second].title}"
                rows.append([name, *(one.signed() for one in found)])
    return markdown(rows) if len(rows) > 1 else ""


def ap_figure(sections: Sequence[Section]) -> Figure:
    """AP by arm: the mean over seeds with its interval over images, and every seed."""
    height = 1.0 + 0.45 * max(len(section.arms) for section in sections)
    figure = Figure(figsize=(6 * len(sections), height), layout="constrained")
    panels = figure.subplots(1, len(sections), squeeze=False)[0]
    for axes, section in zip(panels, sections, strict=True):
        for place, seeds in enumerate(section.arms.values()):
            value = value_of(mean_over_seeds(seeds))
            reach = [[value.value - value.low], [value.high - value.value]]
            axes.errorbar([value.value], [place], xerr=reach, marker="o", capsize=4, color="C0")
            each = [float(found.ap[0]) for found in seeds.values()]
            axes.plot(each, [place] * len(each), "|", color="C1", markersize=14)
        axes.set_yticks(range(len(section.arms)), [ARMS[arm].title for arm in section.arms])
        axes.invert_yaxis()
        axes.set(xlabel="mask AP", title=section.title)
        axes.grid(axis="x", alpha=0.3)
    return figure


PAGE = """\
# What stage 2 keeps of its labels' worth

One network (SOLOv2), one schedule, the same seeds ({seeds}); only the masks that it is trained on
differ. Boxes, ids and images of the label files are the same. AP is COCO's mask AP on images that
neither labels nor training have seen. Intervals: 95 % over {samples} sets of test images drawn with
replacement, the same sets for every row, of the mean over seeds; "seeds +-" is the standard
deviation between seeds. Small, medium and large are COCO's sizes, in pixels.

![AP by what is trained on](stage2.png)

{sections}

* Command: `{command}`.
* Labels: `true masks` as annotated; `ours, not trained`: `configs/own.py`, from extreme points
  alone; `the generator's`: the same with `label.source=generator`, trained on those photographs;
  `the paper's retrieval alone`: `configs/coco_mini.py:paper`, `label.source=propagation`, without
  warm-up; filled boxes and ellipses from the true boxes; `weighed by score`: `segmentation.trust`.
* Test images draw the interval; that other training images, too, would give other networks is not
  in it.
* Time: {minutes:.0f} minutes of training and prediction (of a run that was stopped, since it last
  began). Machine: {machine}.
"""


def page_of(sections: Sequence[Section], *, command: str, samples: int, machines: str) -> str:
    """The page as Markdown."""
    seeds = {seed for section in sections for arm in section.arms.values() for seed in arm}
    return PAGE.format(
        seeds=", ".join(map(str, sorted(seeds))),
        samples=f"{samples:,}",
        sections="\n\n".join(map(text_of, sections)),
        command=command,
        minutes=sum(section.minutes for section in sections),
        machine=machines,
    )
