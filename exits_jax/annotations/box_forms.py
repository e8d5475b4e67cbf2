"""The forms in which people write boxes, and how to tell that a whole file uses another one.

COCO's is [x, y, width, height] in pixels. A single box seldom shows that another form is meant, but
all boxes of a file do: they reach over the border, or lie beside the masks and points they belong
to.
"""

from array import array
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.geometry import BORDER_PX, box_iou
from exits_jax.annotations.records import BadItem

Boxes = Float[np.ndarray, "n 4"]
Sizes = Float[np.ndarray, "n 2"]

FITS_IOU = 0.7  # with the mask or the points: a box of the same object
KNOWN = 0.1  # of the boxes have masks or points: these then speak for all
MOST = 0.75  # of a file's boxes: those that fit in the form that is meant ...
MORE = 0.15  # ... and how many more than fit as they are
AS_MANY = 0.05  # a form that fits this many fewer may just as well be the one that is meant
OVER_SHARE = 0.03  # of the image's side: further over the border than a careless box reaches
SOME = 0.15  # of a file's boxes that lie so far over it that they are meant otherwise
CORNER = 3  # times the largest number are the sides of images whose boxes are not in pixels, ...
SEVERAL, REACH = 20, 0.9  # ... if there are this many boxes, which reach this far in that unit
BEYOND = 0.05  # of boxes have a number that is larger than their image, ...
FEW = 0.5  # ... and so few fit as they stand, where they are in another unit


def _xywh(boxes: Boxes, sizes: Sizes) -> Boxes:
    del sizes
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _cxcywh(boxes: Boxes, sizes: Sizes) -> Boxes:
    del sizes
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _from_below(boxes: Boxes, sizes: Sizes) -> Boxes:
    x, y, width, height = boxes.T
    top = sizes[:, 1] - y - height
    return np.stack([x, top, x + width, top + height], axis=1)


class Form(NamedTuple):
    """A form of `bbox`.

    Attributes:
      words: its description.
      to_xyxy: boxes [n, 4], sizes wh [n, 2] -> xyxy [n, 4].
      unit: of its numbers, a key of `UNITS`.
    """

    words: str
    to_xyxy: Callable[[Boxes, Sizes], Boxes]
    unit: str = ""


# The four numbers in any unit; sizes are those of the images in that unit.
LAYOUTS: dict[str, Form] = {
    "xywh": Form("[x, y, width, height]", _xywh),
    "xyxy": Form("[x0, y0, x1, y1]", lambda boxes, _: boxes),
    "cxcywh": Form("[centre x, centre y, width, height]", _cxcywh),
    "yxyx": Form("[y0, x0, y1, x1]", lambda boxes, _: boxes[:, [1, 0, 3, 2]]),
    "yxhw": Form("[y, x, height, width]", lambda boxes, _: _xywh(boxes[:, [1, 0, 3, 2]], _)),
    "xxyy": Form("[x0, x1, y0, y1]", lambda boxes, _: boxes[:, [0, 2, 1, 3]]),
    "xywh_from_below": Form("[x, y, width, height] with y from the bottom", _from_below),
}
# What an image's side is in a unit, and its name; TensorFlow writes shares, Gemini thousandths.
UNITS: dict[str, tuple[float | None, str]] = {
    "": (None, ""),
    "_shares": (1.0, " in shares of the image"),
    "_percent": (100.0, " in per cent of the image"),
    "_thousandths": (1000.0, " in thousandths of the image"),
}


def _form(layout: Form, unit: str) -> Form:
    """A layout of numbers in a unit."""
    side = UNITS[unit][0]

    def to_xyxy(boxes: Boxes, sizes: Sizes) -> Boxes:
        sides = sizes if side is None else np.full_like(sizes, side)
        return layout.to_xyxy(boxes, sides) * np.tile(sizes / sides, 2)

    return Form(layout.words, to_xyxy, unit)


FORMS: dict[str, Form] = {  # `data.box_form`
    name + unit: _form(layout, unit) for unit in UNITS for name, layout in LAYOUTS.items()
}
EXCHANGED = (("xywh", "yxhw"), ("xyxy", "yxyx"))  # forms with x and y
SCALES = (0.25, 0.5, 2.0, 4.0)  # of the image that the boxes were drawn on


class BoxTable:
    """The boxes of a file as they are in it, and what else is known about their position."""

    def __init__(self) -> None:
        self._rows = array("d")  # bbox, image size, box around the mask or the points; NaN: none

    def add(
        self,
        bbox: Float[np.ndarray, "4"],
        size_wh: tuple[int, int],
        known_xyxy: Float[np.ndarray, "4"] | None,
    ) -> None:
        """One annotation that has a box.

        Args:
          bbox: its four numbers.
          size_wh: of its image.
          known_xyxy: the box around its mask or its given points, if it has any.
        """
        known = [np.nan] * 4 if known_xyxy is None else known_xyxy
        self._rows.extend([*bbox, *size_wh, *known])

    def columns(self) -> tuple[Boxes, Sizes, Boxes]:
        """Boxes, sizes of images, and what is known, one row per annotation."""
        table = np.array(self._rows).reshape(-1, 10)
        return table[:, :4], table[:, 4:6], table[:, 6:]

    def corners(self) -> "BoxTable":
        """The same of boxes that stand there as [x, y, width, height], as [x0, y0, x1, y1]."""
        boxes, *others = self.columns()
        table = BoxTable()
        table._rows.extend(np.hstack([_xywh(boxes, others[0]), *others]).ravel())
        return table


class Mixup(NamedTuple):
    """What the boxes of a file seem to be: a code, "boxes_" and the form, and a sentence."""

    code: str
    text: str


def find_mixup(table: BoxTable, stand: str = "xywh", held: str = "") -> Mixup | None:
    """The form in which the boxes of a file fit, if they do not fit as they are.

    Args:
      table: the boxes.
      stand: the form that the kind of file has, of `FORMS`.
      held: in words, where no other can be chosen: the boxes were converted to [x, y, width,
        height].
    """
    if held:
        table, stand = table.corners(), "xyxy"
    boxes, sizes, known = table.columns()
    if not len(boxes):
        return None
    has = np.isfinite(known).all(axis=1)
    # A file may hold 1e308: what overflows does not fit.
    with np.errstate(over="ignore", invalid="ignore"):
        if has.mean() >= KNOWN:  # one odd mask does not speak for a whole file
            return _against_known(boxes[has], sizes[has], known[has], stand, held)
        return _by_the_image(boxes, sizes, stand, held)


def refuse_mixup(table: BoxTable, stand: str = "xywh", held: str = "") -> None:
    """Refuses a file whose boxes as a whole are of another form; arguments as `find_mixup`.

    Raises:
      BadItem: they are.
    """
    mixup = find_mixup(table, stand, held)
    if mixup is not None:
        raise BadItem(*mixup)


def to_xywh(form: str, bbox: Float[np.ndarray, "4"], size_wh: tuple[int, int]) -> list[float]:
    """A box of another form as [x, y, width, height] in pixels."""
    x0, y0, x1, y1 = FORMS[form].to_xyxy(bbox[None], np.array([size_wh], np.float64))[0].tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def reach(form: str, bbox: Float[np.ndarray, "4"]) -> Float[np.ndarray, "2"]:
    """The lower right corner of a box on an image of unknown size; NaN if the form needs it."""
    if form not in LAYOUTS:
        return np.full(2, np.nan)
    return LAYOUTS[form].to_xyxy(bbox[None], np.full((1, 2), np.nan))[0, 2:]


def _against_known(boxes: Boxes, sizes: Sizes, known: Boxes, stand: str, held: str) -> Mixup | None:
    """By the masks and the points that belong to the boxes."""
    if known.max() <= 1 + 1e-6 < CORNER < min(boxes.max(), np.median(sizes.min(axis=1))):
        return Mixup(
            "shares_for_pixels",
            f"the masks or points beside {len(boxes)} boxes all lie within the first pixel of their"
            " images, and the boxes do not: they are read as pixels, not as shares; multiply them",
        )

    def share(xyxy: Boxes) -> float:
        return float((box_iou(xyxy, known) >= FITS_IOU).mean())

    found = {name: share(form.to_xyxy(boxes, sizes)) for name, form in FORMS.items()}
    best = max(found, key=lambda name: found[name])
    if _better(found[best], found[stand]):
        shares = found[best], found[stand]
        mixup = _mixup([best], stand, shares, len(boxes), "their masks or points", held)
        if (stand, best) in EXCHANGED and not _many_off(boxes, sizes, stand):
            text = f"{mixup.text}; or x and y are exchanged in the masks or points: correct those"
            return Mixup("xy_exchanged", text)
        return mixup
    for scale in SCALES:
        if _better(share(FORMS[stand].to_xyxy(boxes * scale, sizes)), found[stand]):
            return Mixup(
                "boxes_scaled",
                f"the {len(boxes)} boxes fit their masks or points when they are multiplied by"
                f" {scale:g}: were they drawn on images of another size? scale the boxes",
            )
    return None


def _by_the_image(boxes: Boxes, sizes: Sizes, stand: str, held: str) -> Mixup | None:
    """By the borders of the images alone, which several forms may fit."""
    count, fit = len(boxes), _fitting(FORMS[stand], boxes, sizes)
    own = FORMS[stand].unit
    others = [unit for unit in UNITS if unit != own]
    for unit in others:
        if _in_corner(unit, boxes, sizes, pixels=not own, sure=fit < FEW):
            names, _ = _best(unit, boxes, sizes)
            text = f"the {count} boxes all lie within {UNITS[unit][0]:g} px of their images' first"
            text = f"{text} corner, so they are {_words(names)}; {_way_out(names, stand, held)}"
            return Mixup(f"boxes_{names[0]}", text)
    if not _many_off(boxes, sizes, stand):
        return None
    # In pixels some numbers are larger than their image only if they are in another unit.
    beyond = (boxes.max(axis=1) > (1 + OVER_SHARE) * sizes.max(axis=1)).mean() >= BEYOND
    other = fit < FEW and (own or (beyond and count >= SEVERAL))
    for unit in (own, *others):
        names, most = _best(unit, boxes, sizes)
        if stand not in names and _better(most, fit) and (unit == own or other):
            mixup = _mixup(names, stand, (most, fit), count, "their images", held)
            mixup = mixup._replace(text=mixup.text + _doubtful_unit(unit, most, boxes, sizes))
            if _fitting(FORMS[stand], boxes, sizes[:, ::-1]) >= most - AS_MANY:
                text = f"{mixup.text}; or the widths and heights of the images are exchanged"
                return mixup._replace(text=f"{text}: compare them with the files")
            return mixup
    return None


def _doubtful_unit(unit: str, most: float, boxes: Boxes, sizes: Sizes) -> str:
    """What else the numbers may be: pixels of larger images, or of another unit."""
    if UNITS[unit][0] is not None:
        return "; or were they drawn on images of another size? scale them then, by image"
    for other in ("_percent", "_thousandths"):
        names, fits = _best(other, boxes, sizes)
        reached = REACH <= boxes.max() / UNITS[other][0] <= 1
        if reached and fits >= most - AS_MANY:
            return f"; or are they {_words(names)} (box_form={names[0]})?"
    return ""


def _in_corner(unit: str, boxes: Boxes, sizes: Sizes, *, pixels: bool, sure: bool) -> bool:
    """Whether numbers are all too small for pixels, as they are in a unit.

    Objects never all lie in the first pixel. In the first hundred pixels they may by chance.

    Args:
      unit: a key of `UNITS`.
      boxes, sizes: as everywhere.
      pixels: whether they should be pixels.
      sure: whether they are certainly not what they should be.
    """
    side, largest = UNITS[unit][0], boxes.max()
    if side is None or largest > side * (1 + 1e-6):
        return False
    if np.median(sizes.min(axis=1)) < CORNER * side or not (pixels or (sure and largest > 2)):
        return False
    if side == 1 or sure:
        return True
    names, _ = _best(unit, boxes, sizes)
    reach = (FORMS[names[0]].to_xyxy(boxes, sizes)[:, 2:] / sizes).max(axis=0)
    return len(boxes) >= SEVERAL and bool(reach.min() >= REACH)


def _best(unit: str, boxes: Boxes, sizes: Sizes) -> tuple[list[str], float]:
    """The forms in a unit that most boxes fit, and the share of boxes that do.

    Counting y from the bottom is not among them: it fits as often as from the top.
    """
    names = [name + unit for name in LAYOUTS if name != "xywh_from_below"]
    found = {name: _fitting(FORMS[name], boxes, sizes) for name in names}
    most = max(found.values())
    # In the table's order, so that the usual one comes first.
    return [name for name, fits in found.items() if fits >= most - AS_MANY], most


def _better(fits: float, stand: float) -> bool:
    """Whether so many more boxes fit in another form that it must be the one that is meant."""
    return fits >= MOST and fits - stand >= MORE


def _mixup(
    names: list[str], stand: str, shares: tuple[float, float], count: int, what: str, held: str
) -> Mixup:
    fit, stands = (round(share * count) for share in shares)
    return Mixup(
        f"boxes_{names[0]}",
        f"as {_words([stand])} {stands} of {count} boxes fit {what}, as {_words(names)} {fit} do;"
        f" {_way_out(names, stand, held)}",
    )


def _words(names: list[str]) -> str:
    """Forms of one unit in words."""
    words = " or ".join(FORMS[name].words for name in names)
    return words + UNITS[FORMS[names[0]].unit][1]


def _way_out(names: list[str], stand: str, held: str) -> str:
    """The advice to use the setting that reads one of the forms, or to correct the file."""
    if held:
        return f"files of this kind hold {held}: correct them"
    others = f" (or {', '.join(names[1:])})" if names[1:] else ""
    return f"--config.data.box_form={names[0]}{others} reads them like that ({stand}: as they are)"


def _fitting(form: Form, boxes: Boxes, sizes: Sizes) -> float:
    """The share of boxes that, read in a form, have an area and lie in their images."""
    xyxy = form.to_xyxy(boxes, sizes)
    inside = _over_px(xyxy, sizes) <= BORDER_PX
    return float((inside & (_extent(xyxy) > 0)).mean())


def _many_off(boxes: Boxes, sizes: Sizes, stand: str) -> bool:
    """Whether many boxes are inside out or reach further over the border than careless ones do."""
    xyxy = FORMS[stand].to_xyxy(boxes, sizes)
    over = np.maximum(-xyxy[:, :2] / sizes, xyxy[:, 2:] / sizes - 1).max(axis=1)
    return bool(((over > OVER_SHARE) | (_extent(xyxy) < 0)).mean() >= SOME)


def _extent(xyxy: Boxes) -> Float[np.ndarray, "n"]:
    return (xyxy[:, 2:] - xyxy[:, :2]).min(axis=1)


def _over_px(xyxy: Boxes, sizes: Sizes) -> Float[np.ndarray, "n"]:
    return np.maximum(-xyxy[:, :2], xyxy[:, 2:] - sizes).max(axis=1)
