"""Data sets and tasks in a folder, by the tools' own loaders (see `readers`)."""

import contextlib
import io
import json
import os
import pathlib
import urllib.parse
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from pycocotools import mask as coco_masks

from experiments.interop.readers import Found, Loaded, Reader


def ultralytics_folder(folder: pathlib.Path, name: str) -> Loaded:
    """Ultralytics' data set as its trainer builds it; it holds polygons, drawn here by pycocotools.

    It would install packages and look for a newer version of itself if it were not told otherwise.
    """
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true"}
    os.environ |= {"YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    facts = check_det_dataset(str(folder / name / "data.yaml"))
    data = YOLODataset(img_path=facts["train"], data=facts, task="segment", augment=False)
    found = []
    for label in data.labels:
        file = pathlib.Path(label["im_file"]).relative_to(facts["train"]).as_posix()
        for number, segment in zip(label["cls"][:, 0], label["segments"], strict=True):
            mask = _drawn(segment * label["shape"][::-1], *label["shape"])
            found.append(Found(image=file, mask=mask, category=facts["names"][int(number)]))
    return Loaded({one.image for one in found}, found)


def supervision_folder(folder: pathlib.Path, name: str) -> Loaded:
    import supervision

    root = folder / name
    data = supervision.DetectionDataset.from_yolo(
        str(root / "images"), str(root / "labels"), str(root / "data.yaml"), force_masks=True
    )
    found = [
        Found(
            image=pathlib.Path(path).name,
            mask=detections.mask[k],
            category=data.classes[detections.class_id[k]],
        )
        for path, detections in data.annotations.items()
        for k in range(len(detections))
    ]
    return Loaded({pathlib.Path(path).name for path in data.image_paths}, found)


def fiftyone_folder(folder: pathlib.Path, name: str) -> Loaded:
    """FiftyOne's importer of polygons, drawn here by pycocotools."""
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    from fiftyone.utils.yolo import YOLOv5DatasetImporter
    from PIL import Image

    importer = YOLOv5DatasetImporter(
        dataset_dir=str(folder / name),
        yaml_path="data.yaml",
        split="train",
        label_type="polylines",
        include_all_data=True,
    )
    images, found = set(), []
    with importer:
        for path, _, labels in importer:
            image = pathlib.Path(path).name
            images.add(image)
            with Image.open(path) as photograph:
                size = photograph.size
            for label in labels.polylines:
                mask = _drawn(np.array(label.points[0]) * size, *size[::-1])
                found.append(Found(image=image, mask=mask, category=label.label))
    return Loaded(images, found)


def datumaro_voc(folder: pathlib.Path, name: str) -> Loaded:
    """Datumaro's VOC importer; masks come in the order of their numbers."""
    import datumaro
    from datumaro.components.annotation import AnnotationType

    data = datumaro.Dataset.import_from(str(folder / name), "voc")
    names = data.categories()[AnnotationType.label]
    images, found = set(), []
    for item in data:
        image = pathlib.Path(item.media.path).name
        images.add(image)
        for one in sorted(item.annotations, key=lambda one: one.group):
            if one.type == AnnotationType.mask and names[one.label].name != "ignored":
                mask, category = one.image.astype(bool), names[one.label].name
                found.append(Found(image=image, mask=mask, category=category))
    return Loaded(images, found)


def label_studio_folder(folder: pathlib.Path, name: str) -> Loaded:
    """Label Studio's own library: predictions checked against the interface, brushes decoded.

    Raises:
      ValueError: the interface or a prediction is not valid.
    """
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((folder / name / "interface.xml").read_text())
    interface.validate()
    images, found = set(), []
    for task in json.loads((folder / name / "tasks.json").read_text()):
        address = urllib.parse.urlsplit(next(iter(interface.load_task(task["data"]).objects)).value)
        place = urllib.parse.parse_qs(address.query)["d"][0]
        image = pathlib.PurePosixPath(place).relative_to("images").as_posix()
        images.add(image)
        for prediction in task.get("predictions", []):
            if faults := interface.validate_prediction(prediction, return_errors=True):
                raise ValueError(faults)
            found += _objects(image, prediction["result"])
    return Loaded(images, found)


def _objects(image: str, regions: list[dict[str, Any]]) -> list[Found]:
    """One for each annotation id; of polygons the parts together."""
    objects: dict[int, Found] = {}
    for region in regions:
        key = int(region["id"].partition("-")[0])
        mask = _region_mask(region)
        found = objects.get(key)
        objects[key] = Found(
            image=image,
            mask=mask if found is None else mask | found.mask,
            annotation_id=key,
            category=region["value"][region["type"]][0],
            score=region["score"],
        )
    return [*objects.values()]


def _region_mask(region: dict[str, Any]) -> Bool[np.ndarray, "h w"]:
    from label_studio_sdk.converter.brush import decode_rle

    height, width, value = region["original_height"], region["original_width"], region["value"]
    if region["type"] == "brushlabels":
        return decode_rle(value["rle"]).reshape(height, width, 4)[..., 3] > 0
    return _drawn(np.array(value["points"]) / 100 * (width, height), height, width)


def _drawn(corners: Float[np.ndarray, "n 2"], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """A polygon drawn by pycocotools."""
    runs = coco_masks.frPyObjects([corners.astype(float).ravel().tolist()], height, width)
    return coco_masks.decode(runs)[..., 0].astype(bool)


def quietly(reader: Reader) -> Reader:
    """The reader without what its tool prints."""

    def load(folder: pathlib.Path, name: str) -> Loaded:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return reader.load(folder, name)

    return reader._replace(load=load)


FOLDER_READERS = [
    quietly(reader)
    for reader in (
        Reader("ultralytics", "yolo", "YOLODataset", ultralytics_folder, ordered=False),
        Reader("supervision", "yolo", "DetectionDataset.from_yolo", supervision_folder),
        Reader("fiftyone", "yolo", "YOLOv5DatasetImporter", fiftyone_folder),
        Reader("datumaro", "voc", 'Dataset.import_from(folder, "voc")', datumaro_voc),
        Reader("label-studio-sdk", "label_studio", "LabelInterface, brush", label_studio_folder),
        Reader("label-studio-sdk", "label_studio_polygons", "LabelInterface", label_studio_folder),
    )
]
