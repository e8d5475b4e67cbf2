"""The report of a run: one HTML file with everything in it, for any browser, offline."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from exits_jax.files import write_bytes
from exits_jax.labelling import report_page
from exits_jax.labelling.report_page import ReportImage, ReportItem

__all__ = ["ReportImage", "ReportItem", "summary_rows", "write_report"]

MAX_BYTES = 40_000_000
PANEL_QUALITY = 75


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    rows: Sequence[ReportItem],
    summary: Mapping[str, Mapping[str, Any]] | None = None,
    figures: Mapping[str, bytes] | None = None,
    images: Sequence[ReportImage] = (),
    facts: Mapping[str, object] | None = None,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Writes report.html: header, measures, curves, images, and a gallery of instances.

    The page refers to no other file and to no address; its own policy forbids a browser to load
    any. Instances can be sorted, filtered and opened; the choice is kept in the address
    (report.html#sort=iou&category=coin&min_score=0.5&flag=holes:1&search=12&item=120).

    Thumbnails and figures are always in the page. Pictures of images get up to half of what
    `max_bytes` leaves, panels the rest, the instances of the lowest IoU (or score, where there is
    no truth) first; the page says how many were left out.

    Args:
      path: of the page; written to a temporary file and renamed.
      title: heading, for example "exits: coco_mini".
      rows: instances in the order of the annotation file.
      summary: measures by method, see `summary_rows`; None without ground truth.
      figures: encoded images by caption, for example {"Training losses": png}.
      images: overlays of whole images.
      facts: what the header lists: configuration, counts, time.
      max_bytes: size that pictures of images and panels must not lead beyond.

    Raises:
      UserError: the file cannot be written.
      ValueError: a picture is no PNG, JPEG, WebP or GIF.
    """
    figures = figures or {}
    always = [item.thumbnail for item in rows] + list(figures.values())
    spare = max(0, max_bytes - sum(map(_embedded_size, always)) - 1000 * len(rows))
    shown = _within({i: image.content for i, image in enumerate(images)}, spare // 2)
    spare -= sum(map(_embedded_size, shown.values()))
    panels = _within(_panels_worst_first(rows), spare)
    parts = {
        "title": report_page.escape(title),
        "facts": report_page.facts_list(facts or {}),
        "summary": report_page.summary_table(summary),
        "figures": report_page.figure_list(figures),
        "images": report_page.image_cards(
            [replace(images[index], content=content) for index, content in shown.items()]
        ),
        "images_note": _note(len(shown), len(images), "pictures of images"),
    }
    page = report_page.fill_template(parts | _instance_parts(rows, panels))
    # A file name that is not valid text (undecodable bytes on disk) must not stop the report.
    write_bytes(path, page.encode(errors="replace"))


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


def _instance_parts(rows: Sequence[ReportItem], panels: Mapping[int, bytes]) -> dict[str, str]:
    """Cards, filters and data of the instance gallery."""
    data = [report_page.item_data(item, panels.get(index)) for index, item in enumerate(rows)]
    wanted = sum(item.panel is not None for item in rows)
    known = any(item.iou is not None for item in rows)
    return {
        "count": f"{len(rows):,}",
        "categories": report_page.options([item.category for item in rows]),
        "legend": report_page.flag_legend({flag for item in rows for flag in item.flags}),
        "flags": report_page.options([flag for item in rows for flag in item.flags]),
        "sort_iou": '<option value="iou">IoU</option>' if known else "",
        "cards": "".join(map(report_page.item_card, rows)),
        "panels_note": _note(len(panels), wanted, "panel strips") if wanted else "",
        "data": report_page.embedded_json(data),
    }


def _panels_worst_first(rows: Sequence[ReportItem]) -> dict[int, bytes]:
    """Panels by position in `rows`: lowest IoU, or score, first. They are what one looks at."""

    def badness(index: int) -> tuple[float, int]:
        item = rows[index]
        return (item.score if item.iou is None else item.iou), index

    found = {index: item.panel for index, item in enumerate(rows) if item.panel is not None}
    return {index: found[index] for index in sorted(found, key=badness)}


def _within(contents: Mapping[int, bytes], budget: int) -> dict[int, bytes]:
    """The first pictures that fit into `budget` bytes of page, made small; by their keys."""
    kept = {}
    for key, content in contents.items():
        small = _small(content)
        budget -= _embedded_size(small)
        if budget < 0:
            break
        kept[key] = small
    return kept


def _small(content: bytes) -> bytes:
    """A PNG as WebP, a third of its size or less on photographs; other kinds as they are."""
    if not content.startswith(b"\x89PNG"):
        return content
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(file, "WEBP", quality=PANEL_QUALITY)
    return file.getvalue()


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
