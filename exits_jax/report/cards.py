"""Instances and images of the report: their records, and each as a piece of HTML.

A picture is the bare photograph; masks, ground truth and points lie over it as SVG, so that a page
can hide them and enlarge both without blur. Every line is stored once and drawn twice (`use`): as a
dark casing, and as a bright core on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exits_jax.report import drawing
from exits_jax.report.outlines import Marks
from exits_jax.report.page import data_uri, text

GOOD_IOU, FAIR_IOU = 0.75, 0.5


@dataclass(frozen=True, eq=False)
class ReportItem:
    """One instance in the report.

    Attributes:
      score, iou: 0..1. iou None: no ground truth.
      area: image pixels.
      picture: the photograph around it, encoded (PNG, JPEG, WebP, GIF).
      marks: what is drawn over the picture; None: nothing.
      panel: how the mask was made, encoded; None: nothing to show.
      mask: `decisions.mask_digest` of the mask that a decision is about.
    """

    annotation_id: int
    image_id: int
    file_name: str
    category: str
    score: float
    iou: float | None
    area: float | int
    flags: list[str]
    picture: bytes
    marks: Marks | None = None
    panel: bytes | None = None
    mask: str = ""

    @property
    def quality(self) -> float:
        """The sort key that puts the worst first: the IoU, or the score without ground truth."""
        return self.score if self.iou is None else self.iou


@dataclass(frozen=True, eq=False)
class ReportImage:
    """One image in the report with all its masks.

    Attributes:
      caption: a line about it.
      content: the photograph, encoded.
      marks: over it, by annotation id; their order gives the numbers and colours.
    """

    image_id: int
    file_name: str
    caption: str
    content: bytes
    marks: Mapping[int, Marks] = field(default_factory=dict)


def item_card(item: ReportItem) -> str:
    """The list item of one instance; complete without JavaScript."""
    flags = "".join(f'<span class="flag">{text(flag)}</span>' for flag in item.flags)
    level = iou_level(item.iou)
    iou = "" if item.iou is None else f'<span class="iou {level}">IoU {item.iou:.2f}</span>'
    marks = item_marks(item.annotation_id, item.marks) if item.marks else ""
    return (
        f'<li class="card"><a href="#item={item.annotation_id}">'
        f"{_picture(item.picture, f'Part of {item.file_name}', marks)}"
        f'<span class="name">{text(item.category)}</span>'
        f'<span class="about"><small>#{item.annotation_id}</small> {iou}'
        f"<span>score {item.score:.2f}</span> <span>{item.area:,.0f} px</span></span>"
        f'<span class="flags">{flags}</span></a></li>\n'
    )


def image_card(image: ReportImage) -> str:
    """The list item of one image with all its masks."""
    marks = image_marks(image.image_id, image.marks) if image.marks else ""
    return (
        f'<li class="shot"><a href="#image={image.image_id}">'
        f"{_picture(image.content, 'Photograph with its masks', marks)}"
        f'<span class="name">{text(image.file_name)}</span>'
        f'<span class="about">{text(image.caption)}</span></a></li>\n'
    )


def item_data(item: ReportItem, order: int, panel: bytes | None) -> dict[str, Any]:
    """What the page's script knows about an instance; `order` is its position in the file."""
    return {
        "id": item.annotation_id,
        "order": order,
        "image": item.image_id,
        "file": item.file_name,
        "category": item.category,
        "score": round(item.score, 4),
        "iou": None if item.iou is None else round(item.iou, 4),
        "area": item.area,
        "flags": item.flags,
        "mask": item.mask,
        "panel": None if panel is None else data_uri(panel),
    }


def iou_level(iou: float | None) -> str:
    """Which of three colours an IoU gets; the number is always beside it."""
    if iou is None:
        return "unknown"
    return "good" if iou >= GOOD_IOU else "fair" if iou >= FAIR_IOU else "poor"


def item_marks(annotation_id: int, marks: Marks) -> str:
    """The drawing over the picture of one instance."""
    dots = "".join(f"M{x:g} {y:g}h0" for x, y in marks.points_xy)
    drawn = _instance(str(annotation_id), marks) + _lines("points", f"p{annotation_id}", dots)
    return _svg(marks.size, drawn)


def image_marks(image_id: int, marks: Mapping[int, Marks]) -> str:
    """The drawing over an image: large masks first, so that small ones lie on top."""
    numbered = list(enumerate(marks.items(), start=1))
    drawn = []
    for number, (annotation_id, one) in sorted(numbered, key=lambda entry: -entry[1][1].area):
        colour = drawing.hexadecimal(drawing.distinct_colour(number - 1))
        known = f' style="--core:{colour}" data-id="{annotation_id}" data-number="{number}"'
        drawn.append(_instance(f"{image_id}.{annotation_id}", one, known))
    return _svg(next(iter(marks.values())).size, "".join(drawn))


def marks_size(marks: Sequence[Marks]) -> int:
    """Roughly the bytes that the outlines take in the page."""
    return sum(len(one.label) + len(one.truth or "") + 600 for one in marks)


def _instance(name: str, marks: Marks, known: str = "") -> str:
    """The fill of a mask, the line of the ground truth over it, and the mask's line on top."""
    if not marks.label:
        return _lines("truth", f"t{name}", marks.truth or "")
    path = _path(f"m{name}", marks.label)
    return (
        f'<g class="mask"{known}><defs>{path}</defs><use href="#m{name}" class="fill"/></g>'
        f"{_lines('truth', f't{name}', marks.truth or '')}"
        f'<g class="mask line"{known}>{_twice(f"m{name}")}</g>'
    )


def _lines(kind: str, name: str, path: str) -> str:
    """A line of its own; nothing without a path."""
    if not path:
        return ""
    return f'<g class="{kind}"><defs>{_path(name, path)}</defs>{_twice(name)}</g>'


def _path(name: str, path: str) -> str:
    """A line that keeps its width when the picture is enlarged."""
    return f'<path id="{name}" d="{path}" fill-rule="evenodd" vector-effect="non-scaling-stroke"/>'


def _twice(name: str) -> str:
    return f'<use href="#{name}" class="casing"/><use href="#{name}" class="core"/>'


def _svg(size: tuple[int, int], drawn: str) -> str:
    return f'<svg class="marks" viewBox="0 0 {size[0]} {size[1]}" aria-hidden="true">{drawn}</svg>'


def _picture(content: bytes, alt: str, marks: str) -> str:
    return (
        f'<span class="picture"><img src="{data_uri(content)}" alt="{text(alt)}" loading="lazy"'
        f' decoding="async">{marks}</span>'
    )
