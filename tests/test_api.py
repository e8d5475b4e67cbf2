"""`label_image` on a real photograph with the real backbone, and what importing costs."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

import exits_jax
from exits_jax import api
from exits_jax.annotations import decode_segmentation, extreme_points
from exits_jax.models.settings import SIZES
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
    with pytest.raises(UserError, match="a bbox beside them, or four points"):
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
        ([[[1, 2], [3, 4], [5, 6], [7, 8]], [[1, 2], [3, 4]]], "four points"),
        ([[1, 2], [3], [5, 6], [7, 8]], "extreme_points is not an array"),
        ("top", "extreme_points is not an array"),
        ([[1, 2], [3, 4], [5, 6], [7, 10**400]], "extreme_points is not an array"),
        ([[1, 2], [3, 4], [5, 6], [7, np.nan]], "four finite points"),
        (np.zeros((1, 1, 4, 2)), r"shape \(1, 4, 2\), expected \[k,4,2\]"),
        (np.zeros(()), "extreme_points is not an array"),
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
        ([[5, 5, 40, 30], [1, 2]], "boxes is not an array of numbers"),
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
    ("image", "message"),
    [
        (IMAGE[None], r"uint8\[1, 40, 50, 3\], expected \[h,w\] or"),
        (IMAGE[:0], r"uint8\[0, 50, 3\]"),
        (np.zeros((3, 40, 50), np.uint8), "are the channels first"),
        (np.zeros((40, 50, 3), bool), "bool.*expected whole numbers or floats"),
        (np.zeros((40, 50), complex), "expected whole numbers or floats"),
        (None, "image is not an array"),
    ],
)
def test_images_that_are_none(image, message):
    with pytest.raises(UserError, match=message):
        exits_jax.label_image(image, POINTS)


RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
GREY = np.repeat(RGB[..., :1], 3, axis=2)
OPAQUE = np.full((40, 50, 1), 255, np.uint8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (RGB, RGB),
        (RGB.tolist(), None),
        (RGB[..., 0], GREY),
        (RGB[..., :1], GREY),
        (np.dstack([RGB, OPAQUE]), RGB),
        (np.dstack([RGB[..., 0], OPAQUE]), GREY),
        (np.dstack([RGB, 0 * OPAQUE]), np.full_like(RGB, 255)),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float32), RGB),
        (RGB.astype(np.float64), RGB),
        (RGB.astype(np.uint16) * 257, RGB),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(RGB[..., 0]), GREY),
        (RGB[::2], RGB[::2]),
    ],
)
def test_images_of_many_kinds(image, expected):
    if expected is None:  # a list of lists is whole numbers
        expected = RGB
    np.testing.assert_array_equal(api._pixels(image), expected)


def test_an_image_of_pillow_s_is_turned_as_it_says():
    image = Image.fromarray(RGB)
    image.getexif()[0x0112] = 6
    assert api._pixels(image).shape == (50, 40, 3)


def test_backbones_that_do_not_fit(monkeypatch):
    with pytest.raises(UserError, match="'resnet50', expected one of"):
        exits_jax.label_image(IMAGE, POINTS, backbone="resnet50")
    monkeypatch.setitem(SIZES, "Ti", (192, 10, 3))
    with pytest.raises(UserError, match="deit_ti16 has 10 layers, expected 11 or more"):
        exits_jax.label_image(IMAGE, POINTS, backbone="deit_ti16")


def boxes_of(*arguments):
    return [i.box_xyxy.tolist() for i in api._instances(*arguments, 40, 50)]


def test_one_box_may_come_without_its_list():
    """Also that a box wins over the points' bounding box, and that none means that one."""
    for boxes in ([5, 4, 41, 31], [[5, 4, 41, 31]]):
        assert boxes_of(POINTS, boxes) == [[5, 4, 41, 31]]
    assert boxes_of(POINTS, None) == [[8, 5, 40, 30]]


def test_boxes_alone_and_few_points_beside_them():
    assert boxes_of(None, [[5, 4, 41, 31], [1, 1, 9, 9]]) == [[5, 4, 41, 31], [1, 1, 9, 9]]
    assert boxes_of(None, np.zeros((0, 4))) == boxes_of([], None) == boxes_of([], []) == []
    (alone,) = api._instances(None, [5, 4, 41, 31], 40, 50)
    assert alone.points_xy is None
    few = [[[20, 5]], [[20, 5], [8, 15], [40, 15]], POINTS, []]
    found = api._instances(few, [[8, 5, 40, 30]] * 4, 40, 50)
    assert [x.points_xy is None for x in found] == [False, False, False, True]
    np.testing.assert_array_equal(found[0].points_xy[0], [20, 5])
    with pytest.raises(UserError, match="a bbox beside them, or four points"):
        boxes_of([[20, 5], [8, 15]], None)
    with pytest.raises(UserError, match="neither extreme_points nor boxes"):
        exits_jax.label_image(IMAGE)


@pytest.mark.parametrize(
    ("box", "message"),
    [([8, 5, 32, 25], "pixels off its side"), ([30, 5, 10, 25], r"expected xyxy .*, not x, y, w")],
)
def test_a_box_as_xywh_is_an_error_that_says_so(box, message):
    with pytest.raises(UserError, match=message):
        boxes_of(POINTS, box)


@pytest.fixture(scope="module")
def opened():
    require_backbone()
    session = exits_jax.Session()
    return session, session.open(skimage.data.astronaut())


@pytest.fixture(scope="module")
def flag():
    return truth("astronaut.png", "flag")[0]


def test_a_first_prompt_is_the_mask_of_label_image(opened, flag):
    session, _ = opened
    points = extreme_points(flag)
    (expected,), (score,) = exits_jax.label_image(skimage.data.astronaut(), points)
    mask, found = session.mask(points[::-1])
    np.testing.assert_array_equal(mask, expected)
    assert found == score


def test_a_second_prompt_costs_no_pass_of_the_network(opened, flag, monkeypatch):
    session, view = opened
    points = extreme_points(flag)
    first, _ = session.mask(points)

    def never(*_):
        raise AssertionError("the network looked again")

    monkeypatch.setattr(view, "_programs", view._programs._replace(see=never))
    moved, _ = session.mask(points + np.array([[2, 1], [1, 2], [-2, -1], [0, 0]]))
    assert (moved & first).sum() / (moved | first).sum() > 0.8
    assert session.mask(points, view=view)[0].tolist() == first.tolist()
    with pytest.raises(AssertionError, match="looked again"):
        session.mask([[20, 5], [8, 15], [20, 30], [40, 15]])  # elsewhere


def test_corrections_add_and_take_away(opened, flag):
    session, _ = opened
    points = extreme_points(flag)
    mask, _ = session.mask(points)
    inside = np.argwhere(mask & flag)
    y, x = (int(v) for v in inside[len(inside) // 2])
    less, _ = session.mask(points, corrections=[(x + 0.5, y + 0.5, -1)])
    assert mask[y, x]
    assert not less[y, x]
    assert less.sum() < mask.sum()
    again, _ = session.mask(points, corrections=[(x + 0.5, y + 0.5, -1), (x + 0.5, y + 0.5, 1)])
    assert again[y, x]
    right, _ = session.mask(points, corrections=[(x + 0.5, y + 0.5, 1)])
    np.testing.assert_array_equal(right, mask)  # it was right already
    many = [(x + 0.5, y + 0.5, -1)] * 20  # more than one program's clicks
    assert not session.mask(points, corrections=many)[0][y, x]


@pytest.mark.parametrize(
    ("corrections", "message"),
    [([(1, 2)], "expected clicks"), ([(1, 2, 3)], "expected clicks"), ([(9999, 2, 1)], "off the")],
)
def test_corrections_that_are_none(opened, flag, corrections, message):
    with pytest.raises(UserError, match=message):
        opened[0].mask(extreme_points(flag), corrections=corrections)


def test_without_an_image_there_is_no_mask():
    with pytest.raises(UserError, match="no image yet"):
        exits_jax.Session().mask(POINTS)


def test_importing_loads_no_framework_that_is_not_used():
    code = (
        "import sys, exits_jax; "
        "from exits_jax.app import execute, fit_phases, label_phase, report_files; "
        "bad = {'tensorflow', 'torch'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
