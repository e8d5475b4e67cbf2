"""Evaluations side by side, for the terminal (Rich) and for Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.table
from jaxtyping import Float

from exits_jax.evaluation.summary import grouped_means, paired_bootstrap

Rows = list[list[str]]  # the first is the header; the first column is text, the others figures

COLUMNS = {"mean IoU": "miou", "share > .75": "share_iou_75", "AP": "ap"}
METHODS = {"filled box": "filled_box", "propagation only": "propagation_only"}


def shown(value: float | int | None) -> str:
    """A figure as people read it: three decimals, whole numbers whole, n/a for nothing."""
    if value is None:
        return "n/a"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def comparison(evaluation: Mapping[str, Any], label: str = "generator") -> Rows:
    """Filled box, propagation only and the labels themselves, from `evaluation.json`.

    Args:
      evaluation: what `summary.evaluation_record` returns.
      label: what to call the labels.
    """
    figures = {name: evaluation["baselines"][key] for name, key in METHODS.items()}
    figures[label] = evaluation
    return [
        ["", *COLUMNS],
        *([name, *(shown(row[key]) for key in COLUMNS.values())] for name, row in figures.items()),
    ]


def breakdown(
    names: Sequence[str], methods: Mapping[str, Float[np.ndarray, "n"]], title: str = "photo"
) -> Rows:
    """Mean IoU by photograph, category or group, one row each and one for all, a column per method.

    Args:
      names: of each instance, as `summary.image_names` or `summary.category_names` give them.
      methods: method -> IoU of each instance.
      title: what the names are.
    """
    columns = [
        grouped_means(names, ious) + grouped_means(["all"] * len(ious), ious)
        for ious in methods.values()
    ]
    rows = [
        [group[0].name, str(group[0].n), *(shown(mean.miou) for mean in group)]
        for group in zip(*columns, strict=True)
    ]
    return [[title, "n", *methods], *rows]


def differences(
    methods: Mapping[str, Float[np.ndarray, "n"]],
    against: str,
    *,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> Rows:
    """Every method's mean IoU and its difference from one of them, with the 95 % interval.

    Args:
      methods: method -> IoU of each instance.
      against: the method the others are compared with.
      groups: see `summary.paired_bootstrap`.
      seed: of the resampling.
    """
    rows = [["", "mean IoU", f"minus {against}", "95 % interval"]]
    for name, ious in methods.items():
        mean, low, high = paired_bootstrap(ious, methods[against], seed=seed, groups=groups)
        change = ["", ""] if name == against else [f"{mean:+.3f}", f"{low:+.3f} to {high:+.3f}"]
        rows.append([name, shown(float(ious.mean())), *change])
    return rows


def rich_table(rows: Rows, title: str | None = None) -> rich.table.Table:
    """Rows as a table for the terminal, figures right-aligned."""
    table = rich.table.Table(title=title)
    for position, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if position else "left")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def markdown(rows: Rows) -> str:
    """Rows as a Markdown table, figures right-aligned, pipes in names escaped."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    lines = ["| " + " | ".join(row) + " |" for row in [cells[0], rule, *cells[1:]]]
    return "\n".join(lines) + "\n"
