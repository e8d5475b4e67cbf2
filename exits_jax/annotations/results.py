"""COCO's results form: a list of {image_id, category_id, segmentation or bbox, score}."""

from collections.abc import Iterator
from typing import Any

from pycocotools import mask as coco_masks

from exits_jax.annotations.image_files import stated_size
from exits_jax.annotations.masks import run_lengths
from exits_jax.annotations.numbers import finite_number, finite_numbers, shown, whole_id
from exits_jax.annotations.records import BadItem, Problem


def result_problems(results: list[Any]) -> Iterator[Problem]:
    """What is wrong with a results list; the annotation's id is its number in the list, from 1.

    `COCO.loadRes` numbers results in the same way.
    """
    if not results:
        yield Problem("no_annotations", "the list of results is empty")
    for number, result in enumerate(results, start=1):
        try:
            check_result(result)
        except BadItem as bad:
            image_id = result.get("image_id") if isinstance(result, dict) else None
            known = image_id if type(image_id) is int else None
            yield Problem(bad.code, bad.text, number, known)


def check_result(result: Any) -> None:
    """One result: ids, score, and a mask with pixels or a box with an area.

    Raises:
      UserError: one of them is missing or malformed.
    """
    if not isinstance(result, dict):
        raise BadItem("bad_annotation", f"found {shown(result)}; expected an object")
    whole_id(result.get("image_id"), "image_id")
    whole_id(result.get("category_id"), "category_id")
    if finite_number(result.get("score")) is None:
        raise BadItem("bad_score", f"score is {shown(result.get('score'))}; expected a number")
    segmentation, bbox = result.get("segmentation"), result.get("bbox")
    if segmentation is None and bbox is None:
        raise BadItem("nothing_given", "found neither segmentation nor bbox")
    if bbox is not None:
        numbers = finite_numbers(bbox)
        if numbers is None or numbers.size != 4 or numbers[2:].min() < 0:
            raise BadItem("bad_box", f"bbox is {shown(bbox)}; expected [x, y, width, height]")
    if segmentation is not None:
        _check_rle(segmentation)


def _check_rle(segmentation: Any) -> None:
    """Run lengths that say the size of their own image and cover some of it."""
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        raise BadItem("bad_segmentation", f"segmentation is {shown(segmentation)}; expected RLE")
    width, height = stated_size({"width": size[1], "height": size[0]})
    if coco_masks.area(run_lengths(segmentation, height, width)) == 0:
        raise BadItem("empty_mask", "the segmentation covers no pixel")
