"""COCO's results form: a list of {image_id, category_id, segmentation or bbox, score}."""

from collections.abc import Iterator
from typing import Any

from pycocotools import mask as coco_masks

from exits_jax.annotations.detection_rows import WRAPPERS
from exits_jax.annotations.detections import category_in, text_of
from exits_jax.annotations.image_files import stated_size
from exits_jax.annotations.masks import run_lengths
from exits_jax.annotations.numbers import finite_number, finite_numbers, shown, whole_id
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.annotations.summary import counted


def results_in(content: Any) -> list[Any] | None:
    """The list of results that a file is, or wraps; None for anything else."""
    if isinstance(content, dict) and "images" not in content:
        lists = (content.get(key) for key in WRAPPERS)
        rows = next((rows for rows in lists if isinstance(rows, list)), None)
        return rows if rows and isinstance(rows[0], dict) and "score" in rows[0] else None
    return content if isinstance(content, list) else None


def result_problems(results: list[Any]) -> Iterator[Problem]:
    """What is wrong with a results list; an annotation's id is its number in the list, from 1.

    `COCO.loadRes` numbers results in the same way.
    """
    if not results:
        yield Problem("no_annotations", "the list of results is empty")
    found = [result for result in results if _is_detection(result)]
    if found:
        yield Problem("detections", _what_to_do(found), note=True)
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
    box = result.get("bbox") is not None
    if not (box and text_of(result, ("image_id",))):  # detectors write the file's name
        whole_id(result.get("image_id"), "image_id")
    if not (box and category_in(result)):
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


def _is_detection(result: Any) -> bool:
    """Whether a result is a detector's box: with a mask it may be a label."""
    return isinstance(result, dict) and "bbox" in result and "segmentation" not in result


def _what_to_do(found: list[dict[str, Any]]) -> str:
    """The note on what a list of boxes is, and how it is used."""
    ids = [result.get("image_id") for result in found]
    names = [value for value in ids if isinstance(value, str)]
    kind = f"the name of a file for {len(names):,} of them" if names else "a number"
    return (
        f"a detector's {counted(len(found), 'box', 'boxes')}; image_id is {kind}, like"
        f" {shown((names or ids)[0])}; to label them, or to check them together with their images,"
        " give this file as --config.data.boxes=FILE beside the file that lists the images"
    )


def _check_rle(segmentation: Any) -> None:
    """Checks run lengths that state the size of their image and cover some of it."""
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        raise BadItem("bad_segmentation", f"segmentation is {shown(segmentation)}; expected RLE")
    width, height = stated_size({"width": size[1], "height": size[0]})
    if coco_masks.area(run_lengths(segmentation, height, width)) == 0:
        raise BadItem("empty_mask", "the segmentation covers no pixel")
