"""What a person looks at after a run: overlays, panels of the propagation, the report page."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from exits_jax.annotations import Instance
from exits_jax.export.decisions import mask_digest
from exits_jax.report.hop_panels import Hops, hop_panels
from exits_jax.report.outlines import cut_out, marks_in, window_around
from exits_jax.report.overlays import encode_image, save_png
from exits_jax.report.overview import image_overlay
from exits_jax.report.report import PredictionPart, ReportImage, ReportItem, write_report
from exits_jax.report.shown import Shown, worst_images
from exits_jax.report.training_figure import read_metrics, training_figure
from exits_jax.system.errors import UserError
from exits_jax.system.progress import track

MAX_IMAGES = 60  # whole images in the report
PICTURE_PX = 640  # longest side of an instance's photograph; smaller objects keep their resolution
IMAGE_PX = 1280  # of a whole image


class Files(NamedTuple):
    """The files of a report.

    Attributes:
      page: the HTML file, written.
      figures: a folder; single pictures are written into it.
      metrics: the log of training, read if it exists.
    """

    page: pathlib.Path
    figures: pathlib.Path
    metrics: pathlib.Path


def write_gallery(
    files: Files,
    what: Shown,
    hops: Iterable[Hops],
    *,
    title: str,
    summary: Mapping[str, Mapping[str, Any]] | None,
    facts: Mapping[str, object],
    review: Mapping[str, Any],
    total: int,
    predictions: PredictionPart | None = None,
) -> None:
    """Draws labels and writes the figures and the page.

    Instances whose image cannot be read are not drawn; how many images that are is printed.

    Args:
      files: where to write.
      what: the labels that are drawn.
      hops: how some of them were made.
      title, summary, facts, review: of the page, see `write_report`.
      total: how many labels there are in all; `what` may be a selection.
      predictions: what the page shows of them.
    """
    panels = dict(hop_panels(what, hops, files.figures))
    items, images, unread = _items_and_images(files.figures, what, panels)
    figures = {}
    curves = training_figure(read_metrics(files.metrics))
    if curves is not None:
        save_png(files.figures / "training.png", curves)
        figures["Losses of warm-up and training"] = encode_image(curves, "PNG")
    write_report(
        files.page,
        title=title,
        rows=items,
        summary=summary,
        figures=figures,
        images=images,
        facts=facts,
        review=review,
        total=total,
        predictions=predictions,
    )
    if unread:
        print(f"{len(unread)} images could not be drawn; the first: {unread[0]}")


def _items_and_images(
    figures: pathlib.Path, what: Shown, panels: Mapping[int, bytes]
) -> tuple[list[ReportItem], list[ReportImage], list[UserError]]:
    """Cards of the instances and pictures of the worst images, each image decoded once.

    Also why images could not be read, one error each.
    """
    by_image: dict[int, list[int]] = {}
    for position, instance in enumerate(what.instances):
        by_image.setdefault(instance.image.id, []).append(position)
    whole = worst_images(what, MAX_IMAGES)
    items, images, unread = {}, {}, []
    with track("draw", len(by_image)) as progress:
        for image_id, positions in by_image.items():
            progress.advance()
            try:
                image = what.source.decoded(positions[0])
            except UserError as error:
                unread.append(error)  # listed when it was labelled, with boxes as masks
                continue
            instances = [what.instances[position] for position in positions]
            masks = np.stack([what.mask(i) for i in instances])
            for position, instance, mask in zip(positions, instances, masks, strict=True):
                items[position] = _item(what, instance, image, mask, panels.get(instance.id))
            if image_id in whole:
                images[image_id] = _image(figures, what, instances, image, masks)
    return (
        [items[position] for position in sorted(items)],
        [images[image_id] for image_id in whole if image_id in images],
        unread,
    )


def _item(
    what: Shown,
    instance: Instance,
    image: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    panel: bytes | None,
) -> ReportItem:
    label = what.labels[instance.id]
    window = window_around(instance.box_xyxy, *mask.shape)
    truth = what.true_mask(instance)
    return ReportItem(
        annotation_id=instance.id,
        image_id=instance.image.id,
        file_name=instance.image.file_name,
        category=instance.category,
        score=label.score,
        iou=what.ious.get(instance.id),
        area=float(label.area),
        flags=list(label.flags),
        picture=encode_image(cut_out(image, window, PICTURE_PX)),
        marks=marks_in(window, PICTURE_PX, mask, truth, instance.points_xy),
        panel=panel,
        mask=mask_digest(label.rle),
    )


def _image(
    figures: pathlib.Path,
    what: Shown,
    instances: Sequence[Instance],
    image: UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "k h w"],
) -> ReportImage:
    """The image with its masks; also, drawn as one picture, in `figures`."""
    record = instances[0].image
    picture = image_overlay(image, masks, [i.category for i in instances])
    save_png(figures / f"image_{record.id}.png", picture)
    known = [what.ious[i.id] for i in instances if i.id in what.ious]
    mean = f", mean IoU {np.mean(known):.3f}" if known else ""
    window = (0, 0, masks.shape[2], masks.shape[1])
    return ReportImage(
        record.id,
        record.file_name,
        f"{len(instances)} instance{'s' * (len(instances) != 1)}{mean}",
        encode_image(cut_out(image, window, IMAGE_PX)),
        {
            i.id: marks_in(window, IMAGE_PX, mask, what.true_mask(i))
            for i, mask in zip(instances, masks, strict=True)
        },
    )
