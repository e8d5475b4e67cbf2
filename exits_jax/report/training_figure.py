"""The training curves of a run, from metrics.jsonl to a picture."""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

LOSSES = ("loss", "point", "mil", "crf", "soft")
COLOURS = {
    "loss": "#20242c",
    "point": "#d1495b",
    "mil": "#0072b2",
    "crf": "#1b8a5a",
    "soft": "#8a5a00",
}
SMOOTHED_FROM = 40  # with more rows than this, the curve is a running mean over a faint raw line
PANEL_INCHES, DPI = (5.2, 3.4), 110


def read_metrics(path: pathlib.Path) -> list[dict]:
    """The rows of a metrics.jsonl in file order, [] if there is none.

    A last line that a kill truncated, like any other that is not a JSON object, is left out.
    """
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def training_figure(
    rows: Sequence[Mapping], names: Sequence[str] = LOSSES
) -> UInt8[np.ndarray, "height width 3"] | None:
    """One panel per phase, in order of appearance: each loss of `names` over the steps.

    Args:
      rows: of metrics.jsonl: {"phase", "step", name: number or null}.
      names: what is drawn; "loss" is the weighted sum, drawn bold. A phase without any is left out.

    Returns:
      A uint8 RGB picture, or None where no row has any of the losses (labelling without training).
    """
    phases = dict.fromkeys(row["phase"] for row in rows if "phase" in row)
    curves = {
        phase: {name: points for name in names if len(points := _points(rows, phase, name))}
        for phase in phases
    }
    curves = {phase: found for phase, found in curves.items() if found}
    if not curves:
        return None
    figure = Figure((PANEL_INCHES[0] * len(curves), PANEL_INCHES[1]), DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (phase, found) in zip(axes, curves.items(), strict=True):
        _draw_phase(panel, phase, found)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _points(rows: Sequence[Mapping], phase: str, name: str) -> Float[np.ndarray, "rows 2"]:
    """(step, value) of one curve; rows without a number there are left out."""
    found = [
        (row["step"], row[name])
        for row in rows
        if row.get("phase") == phase and "step" in row and row.get(name) is not None
    ]
    return np.asarray(found, np.float64).reshape(-1, 2)


def _draw_phase(panel: Axes, phase: str, curves: Mapping[str, Float[np.ndarray, "rows 2"]]) -> None:
    """The curves of one phase, their latest value in the key."""
    for name, points in curves.items():
        step, value = points.T
        style = {"color": COLOURS.get(name), "linewidth": 2.2 if name == "loss" else 1.4}
        if len(step) == 1:
            style["marker"] = "o"
        elif len(step) > SMOOTHED_FROM:
            panel.plot(step, value, color=style["color"], linewidth=0.6, alpha=0.25)
            value = _running_mean(value, max(3, len(value) // 20))
        panel.plot(step, value, label=f"{name}  {value[-1]:.3g}", **style)
    panel.set_title(phase, loc="left", fontweight="bold")
    panel.set_xlabel("step")
    panel.set_ylabel("loss, mean of a batch")
    panel.set_ylim(bottom=min(0.0, *(points[:, 1].min() for points in curves.values())))
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize="small")


def _running_mean(value: Float[np.ndarray, " rows"], width: int) -> Float[np.ndarray, " rows"]:
    """Mean of the last `width` values at each row, of fewer at the beginning."""
    total = np.concatenate([[0.0], np.cumsum(value)])
    end = np.arange(1, len(value) + 1)
    start = np.maximum(0, end - width)
    return (total[end] - total[start]) / (end - start)
