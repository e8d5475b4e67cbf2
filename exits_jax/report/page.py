"""The report page around its cards: frame, header, measures, figures, each as a piece of HTML.

Whatever comes from a user's file (titles, categories, file names, flags) passes through `text`, or,
inside the page's JSON, through `embedded_json`. Looks and behaviour are in page.css and
page.*.js, the frame in page.html; instances and images in `report_cards`.
"""

import base64
import importlib.resources
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from exits_jax.report import drawing

# The flags of `quality.Label.flags`, by how they begin.
FLAG_MEANINGS = {
    "item_error": "the image could not be read; the mask is the box",
    "box_only": "there were no extreme points, only a box",
    "empty_mask": "nothing was found; the mask is the box",
    "repaired_outside_box": "pixels beyond the box were cut away",
    "outside_box": "the mask reaches beyond its box",
    "misses_top": "the mask stays away from that side of its box",
    "misses_left": "the mask stays away from that side of its box",
    "misses_bottom": "the mask stays away from that side of its box",
    "misses_right": "the mask stays away from that side of its box",
    "misses_point_<side>": "no mask near that extreme point",
    "parts:<n>": "the mask has n components",
    "holes:<n>": "the mask has n holes",
}
# One script in the page; the later parts use the earlier ones.
SCRIPTS = ("page.cards.js", "page.review.js", "page.viewer.js")
# The colours of the pictures that are drawn here.
COLOURS = {
    "label_colour": drawing.hexadecimal(drawing.LABEL),
    "truth_colour": drawing.hexadecimal(drawing.TRUTH),
    "point_colour": drawing.hexadecimal(drawing.POINT),
    "casing_colour": drawing.hexadecimal(drawing.CASING),
}
LONG_FACT = 60  # letters
SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}
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
AP_COLUMNS = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
}


def data_uri(content: bytes) -> str:
    """The encoded image as a data URI. ValueError if it is not of a known kind."""
    kind = next((k for start, k in SIGNATURES.items() if content.startswith(start)), None)
    if kind is None:
        raise ValueError(f"bytes starting {content[:8]!r} are not a PNG, JPEG, WebP or GIF image")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def embedded_json(value: Any) -> str:
    """JSON that may be inside <script>: no character of it can end the element or open a tag."""
    written = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def fill_template(parts: Mapping[str, str]) -> str:
    """The page: page.html with every {{name}} replaced once by the part of that name.

    One pass, so that braces in a user's text stay text. An unknown name raises a KeyError.
    """
    own = {
        "style": _filled(_own_file("page.css"), COLOURS),
        "script": "".join(map(_own_file, SCRIPTS)),
    }
    return _filled(_own_file("page.html"), own | dict(parts))


def facts_list(facts: Mapping[str, object]) -> str:
    """Name and value pairs of the header; long values, such as a command, on lines of their own."""
    pairs = "".join(
        f"<div{' class=wide' if len(str(value)) > LONG_FACT else ''}>"
        f"<dt>{text(name)}</dt><dd>{text(value)}</dd></div>"
        for name, value in facts.items()
    )
    return f'<dl class="facts">{pairs}</dl>' if pairs else ""


def summary_table(summary: Mapping[str, Mapping[str, Any]] | None) -> str:
    """One row per method, its measures in the columns; n/a if there is no number."""
    if not summary:
        return "<p>No ground truth was given, so nothing was measured.</p>"
    return (
        f"{_table(summary, COLUMNS, 'method')}"
        '<p class="hint">Mean IoU is taken over instances that are not crowds; small is an area'
        " below 32² pixels, large above 96². n/a: nothing to measure. Bold: best of its column.</p>"
    )


def predictions_section(figures: Mapping[str, Any] | None, pictures: Mapping[str, bytes]) -> str:
    """What the trained model found, its average precision and pictures; nothing for nothing."""
    if figures is None and not pictures:
        return ""
    measured = "<p>No ground truth was given, so nothing was measured.</p>"
    if figures is not None:
        each = {name: {"ap": value} for name, value in figures["per_category"].items()}
        measured = _table({"all": figures}, AP_COLUMNS, "classes")
        measured += (
            f"<details><summary>By class</summary>{_table(each, {'ap': 'AP'}, 'class')}</details>"
        )
    return (
        '<section aria-labelledby="predictions"><h2 id="predictions">Predictions</h2>'
        '<p class="hint">Found by the trained model, without any box. AP: average precision of '
        f"masks, as COCO defines it.</p>{measured}{figure_list(pictures)}</section>\n"
    )


def flag_legend(flags: Collection[str]) -> str:
    """What the flags that occur mean, in a fold; nothing without flags."""
    pairs = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(meaning)}</dd></div>"
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
        f'<img src="{data_uri(content)}" alt="{text(caption)}" loading="lazy"></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
        for caption, content in figures.items()
    )


def options(values: Sequence[str]) -> str:
    """<option>s of the values that occur, with their counts, in alphabetical order."""
    counts = sorted(Counter(values).items())
    return "".join(
        f'<option value="{text(value)}">{text(value)} ({count})</option>' for value, count in counts
    )


def _filled(frame: str, parts: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], frame)


def _own_file(name: str) -> str:
    folder = importlib.resources.files("exits_jax.report")
    return folder.joinpath(name).read_text(encoding="utf-8")


def text(value: object) -> str:
    """Any value as text in HTML or in a quoted attribute."""
    return escape(str(value), quote=True)


def _table(rows: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str], first: str) -> str:
    """A table of measures, a row each, under the heads of the columns."""
    head = "".join(f'<th scope="col">{name}</th>' for name in columns.values())
    best = {key: _best(rows.values(), key) for key in columns}
    lines = []
    for name, row in rows.items():
        cells = "".join(_measure(row.get(key), key, best[key]) for key in columns)
        lines.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of measures"><table>'
        f'<thead><tr><th scope="col">{first}</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _best(rows: Collection[Mapping[str, Any]], key: str) -> float | None:
    """The largest number of a column; None if there is nothing to compare."""
    values = [row[key] for row in rows if row.get(key) is not None]
    return float(max(values)) if len(values) > 1 else None


def _measure(value: float | int | None, key: str, best: float | None) -> str:
    """One cell: a count, a fraction with three decimals (the column's best in bold), or n/a."""
    if value is None:
        return '<td class="missing">n/a</td>'
    if key == "n":
        return f"<td>{value:,}</td>"
    return f"<td><b>{value:.3f}</b></td>" if value == best else f"<td>{value:.3f}</td>"
