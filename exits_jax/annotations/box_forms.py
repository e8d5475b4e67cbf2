"""The forms in which people write boxes, and how to tell that a whole file uses another one.

COCO's is [x, y, width, height] in pixels. A single box seldom shows that it is meant otherwise; all
boxes of a file do: they lie over the border, or beside the masks and points they belong to.
"""

import json
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from exits_jax.annotations.geometry import BORDER_PX, box_iou
from exits_jax.annotations.numbers import plain_number

Boxes = Float[np.ndarray, "n 4"]
Sizes = Float[np.ndarray, "n 2"]

FITS_IOU = 0.7  # with the mask or the points: a box that is of the same object
MOST = 0.75  # of a file's boxes: those that fit in the form they are meant in ...
MORE = 0.25  # ... and how many more than fit as they stand
OVER_SHARE = 0.05  # of the image's side: further over the border than a careless box reaches
SOME = 0.25  # of a file's boxes that lie so far over it that they are meant otherwise


def _xywh(boxes: Boxes, sizes: Sizes) -> Boxes:
    del sizes
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _xyxy(boxes: Boxes, sizes: Sizes) -> Boxes:
    del sizes
    return boxes


def _cxcywh(boxes: Boxes, sizes: Sizes) -> Boxes:
    del sizes
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _from_below(boxes: Boxes, sizes: Sizes) -> Boxes:
    x, y, width, height = boxes.T
    top = sizes[:, 1] - y - height
    return np.stack([x, top, x + width, top + height], axis=1)


def _xywh_percent(boxes: Boxes, sizes: Sizes) -> Boxes:
    return _xywh(boxes / 100, sizes) * np.tile(sizes, 2)


def _of_shares(form: Callable[[Boxes, Sizes], Boxes]) -> Callable[[Boxes, Sizes], Boxes]:
    return lambda boxes, sizes: form(boxes, sizes) * np.tile(sizes, 2)


class Form(NamedTuple):
    """A form of `bbox`: how it reads in words, and boxes [n, 4], sizes wh [n, 2] -> xyxy [n, 4]."""

    words: str
    to_xyxy: Callable[[Boxes, Sizes], Boxes]


FORMS: dict[str, Form] = {  # `data.box_form`
    "xywh": Form("[x, y, width, height]", _xywh),
    "xyxy": Form("[x0, y0, x1, y1]", _xyxy),
    "cxcywh": Form("[centre x, centre y, width, height]", _cxcywh),
    "xywh_from_below": Form("[x, y, width, height] with y from below", _from_below),
    "xywh_shares": Form("[x, y, width, height] in shares of the image", _of_shares(_xywh)),
    "xyxy_shares": Form("[x0, y0, x1, y1] in shares of the image", _of_shares(_xyxy)),
    "xywh_percent": Form("[x, y, width, height] in per cent of the image", _xywh_percent),
    "cxcywh_shares": Form(
        "[centre x, centre y, width, height] in shares of the image", _of_shares(_cxcywh)
    ),
}
# What a box's sides are called where it is an object, in lower case and without underscores.
NAMED = (
    ("xywh", "x y width height"),
    ("xywh", "x y w h"),
    ("xywh", "left top width height"),
    ("xywh", "xmin ymin width height"),
    ("xyxy", "xmin ymin xmax ymax"),
    ("xyxy", "x1 y1 x2 y2"),
    ("xyxy", "x0 y0 x1 y1"),
    ("xyxy", "left top right bottom"),
    ("xyxy", "xtl ytl xbr ybr"),
    ("cxcywh", "cx cy w h"),
    ("cxcywh", "cx cy width height"),
    ("cxcywh", "xcenter ycenter width height"),
)
LONGEST_TEXT = 300  # letters of a box
SCALES = (0.25, 0.5, 2.0, 4.0)  # of the image that the boxes were drawn on


class BoxTable:
    """The boxes of a file as they stand there, and what else is known of their place."""

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
          known_xyxy: the box around its mask or its given points, where it has any.
        """
        known = [np.nan] * 4 if known_xyxy is None else known_xyxy
        self._rows.extend([*bbox, *size_wh, *known])

    def columns(self) -> tuple[Boxes, Sizes, Boxes]:
        """Boxes, sizes of images, and what is known, a row an annotation."""
        table = np.array(self._rows).reshape(-1, 10)
        return table[:, :4], table[:, 4:6], table[:, 6:]


class Mixup(NamedTuple):
    """What the boxes of a file seem to be; `form` is None where no setting reads them."""

    form: str | None
    text: str


def find_mixup(table: BoxTable) -> Mixup | None:
    """The form in which the boxes of a file fit where they do not fit as they stand."""
    boxes, sizes, known = table.columns()
    if not len(boxes):
        return None
    has = np.isfinite(known).all(axis=1)
    # A file may hold 1e308: what overflows fits nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        if has.any():
            return _against_known(boxes[has], sizes[has], known[has])
        return _by_the_image(boxes, sizes)


def to_xywh(form: str, bbox: Float[np.ndarray, "4"], size_wh: tuple[int, int]) -> list[float]:
    """A box of another form as [x, y, width, height] in pixels."""
    x0, y0, x1, y1 = FORMS[form].to_xyxy(bbox[None], np.array([size_wh], np.float64))[0].tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def combined_form(named: str | None, setting: str) -> str:
    """The form that names of sides say, in the unit that a setting says."""
    unit = setting.partition("_")[2]
    return setting if named is None else f"{named}_{unit}" if f"{named}_{unit}" in FORMS else named


class WrittenBox(NamedTuple):
    """A box's four numbers, and the form of `FORMS` that they are written in; None: any."""

    numbers: Float[np.ndarray, "4"]
    form: str | None


def written_box(value: Any) -> WrittenBox | None:
    """A box that is text, an object with named sides, a list in a list or two corners.

    None where it is none of these, or its names contradict each other.
    """
    if isinstance(value, str):
        value = _from_text(value)
    if isinstance(value, dict):
        return _named_box(value)
    form = None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list) and [_length(part) for part in value] == [2, 2]:
        value, form = [*value[0], *value[1]], "xyxy"
    numbers = [plain_number(side) for side in value] if _length(value) == 4 else [None]
    return None if None in numbers else WrittenBox(np.array(numbers, np.float64), form)


def _from_text(text: str) -> Any:
    """What a text says: JSON, or numbers with spaces or commas between them."""
    if len(text) > LONGEST_TEXT:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text.strip(" []()").replace(",", " ").split()


def _named_box(sides: dict[str, Any]) -> WrittenBox | None:
    by_name = {name.replace("_", "").lower(): plain_number(sides[name]) for name in sides}
    found = []
    for form, names in NAMED:
        numbers = [by_name.get(name) for name in names.split()]
        if None not in numbers:
            found.append(WrittenBox(np.array(numbers, np.float64), form))
    corners = [FORMS[box.form].to_xyxy(box.numbers[None], np.ones((1, 2))) for box in found]
    if not found or any(np.abs(one - corners[0]).max() > 0.01 * one.max() for one in corners):
        return None
    return found[0]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else -1


def _against_known(boxes: Boxes, sizes: Sizes, known: Boxes) -> Mixup | None:
    """By the masks and the points that belong to the boxes."""

    def share(xyxy: Boxes) -> float:
        return float((box_iou(xyxy, known) >= FITS_IOU).mean())

    found = {name: share(form.to_xyxy(boxes, sizes)) for name, form in FORMS.items()}
    stand, best = found["xywh"], max(found, key=lambda name: found[name])
    if _better(found[best], stand):
        return _mixup(best, found[best], stand, len(boxes), "their masks or points")
    for scale in SCALES:
        if _better(share(_xywh(boxes * scale, sizes)), stand):
            return Mixup(
                None,
                f"the {len(boxes)} boxes fit their masks or points when they are multiplied by"
                f" {scale:g}: were they drawn on images of another size? scale the boxes",
            )
    return None


def _by_the_image(boxes: Boxes, sizes: Sizes) -> Mixup | None:
    """By the borders of the images alone."""
    if boxes.max() <= 1 + 1e-6 and sizes.min() > 4:
        return _shares(boxes, sizes)
    over = _over(_xywh(boxes, sizes), sizes) > OVER_SHARE
    if over.mean() < SOME:
        return None
    found = {name: _fitting(FORMS[name], boxes, sizes) for name in ("xyxy", "cxcywh")}
    best = max(found, key=lambda name: found[name])
    stand = _fitting(FORMS["xywh"], boxes, sizes)
    if not _better(found[best], stand):
        return None
    return _mixup(best, found[best], stand, len(boxes), "their images")


def _shares(boxes: Boxes, sizes: Sizes) -> Mixup:
    """All numbers of a file are 1 at most: shares of the image, in the form that most boxes fit."""
    names = ("xywh_shares", "cxcywh_shares", "xyxy_shares")
    found = {name: _fitting(FORMS[name], boxes, sizes) for name in names}
    fit = [FORMS[name].words for name in names if found[name] == max(found.values())]
    best = max(names, key=lambda name: found[name])
    text = f"the {len(boxes)} boxes all lie within one pixel: they are shares of the image"
    setting = f"; --config.data.box_form={best} reads them so"
    if len(fit) > 1:
        text += f", {' or '.join(words.removesuffix(' in shares of the image') for words in fit)}"
        setting = "; --config.data.box_form=xywh_shares (or cxcywh_shares, xyxy_shares) reads them"
    return Mixup(best, text + setting)


def _better(fits: float, stand: float) -> bool:
    """Whether so many more boxes fit in another form that it is the one that is meant."""
    return fits >= MOST and fits - stand >= MORE


def _mixup(best: str, fits: float, stand: float, count: int, what: str) -> Mixup:
    return Mixup(
        best,
        f"as {FORMS['xywh'].words} {round(stand * count)} of {count} boxes fit {what}, as"
        f" {FORMS[best].words} {round(fits * count)} do; --config.data.box_form={best} reads them"
        " so (xywh: as they stand)",
    )


def _fitting(form: Form, boxes: Boxes, sizes: Sizes) -> float:
    """The share of boxes that, read in a form, have an area and lie in their images."""
    xyxy = form.to_xyxy(boxes, sizes)
    inside = _over_px(xyxy, sizes) <= BORDER_PX
    return float((inside & ((xyxy[:, 2:] - xyxy[:, :2]).min(axis=1) > 0)).mean())


def _over(xyxy: Boxes, sizes: Sizes) -> Float[np.ndarray, "n"]:
    """How far boxes reach over the border, as a share of the image's side."""
    return np.maximum(-xyxy[:, :2] / sizes, xyxy[:, 2:] / sizes - 1).max(axis=1)


def _over_px(xyxy: Boxes, sizes: Sizes) -> Float[np.ndarray, "n"]:
    return np.maximum(-xyxy[:, :2], xyxy[:, 2:] - sizes).max(axis=1)
