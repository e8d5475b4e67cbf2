"""The annotations of a COCO-style document -> instances, and what is doubtful about them."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float
from pycocotools import mask as coco_masks

from exits_jax.annotations.box_forms import BoxTable, refuse_mixup, to_xywh
from exits_jax.annotations.box_writing import combined_form, written_box
from exits_jax.annotations.coco import Report, identified_annotations
from exits_jax.annotations.extreme import jitter_points
from exits_jax.annotations.fields import NO_BOX, is_crowd, stated_area
from exits_jax.annotations.geometry import TWICE_MASKS, doubts, near_duplicates
from exits_jax.annotations.locate import Located, known_box, locate
from exits_jax.annotations.masks import run_lengths
from exits_jax.annotations.numbers import finite_numbers, shown
from exits_jax.annotations.records import BadItem, ImageRecord, Instance, Problem
from exits_jax.annotations.summary import by_image

ID_ZERO = (
    "pycocotools' COCOeval takes a ground-truth id of 0 for no match, so its AP comes out too low;"
    " number annotations from 1"
)
# detectron2's numbers for forms of boxes, which its data sets write beside them.
MODES = {0: "xyxy", 1: "xywh", 2: "xyxy_shares", 3: "xywh_shares"}
COCO_MODE = 1
SOLID_SHARE = 0.5  # of a file's masks: if this share are run lengths that fill their boxes, ...
SOLID_LEAST = 3  # ... and at least this many, these are boxes


@dataclasses.dataclass(frozen=True)
class PointRule:
    """How points are made where a file has only masks.

    Attributes:
      rule: "exact" or "extremenet", see `extreme.extreme_points`.
      click_noise: standard deviation in pixels of noise on every point, 0 for none.
      seed: of that noise, together with the annotation's id.
    """

    rule: str = "exact"
    click_noise: float = 0.0
    seed: int = 0


def read_instances(
    document: dict[str, Any],
    images: dict[int, ImageRecord],
    categories: dict[int, str],
    rule: PointRule,
    report: Report,
    *,
    box_form: str = "auto",
    held: str = "",
    masks: bool = False,
) -> list[Instance]:
    """The non-crowd annotations as instances, in document order; mistakes go to `report`.

    Segmentations in the document are put into COCO's own form, and removed where they are not
    masks; boxes of another form become [x, y, width, height].

    Args:
      document: its ids are there (`coco.number_annotations`) and plain (`plain.plain_document`).
      images: the usable ones.
      categories: the known ones.
      rule: for masks.
      report: takes mistakes and notes.
      box_form: a key of `box_forms.FORMS`, or "auto": COCO's, unless all boxes say otherwise.
      held: what the boxes of this kind of file are, if there is no form to choose.
      masks: the masks are what counts: one that cannot be read is a mistake, boxes are masks, too.

    Raises:
      BadItem: the boxes of the whole file are meant in another form.
    """
    reader = _Reader(images, categories, rule, report, box_form, masks)
    # An image that was left out was reported, with the number of its annotations.
    reader.refused = {e["id"] for e in document.get("images", ()) if _has_id(e)} - images.keys()
    instances = [
        instance
        for index, annotation in identified_annotations(document, report)
        if (instance := reader.instance(index, annotation)) is not None
    ]
    for problem in by_image(reader.absent):
        report(problem)
    if box_form == "auto":
        _refuse_other_form(reader.boxes, instances, held)
    instances = _without_solid(document, instances, reader.solid, report, masks)
    _note_twins(document, instances, report)
    return instances


def image_of(annotation: dict[str, Any], images: dict[int, ImageRecord]) -> ImageRecord:
    """The image an annotation is on.

    Raises:
      UserError: there is no such image, or it was left out for a mistake of its own.
    """
    image_id = annotation.get("image_id")
    if type(image_id) is not int or image_id not in images:
        raise BadItem("absent_image", f"image_id {shown(image_id)} is not among the usable images")
    return images[image_id]


def category_of(annotation: dict[str, Any], categories: dict[int, str]) -> int:
    """The category id of an annotation.

    Raises:
      UserError: there is no such category.
    """
    category_id = annotation.get("category_id")
    if type(category_id) is not int or category_id not in categories:
        known = ", ".join(map(str, list(categories)[:5])) + ", ..." * (len(categories) > 5)
        raise BadItem(
            "absent_category",
            f"category_id {shown(category_id)} is not in categories ({known or 'there are none'})",
        )
    return category_id


def annotation_problem(
    bad: BadItem, annotation: dict[str, Any], images: dict[int, ImageRecord], note: bool = False
) -> Problem:
    """A mistake in an annotation as a problem that names the annotation and its image."""
    image_id = annotation.get("image_id")
    if type(image_id) is not int or image_id not in images:
        return Problem(bad.code, bad.text, annotation["id"], note=note)
    text = f"{bad.text} (image {images[image_id].file_name})"
    return Problem(bad.code, text, annotation["id"], image_id, note)


class _Reader:
    """Reads one annotation after the other; keeps what is judged over the whole file."""

    def __init__(
        self,
        images: dict[int, ImageRecord],
        categories: dict[int, str],
        rule: PointRule,
        report: Report,
        box_form: str,
        masks: bool,
    ) -> None:
        self._images, self._categories, self._rule = images, categories, rule
        self._report, self._box_form, self._masks = report, box_form, masks
        self.boxes = BoxTable()
        self.refused: set[int] = set()  # images
        self.absent: list[Problem] = []  # annotations of images that are not there
        self.solid: dict[int, bool] = {}  # of masks: by annotation id, if they fill their box

    def instance(self, index: int, annotation: dict[str, Any]) -> Instance | None:
        """The annotation as an instance; None for a crowd, or one that was reported."""
        if is_crowd(annotation):
            return None
        image_id = annotation.get("image_id")
        if type(image_id) is int and image_id not in self._images:
            if image_id not in self.refused:
                text = f"image_id {image_id} is not among the usable images"
                self.absent.append(Problem("absent_image", text, annotation["id"], image_id))
            return None
        try:
            image = image_of(annotation, self._images)
            category_id = category_of(annotation, self._categories)
            found = self._located(annotation, image)
            area = stated_area(annotation, found.box_xyxy)
        except BadItem as bad:
            self._report(annotation_problem(bad, annotation, self._images))
            return None
        if annotation.get("segmentation"):
            self.solid[annotation["id"]] = found.solid
        return Instance(
            # A number of its own: sharing the row's would pin the memory `PackedRows` gives back.
            id=annotation["id"] + 0,
            index=index,
            image=image,
            category_id=category_id,
            category=self._categories[category_id],
            box_xyxy=found.box_xyxy,
            points_xy=_with_noise(found.points_xy, annotation["id"], image, self._rule),
            points_source=found.points_source,
            area=area,
        )

    def _located(self, annotation: dict[str, Any], image: ImageRecord) -> Located:
        """Where the object is.

        Raises:
          BadItem: it is unclear, or what the annotation says cannot be meant.
        """
        size = image.width, image.height
        given = annotation.get("bbox")
        bbox = self._plain_box(annotation, size)
        try:
            found = locate(annotation, *size, self._rule.rule, self._masks)
        except BadItem:
            if bbox is not None:
                self.boxes.add(bbox, size, known_box(annotation, *size))
            raise
        if bbox is not None:
            points = found.place.points_xy
            known = found.place.mask_xyxy if points is None else _around(points)
            self.boxes.add(bbox, size, known)
            if annotation["bbox"] is not given and finite_numbers(given) is None:
                text = f"bbox {shown(given)} is read as [x, y, width, height] {bbox.tolist()}"
                found.lost.append(BadItem("other_box_form", text))
        self._doubt(annotation, found)
        return found

    def _plain_box(
        self, annotation: dict[str, Any], size_wh: tuple[int, int]
    ) -> Float[np.ndarray, "4"] | None:
        """The numbers of `bbox`, which is put into COCO's form; None without a box."""
        given = annotation.get("bbox")
        bbox = finite_numbers(given)
        form = self._form(annotation)
        written = written_box(given) if bbox is None and given else None
        if written:
            bbox, form = written.numbers, combined_form(written.form, form)
        if written and not bbox.any():
            annotation["bbox"] = [*NO_BOX]
        if bbox is None or bbox.size != 4 or not bbox.any():
            return None
        if form != "xywh":
            bbox = np.array(to_xywh(form, bbox, size_wh))
        if written or form != "xywh":
            annotation["bbox"] = bbox.tolist()
        return bbox

    def _form(self, annotation: dict[str, Any]) -> str:
        """The form of a box: as it was asked for, as it says itself, or COCO's."""
        mode = annotation.get("bbox_mode")
        if self._box_form != "auto" or type(mode) is not int or mode not in MODES:
            return "xywh" if self._box_form == "auto" else self._box_form
        if MODES[mode] != "xywh":
            bad = BadItem("box_mode", f"bbox_mode is {mode}: its bbox is read as {MODES[mode]}")
            self._report(annotation_problem(bad, annotation, self._images, note=True))
            annotation["bbox_mode"] = COCO_MODE  # its bbox will be
        return MODES[mode]

    def _doubt(self, annotation: dict[str, Any], found: Located) -> None:
        """Notes what is odd about an annotation.

        Raises:
          BadItem: it cannot be meant.
        """
        if annotation["id"] == 0:
            found.lost.append(BadItem("id_zero", ID_ZERO))
        for bad in found.lost:
            self._report(annotation_problem(bad, annotation, self._images, note=True))
        place = found.place
        if "exits" in annotation:  # its flags say where its mask does not fit
            place = place._replace(mask_xyxy=None)
        made = isinstance(annotation.get("segmentation"), dict)
        for doubt in doubts(place, made=made):
            bad = BadItem(doubt.code, doubt.text)
            if doubt.severe:
                raise bad
            self._report(annotation_problem(bad, annotation, self._images, note=True))


def _has_id(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("id")) is int


def _around(points_xy: Float[np.ndarray, "4 2"]) -> Float[np.ndarray, "4"]:
    return np.concatenate([points_xy.min(axis=0), points_xy.max(axis=0)])


def _refuse_other_form(boxes: BoxTable, instances: list[Instance], held: str) -> None:
    """Refuses a file whose coordinates as a whole mean something other than COCO's.

    Raises:
      BadItem: they are.
    """
    refuse_mixup(boxes, held=held)
    large = any(min(i.image.width, i.image.height) > 4 for i in instances)
    if large and all(map(_like_shares, instances)):
        raise BadItem(
            "shares_for_pixels",
            f"all {len(instances)} objects lie within the first pixel of their images: points and"
            " masks are read as pixels, not as shares of the image; multiply them",
        )


def _like_shares(instance: Instance) -> bool:
    """Whether an object lies in its image's first pixel, other than as a click on that pixel."""
    points = instance.points_xy
    if points is None:
        return bool(instance.box_xyxy.max() <= 1 + 1e-6)
    return bool((np.ptp(points, axis=0) > 0).all() and points.max() <= 1 + 1e-6)


def _without_solid(
    document: dict[str, Any],
    instances: list[Instance],
    solid: dict[int, bool],
    report: Report,
    masks: bool,
) -> list[Instance]:
    """The instances; those whose run lengths are boxes keep only the box.

    One object may fill its box; when most of a file do, a program wrote boxes as masks. Polygons
    that are not boxes count against it. Where the masks are what counts, this is only noted.
    """
    if sum(solid.values()) < max(SOLID_LEAST, SOLID_SHARE * len(solid)):
        return instances
    what = "used as a mask" if masks else "read as a box"
    text = f"the segmentation fills its box, as most in this file do: it is {what}"
    boxes = []
    for instance in instances:
        if solid.get(instance.id):
            report(Problem("box_as_mask", text, instance.id, instance.image.id, note=True))
            if not masks:
                document["annotations"][instance.index]["segmentation"] = None
                instance = dataclasses.replace(instance, points_xy=None, points_source="box")
        boxes.append(instance)
    return boxes


def _note_twins(document: dict[str, Any], instances: list[Instance], report: Report) -> None:
    """Notes which annotations seem to be one object twice."""
    for first, second in near_duplicates(instances):
        pair = [document["annotations"][instance.index] for instance in (first, second)]
        if _same_masks(*pair, first.image):
            text = f"its box is nearly that of annotation {first.id}, of the same category"
            report(Problem("near_duplicate", text, second.id, second.image.id, note=True))


def _same_masks(first: dict[str, Any], second: dict[str, Any], image: ImageRecord) -> bool:
    """Whether two annotations have nearly the same mask; yes if one of them has none."""
    try:
        outlines = [annotation.get("segmentation") for annotation in (first, second)]
        masks = [run_lengths(outline, image.height, image.width) for outline in outlines]
    except BadItem:
        return True
    return bool(coco_masks.iou(masks[:1], masks[1:], [0])[0, 0] >= TWICE_MASKS)


def _with_noise(
    points_xy: Float[np.ndarray, "4 2"] | None,
    annotation_id: int,
    image: ImageRecord,
    rule: PointRule,
) -> Float[np.ndarray, "4 2"] | None:
    """Points with the rule's click noise, the same whatever else is in the file."""
    if points_xy is None or rule.click_noise == 0:
        return points_xy
    rng = np.random.default_rng([rule.seed % 2**32, annotation_id % 2**32])
    bounds = np.array([0.0, 0.0, image.width, image.height])
    return jitter_points(points_xy, bounds, rule.click_noise, rng)
