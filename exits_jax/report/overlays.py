"""The panel strip: how one instance got its mask, step by step. Also pictures to bytes and files.

All are functions arrays -> uint8 RGB picture. Small pictures and whole images: `overview`.
"""

import io
import os

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image, ImageDraw

from exits_jax.report import drawing
from exits_jax.report.drawing import INK, LABEL, PAPER, POINT, TRUTH, Colour
from exits_jax.report.sheet import Panel, lay_out
from exits_jax.system.files import write_bytes

SEED: Colour = (255, 140, 0)
OBJECT: Colour = (235, 90, 45)
BACKGROUND: Colour = (45, 115, 205)

FINE = 2  # marks are drawn on pictures this many times larger, then shrunk


def panel_strip(
    crop: UInt8[np.ndarray, "s s 3"],
    *,
    box_xyxy: Float[np.ndarray, "4"],
    points_xy: Float[np.ndarray, "4 2"] | None = None,
    seeds: Shaped[np.ndarray, "N N"] | None = None,
    scores: Float[np.ndarray, "hops N N"] | None = None,
    labels: Shaped[np.ndarray, "N N"] | None = None,
    weights: Shaped[np.ndarray, "N N"] | None = None,
    prediction: Bool[np.ndarray, "m m"] | None = None,
    score: float | None = None,
    truth: Bool[np.ndarray, "t t"] | None = None,
    iou: float | None = None,
    side_px: int = 256,
    columns: int = 4,
) -> UInt8[np.ndarray, "height width 3"]:
    """Prompt, score after every hop, retrieved points, predicted mask, ground truth of an instance.

    A panel whose data is not given is left out.

    Args:
      crop: what the network saw; all else is drawn on it. `crop_mask` makes masks that fit.
      box_xyxy, points_xy: box and extreme points (top, left, bottom, right), [0,1] over the crop.
      seeds: not zero where a pushed foreground seed is.
      scores: propagation score, one map per hop, positive for the object; each has its own scale.
      labels, weights: retrieved points: 1 (object) or 0 where the weight is positive.
      prediction, score: the predicted mask and its score 0..1.
      truth, iou: the ground-truth mask, and the IoU as evaluated (not measured again on the crop).
      side_px: side of a panel's picture.
      columns: panels in a row.

    Returns:
      One picture on white, the panels in reading order.
    """
    fine = drawing.resize_picture(crop, FINE * side_px, FINE * side_px)
    panels = [_prompt_panel(fine, box_xyxy, points_xy, seeds)]
    if scores is not None:
        panels += [_score_panel(fine, values, hop) for hop, values in enumerate(scores, start=1)]
    if labels is not None:
        weights = np.ones(labels.shape) if weights is None else weights
        panels.append(
            _points_panel(fine, (labels > 0) & (weights > 0), (labels <= 0) & (weights > 0))
        )
    if prediction is not None:
        panels.append(_prediction_panel(fine, prediction, score))
    if truth is not None:
        panels.append(_truth_panel(fine, truth, prediction, iou))
    return lay_out(panels, side_px, columns)


def crop_mask(
    mask: Bool[np.ndarray, "h w"], window_xyxy: Float[np.ndarray, "4"], side: int
) -> Bool[np.ndarray, "side side"]:
    """What a window of an image shows of a mask, stretched to a square; False outside the image.

    Each cell takes the pixel under its centre: the mask's own edges, not smoothed ones.
    """
    x0, y0, x1, y1 = window_xyxy
    centre = (np.arange(side) + 0.5) / side
    x = np.floor(x0 + centre * (x1 - x0)).astype(int)
    y = np.floor(y0 + centre * (y1 - y0)).astype(int)
    height, width = mask.shape
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
    return inside & mask[y.clip(0, height - 1)[:, None], x.clip(0, width - 1)]


def encode_image(image: UInt8[np.ndarray, "h w 3"], kind: str = "WEBP", quality: int = 80) -> bytes:
    """The picture as a file's bytes, the same bytes each time. `kind`: "PNG", "JPEG" or "WEBP"."""
    file = io.BytesIO()
    options = {} if kind == "PNG" else {"quality": quality}
    if kind == "WEBP":
        options["method"] = 2  # 4, the default, takes twice the time for 3 % less
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def save_png(path: str | os.PathLike, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes the picture as PNG by a temporary file and a rename; UserError where that fails."""
    write_bytes(path, encode_image(image, "PNG"))


def _prompt_panel(
    fine: UInt8[np.ndarray, "f f 3"],
    box_xyxy: Float[np.ndarray, "4"],
    points_xy: Float[np.ndarray, "4 2"] | None,
    seeds: Shaped[np.ndarray, "N N"] | None,
) -> Panel:
    """The crop with box, pushed seeds (their cells) and extreme points."""
    side = len(fine)
    if seeds is not None:
        fine = drawing.paint(fine, _cell_blocks(seeds != 0, side), SEED, 0.75)
    image = Image.fromarray(fine)
    draw = ImageDraw.Draw(image)
    corners = [float(value) * side for value in box_xyxy]
    draw.rectangle(corners, outline=INK, width=3 * FINE)
    draw.rectangle(corners, outline=PAPER, width=2 * FINE)
    for x, y in () if points_xy is None else points_xy:
        drawing.draw_disc(draw, (float(x) * side, float(y) * side), 3.5 * FINE, POINT)
    key = [] if points_xy is None else [(POINT, "extreme point")]
    key += [] if seeds is None else [(SEED, "pushed seed")]
    return Panel("Crop and prompt", np.asarray(image), key or [(None, "box only")])


def _score_panel(
    fine: UInt8[np.ndarray, "f f 3"], values: Float[np.ndarray, "N N"], hop: int
) -> Panel:
    """The score as diverging colours, cell by cell, with the greyed crop shining through."""
    finite = np.nan_to_num(values, posinf=0, neginf=0)
    # The 98 % quantile: one hot seed cell must not bleach all others.
    limit = float(np.quantile(np.abs(finite), 0.98)) or 1.0
    grey = fine.mean(axis=-1, keepdims=True)
    heat = drawing.resize_cells(drawing.heat_colours(finite, limit), len(fine))
    mixed = np.rint(0.7 * heat + 0.3 * grey).astype(np.uint8)
    return Panel(f"Score after {hop} hop{'s' if hop > 1 else ''}", mixed, scale=limit)


def _points_panel(
    fine: UInt8[np.ndarray, "f f 3"],
    foreground: Bool[np.ndarray, "N N"],
    background: Bool[np.ndarray, "N N"],
) -> Panel:
    """Cells retrieved as object and as background; the rest is left to the network."""
    picture = drawing.paint(fine, _cell_blocks(background, len(fine)), BACKGROUND, 0.6)
    picture = drawing.paint(picture, _cell_blocks(foreground, len(fine)), OBJECT, 0.75)
    key = [(OBJECT, f"object {foreground.sum()}"), (BACKGROUND, f"background {background.sum()}")]
    return Panel("Retrieved points", picture, key)


def _prediction_panel(
    fine: UInt8[np.ndarray, "f f 3"], prediction: Bool[np.ndarray, "m m"], score: float | None
) -> Panel:
    """The predicted mask, outline and translucent fill."""
    mask = drawing.resize_mask(prediction, len(fine), len(fine))
    picture = drawing.paint_mask(fine, mask, LABEL, thickness=2 * FINE)
    said = "mask" if score is None else f"mask, score {score:.2f}"
    return Panel("Predicted mask", picture, [(LABEL, said)])


def _truth_panel(
    fine: UInt8[np.ndarray, "f f 3"],
    truth: Bool[np.ndarray, "t t"],
    prediction: Bool[np.ndarray, "m m"] | None,
    iou: float | None,
) -> Panel:
    """The true mask filled, the predicted one as a line over it: differences are seen at once."""
    side = len(fine)
    mask = drawing.resize_mask(truth, side, side)
    picture = drawing.paint_mask(fine, mask, TRUTH, thickness=2 * FINE)
    key = [(TRUTH, "truth")]
    if prediction is not None:
        label = drawing.resize_mask(prediction, side, side)
        picture = drawing.paint_outline(picture, label, LABEL, 2 * FINE)
        key.append((LABEL, "predicted"))
    return Panel("Ground truth" if iou is None else f"Truth: IoU {iou:.2f}", picture, key)


def _cell_blocks(cells: Bool[np.ndarray, "N N"], side: int) -> Bool[np.ndarray, "side side"]:
    """The cells as separate squares with the picture showing between them."""
    grid = len(cells)
    within = (np.arange(side) + 0.5) * grid / side % 1
    middle = np.abs(within - 0.5) < 0.4
    return drawing.resize_cells(cells, side) & middle[:, None] & middle
