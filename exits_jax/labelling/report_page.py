"""What the report page says: its records, and each part of it as a piece of HTML.

Whatever comes from a user's file (titles, categories, file names, flags) passes through `escape`,
or, inside the page's JSON, through `embedded_json`. Looks and behaviour are in report_page.css and
.js, the frame in report_page.html.
"""

import base64
import importlib.resources
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

# Of `quality.Label.flags`, by how they begin.
FLAG_MEANINGS = {
    "item_error": "the image could not be read; the mask is the box",
    "box_only": "there were no extreme points, only a box",
    "empty_mask": "nothing was found; the mask is the box",
    "repaired_outside_box": "what reached over the box was cut away",
    "outside_box": "the mask reaches over its box",
    "misses_top": "the mask stays away from that side of its box",
    "misses_left": "the mask stays away from that side of its box",
    "misses_bottom": "the mask stays away from that side of its box",
    "misses_right": "the mask stays away from that side of its box",
    "misses_point_<side>": "no mask near that extreme point",
    "parts:<n>": "the mask is in n parts",
    "holes:<n>": "the mask has n holes",
}
SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}
GOOD_IOU, FAIR_IOU = 0.75, 0.5
COLUMNS = {
    "n": "instances",
    "miou": "mean IoU",
    "share_iou_75": "IoU above .75",
    "miou_small": "IoU small",
    "miou_medium": "IoU medium",
    "miou_large": "IoU large",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
}


@dataclass(frozen=True, eq=False)
class ReportItem:
    """One instance in the report.

    score and iou are 0..1, area is in image pixels. iou None: no ground truth. `thumbnail` and
    `panel` are encoded images (PNG, JPEG, WebP, GIF); panel None: the thumbnail is shown enlarged.
    """

    annotation_id: int
    image_id: int
    file_name: str
    category: str
    score: float
    iou: float | None
    area: float | int
    flags: list[str]
    thumbnail: bytes
    panel: bytes | None = None


@dataclass(frozen=True, eq=False)
class ReportImage:
    """One image in the report with all its masks: an encoded picture and a line about it."""

    image_id: int
    file_name: str
    caption: str
    content: bytes


def data_uri(content: bytes) -> str:
    """The encoded image as a data URI. ValueError where it is none of the known kinds."""
    kind = next((k for start, k in SIGNATURES.items() if content.startswith(start)), None)
    if kind is None:
        raise ValueError(f"bytes starting {content[:8]!r} are no PNG, JPEG, WebP or GIF image")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def embedded_json(value: Any) -> str:
    """JSON that may stand inside <script>: no character of it can end the element or open a tag."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def fill_template(parts: Mapping[str, str]) -> str:
    """The page: report_page.html with every {{name}} replaced once by the part of that name.

    One pass, so that braces in a user's text stay text. An unknown name is a KeyError.
    """
    folder = importlib.resources.files("exits_jax.labelling")
    parts = {
        "style": folder.joinpath("report_page.css").read_text(encoding="utf-8"),
        "script": folder.joinpath("report_page.js").read_text(encoding="utf-8"),
        **parts,
    }
    frame = folder.joinpath("report_page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], frame)


def facts_list(facts: Mapping[str, object]) -> str:
    """Name and value pairs of the header."""
    pairs = "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{pairs}</dl>' if pairs else ""


def summary_table(summary: Mapping[str, Mapping[str, Any]] | None) -> str:
    """One row a method, its measures in the columns; n/a where there is no number."""
    if not summary:
        return "<p>No ground truth was given, so nothing was measured.</p>"
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS.values())
    best = {key: _best(summary.values(), key) for key in COLUMNS}
    rows = []
    for method, row in summary.items():
        cells = "".join(_measure(row.get(key), key, best[key]) for key in COLUMNS)
        rows.append(f'<tr><th scope="row">{_text(method)}</th>{cells}</tr>')
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Measures"><table>'
        f'<thead><tr><th scope="col">method</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="hint">Mean IoU is taken over instances that are no crowd; small is an area below'
        " 32² pixels, large above 96². n/a: nothing to measure. Bold: the best of a column.</p>"
    )


def flag_legend(flags: Collection[str]) -> str:
    """What the flags that occur mean, in a fold; nothing where there are none."""
    pairs = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(meaning)}</dd></div>"
        for name, meaning in FLAG_MEANINGS.items()
        if any(flag.startswith(name.partition("<")[0]) for flag in flags)
    )
    if not pairs:
        return ""
    fold = "<details><summary>What the flags mean</summary>"
    return f'{fold}<dl class="facts">{pairs}</dl></details>'


def figure_list(figures: Mapping[str, bytes]) -> str:
    """Figures with their captions, at most as wide as the page."""
    return "".join(
        f'<figure class="plot"><div class="scroll" tabindex="0" role="region" aria-label="Figure">'
        f'<img src="{data_uri(content)}" alt="" loading="lazy"></div>'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
        for caption, content in figures.items()
    )


def image_cards(images: Sequence[ReportImage]) -> str:
    """List items of the image gallery."""
    return "".join(
        f'<li class="shot"><a href="#image={image.image_id}"><span class="picture">'
        f'<img src="{data_uri(image.content)}" alt="" loading="lazy" decoding="async"></span>'
        f'<span class="name">{_text(image.file_name)}</span>'
        f'<span class="about">{_text(image.caption)}</span></a></li>\n'
        for image in images
    )


def item_card(item: ReportItem) -> str:
    """List item of one instance; complete without JavaScript."""
    flags = "".join(f'<span class="flag">{_text(flag)}</span>' for flag in item.flags)
    level = iou_level(item.iou)
    iou = "" if item.iou is None else f'<span class="iou {level}">IoU {item.iou:.2f}</span>'
    return (
        f'<li class="card"><a href="#item={item.annotation_id}"><span class="picture">'
        f'<img src="{data_uri(item.thumbnail)}" alt="" loading="lazy" decoding="async"></span>'
        f'<span class="name">{_text(item.category)} <small>#{item.annotation_id}</small></span>'
        f'<span class="about">{iou}<span>score {item.score:.2f}</span> '
        f"<span>{item.area:,.0f} px</span></span>"
        f'<span class="flags">{flags}</span></a></li>\n'
    )


def iou_level(iou: float | None) -> str:
    """Which of three colours an IoU gets; the number always stands beside it."""
    if iou is None:
        return "unknown"
    return "good" if iou >= GOOD_IOU else "fair" if iou >= FAIR_IOU else "poor"


def item_data(item: ReportItem, panel: bytes | None) -> dict[str, Any]:
    """What the page's script knows of an instance, in the order of the cards."""
    return {
        "id": item.annotation_id,
        "image": item.image_id,
        "file": item.file_name,
        "category": item.category,
        "score": round(item.score, 4),
        "iou": None if item.iou is None else round(item.iou, 4),
        "area": item.area,
        "flags": item.flags,
        "panel": None if panel is None else data_uri(panel),
    }


def options(values: Sequence[str]) -> str:
    """<option>s of the values that occur, with how often, in alphabetical order."""
    counts = sorted(Counter(values).items())
    return "".join(
        f'<option value="{_text(value)}">{_text(value)} ({count})</option>'
        for value, count in counts
    )


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _best(rows: Collection[Mapping[str, Any]], key: str) -> float | None:
    """The largest number of a column; None where there is nothing to compare."""
    values = [row[key] for row in rows if row.get(key) is not None]
    return float(max(values)) if len(values) > 1 else None


def _measure(value: float | int | None, key: str, best: float | None) -> str:
    """One cell: a count, a fraction with three decimals (the column's best in bold), or n/a."""
    if value is None:
        return '<td class="missing">n/a</td>'
    if key == "n":
        return f"<td>{value:,}</td>"
    return f"<td><b>{value:.3f}</b></td>" if value == best else f"<td>{value:.3f}</td>"
