"""What a person looks at after a run: overlays, panels of the propagation, the report page."""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from exits_jax.annotations import Instance
from exits_jax.app.hop_panels import hop_panels
from exits_jax.app.outputs import version
from exits_jax.app.review import review_for_page
from exits_jax.app.run import DataSet, Run
from exits_jax.app.shown import Shown, chosen, pixels, worst, worst_images
from exits_jax.export.decisions import mask_digest, verdict_counts
from exits_jax.report.outlines import cut_out, marks_in, window_around
from exits_jax.report.overlays import encode_image, save_png
from exits_jax.report.overview import image_overlay
from exits_jax.report.report import ReportImage, ReportItem, summary_rows, write_report
from exits_jax.report.training_figure import read_metrics, training_figure
from exits_jax.system.errors import UserError
from exits_jax.system.progress import track

MAX_IMAGES = 60  # whole images in the report
PICTURE_PX = 640  # longest side of an instance's photograph; smaller objects keep their resolution
IMAGE_PX = 1280  # of a whole image


def write_gallery(
    run: Run,
    what: Shown,
    record: Mapping[str, Any] | None,
    name: str,
    facts: Mapping[str, object],
) -> None:
    """Writes `figures/*.png` and `report.html` of the workdir; the labels are called `name`.

    Instances whose image cannot be read are not drawn; how many images that are is printed.

    Args:
      facts: for the head of the page, before when, by what and from which labels it was made.
    """
    settings = run.config.report
    instances = chosen(what, settings.max_items)
    panels = dict(hop_panels(run, what, worst(what, instances, settings.max_panels)))
    items, images, unread = _items_and_images(run, what, instances, panels)
    figures = {}
    curves = training_figure(read_metrics(run.workdir.metrics))
    if curves is not None:
        save_png(run.workdir.figures / "training.png", curves)
        figures["Losses of warm-up and training"] = encode_image(curves, "PNG")
    review = review_for_page(run)
    write_report(
        run.workdir.report,
        title=f"exits_jax: {run.config.name}",
        rows=items,
        summary=summary_rows(record, name.capitalize()) if record else None,
        figures=figures,
        images=images,
        facts={**facts, **_made(review)},
        review=review,
        total=len(what.data.instances),
    )
    if unread:
        print(f"{len(unread)} images could not be drawn; the first: {unread[0]}")


def _made(review: Mapping[str, Any]) -> dict[str, str]:
    """When, by what and from which labels the page was made, and what was decided about them."""
    verdicts = review["decisions"].values()
    python = "python " if sys.argv[0].endswith(".py") else ""
    return {
        "made": time.strftime("%Y-%m-%d %H:%M %z"),
        "exits_jax": version(),
        "pseudo_labels.json": f"sha256 {review['labels_sha256'][:16]}",
        **({"review": verdict_counts(verdicts)} if verdicts else {}),
        "command": python + shlex.join(sys.argv),
    }


def _items_and_images(
    run: Run, what: Shown, data: DataSet, panels: Mapping[int, bytes]
) -> tuple[list[ReportItem], list[ReportImage], list[UserError]]:
    """Cards of the instances and pictures of the worst images, each image decoded once.

    Also why images could not be read, an error each.
    """
    by_image: dict[int, list[int]] = {}
    for position, instance in enumerate(data.instances):
        by_image.setdefault(instance.image.id, []).append(position)
    whole = worst_images(what, data, MAX_IMAGES)
    items, images, unread = {}, {}, []
    with track("draw", len(by_image)) as progress:
        for image_id, positions in by_image.items():
            progress.advance()
            try:
                image = data.source.decoded(positions[0])
            except UserError as error:
                unread.append(error)  # listed when it was labelled, with boxes as masks
                continue
            instances = [data.instances[position] for position in positions]
            masks = np.stack([pixels(what.labels[i.id].rle, i) for i in instances])
            for position, instance, mask in zip(positions, instances, masks, strict=True):
                items[position] = _item(what, instance, image, mask, panels.get(instance.id))
            if image_id in whole:
                images[image_id] = _image(run, what, instances, image, masks)
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
    truth = _truth(what, instance)
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
    run: Run,
    what: Shown,
    instances: Sequence[Instance],
    image: UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "k h w"],
) -> ReportImage:
    """The image with its masks; also, drawn as one picture, in `figures/`."""
    record = instances[0].image
    picture = image_overlay(image, masks, [i.category for i in instances])
    save_png(run.workdir.figures / f"image_{record.id}.png", picture)
    known = [what.ious[i.id] for i in instances if i.id in what.ious]
    mean = f", mean IoU {np.mean(known):.3f}" if known else ""
    window = (0, 0, masks.shape[2], masks.shape[1])
    return ReportImage(
        record.id,
        record.file_name,
        f"{len(instances)} instance{'s' * (len(instances) != 1)}{mean}",
        encode_image(cut_out(image, window, IMAGE_PX)),
        {
            i.id: marks_in(window, IMAGE_PX, mask, _truth(what, i))
            for i, mask in zip(instances, masks, strict=True)
        },
    )


def _truth(what: Shown, instance: Instance) -> Bool[np.ndarray, "h w"] | None:
    rle = what.truth.get(instance.id)
    return None if rle is None else pixels(rle, instance)
