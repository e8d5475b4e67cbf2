"""Outlines as SVG paths: the same pixels, small whatever the mask, in the picture's coordinates."""

import re

import numpy as np
import pytest

from exits_jax.annotations.outlines import mask_rings
from exits_jax.report import outlines


def even_odd(rings, height, width):
    """The pixels inside closed lines along pixel edges, by the even-odd rule."""
    crossings = np.zeros((height, width + 1), int)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            assert (x0 == x1) != (y0 == y1)
            if x0 == x1:
                crossings[min(y0, y1) : max(y0, y1), x0] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


def rings_of(path):
    """The corners in path data, as a browser would walk them."""
    rings = []
    for x, y, moves in re.findall(r"M(\d+) (\d+)([^Mz]*)z", path):
        corner = np.array([int(x), int(y)])
        ring = [corner]
        for letter, step in re.findall(r"([hv])(-?\d+)", moves):
            corner = corner + ([int(step), 0] if letter == "h" else [0, int(step)])
            ring.append(corner)
        rings.append(np.array(ring))
    return rings


def test_lines_are_the_mask_pixel_by_pixel():
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = rng.random(rng.integers(1, 12, 2)) < rng.random()
        np.testing.assert_array_equal(even_odd(mask_rings(mask), *mask.shape), mask)
        path = outlines.outline_path(mask)
        np.testing.assert_array_equal(even_odd(rings_of(path), *mask.shape), mask)


def test_a_hole_an_island_in_it_and_a_corner_have_their_own_lines():
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[3:6, 3:6] = False
    mask[4, 4] = True
    assert len(mask_rings(mask)) == 3
    diagonal = np.eye(2, dtype=bool)
    assert len(mask_rings(diagonal)) == 1  # one part that touches itself at a corner
    assert outlines.outline_path(np.zeros((3, 3), bool)) == ""
    assert outlines.outline_path(np.ones((1, 1), bool)) == "M0 0h1v1h-1z"


def test_a_path_stays_small_whatever_the_mask():
    specks = np.indices((1001, 1001)).sum(axis=0) % 2 == 0
    path = outlines.outline_path(specks)
    assert 0 < len(path) < 10 * outlines.MAX_EDGE_PX
    sparse = np.zeros((1001, 1001), bool)
    sparse[::7, ::7] = True
    drawn = np.concatenate(rings_of(outlines.outline_path(sparse)))
    assert drawn.min() >= 0
    assert drawn.max() <= 1016  # the whole is still covered, at a coarser grain
    assert np.ptp(drawn, axis=0).min() > 950


@pytest.mark.parametrize(
    ("height", "width", "box", "window"),
    [
        (200, 300, [100, 60, 160, 100], (88, 38, 172, 122)),
        (200, 300, [290, 190, 300, 200], (268, 168, 300, 200)),  # small, moved into the image
        (40, 300, [0, 0, 300, 40], (0, 0, 300, 40)),  # as wide as the image: cut
        (1, 1, [0, 0, 1, 1], (0, 0, 1, 1)),
        (200, 300, [50, 50, 50, 50], (34, 34, 66, 66)),  # a box without area
    ],
)
def test_the_window_is_a_square_around_the_box_inside_the_image(height, width, box, window):
    assert outlines.window_around(np.array(box, float), height, width) == window
    image = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = window
    assert outlines.cut_out(image, window, 640).shape == (y1 - y0, x1 - x0, 3)


def test_a_cut_out_keeps_the_photographs_own_pixels_where_it_fits():
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    np.testing.assert_array_equal(outlines.cut_out(image, (10, 5, 50, 45), 40), image[5:45, 10:50])
    assert outlines.cut_out(image, (0, 0, 80, 60), 40).shape == (30, 40, 3)


def test_marks_lie_where_the_picture_shows_them():
    mask = np.zeros((60, 80), bool)
    mask[20:30, 24:36] = True
    truth = np.zeros((60, 80), bool)
    truth[22:30, 24:36] = True
    points = np.array([[30.5, 20.5], [24.5, 25.5], [30.5, 29.5], [35.5, 25.5]])
    marks = outlines.marks_in((20, 10, 60, 50), 640, mask, truth, points)
    assert marks.size == (40, 40)
    assert marks.label == "M4 10h12v10h-12z"
    assert marks.area == 120
    assert marks.truth == "M4 12h12v8h-12z"
    assert marks.points_xy[0] == (10.5, 10.5)
    halved = outlines.marks_in((20, 10, 60, 50), 20, mask, None, points)
    assert halved.size == (20, 20)
    assert halved.label == "M2 5h6v5h-6z"
    assert halved.truth is None
    assert halved.points_xy[3] == (7.8, 7.8)


def test_a_speck_in_a_shrunk_picture_is_still_there():
    mask = np.zeros((3000, 3000), bool)
    mask[1500, 1700] = True
    marks = outlines.marks_in((0, 0, 3000, 3000), 300, mask)
    assert marks.label == "M170 150h1v1h-1z"
