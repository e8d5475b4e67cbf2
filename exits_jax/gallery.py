"""What a person looks at after a run: overlays, panels of the propagation, the report page."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from exits_jax import networks
from exits_jax.annotations import Instance, decode_segmentation
from exits_jax.data.pipeline import label_batches
from exits_jax.errors import UserError
from exits_jax.evaluation.iou import GroundTruth
from exits_jax.fitting import saved_thresholds
from exits_jax.labelling.overlays import crop_mask, encode_image, panel_strip, save_png
from exits_jax.labelling.overview import image_overlay, thumbnail
from exits_jax.labelling.quality import Label
from exits_jax.labelling.report import ReportImage, ReportItem, summary_rows, write_report
from exits_jax.labelling.training_figure import read_metrics, training_figure
from exits_jax.progress import track
from exits_jax.retrieval import RetrievalSettings, retrieve_points, score_inputs
from exits_jax.run import DataSet, Run

MAX_IMAGES = 60  # overlays of whole images in the report


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the gallery shows: labels, and ground truth and its IoU where there is one."""

    data: DataSet  # pictures come from its source, files or records
    labels: Mapping[int, Label]  # by annotation id; one of every instance of `data`
    truth: Mapping[int, dict[str, Any]]  # run lengths by annotation id
    ious: Mapping[int, float]


def shown(
    data: DataSet,
    labels: Mapping[int, Label],
    truth: GroundTruth | None,
    ious: Float[np.ndarray, " n"] | None,
) -> Shown:
    """Ground truth by annotation id, for `write_gallery`."""
    instances = truth.instances if truth else []
    ids = [instance.id for instance in instances]
    rles = dict(zip(ids, truth.rles, strict=True)) if truth else {}
    measured = dict(zip(ids, ious.tolist(), strict=True)) if truth else {}
    return Shown(data, labels, rles, measured)


def write_gallery(
    run: Run,
    what: Shown,
    record: Mapping[str, Any] | None,
    name: str,
    facts: Mapping[str, object],
) -> None:
    """Writes `figures/*.png` and `report.html` of the workdir; the labels are called `name`.

    Instances whose image cannot be read are not drawn; how many images that are is printed.
    """
    settings = run.config.report
    chosen = what.data.take(_spread(len(what.data.instances), settings.max_items))
    panels = dict(_panels(run, what, _worst(what, chosen, settings.max_panels)))
    items, images, unread = _items_and_images(run, what, chosen, panels)
    figures = {}
    curves = training_figure(read_metrics(run.workdir.metrics))
    if curves is not None:
        save_png(run.workdir.figures / "training.png", curves)
        figures["Losses of warm-up and training"] = encode_image(curves, "PNG")
    write_report(
        run.workdir.report,
        title=f"exits_jax: {run.config.name}",
        rows=items,
        summary=summary_rows(record, name.capitalize()) if record else None,
        figures=figures,
        images=images,
        facts=facts,
    )
    if unread:
        print(f"{len(unread)} images could not be drawn; the first: {unread[0]}")


def _items_and_images(
    run: Run, what: Shown, chosen: DataSet, panels: Mapping[int, bytes]
) -> tuple[list[ReportItem], list[ReportImage], list[UserError]]:
    """Cards of the chosen instances and overlays of the first images, an image decoded once.

    Also why images could not be read, an error each.
    """
    by_image: dict[int, list[int]] = {}
    for position, instance in enumerate(chosen.instances):
        by_image.setdefault(instance.image.id, []).append(position)
    items, images, unread = {}, [], []
    with track("draw", len(by_image)) as progress:
        for positions in by_image.values():
            progress.advance()
            try:
                image = chosen.source.decoded(positions[0])
            except UserError as error:
                unread.append(error)  # listed when it was labelled, with boxes as masks
                continue
            instances = [chosen.instances[position] for position in positions]
            masks = np.stack([_mask(what.labels[i.id].rle, i) for i in instances])
            for position, instance, mask in zip(positions, instances, masks, strict=True):
                items[position] = _item(what, instance, image, mask, panels.get(instance.id))
            if len(images) < MAX_IMAGES:
                images.append(_overlay(run, what, instances, image, masks))
    return [items[position] for position in sorted(items)], images, unread


def _item(
    what: Shown,
    instance: Instance,
    image: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    panel: bytes | None,
) -> ReportItem:
    label = what.labels[instance.id]
    small = thumbnail(image, mask, instance.box_xyxy, instance.points_xy)
    return ReportItem(
        annotation_id=instance.id,
        image_id=instance.image.id,
        file_name=instance.image.file_name,
        category=instance.category,
        score=label.score,
        iou=what.ious.get(instance.id),
        area=float(label.area),
        flags=list(label.flags),
        thumbnail=encode_image(small),
        panel=panel,
    )


def _overlay(
    run: Run,
    what: Shown,
    instances: Sequence[Instance],
    image: UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "k h w"],
) -> ReportImage:
    """The image with its masks, also written to `figures/`."""
    record = instances[0].image
    picture = image_overlay(image, masks, [i.category for i in instances])
    save_png(run.workdir.figures / f"image_{record.id}.png", picture)
    known = [what.ious[i.id] for i in instances if i.id in what.ious]
    mean = f", mean IoU {np.mean(known):.3f}" if known else ""
    caption = f"{len(instances)} instances{mean}"
    return ReportImage(record.id, record.file_name, caption, encode_image(picture))


def _panels(run: Run, what: Shown, worst: DataSet) -> Iterator[tuple[int, bytes]]:
    """The propagation of each instance, hop by hop, as encoded pictures by annotation id."""
    if not worst.instances:
        return
    config, settings = run.config, saved_thresholds(run)
    hops = [dataclasses.replace(settings, hops=h + 1, rounds=0) for h in range(settings.hops or 1)]
    functions = [networks.scores_function(config, s, config.crop.size) for s in (*hops, settings)]
    forward = jax.jit(lambda params, batch: [f(params, batch) for f in functions])
    params = jax.device_put(networks.extractor_params(config, run.workdir))
    cut = {"crop_size": config.crop.size, "margin": config.crop.label_margin}
    with track("draw panels", len(worst.instances)) as progress:
        batches = label_batches(
            worst.source,
            **cut,
            batch_size=config.label.device_batch,
            on_error=lambda *_: None,
        )
        for batch in batches:
            scores = jax.device_get(forward(params, score_inputs(batch)))
            for row in np.flatnonzero(batch["valid"]):
                instance = worst.instances[int(batch["index"][row])]
                strip = _strip(what, instance, batch, int(row), scores, settings)
                save_png(run.workdir.figures / f"instance_{instance.id}.png", strip)
                progress.advance()
                yield instance.id, encode_image(strip)


def _strip(
    what: Shown,
    instance: Instance,
    batch: Mapping[str, np.ndarray],
    row: int,
    scores: Sequence[Any],
    settings: RetrievalSettings,
) -> UInt8[np.ndarray, "height width 3"]:
    """The panel strip of one row of a batch; the last of `scores` is the one points come from."""
    grid = round(scores[0].score.shape[-1] ** 0.5)
    final = jax.tree.map(lambda x: x[row : row + 1], scores[-1])
    points, weights, _ = retrieve_points(
        final.score,
        final.inside_box,
        final.foreground,
        final.background,
        tau_fg=settings.tau_fg,
        tau_bg=settings.tau_bg,
    )
    side = batch["image"].shape[1]
    window = batch["window_xyxy"][row]
    label, true = what.labels[instance.id], what.truth.get(instance.id)
    return panel_strip(
        batch["image"][row],
        box_xyxy=batch["box_xyxy"][row],
        points_xy=batch["points_xy"][row] if batch["has_points"][row] else None,
        seeds=final.foreground.reshape(grid, grid),
        scores=np.stack([s.score[row].reshape(grid, grid) for s in scores[:-1]]),
        labels=np.asarray(points).reshape(grid, grid),
        weights=np.asarray(weights).reshape(grid, grid),
        prediction=crop_mask(_mask(label.rle, instance), window, side),
        score=label.score,
        truth=None if true is None else crop_mask(_mask(true, instance), window, side),
        iou=what.ious.get(instance.id),
    )


def _mask(rle: dict[str, Any], instance: Instance) -> Bool[np.ndarray, "h w"]:
    return decode_segmentation(rle, instance.image.height, instance.image.width)


def _worst(what: Shown, data: DataSet, count: int) -> DataSet:
    """The instances of lowest IoU, or of lowest score where no ground truth is known."""

    def quality(position: int) -> float:
        instance = data.instances[position]
        return what.ious.get(instance.id, what.labels[instance.id].score)

    lowest = sorted(range(len(data.instances)), key=quality)[:count]
    return data.take(sorted(lowest))  # in their order, which keeps those of an image together


def _spread(total: int, count: int) -> list[int]:
    """At most `count` positions below `total`, evenly spread."""
    if total <= count:
        return list(range(total))
    return np.linspace(0, total - 1, count).round().astype(int).tolist()
