"""Five tools' own loaders, each as a function from our file to what is in memory afterwards.

Nothing of exits_jax is used here, and each tool is imported where it is used: a test can run with
those that are installed.
"""

import contextlib
import io
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped


class Found(NamedTuple):
    """One annotation as a tool holds it; None is what the tool does not hold.

    Attributes:
      image: the image's file name, relative to the image folder.
      box_xywh: as COCO's bbox, whatever the tool's own form is.
      exits: the annotation's `exits`.
    """

    image: str
    mask: Bool[np.ndarray, "h w"]
    annotation_id: int | None = None
    category: str | None = None
    box_xywh: list[float] | None = None
    area: float | None = None
    score: float | None = None
    crowd: bool | None = None
    exits: Any = None


class Loaded(NamedTuple):
    """The content of a file: the images' names, also those without annotations, and the rest."""

    images: set[str]
    found: list[Found]


class Reader(NamedTuple):
    """One tool reading one of our files.

    Attributes:
      tool: its package on PyPI.
      form: which of our files or folders, see `document.FORMS` and `FOLDERS`.
      call: the tool's own entry, for people.
      load: (folder, file name) -> `Loaded`.
      ordered: annotations come in the file's order, or with its ids.
    """

    tool: str
    form: str
    call: str
    load: Callable[[pathlib.Path, str], Loaded]
    ordered: bool = True


def pycocotools_file(folder: pathlib.Path, name: str) -> Loaded:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / name))
    return _coco(coco, coco.imgs, coco.cats, coco.annToMask)


def pycocotools_results(folder: pathlib.Path, name: str) -> Loaded:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "pseudo_labels.json")).loadRes(str(folder / name))
    return _coco(coco, coco.imgs, coco.cats, coco.annToMask)


def lvis_file(folder: pathlib.Path, name: str) -> Loaded:
    from lvis import LVIS

    lvis = LVIS(str(folder / name))
    return _coco(lvis, lvis.imgs, lvis.cats, lvis.ann_to_mask)


def lvis_results(folder: pathlib.Path, name: str) -> Loaded:
    from lvis import LVIS, LVISResults

    lvis = LVISResults(LVIS(str(folder / "pseudo_labels.json")), str(folder / name))
    return _coco(lvis, lvis.imgs, lvis.cats, lvis.ann_to_mask)


def _coco(api: Any, images: dict, categories: dict, draw: Callable) -> Loaded:
    """What COCO's own API and LVIS's copy of it hold: the file's dicts, `exits` among them."""
    return Loaded(
        {_file_name(image) for image in images.values()},
        [
            Found(
                image=_file_name(images[entry["image_id"]]),
                mask=draw(entry).astype(bool),
                annotation_id=entry["id"],
                category=categories[entry["category_id"]].get("name"),
                box_xywh=[float(x) for x in entry["bbox"]] if "bbox" in entry else None,
                area=float(entry["area"]),
                score=entry.get("score"),
                crowd=bool(entry["iscrowd"]) if "iscrowd" in entry else None,
                exits=entry.get("exits"),
            )
            for entry in api.dataset["annotations"]
        ],
    )


def _file_name(image: dict[str, Any]) -> str:
    """LVIS states a URL, whose last two parts are the folder and the name."""
    return image.get("file_name") or "/".join(image["coco_url"].split("/")[-2:])


def supervision_file(folder: pathlib.Path, name: str) -> Loaded:
    import supervision

    root = (folder / "images").resolve()
    data = supervision.DetectionDataset.from_coco(str(root), str(folder / name))
    found = []
    for path, detections in data.annotations.items():
        for k in range(len(detections)):
            x0, y0, x1, y1 = detections.xyxy[k].tolist()
            found.append(
                Found(
                    image=pathlib.Path(path).relative_to(root).as_posix(),
                    mask=detections.mask[k],
                    category=data.classes[detections.class_id[k]],
                    box_xywh=[x0, y0, x1 - x0, y1 - y0],
                    area=float(detections.data["area"][k]),
                    score=None if detections.confidence is None else detections.confidence[k],
                    crowd=bool(detections.data["iscrowd"][k]),
                    exits=detections.data["exits"][k] if "exits" in detections.data else None,
                )
            )
    return Loaded({pathlib.Path(p).relative_to(root).as_posix() for p in data.image_paths}, found)


def fiftyone_file(folder: pathlib.Path, name: str) -> Loaded:
    """FiftyOne's importer, iterated by hand as `Dataset.from_importer` does, which needs MongoDB.

    It holds the part of a mask inside its box; here it is put back where it was cut out.
    """
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    root = (folder / "images").resolve()
    importer = COCODetectionDatasetImporter(
        data_path=str(root),
        labels_path=str(folder / name),
        label_types="segmentations",
        include_annotation_id=True,
    )
    images, found = set(), []
    with importer:
        for path, metadata, labels in importer:
            image = pathlib.Path(path).relative_to(root).as_posix()
            images.add(image)
            size = np.array([metadata.width, metadata.height] * 2)
            for label in labels.detections if labels is not None else ():
                box = (label.bounding_box * size).round(9)
                found.append(
                    Found(
                        image=image,
                        mask=_uncropped(label.mask, box, metadata.height, metadata.width),
                        annotation_id=label["coco_id"],
                        category=label.label,
                        box_xywh=box.tolist(),
                        area=getattr(label, "area", None),
                        score=label.confidence,
                        crowd=bool(label["iscrowd"]),
                        exits=getattr(label, "exits", None),
                    )
                )
    return Loaded(images, found)


def _uncropped(
    cut: Bool[np.ndarray, "a b"], box_xywh: Shaped[np.ndarray, "4"], height: int, width: int
) -> Bool[np.ndarray, "h w"]:
    """The full-size mask of one that FiftyOne cut to its rounded box."""
    mask = np.zeros((height, width), bool)
    x0, y0 = (round(side) for side in box_xywh[:2].tolist())
    mask[y0 : y0 + cut.shape[0], x0 : x0 + cut.shape[1]] = cut
    return mask


def datumaro_file(folder: pathlib.Path, name: str) -> Loaded:
    """Datumaro takes a folder with `images/` and `annotations/instances_NAME.json`.

    An annotation with a mask and a box becomes a mask, or polygons, and a box with the same id and
    group.
    """
    import datumaro
    from datumaro.components.annotation import AnnotationType

    root = folder / "datumaro" / pathlib.Path(name).stem
    (root / "annotations").mkdir(parents=True)
    shutil.copy(folder / name, root / "annotations" / "instances_default.json")
    (root / "images").symlink_to((folder / "images").resolve())
    data = datumaro.Dataset.import_from(str(root), "coco")
    data = data.transform("polygons_to_masks")
    names = {str(i.id): pathlib.Path(i.media.path).relative_to(root / "images") for i in data}
    categories = data.categories()[AnnotationType.label]
    found = []
    for item in data:
        masks = [one for one in item.annotations if one.type == AnnotationType.mask]
        boxes = {one.id: one for one in item.annotations if one.type == AnnotationType.bbox}
        for key in dict.fromkeys(one.id for one in masks):
            parts = [one for one in masks if one.id == key]
            first, box = parts[0], boxes.get(key)
            found.append(
                Found(
                    image=names[str(item.id)].as_posix(),
                    mask=np.any([one.image for one in parts], axis=0),
                    annotation_id=key,
                    category=None if first.label is None else categories[first.label].name,
                    box_xywh=None if box is None else list(map(float, box.get_bbox())),
                    area=float(sum(one.get_area() for one in parts)),
                    score=first.attributes.get("score"),
                    crowd=first.attributes.get("is_crowd"),
                    exits=first.attributes.get("exits"),
                )
            )
    return Loaded({path.as_posix() for path in names.values()}, found)


READERS = [
    Reader("pycocotools", "coco", "COCO(file)", pycocotools_file),
    Reader("pycocotools", "results", "COCO.loadRes(file)", pycocotools_results),
    Reader("pycocotools", "polygons", "COCO(file)", pycocotools_file),
    Reader("lvis", "coco", "LVIS(file)", lvis_file),
    Reader("lvis", "results", "LVISResults(gt, file)", lvis_results),
    Reader("lvis", "polygons", "LVIS(file)", lvis_file),
    Reader("supervision", "coco", "DetectionDataset.from_coco", supervision_file),
    Reader("supervision", "polygons", "DetectionDataset.from_coco", supervision_file),
    Reader("fiftyone", "coco", "COCODetectionDatasetImporter", fiftyone_file),
    Reader("fiftyone", "polygons", "COCODetectionDatasetImporter", fiftyone_file),
    Reader("datumaro", "coco", 'Dataset.import_from(folder, "coco")', datumaro_file),
    Reader("datumaro", "polygons", 'Dataset.import_from(folder, "coco")', datumaro_file),
]
