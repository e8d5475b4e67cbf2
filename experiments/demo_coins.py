"""Outline the coins of scikit-image's `coins` photograph for demo/annotations.json.

The coins were found by eye (a rough box each); a watershed on the gradient image then finds each
rim between an ellipse surely inside the coin and one surely outside. The regions are cleaned and
traced. Run it, look at the overlay it can draw, and only then trust the outlines:

    python experiments/demo_coins.py coins.json --overlay coins.png

Not given in the paper.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage import data, filters, measure, morphology, segmentation

# Where each coin is, read off the photograph by eye: left, top, right, bottom in pixels.
COIN_BOXES = (
    *((23, 35, 67, 74), (81, 39, 120, 74), (132, 28, 179, 74)),
    *((192, 29, 240, 73), (256, 34, 297, 72), (306, 16, 364, 72)),
    *((25, 104, 67, 145), (84, 107, 122, 145), (134, 110, 174, 145)),
    *((186, 105, 227, 144), (246, 95, 296, 144), (318, 105, 356, 145)),
    *((25, 177, 63, 217), (81, 175, 124, 217), (135, 179, 174, 217)),
    *((189, 170, 237, 217), (251, 172, 297, 216), (315, 156, 379, 218)),
    *((19, 233, 75, 288), (93, 245, 136, 287), (144, 236, 201, 287)),
    *((220, 240, 269, 288), (276, 239, 326, 289), (336, 247, 381, 289)),
)
SURELY_COIN = 0.85  # inside this much of the box's ellipse
SURELY_BACKGROUND = 1.18  # outside this much of every ellipse
OUTLINE_TOLERANCE_PX = 0.35


def ellipse_radius(
    box_xyxy: tuple[int, int, int, int], height: int, width: int
) -> Float[np.ndarray, "{height} {width}"]:
    """Every pixel's distance from the box's centre, where 1 is the ellipse that fills the box."""
    left, top, right, bottom = box_xyxy
    ys, xs = np.mgrid[:height, :width] + 0.5
    across = (2 * xs - left - right) / (right - left)
    down = (2 * ys - top - bottom) / (bottom - top)
    return np.hypot(across, down)


def coin_labels(grey: UInt8[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """Number every coin's pixels 1, 2, ... in the order of `COIN_BOXES`; 0 is background.

    The gradient is divided by its local mean, so a faint rim counts as much as a bright one, and
    the coin's own relief, kept out by the inner marker, cannot win over the rim.
    """
    radii = np.stack([ellipse_radius(box, *grey.shape) for box in COIN_BOXES])
    background = len(COIN_BOXES) + 1
    markers = np.where(radii.min(axis=0) > SURELY_BACKGROUND, background, 0)
    inside = radii.min(axis=0) < SURELY_COIN
    markers[inside] = radii.argmin(axis=0)[inside] + 1
    gradient = filters.sobel(ndimage.gaussian_filter(grey.astype(np.float64), 0.8))
    gradient /= ndimage.uniform_filter(gradient, 15) + 1.0
    labels = segmentation.watershed(gradient, markers)
    labels[labels == background] = 0
    return labels.astype(np.int64)


def clean_mask(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The largest piece of a coin's region, without holes and without threads."""
    opened = morphology.opening(ndimage.binary_fill_holes(mask), morphology.disk(4))
    pieces, count = ndimage.label(opened)
    sizes = ndimage.sum_labels(opened, pieces, range(1, count + 1))
    return pieces == 1 + int(np.argmax(sizes))


def trace_outline(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "k 2"]:
    """The outline of a one-piece mask as xy corners; pixel (0, 0) covers [0, 1) x [0, 1)."""
    soft = ndimage.gaussian_filter(np.pad(mask, 2).astype(np.float64), 1.0)
    rings = measure.find_contours(soft, 0.5)
    ring = max(rings, key=len)
    corners = measure.approximate_polygon(ring, OUTLINE_TOLERANCE_PX)[:-1]
    xy = corners[:, ::-1] - 2 + 0.5  # contours are in pixel centres, and the padding is 2
    return np.clip(xy, 0, [mask.shape[1], mask.shape[0]]).round(1)


def draw_overlay(
    grey: UInt8[np.ndarray, "h w"], outlines: list[Float[np.ndarray, "_ 2"]], file: Path
) -> None:
    """Write a picture, four times as large, with every outline and its number."""
    height, width = grey.shape
    picture = Image.fromarray(grey).convert("RGB").resize((4 * width, 4 * height), Image.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for number, xy in enumerate(outlines, start=1):
        ring = [(4 * x, 4 * y) for x, y in np.vstack([xy, xy[:1]])]
        pen.line(ring, fill=(255, 60, 0), width=1)
        pen.text(tuple(4 * xy.mean(axis=0)), str(number), fill=(255, 255, 0))
    picture.save(file)


def main() -> None:
    """Write the outlines, one flat `[x, y, x, y, ...]` list per coin, in reading order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--overlay", type=Path, help="PNG to look at")
    arguments = parser.parse_args()
    grey = data.coins()
    labels = coin_labels(grey)
    numbers = range(1, len(COIN_BOXES) + 1)
    outlines = [trace_outline(clean_mask(labels == number)) for number in numbers]
    arguments.output.write_text(json.dumps([xy.ravel().tolist() for xy in outlines]) + "\n")
    if arguments.overlay is not None:
        draw_overlay(grey, outlines, arguments.overlay)
    print(f"{len(outlines)} coins written to {arguments.output}")


if __name__ == "__main__":
    main()
