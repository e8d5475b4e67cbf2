"""A label document that is awkward on purpose, written by the package's own writers.

The masks are drawn here as arrays; what a reader returns is compared with these arrays and not with
anything that was encoded.
"""

import copy
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image
from scipy import ndimage

from exits_jax.annotations import (
    decode_segmentation,
    extreme_points,
    read_annotations,
    tight_box,
)
from exits_jax.annotations.lvis import image_file_names
from exits_jax.annotations.records import Annotations
from exits_jax.annotations.regions import box_pixels
from exits_jax.app.workdir import Workdir
from exits_jax.export.export import pseudo_labels, results
from exits_jax.export.formats import format_paths, write_format
from exits_jax.export.formats.names import unique_stems
from exits_jax.export.quality import Label, make_label
from exits_jax.system.files import write_json, write_json_rows

Mask = Bool[np.ndarray, "h w"]

STREET, COLUMN, EMPTY = 7, 40, 1003  # image ids: neither from 1 nor without gaps
IMAGES = [
    {"id": COLUMN, "file_name": "column.png", "width": 30, "height": 90},
    {"id": STREET, "file_name": "straße/Łódź 東京.png", "width": 61, "height": 43},
    {"id": EMPTY, "file_name": "empty.png", "width": 20, "height": 10},
]
CATEGORIES = [
    {"id": 3000, "name": "never used, 未使用"},
    {"id": 18, "name": "dog", "supercategory": "animal"},
    {"id": 5, "name": "Kätzchen"},
    {"id": 0, "name": "number zero"},
]
IMAGE_NAMES = [image["file_name"] for image in IMAGES]
FORMS = {
    "coco": "pseudo_labels.json",
    "results": "pseudo_labels.results.json",
    "polygons": "pseudo_labels.polygons.json",
}
FOLDERS = {name: format_paths(name)[0] for name in ("yolo", "voc", "label_studio")} | {
    "label_studio_polygons": format_paths("label_studio_polygons")[0]
}


def _no_name(given: dict[str, Any]) -> None:
    del given["categories"][1]["name"]


def _empty_name(given: dict[str, Any]) -> None:
    given["categories"][1]["name"] = ""


def _one_name_twice(given: dict[str, Any]) -> None:
    given["categories"][2]["name"] = given["categories"][1]["name"]


def _one_stem_twice(given: dict[str, Any]) -> None:
    for image, ending in zip(given["images"], (".png", ".tif", ".bmp"), strict=True):
        image["file_name"] = "same" + ending


def _crowd_without_box(given: dict[str, Any]) -> None:
    del given["annotations"][-1]["bbox"]


def _lvis_images(given: dict[str, Any]) -> None:
    for image in given["images"]:
        name = f"{image['id']:012}.png"
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{name}"
        image |= {"neg_category_ids": [3000], "not_exhaustive_category_ids": []}
        del image["file_name"]


# What may stand in annotation files that we take, and so in what we write.
TROUBLES = {
    "a category without `name`": _no_name,
    'a category named ""': _empty_name,
    "two categories of one name": _one_name_twice,
    "two images whose names differ in the ending alone": _one_stem_twice,
    "a crowd without `bbox`": _crowd_without_box,
    "images without `file_name` (LVIS)": _lvis_images,
}


class Truth(NamedTuple):
    """One annotation as it was drawn, and what our file says of it besides the mask.

    Attributes:
      shape: what is awkward about it.
      box_xywh: COCO's bbox in the file; None in the results form, as `crowd`.
      exits: our dict in the file; None in the results form and for crowds.
    """

    shape: str
    annotation_id: int
    file_name: str
    category: str
    mask: Mask
    box_xywh: list[float] | None
    score: float | None
    crowd: bool | None
    exits: dict[str, Any] | None


class Drawn(NamedTuple):
    """A mask for the input document.

    Attributes:
      given: what the input says of it, besides ids: `bbox`, `extreme_points`, or both.
    """

    shape: str
    annotation_id: int
    image_id: int
    category_id: int
    mask: Mask
    given: dict[str, Any]


def write_documents(
    folder: pathlib.Path, trouble: Callable[[dict[str, Any]], None] = lambda given: None
) -> dict[str, list[Truth]]:
    """Images, the annotation file they came with, and our three files, below `folder`.

    Layout: `images/`, `given.json`, and the names in `FORMS`.

    Args:
      folder: where to.
      trouble: changes the annotation file before it is written (`TROUBLES`).

    Returns:
      by form, what a reader should find, in the order of the file.
    """
    drawn, annotations, labels = _labelled(folder, trouble)
    document = pseudo_labels(annotations.document, labels, annotations.instances)
    workdir = Workdir(folder)
    write_json_rows(workdir.labels, document["annotations"], document)
    write_json_rows(workdir.results, results(labels, annotations.instances))
    write_format("polygons", folder, document, annotations.images)
    by_id = {one.annotation_id: one for one in [*drawn, _crowd()]}
    return {form: _truths(folder / name, by_id, annotations) for form, name in FORMS.items()}


def write_folders(folder: pathlib.Path) -> dict[str, list[Truth]]:
    """The same document as the formats of `FOLDERS`, below `folder`.

    Returns:
      by format, what a reader should find: names without folders where the format has none, holes
      filled where it has polygons, overlaps flat where it has one number a pixel.
    """
    truths = [one for one in write_documents(folder)["coco"] if not one.crowd]
    _, annotations, labels = _labelled(folder, lambda given: None)
    document = pseudo_labels(annotations.document, labels, annotations.instances)
    for name in FOLDERS:
        write_format(name, folder, document, annotations.images)
    bare = [one._replace(crowd=None, exits=None, box_xywh=None) for one in truths]
    unscored = [one._replace(score=None) for one in _flat_names(bare, annotations)]
    filled = [one._replace(mask=ndimage.binary_fill_holes(one.mask)) for one in unscored]
    return {
        "yolo": filled,
        "voc": _on_top(unscored),
        "label_studio": bare,
        "label_studio_polygons": [
            one._replace(mask=ndimage.binary_fill_holes(one.mask)) for one in bare
        ],
    }


def folder_images(truths: list[Truth], name: str) -> list[str]:
    """The images that a format names: all of them as tasks, else those that have labels."""
    return IMAGE_NAMES if name.startswith("label_studio") else [one.file_name for one in truths]


def _flat_names(truths: list[Truth], annotations: Annotations) -> list[Truth]:
    images = [*annotations.images.values()]
    stems = unique_stems(images, flat=True)
    flat = {image.file_name: f"{stems[image.id]}.png" for image in images}
    return [one._replace(file_name=flat[one.file_name]) for one in truths]


def _on_top(truths: list[Truth]) -> list[Truth]:
    """Without the pixels that smaller masks of the image are drawn over."""
    order = sorted(truths, key=lambda one: one.mask.sum())
    seen: dict[str, Mask] = {}
    flat = {}
    for one in order:
        covered = seen.get(one.file_name, np.zeros_like(one.mask))
        flat[one.annotation_id] = one._replace(mask=one.mask & ~covered)
        seen[one.file_name] = covered | one.mask
    return [flat[one.annotation_id] for one in truths]


def _labelled(
    folder: pathlib.Path, trouble: Callable[[dict[str, Any]], None]
) -> tuple[list[Drawn], Annotations, dict[int, Label]]:
    """Images and annotation file below `folder`, and the drawn masks as labels of it."""
    drawn = _drawn()
    given = _given(drawn)
    trouble(given)
    write_json(folder / "given.json", given)
    _draw_images(folder / "images", given["images"])
    annotations = read_annotations(folder / "given.json", folder / "images")
    return drawn, annotations, _labels(drawn, annotations)


def stated_documents(folder: pathlib.Path) -> dict[str, list[Truth]]:
    """What a reader should find in the files of a run; masks as this package reads them.

    Args:
      folder: with `pseudo_labels.json` and those of the others in `FORMS` that were made.
    """
    annotations = read_annotations(folder / FORMS["coco"])
    masks = {}
    for entry in annotations.document["annotations"]:
        image = annotations.images[entry["image_id"]]
        mask = decode_segmentation(entry["segmentation"], image.height, image.width)
        shape = f"annotation {entry['id']}"
        masks[entry["id"]] = Drawn(shape, entry["id"], image.id, entry["category_id"], mask, {})
    files = {form: folder / name for form, name in FORMS.items()}
    return {
        form: _truths(file, masks, annotations) for form, file in files.items() if file.exists()
    }


def _rectangle(image_id: int, x0: int, y0: int, x1: int, y1: int) -> Mask:
    image = next(image for image in IMAGES if image["id"] == image_id)
    mask = np.zeros((image["height"], image["width"]), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _drawn() -> list[Drawn]:
    """The labels: each is a trap for some way of reading masks."""
    ring = _rectangle(STREET, 5, 6, 25, 30) & ~_rectangle(STREET, 10, 12, 20, 20)
    island = ring | _rectangle(STREET, 13, 14, 16, 17)
    parts = _rectangle(STREET, 30, 3, 42, 9) | _rectangle(STREET, 44, 20, 59, 38)
    frame = ~_rectangle(STREET, 1, 1, 60, 42)
    stairs = np.zeros_like(frame)
    stairs[np.arange(8, 20), np.arange(30, 42)] = True
    blob = np.random.default_rng(0).random((90, 30)) < 0.6
    rectangle = _rectangle(COLUMN, 5, 7, 16, 20)
    cross = _rectangle(COLUMN, 3, 30, 10, 41) | _rectangle(COLUMN, 6, 25, 8, 50)
    return [
        _boxed("a hole", 901, STREET, 18, ring),
        _boxed("a part in a hole", 12, STREET, 18, island),
        Drawn(
            # No pixel's centre lies between this box and the mask's own.
            "two parts, box between pixels",
            100_000,
            STREET,
            5,
            parts,
            {"bbox": [29.6, 3.3, 29.2, 35.1], "extreme_points": _points(parts)},
        ),
        _boxed("along the whole border", 13, STREET, 18, frame),
        _boxed("pixels that touch at corners", 2**31 - 1, STREET, 0, stairs),
        _boxed("one pixel", 14, STREET, 18, _rectangle(STREET, 60, 42, 61, 43)),
        _boxed("the whole image", 15, STREET, 5, _rectangle(STREET, 0, 0, 61, 43)),
        _boxed("many holes", 30, COLUMN, 18, blob),
        Drawn("extreme points, no box", 31, COLUMN, 18, cross, {"extreme_points": _points(cross)}),
        Drawn(
            "box over the image's border",
            34,
            COLUMN,
            18,
            _rectangle(COLUMN, 0, 52, 6, 62),
            {"bbox": [-2.2, 52, 8, 10]},
        ),
        Drawn(
            "box thinner than a pixel",
            35,
            COLUMN,
            18,
            _rectangle(COLUMN, 20, 55, 21, 63),
            {"bbox": [20.1, 55, 0.3, 8]},
        ),
        Drawn("box through pixel centres", 33, COLUMN, 18, rectangle, {"bbox": [5.5, 7.5, 10, 12]}),
    ]


def _boxed(shape: str, annotation_id: int, image_id: int, category_id: int, mask: Mask) -> Drawn:
    """A mask whose input has the extreme points and the tight box."""
    x0, y0, x1, y1 = tight_box(mask).tolist()
    given = {"bbox": [x0, y0, x1 - x0, y1 - y0], "extreme_points": _points(mask)}
    return Drawn(shape, annotation_id, image_id, category_id, mask, given)


def _crowd() -> Drawn:
    """A crowd of the input, with an id as long as COCO's own and run lengths as plain numbers."""
    mask = _rectangle(COLUMN, 2, 60, 29, 71) & ~_rectangle(COLUMN, 8, 62, 12, 65)
    return _boxed("a crowd of the input", 900_100_000_004, COLUMN, 18, mask)


def _points(mask: Mask) -> list[list[float]]:
    return extreme_points(mask).tolist()


def _given(drawn: list[Drawn]) -> dict[str, Any]:
    """The input document: points and boxes, no mask but the crowd's."""
    crowd = _crowd()
    flat = np.concatenate([[False], crowd.mask.T.ravel(), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [crowd.mask.size]])).tolist()
    annotations = [
        {"id": one.annotation_id, "image_id": one.image_id, "category_id": one.category_id}
        | one.given
        for one in drawn
    ]
    annotations.append(
        {
            "id": crowd.annotation_id,
            "image_id": crowd.image_id,
            "category_id": crowd.category_id,
            "bbox": crowd.given["bbox"],
            "area": int(crowd.mask.sum()),
            "iscrowd": 1,
            "segmentation": {"size": list(crowd.mask.shape), "counts": counts},
        }
    )
    return {
        "info": {"description": "masks that are awkward on purpose"},
        "licenses": [],
        "images": copy.deepcopy(IMAGES),
        "categories": copy.deepcopy(CATEGORIES),
        "annotations": annotations,
    }


def _labels(drawn: list[Drawn], annotations: Annotations) -> dict[int, Label]:
    """The drawn masks as finished labels, with a score of its own each."""
    masks = {one.annotation_id: one.mask for one in drawn}
    labels = {}
    for number, instance in enumerate(annotations.instances):
        mask = masks[instance.id]
        height, width = mask.shape
        x0, y0, x1, y1 = box_pixels(instance.box_xyxy, height, width)
        # Labelling cuts every mask to its box, so a drawing that reaches over it proves nothing.
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        probability = np.full(mask.shape, 0.51 + number / 37)
        region = (0, 0, width, height)
        labels[instance.id] = make_label(instance, mask, probability, region)
    return labels


def _truths(file: pathlib.Path, drawn: dict[int, Drawn], annotations: Annotations) -> list[Truth]:
    """What one of our files should give a reader, in the order of the file."""
    content = json.loads(file.read_text())
    entries = content if isinstance(content, list) else content["annotations"]
    return [
        Truth(
            shape=drawn[entry["id"]].shape,
            annotation_id=entry["id"],
            file_name=annotations.images[entry["image_id"]].file_name,
            category=annotations.categories[entry["category_id"]],
            mask=drawn[entry["id"]].mask,
            box_xywh=entry.get("bbox"),
            score=entry["score"] if "score" in entry else entry.get("exits", {}).get("score"),
            crowd=bool(entry["iscrowd"]) if "iscrowd" in entry else None,
            exits=entry.get("exits"),
        )
        for entry in entries
    ]


def _draw_images(folder: pathlib.Path, images: list[dict[str, Any]]) -> None:
    """A gradient for each image: readers look for the files, nobody looks at them."""
    for image in images:
        path = folder / image_file_names(image)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (image["height"], image["width"], 3)
        pixels = np.linspace(0, 255, int(np.prod(shape))).astype(np.uint8).reshape(shape)
        Image.fromarray(pixels).save(path)
