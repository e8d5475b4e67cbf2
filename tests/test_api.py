"""`label_image` on a real photograph with the real backbone, and what importing costs."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import skimage.data

import exits_jax
from exits_jax.annotations import decode_segmentation, extreme_points
from exits_jax.errors import UserError
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


def test_importing_loads_no_framework_that_is_not_used():
    code = (
        "import sys, exits_jax, exits_jax.phases; "
        "bad = {'tensorflow', 'torch'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
