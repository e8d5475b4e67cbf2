"""Labels for readers that do not take run lengths: polygons, index images, YOLO text files.

All start from the document that `export.pseudo_labels` makes. Crowd regions are no labels: they
stay as they are among polygons, are void in index images and absent from YOLO files.
"""

import collections
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from exits_jax.annotations.coco import category_names
from exits_jax.annotations.masks import decode_segmentation, mask_to_polygons
from exits_jax.annotations.records import BadItem, ImageRecord
from exits_jax.errors import UserError
from exits_jax.evaluation.tables import shown
from exits_jax.files import write_bytes, write_json

INDEX_NOTE = (
    "Pixel value k of an image is the k-th annotation id of its list; 0 is background; the highest"
    " value (255, or 65535 in 16-bit images) is a crowd region."
)


FORMATS = ("polygons", "png", "yolo")  # `label.formats`


def write_format(
    name: str,
    folder: pathlib.Path,
    document: Mapping[str, Any],
    images: Mapping[int, ImageRecord],
) -> str:
    """Writes the labels in one further format into a run's folder.

    Args:
      name: one of `FORMATS`.
      folder: the run's; the format gets a file or a folder of its own in it.
      document: from `export.pseudo_labels`.
      images: `Annotations.images`.

    Returns:
      What was written, in words.

    Raises:
      UserError: a file cannot be written, or the format cannot hold these labels.
    """
    if name == "polygons":
        polygons, loss = with_polygons(document)
        write_json(folder / "pseudo_labels.polygons.json", polygons)
        return (
            f"{loss.n}, {loss.with_holes} with holes that polygons cannot show, "
            f"IoU with the masks {shown(loss.mean_iou)}, lowest {shown(loss.lowest_iou)}"
        )
    if name == "png":
        return f"{write_index_pngs(folder / 'png', document, images)} images"
    return f"{write_yolo(folder / 'yolo', document, images)} files"


class PolygonLoss(NamedTuple):
    """What polygons could not say: objects, objects with holes, mean and lowest IoU with masks."""

    n: int
    with_holes: int
    mean_iou: float | None
    lowest_iou: float | None


def with_polygons(document: Mapping[str, Any]) -> tuple[dict[str, Any], PolygonLoss]:
    """The document with polygons in place of run lengths.

    Every part of a mask becomes a polygon; holes cannot be said and are filled, which is reported
    for each annotation under `exits` (`polygon_holes`, `polygon_iou`) and in sum. `area` stays the
    mask's.

    Args:
      document: from `export.pseudo_labels`; it is not changed.
    """
    annotations, holes_of, ious = [], [], []
    for annotation in document["annotations"]:
        if not annotation.get("iscrowd"):
            polygons, holes, iou = mask_to_polygons(_mask(annotation))
            holes_of.append(holes)
            ious.append(iou)
            exits = annotation["exits"] | {"polygon_holes": holes, "polygon_iou": round(iou, 4)}
            annotation = {**annotation, "segmentation": polygons, "exits": exits}
        annotations.append(annotation)
    loss = PolygonLoss(
        n=len(ious),
        with_holes=sum(holes > 0 for holes in holes_of),
        mean_iou=float(np.mean(ious)) if ious else None,
        lowest_iou=min(ious, default=None),
    )
    return {**document, "annotations": annotations}, loss


def write_index_pngs(
    directory: pathlib.Path, document: Mapping[str, Any], images: Mapping[int, ImageRecord]
) -> int:
    """One PNG per annotated image, its pixels the numbers of the objects, and `index.json`.

    Pixel value k is the image's k-th annotation in the document's order, crowds not counted; 0 is
    background; the highest value is crowd. 8-bit up to 254 objects in the image, else 16-bit. Where
    masks overlap the smaller one is on top, so that none is hidden by a larger one. `index.json`
    maps each PNG to its annotation ids.

    Args:
      directory: PNGs get the images' names, folders included, inside it.
      document: from `export.pseudo_labels`.
      images: `Annotations.images`.

    Returns:
      how many PNGs were written.

    Raises:
      UserError: a file cannot be written, or an image has more than 65,534 objects.
    """
    groups = _by_image(document, images)
    names = _names([images[key] for key in groups], ".png")
    index = {}
    for image_id, annotations in groups.items():
        pixels, ids = _index_image(annotations, images[image_id])
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        write_bytes(directory / names[image_id], content.getvalue())
        index[names[image_id]] = ids
    write_json(directory / "index.json", {"about": INDEX_NOTE, "images": index}, indent=1)
    return len(groups)


def write_yolo(
    directory: pathlib.Path, document: Mapping[str, Any], images: Mapping[int, ImageRecord]
) -> int:
    """YOLO segmentation files: a text file per labelled image and `classes.txt`.

    A line an object: `class x y x y ...`, coordinates as shares of the image's width and height.
    The class is the category's place among those that can be used, from 0; `classes.txt` has the
    names in this order. The format has one polygon an object: parts are joined by seams without
    width, holes are filled.

    Args:
      directory: text files get the images' names, folders included, inside it.
      document: from `export.pseudo_labels`.
      images: `Annotations.images`.

    Returns:
      how many text files were written, `classes.txt` not counted.

    Raises:
      UserError: two images would share a text file (YOLO goes by the name without its ending), or a
        file cannot be written.
    """
    names_of = category_names(document, lambda _: None)  # what is wrong was reported by reading
    classes = {category_id: k for k, category_id in enumerate(names_of)}
    lines: dict[int, list[str]] = {}
    for image_id, annotations in _by_image(document, images).items():
        size = np.array([images[image_id].width, images[image_id].height])
        for annotation in annotations:
            if not annotation.get("iscrowd"):
                polygons = mask_to_polygons(_mask(annotation))[0]
                shares = np.array(join_parts(polygons)).reshape(-1, 2) / size
                numbers = " ".join(f"{share:.6g}" for share in shares.ravel())
                line = f"{classes[annotation['category_id']]} {numbers}\n"
                lines.setdefault(image_id, []).append(line)
    names = _names([images[key] for key in lines], ".txt")
    for image_id, name in names.items():
        if name != _plain_name(images[image_id], ".txt") or name == "classes.txt":
            raise UserError(
                f"{images[image_id].file_name}: YOLO files are named after images without their"
                f" ending, and {_plain_name(images[image_id], '.txt')} is taken; rename the image"
            )
        write_bytes(directory / name, "".join(lines[image_id]).encode())
    listed = "".join(" ".join(name.split()) + "\n" for name in names_of.values())
    write_bytes(directory / "classes.txt", listed.encode())
    return len(names)


def join_parts(polygons: Sequence[Sequence[float]]) -> list[float]:
    """Several polygons as one: seams without width lead to each further part and back.

    Each seam connects the nearest pair of corners, so the area is the sum of the parts' areas.

    Args:
      polygons: [x, y, x, y, ...] each, at least one.
    """
    joined = np.array(polygons[0]).reshape(-1, 2)
    for polygon in polygons[1:]:
        part = np.array(polygon).reshape(-1, 2)
        distance = np.square(joined[:, None] - part[None]).sum(axis=2)
        here, there = np.unravel_index(int(distance.argmin()), distance.shape)
        around = np.roll(part, -int(there), axis=0)
        joined = np.concatenate([joined[: here + 1], around, around[:1], joined[here:]])
    return joined.ravel().tolist()


def _index_image(
    annotations: Sequence[Mapping[str, Any]], image: ImageRecord
) -> tuple[Shaped[np.ndarray, "h w"], list[int]]:
    """The pixels of an image's index PNG, and the annotation ids in the order of the values."""
    labels = [entry for entry in annotations if not entry.get("iscrowd")]
    crowds = [entry for entry in annotations if entry.get("iscrowd")]
    dtype = np.uint8 if len(labels) < 255 else np.uint16
    void = int(np.iinfo(dtype).max)
    if len(labels) >= void:
        raise UserError(f"{image.file_name}: {len(labels)} objects; index PNGs hold {void - 1}")
    pixels = np.zeros((image.height, image.width), dtype)
    for crowd in crowds:
        if crowd.get("segmentation"):
            pixels[_crowd_mask(crowd, image)] = void
    for k in sorted(range(len(labels)), key=lambda k: -labels[k]["area"]):
        pixels[_mask(labels[k])] = k + 1
    return pixels, [entry["id"] for entry in labels]


def _mask(annotation: Mapping[str, Any]) -> Shaped[np.ndarray, "h w"]:
    """The full-size mask of a label."""
    return decode_segmentation(annotation["segmentation"], *annotation["segmentation"]["size"])


def _crowd_mask(crowd: Mapping[str, Any], image: ImageRecord) -> Shaped[np.ndarray, "h w"]:
    """The mask of a crowd, which comes out of the user's file unseen.

    Raises:
      UserError: it is malformed.
    """
    try:
        return decode_segmentation(crowd["segmentation"], image.height, image.width)
    except BadItem as bad:
        raise UserError(f"{image.file_name}: crowd annotation {crowd.get('id')}: {bad}") from bad


def _by_image(
    document: Mapping[str, Any], images: Mapping[int, ImageRecord]
) -> dict[int, list[Mapping[str, Any]]]:
    """The annotations of each known image, images in the order of their first annotation."""
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for annotation in document["annotations"]:
        image_id = annotation.get("image_id")  # a crowd's may be anything
        if type(image_id) is int and image_id in images:
            groups.setdefault(image_id, []).append(annotation)
    return groups


def _plain_name(image: ImageRecord, ending: str) -> str:
    return pathlib.PurePosixPath(image.file_name).with_suffix(ending).as_posix()


def _names(images: Sequence[ImageRecord], ending: str) -> dict[int, str]:
    """Output name by image id: the image's with another ending, or a further one where two clash.

    File names were checked when they were read: none leads out of the folder.

    Raises:
      UserError: two images still have one name.
    """
    plain = [_plain_name(image, ending) for image in images]
    uses = collections.Counter(plain)
    names: dict[int, str] = {}
    taken: set[str] = set()
    for image, name in zip(images, plain, strict=True):
        if uses[name] > 1:
            name = pathlib.PurePosixPath(image.file_name + ending).as_posix()
        if name in taken:
            raise UserError(f"{image.file_name}: another image's labels are in {name}, too; rename")
        names[image.id] = name
        taken.add(name)
    return names
