"""The demo's ground truth is sound: valid COCO, photographs that exist, areas that are true."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image
from pycocotools import mask as coco_mask

DEMO_FILE = Path(__file__).parent.parent / "demo" / "annotations.json"
PHOTOGRAPHS = Path(skimage.__file__).parent / "data"

# pycocotools 2.0 decodes with an __array__ method that numpy 2 complains about
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(DEMO_FILE.read_text())


def rasterise(annotation: dict[str, Any], image: dict[str, Any]) -> np.ndarray:
    """The annotation's pixels, as bool[h, w]."""
    rles = coco_mask.frPyObjects(annotation["segmentation"], image["height"], image["width"])
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


def pairs(document: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every annotation with its image."""
    images = {image["id"]: image for image in document["images"]}
    return [(annotation, images[annotation["image_id"]]) for annotation in document["annotations"]]


def test_there_is_enough_to_judge_by(document: dict[str, Any]) -> None:
    names = {category["id"]: category["name"] for category in document["categories"]}
    annotated = [names[annotation["category_id"]] for annotation in document["annotations"]]
    assert len(annotated) >= 30
    assert sum(name != "coin" for name in annotated) >= 12
    assert len({annotation["image_id"] for annotation in document["annotations"]}) >= 6
    assert {image["id"] for image in document["images"]} == {i["id"] for _, i in pairs(document)}


@pytest.mark.parametrize("key", ["images", "categories", "annotations"])
def test_ids_are_unique_and_fit_32_bits(document: dict[str, Any], key: str) -> None:
    ids = [entry["id"] for entry in document[key]]
    assert len(set(ids)) == len(ids)
    assert all(isinstance(number, int) and 0 < number < 2**31 for number in ids)


def test_photographs_ship_with_scikit_image(document: dict[str, Any]) -> None:
    for image in document["images"]:
        with Image.open(PHOTOGRAPHS / image["file_name"]) as photograph:
            assert photograph.size == (image["width"], image["height"]), image["file_name"]


def test_polygons_are_polygons_inside_the_photograph(document: dict[str, Any]) -> None:
    for annotation, image in pairs(document):
        for polygon in annotation["segmentation"]:
            corners = np.asarray(polygon).reshape(-1, 2)
            assert len(corners) >= 3, annotation["id"]
            assert corners.min() >= 0, annotation["id"]
            assert (corners <= [image["width"], image["height"]]).all(), annotation["id"]
            assert np.allclose(corners, corners.round(1), atol=1e-9), annotation["id"]


def test_area_and_box_are_those_of_the_pixels(document: dict[str, Any]) -> None:
    for annotation, image in pairs(document):
        mask = rasterise(annotation, image)
        ys, xs = np.nonzero(mask)
        box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert annotation["area"] == mask.sum(), annotation["id"]
        assert annotation["bbox"] == box, annotation["id"]
        assert annotation["iscrowd"] == 0
        assert "extreme_points" not in annotation  # the tools extract them from the polygons


def test_parts_do_not_count_twice(document: dict[str, Any]) -> None:
    """The area by the polygons' own formula agrees with the pixels: no crossing, no doubling."""
    for annotation, _ in pairs(document):
        formula = 0.0
        for polygon in annotation["segmentation"]:
            x, y = np.asarray(polygon).reshape(-1, 2).T
            formula += abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
        assert annotation["area"] == pytest.approx(formula, rel=0.03, abs=25), annotation["id"]


def test_coins_do_not_touch(document: dict[str, Any]) -> None:
    coin = next(c["id"] for c in document["categories"] if c["name"] == "coin")
    masks = [rasterise(a, i) for a, i in pairs(document) if a["category_id"] == coin]
    assert len(masks) == 24
    assert np.sum(masks, axis=0).max() == 1
