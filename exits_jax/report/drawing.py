"""Drawing on pictures: masks, marks, heat and text. Arrays in, arrays out; no drawing state.

Pictures are uint8 RGB. Pillow draws without antialiasing, so marks are drawn on an enlarged picture
which the caller shrinks afterwards; text is drawn at the final size.
"""

import colorsys
import functools
import pathlib

import matplotlib
import numpy as np
from jaxtyping import Bool, Num, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

INK: Colour = (32, 36, 44)
PAPER: Colour = (255, 255, 255)

# A label, its ground truth, and extreme points, in every picture and on the page. Colour-blind
# readers can tell cyan and yellow apart, and each is so much lighter than the casing beside it that
# one of the two stands out from any photograph (contrast 3 to 1 or more).
LABEL: Colour = (0, 229, 255)
TRUTH: Colour = (255, 214, 10)
POINT: Colour = (255, 45, 135)
CASING: Colour = (10, 12, 16)

# Background is blue, object is orange-red, undecided is near white: colour-blind readers can tell
# them apart, and the strong ends stay dark in a grey print.
HEAT_STOPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
HEAT_COLOURS = ((28, 72, 145), (128, 178, 218), (247, 246, 243), (243, 158, 104), (172, 32, 28))


def resize_picture(
    image: UInt8[np.ndarray, "h w 3"], width: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture at another size: bilinear when enlarged, antialiased when shrunk."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def resize_mask(
    mask: Bool[np.ndarray, "h w"], width: int, height: int
) -> Bool[np.ndarray, "height width"]:
    """The mask at another size with smooth edges; one that has pixels keeps at least one."""
    cover = Image.fromarray(mask.astype(np.uint8) * 255)
    resized = np.asarray(cover.resize((width, height), Image.Resampling.BILINEAR)) >= 128
    if mask.any() and not resized.any():
        # Thinner than half a pixel now: mark every pixel it touches instead of losing the object.
        y, x = np.nonzero(mask)
        resized[y * height // len(mask), x * width // mask.shape[1]] = True
    return resized


def resize_cells(
    cells: Shaped[np.ndarray, "N N *channels"], side: int
) -> Shaped[np.ndarray, "side side *channels"]:
    """Every cell of a grid as a block of pixels: the grid's own resolution stays visible."""
    position = np.arange(side) * len(cells) // side
    return cells[position[:, None], position]


def mask_outline(mask: Bool[np.ndarray, "h w"], thickness: int) -> Bool[np.ndarray, "h w"]:
    """The `thickness` pixels along the mask's edge, half of them inside, rounded outwards.

    The border of the picture is not an edge: an object that it crops has no line there.
    """
    inside = outside = mask
    for step in range(thickness):
        if step % 2:
            inside = ~_grown(~inside)
        else:
            outside = _grown(outside)
    return outside & ~inside


def _grown(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The mask and all pixels that touch it, even at a corner."""
    tall = np.pad(mask, [(1, 1), (0, 0)])
    mask = tall[:-2] | tall[1:-1] | tall[2:]
    wide = np.pad(mask, [(0, 0), (1, 1)])
    return wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]


def paint(
    image: UInt8[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"], colour: Colour, alpha: float
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy with `colour` laid over the pixels `where`, `alpha` 0 (nothing) to 1 (opaque)."""
    painted = image.copy()
    mixed = image[where] * (1 - alpha) + np.asarray(colour) * alpha
    painted[where] = np.rint(mixed).astype(np.uint8)
    return painted


def paint_outline(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], colour: Colour, thickness: int
) -> UInt8[np.ndarray, "h w 3"]:
    """A line along the mask's edge between dark casings, half as wide on either side.

    One of the two tones stands out from any photograph. With a thickness of 1 nothing inside the
    mask is covered: an object of a few pixels does not vanish under its own line.
    """
    line = casing = mask_outline(mask, thickness)
    for _ in range(-(-thickness // 2)):
        casing = _grown(casing)
    if thickness == 1:
        casing = casing & ~mask
    return paint(paint(image, casing, CASING, 0.9), line, colour, 1.0)


def paint_mask(
    image: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    colour: Colour,
    *,
    alpha: float = 0.35,
    thickness: int = 3,
) -> UInt8[np.ndarray, "h w 3"]:
    """Translucent fill, and an outline in the same colour between dark casings."""
    return paint_outline(paint(image, mask, colour, alpha), mask, colour, thickness)


def heat_colours(value: Num[np.ndarray, "*grid"], limit: float) -> UInt8[np.ndarray, "*grid 3"]:
    """Diverging colours: -limit or less is deep blue, 0 near white, limit or more deep red."""
    scaled = np.clip(value / limit, -1, 1)
    channels = [np.interp(scaled, HEAT_STOPS, stops) for stops in zip(*HEAT_COLOURS, strict=True)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def distinct_colour(index: int) -> Colour:
    """The index-th of an endless series of vivid colours; neighbours are far apart in hue."""
    hue = (0.55 + index * 0.6180339887) % 1  # steps of the golden ratio stay far apart for long
    saturation, value = ((0.85, 1.0), (1.0, 0.8), (0.55, 1.0))[index // 6 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def hexadecimal(colour: Colour) -> str:
    """The colour as a page writes it: #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def draw_disc(
    draw: ImageDraw.ImageDraw, xy: tuple[float, float], radius: float, colour: Colour
) -> None:
    """A filled disc with a white ring and a dark hairline: visible on any photograph."""
    x, y = xy
    for factor, fill in ((1.6, INK), (1.45, PAPER), (1.0, colour)):
        reach = radius * factor
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans from matplotlib's own data: the same letters on every machine.

    It has Latin, Greek, Cyrillic and mathematical signs; other scripts show as empty boxes.
    """
    folder = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(folder / name), size, layout_engine=ImageFont.Layout.BASIC)


def fit_text(text: str, letters: ImageFont.FreeTypeFont, width: int) -> str:
    """The text on one line, shortened with an ellipsis if it is wider than `width` pixels."""
    line = " ".join(text.split())
    if letters.getlength(line) <= width:
        return line
    while line and letters.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"
