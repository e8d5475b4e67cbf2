"""`label_image` on a real photograph with the real backbone, and what importing costs."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import skimage.data

import exits_jax
from exits_jax import api
from exits_jax.annotations import decode_segmentation, extreme_points
from exits_jax.models import vit
from exits_jax.system.errors import UserError
from tests.real_backbone import require_backbone

DEMO = pathlib.Path(__file__).parent.parent / "demo" / "annotations.json"


def truth(file_name, category):
    """Masks of a category on one of the demo's photographs."""
    document = json.loads(DEMO.read_text())
    image = next(i for i in document["images"] if i["file_name"] == file_name)
    chosen = next(c["id"] for c in document["categories"] if c["name"] == category)
    return [
        decode_segmentation(a["segmentation"], image["height"], image["width"])
        for a in document["annotations"]
        if a["image_id"] == image["id"] and a["category_id"] == chosen
    ]


def test_masks_of_a_real_photograph():
    require_backbone()
    masks = truth("astronaut.png", "person") + truth("astronaut.png", "flag")
    points = [extreme_points(mask) for mask in masks]
    image = skimage.data.astronaut()
    found, scores = exits_jax.label_image(image, points)
    assert found.shape == (2, 512, 512)
    assert found.dtype == bool
    assert np.all((scores > 0.5) & (scores <= 1))
    for mask, truth_mask in zip(found, masks, strict=True):
        assert (mask & truth_mask).sum() / (mask | truth_mask).sum() > 0.75
    shuffled = points[0][[2, 0, 3, 1]]
    again, _ = exits_jax.label_image(image, shuffled)
    np.testing.assert_array_equal(again[0], found[0])


def test_no_objects_and_bad_points():
    image = np.zeros((40, 50, 3), np.uint8)
    masks, scores = exits_jax.label_image(image, np.zeros((0, 4, 2)))
    assert masks.shape == (0, 40, 50)
    assert scores.shape == (0,)
    with pytest.raises(UserError, match=r"shape \(3, 2\)"):
        exits_jax.label_image(image, np.zeros((3, 2)))
    with pytest.raises(UserError, match="outside"):
        exits_jax.label_image(image, [[60, 1], [1, 2], [3, 4], [5, 6]])
    with pytest.raises(UserError, match="no such image"):
        exits_jax.label_image("absent.png", np.zeros((1, 4, 2)))


IMAGE = np.zeros((40, 50, 3), np.uint8)
POINTS = np.array([[20, 5], [8, 15], [20, 30], [40, 15]])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[[1, 2], [3, 4], [5, 6], [7, 8]], [[1, 2], [3, 4]]], "extreme_points is no array"),
        ([[1, 2], [3], [5, 6], [7, 8]], "extreme_points is no array"),
        ("top", "extreme_points is no array"),
        ([[1, 2], [3, 4], [5, 6], [7, 10**400]], "extreme_points is no array"),
        ([[1, 2], [3, 4], [5, 6], [7, np.nan]], "four finite points"),
        (np.zeros((1, 1, 4, 2)), r"shape \(1, 1, 4, 2\), expected \[k,4,2\]"),
        (np.zeros(()), r"shape \(\), expected"),
    ],
)
def test_malformed_points(points, message):
    with pytest.raises(UserError, match=message):
        exits_jax.label_image(IMAGE, points)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[5, 5, 40, 30]] * 2, r"boxes has shape \(2, 4\), expected \[1,4\]"),
        ([[5, 5, 40]], r"boxes has shape \(1, 3\), expected \[1,4\]"),
        (np.zeros((0, 4)), r"boxes has shape \(0, 4\), expected \[1,4\]"),
        ([[5, 5, 40, 30], [1, 2]], "boxes is no array of numbers"),
        ([40, 5, 5, 30], "width and height must be positive"),
        ([60, 5, 70, 30], "outside the image of 50 x 40"),
        ([5, 5, np.nan, 30], "bbox"),
    ],
)
def test_malformed_boxes(boxes, message):
    with pytest.raises(UserError, match=message):
        exits_jax.label_image(IMAGE, POINTS, boxes=boxes)


def test_one_box_for_two_objects():
    with pytest.raises(UserError, match=r"boxes has shape \(4,\), expected \[2,4\]"):
        exits_jax.label_image(IMAGE, [POINTS, POINTS], boxes=[5, 5, 40, 30])


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (IMAGE / 255, r"float64\[40, 50, 3\]"),
        (IMAGE.astype(np.int32), r"int32\[40, 50, 3\]"),
        (IMAGE[..., 0], r"uint8\[40, 50\]"),
        (IMAGE[..., [0, 1, 2, 2]], r"uint8\[40, 50, 4\]"),
        (IMAGE[None], r"uint8\[1, 40, 50, 3\]"),
        (IMAGE[:0], r"uint8\[0, 50, 3\]"),
    ],
)
def test_images_that_are_no_rgb_pixels(image, found):
    with pytest.raises(UserError, match=rf"image is {found}, expected .*uint8\[h,w,3\]"):
        exits_jax.label_image(image, POINTS)


def test_backbones_that_do_not_fit(monkeypatch):
    with pytest.raises(UserError, match="'resnet50', expected one of"):
        exits_jax.label_image(IMAGE, POINTS, backbone="resnet50")
    monkeypatch.setitem(vit.SIZES, "Ti", (192, 10, 3))
    with pytest.raises(UserError, match="deit_ti16 has 10 layers, expected 11 or more"):
        exits_jax.label_image(IMAGE, POINTS, backbone="deit_ti16")


def test_one_box_may_come_without_its_list(monkeypatch):
    """Also that a box wins over the points' bounding box, and that none means that one."""
    chosen = []

    class Stop(Exception):
        """Instances are known; no backbone is needed to see them."""

    def labeller(*_, **__):
        def look(_, instances):
            chosen.append(instances[0].box_xyxy.tolist())
            raise Stop

        return look

    monkeypatch.setattr(api, "_predictor", lambda _: None)
    monkeypatch.setattr(api, "Labeller", labeller)
    for boxes in ([5, 4, 41, 31], [[5, 4, 41, 31]], None):
        with pytest.raises(Stop):
            exits_jax.label_image(IMAGE, POINTS, boxes=boxes)
    assert chosen == [[5, 4, 41, 31], [5, 4, 41, 31], [8, 5, 40, 30]]


def test_importing_loads_no_framework_that_is_not_used():
    code = (
        "import sys, exits_jax; "
        "from exits_jax.app import execute, fit_phases, label_phase, report_files; "
        "bad = {'tensorflow', 'torch'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
