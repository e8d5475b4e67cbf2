"""The report of a run: one HTML file with everything in it, for any browser, offline."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from exits_jax.report import cards, page
from exits_jax.report.cards import ReportImage, ReportItem
from exits_jax.system.files import write_bytes

__all__ = ["PredictionPart", "ReportImage", "ReportItem", "summary_rows", "write_report"]

MAX_BYTES = 40_000_000
PANEL_QUALITY = 75
SMALL_PX = 240  # longer side of a photograph for which there is no room


class PredictionPart(NamedTuple):
    """What the report shows of predictions.

    Attributes:
      figures: average precision, as evaluation.json has it; None without ground truth.
      pictures: encoded, by caption.
    """

    figures: Mapping[str, Any] | None
    pictures: Mapping[str, bytes]


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    rows: Sequence[ReportItem],
    summary: Mapping[str, Mapping[str, Any]] | None = None,
    figures: Mapping[str, bytes] | None = None,
    images: Sequence[ReportImage] = (),
    facts: Mapping[str, object] | None = None,
    review: Mapping[str, Any] | None = None,
    total: int | None = None,
    predictions: PredictionPart | None = None,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Writes report.html: header, measures, curves, images, and a gallery of instances.

    The page refers to no other file and no address; its own policy forbids a browser to load any.
    Instances can be sorted, filtered, opened and enlarged; the choice is kept in the address
    (report.html#sort=score&category=coin&min_score=0.5&flag=holes:1&search=12&item=120). The worst
    come first: lowest IoU, or lowest score without ground truth. Each can be accepted or rejected;
    the page saves that as a file (`decisions`) and remembers it in the browser.

    Figures are always in the page. Photographs of instances get up to half of what `max_bytes`
    leaves, the worst instances first; the others get a small one. Pictures of images get up to half
    of the rest, panels what is left. The page says how many were left out.

    Args:
      path: of the page; written to a temporary file and renamed.
      title: heading, for example "exits: coco_mini".
      rows: instances in the order of the annotation file.
      summary: measures by method, see `summary_rows`; None without ground truth.
      figures: encoded images by caption, for example {"Training losses": png}.
      images: whole images with their masks.
      facts: what the header lists: configuration, counts, time.
      review: what the page starts from: `run`, which names the run in the browser's memory, and the
        content of a file of decisions.
      total: how many instances there are, if `rows` are a selection; None: these.
      predictions: of stage 2's model; None: there are none.
      max_bytes: size that pictures and panels must not exceed.

    Raises:
      UserError: the file cannot be written.
      ValueError: a picture is not a PNG, JPEG, WebP or GIF.
    """
    figures, predictions = figures or {}, predictions or PredictionPart(None, {})
    order = sorted(range(len(rows)), key=lambda index: (rows[index].quality, index))
    always = [*figures.values(), *predictions.pictures.values()]
    room = _Room(max_bytes - sum(map(_embedded_size, always)) - 1000 * len(rows))
    worst_first = _with_pictures([rows[index] for index in order], room)
    shown = [images[k] for k in room.first([_image_size(image) for image in images], 0.5)]
    wanted = {i: _small(panel) for i in order if (panel := rows[i].panel) is not None}
    kept = room.first([_embedded_size(panel) for panel in wanted.values()], 1.0)
    panels = {i: panel for k, (i, panel) in enumerate(wanted.items()) if k in {*kept}}
    data = [
        cards.item_data(item, index, panels.get(index))
        for index, item in zip(order, worst_first, strict=True)
    ]
    found = page.predictions_section(*predictions)
    parts = {
        "title": page.text(title),
        "facts": page.facts_list(facts or {}),
        "summary": page.summary_table(summary),
        "figures": page.figure_list(figures),
        "predictions": found,
        "predictions_link": '<a href="#predictions">Predictions</a> ' if found else "",
        "images": "".join(map(cards.image_card, shown)),
        "images_note": _note(len(shown), len(images), "pictures of images"),
        "chosen_note": _chosen_note(len(rows), total or len(rows)),
        "panels_note": _note(len(panels), len(wanted), "panel strips") if wanted else "",
        "data": page.embedded_json(
            {"items": data, "review": {"run": "", "decisions": {}} | dict(review or {})}
        ),
    }
    html = page.fill_template(parts | _gallery_parts(worst_first))
    # A file name that is not valid text (undecodable bytes on disk) must not stop the report.
    write_bytes(path, html.encode(errors="replace"))


def summary_rows(
    evaluation: Mapping[str, Any], name: str = "Generator"
) -> dict[str, Mapping[str, Any]]:
    """The rows of the summary from the content of evaluation.json, baselines first.

    Args:
      evaluation: {"miou": ..., "baselines": {"filled_box": {...}, "propagation_only": {...}}}.
      name: of what was evaluated.
    """
    baselines = evaluation.get("baselines") or {}
    named = {key.replace("_", " ").capitalize(): value for key, value in baselines.items()}
    return named | {name: evaluation}


def _gallery_parts(items: Sequence[ReportItem]) -> dict[str, str]:
    """Cards and filters of the instance gallery."""
    known = any(item.iou is not None for item in items)
    flags = [flag for item in items for flag in item.flags]
    return {
        "count": f"{len(items):,}",
        "categories": page.options([item.category for item in items]),
        "legend": page.flag_legend({*flags}),
        "flags": page.options(flags),
        "quality": "IoU, else score" if known else "score",
        "sort_score": '<option value="score">score</option>' if known else "",
        "cards": "".join(map(cards.item_card, items)),
    }


class _Room:
    """The bytes that the page has left."""

    def __init__(self, total: int) -> None:
        self._left = total

    def first(self, sizes: Sequence[int], share: float) -> range:
        """Positions of the first items that fit into a share of the room; they use it up."""
        ends = np.cumsum([0, *sizes])
        count = int(np.searchsorted(ends, max(0.0, self._left * share), "right")) - 1
        self.take(int(ends[count]))
        return range(count)

    def take(self, size: int) -> None:
        """Reduces the room by this much."""
        self._left -= size


def _with_pictures(items: Sequence[ReportItem], room: _Room) -> list[ReportItem]:
    """The items, worst first, with large photographs as long as there is room, then small ones."""
    room.take(cards.marks_size([item.marks for item in items if item.marks]))
    large = room.first([_embedded_size(item.picture) for item in items], 0.5)
    others = [replace(item, picture=_thumbnail(item.picture)) for item in items[len(large) :]]
    room.take(sum(_embedded_size(item.picture) for item in others))
    return [*items[: len(large)], *others]


def _thumbnail(content: bytes) -> bytes:
    """The picture at SMALL_PX, as WebP; a smaller one unchanged."""
    image = Image.open(io.BytesIO(content))
    if max(image.size) <= SMALL_PX:
        return content
    image.thumbnail((SMALL_PX, SMALL_PX))
    return _webp(image)


def _small(content: bytes) -> bytes:
    """A PNG as WebP, a third of its size or less on photographs; other kinds unchanged."""
    return _webp(Image.open(io.BytesIO(content))) if content.startswith(b"\x89PNG") else content


def _webp(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "WEBP", quality=PANEL_QUALITY)
    return file.getvalue()


def _image_size(image: ReportImage) -> int:
    """Bytes that an image takes in the page, including its outlines."""
    return _embedded_size(image.content) + cards.marks_size([*image.marks.values()])


def _embedded_size(content: bytes) -> int:
    """Bytes it takes in the page: base64 writes three bytes as four."""
    return -(-len(content) // 3) * 4


def _note(shown: int, given: int, what: str) -> str:
    """What was left out to keep the page small, if anything."""
    if not given:
        return f"<p>There are no {what} in this page.</p>"
    if shown == given:
        return ""
    return f"<p>{shown:,} of {given:,} {what} are in this page, to keep it small.</p>"


def _chosen_note(shown: int, total: int) -> str:
    """Which instances are in the page, if not all of them are."""
    if shown >= total:
        return ""
    return (
        f"<p>{shown:,} of {total:,} instances are in this page (report.max_items): the worst, "
        "and evenly chosen ones of the others.</p>"
    )
