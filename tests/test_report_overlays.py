"""Overlays: the right pixels in the right panel, and pictures that survive odd objects."""

import io
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from exits_jax.report import drawing, overlays, overview, training_figure
from exits_jax.report.sheet import FOOTER_PX, GAP_PX, TITLE_PX
from exits_jax.system.errors import UserError

SIDE = 192


def square(size, y0, y1, x0, x1):
    mask = np.zeros((size, size), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def strip_inputs(**changes):
    rng = np.random.default_rng(0)
    labels = np.zeros((8, 8), int)
    labels[3:5, 3:5] = 1
    given = {
        "crop": np.full((64, 64, 3), 120, np.uint8),
        "box_xyxy": np.array([0.2, 0.2, 0.8, 0.8]),
        "points_xy": np.array([[0.5, 0.2], [0.2, 0.5], [0.5, 0.8], [0.8, 0.5]]),
        "seeds": (np.arange(64) % 9 == 3).reshape(8, 8),
        "scores": rng.normal(size=(3, 8, 8)),
        "labels": labels,
        "weights": (rng.random((8, 8)) > 0.4).astype(float),
        "prediction": square(64, 16, 48, 16, 48),
        "score": 0.9,
        "truth": square(64, 20, 50, 16, 48),
        "iou": 0.8,
    }
    return given | changes


def strip(**changes):
    given = strip_inputs(**changes)
    return overlays.panel_strip(given.pop("crop"), side_px=SIDE, columns=4, **given)


def panel(sheet, index, columns=4):
    """Heading, picture and footer of one panel of a sheet."""
    height = TITLE_PX + SIDE + FOOTER_PX
    y = GAP_PX + index // columns * (height + GAP_PX)
    x = GAP_PX + index % columns * (SIDE + GAP_PX)
    tile = sheet[y : y + height, x : x + SIDE]
    return tile[:TITLE_PX], tile[TITLE_PX : TITLE_PX + SIDE], tile[TITLE_PX + SIDE :]


def different_panels(first, second, count=7):
    return [
        index
        for index in range(count)
        if any(
            (a != b).any() for a, b in zip(panel(first, index), panel(second, index), strict=True)
        )
    ]


def test_each_input_changes_its_own_panels_only():
    whole = strip()
    scores = strip_inputs()["scores"]
    assert different_panels(whole, strip(seeds=np.zeros((8, 8), bool))) == [0]
    assert different_panels(whole, strip(scores=scores * [[[1]], [[-1]], [[1]]])) == [2]
    assert different_panels(whole, strip(labels=np.zeros((8, 8), int))) == [4]
    assert different_panels(whole, strip(prediction=square(64, 0, 30, 0, 30))) == [5, 6]
    assert different_panels(whole, strip(truth=square(64, 0, 30, 0, 30))) == [6]


def test_the_iou_that_is_printed_is_the_callers():
    a, b = strip(iou=0.8), strip(iou=0.3)
    assert different_panels(a, b) == [6]
    assert (panel(a, 6)[1] == panel(b, 6)[1]).all()  # only the heading differs
    assert (panel(a, 6)[0] != panel(b, 6)[0]).any()


def test_panels_without_data_are_left_out():
    height, width, _ = strip().shape
    tile = TITLE_PX + SIDE + FOOTER_PX + GAP_PX
    assert (height, width) == (2 * tile + GAP_PX, 4 * (SIDE + GAP_PX) + GAP_PX)
    bare = strip(points_xy=None, seeds=None, scores=None, labels=None, prediction=None, truth=None)
    assert bare.shape == (tile + GAP_PX, SIDE + 2 * GAP_PX, 3)
    in_one_row = overlays.panel_strip(
        np.zeros((8, 8, 3), np.uint8),
        box_xyxy=np.array([0.0, 0.0, 1.0, 1.0]),
        scores=np.zeros((5, 4, 4)),  # all zero: no scale to divide by
        side_px=SIDE,
        columns=9,
    )
    assert in_one_row.shape == (tile + GAP_PX, 6 * (SIDE + GAP_PX) + GAP_PX, 3)


def test_scores_are_red_for_the_object_and_blue_for_the_background():
    score = np.full((1, 8, 8), -1.0)
    score[:, :, 4:] = 1.0
    picture = panel(strip(scores=score), 1)[1].astype(int)
    left, right = picture[:, : SIDE // 2 - 2], picture[:, SIDE // 2 + 2 :]
    assert (left[..., 2] > left[..., 0] + 40).all()
    assert (right[..., 0] > right[..., 2] + 40).all()


def test_scores_that_are_not_finite_are_undecided():
    score = np.full((1, 8, 8), 2.0)
    score[0, 0, 0], score[0, 7, 7] = np.nan, -np.inf
    picture = panel(strip(scores=score), 1)[1].astype(int)
    for corner in (picture[2, 2], picture[-3, -3]):
        assert np.ptp(corner) < 12  # a grey


def test_inputs_are_left_alone():
    given = strip_inputs()
    before = {name: np.copy(value) for name, value in given.items()}
    overlays.panel_strip(given["crop"], **{k: v for k, v in given.items() if k != "crop"})
    for name, value in given.items():
        np.testing.assert_array_equal(value, before[name])


def test_crop_mask_is_what_the_window_shows():
    mask = np.random.default_rng(1).random((6, 9)) > 0.5
    part = overlays.crop_mask(mask, np.array([2.0, 1.0, 6.0, 5.0]), 4)
    np.testing.assert_array_equal(part, mask[1:5, 2:6])
    doubled = overlays.crop_mask(mask, np.array([2.0, 1.0, 6.0, 5.0]), 8)
    np.testing.assert_array_equal(doubled, part.repeat(2, 0).repeat(2, 1))
    outside = overlays.crop_mask(np.ones((6, 9), bool), np.array([-2.0, 4.0, 2.0, 8.0]), 4)
    np.testing.assert_array_equal(outside, [[0, 0, 1, 1], [0, 0, 1, 1], [0] * 4, [0] * 4])


def test_heat_colours_at_zero_and_at_the_limits():
    colours = drawing.heat_colours(np.array([-9.0, -2.0, 0.0, 2.0, 9.0]), 2.0)
    ends = drawing.HEAT_COLOURS
    expected = [ends[0], ends[0], ends[2], ends[-1], ends[-1]]
    np.testing.assert_array_equal(colours, expected)


def test_outline_runs_along_the_edge_and_not_along_the_picture():
    mask = square(10, 3, 7, 3, 7)
    one = drawing.mask_outline(mask, 1)
    np.testing.assert_array_equal(one, square(10, 2, 8, 2, 8) & ~mask)
    two = drawing.mask_outline(mask, 2)
    np.testing.assert_array_equal(two, square(10, 2, 8, 2, 8) & ~square(10, 4, 6, 4, 6))
    assert not drawing.mask_outline(np.ones((5, 5), bool), 3).any()
    cut = drawing.mask_outline(square(10, 0, 10, 0, 4), 1)
    np.testing.assert_array_equal(np.flatnonzero(cut.any(0)), [4])


def test_a_shrunk_mask_keeps_a_pixel_and_an_empty_one_none():
    speck = square(3000, 2999, 3000, 2999, 3000)
    assert np.argwhere(drawing.resize_mask(speck, 20, 20)).tolist() == [[19, 19]]
    assert not drawing.resize_mask(~speck & speck, 20, 20).any()


def test_cells_are_blocks():
    cells = np.arange(9).reshape(3, 3)
    np.testing.assert_array_equal(drawing.resize_cells(cells, 6), cells.repeat(2, 0).repeat(2, 1))


def test_colours_of_neighbours_are_far_apart():
    colours = np.array([drawing.distinct_colour(index) for index in range(30)], float)
    for step in (1, 2, 3, 4):
        assert np.linalg.norm(colours[step:] - colours[:-step], axis=1).min() > 60


def test_long_text_is_cut_to_its_width():
    letters = drawing.font(14)
    assert drawing.fit_text("a  short\nname", letters, 200) == "a short name"
    cut = drawing.fit_text("w" * 200, letters, 100)
    assert cut.endswith("…")
    assert letters.getlength(cut) <= 100
    assert drawing.fit_text("any", letters, 1) == "…"


@pytest.mark.parametrize("colour", [drawing.LABEL, drawing.TRUTH])
def test_a_line_or_its_casing_stands_out_from_any_photograph(colour):
    levels = (0, 70, 128, 190, 255)  # among them pure red and every grey
    mask = square(40, 10, 30, 10, 30)
    for ground in itertools.product(levels, levels, levels):
        image = np.full((40, 40, 3), ground, np.uint8)
        drawn = drawing.paint_outline(image, mask, colour, 2)
        across = drawn[20, 5:15]  # the left edge, from outside to inside
        assert max(contrast(pixel, ground) for pixel in across) >= 3, ground


def contrast(first, second):
    """WCAG's contrast of two sRGB colours, 1 to 21."""
    both = np.array([first, second]) / 255
    linear = np.where(both <= 0.04045, both / 12.92, ((both + 0.055) / 1.055) ** 2.4)
    low, high = np.sort(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)


def test_a_thin_line_leaves_the_inside_of_a_small_object_alone():
    image = np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8)
    mask = square(12, 5, 7, 5, 9)
    drawn = drawing.paint_outline(image, mask, drawing.LABEL, 1)
    np.testing.assert_array_equal(drawn[mask], image[mask])
    ring = drawing.mask_outline(mask, 1)
    np.testing.assert_array_equal(drawn[ring], np.broadcast_to(drawing.LABEL, (ring.sum(), 3)))
    thick = drawing.paint_outline(image, mask, drawing.LABEL, 2)
    assert (thick[mask] != image[mask]).any()


def test_image_overlay_colours_each_mask_and_keeps_small_ones_on_top():
    image = np.full((120, 160, 3), 100, np.uint8)
    masks = np.zeros((2, 120, 160), bool)
    masks[0, 62:102, 95:145] = True  # small, first in the file, inside the large one
    masks[1, 10:110, 10:150] = True
    picture = overview.image_overlay(image, masks, ["cup", "table"]).astype(int)
    small, large = (np.array(drawing.distinct_colour(index)) for index in (0, 1))
    under = np.rint(100 * 0.7 + large * 0.3)
    np.testing.assert_array_equal(picture[20, 20], under)
    np.testing.assert_array_equal(picture[61, 120], small)  # its line, away from its name
    np.testing.assert_array_equal(picture[66, 120], np.rint(under * 0.7 + small * 0.3))
    np.testing.assert_array_equal(picture[5, 155], [100] * 3)


def test_image_overlay_of_nothing_and_of_empty_masks_is_the_image():
    image = np.random.default_rng(0).integers(0, 255, (30, 50, 3), np.uint8)
    for masks, names in ((np.zeros((0, 30, 50), bool), []), (np.zeros((1, 30, 50), bool), ["x"])):
        np.testing.assert_array_equal(overview.image_overlay(image, masks, names), image)
    assert overview.image_overlay(image, np.zeros((0, 30, 50), bool), [], max_side_px=10).shape == (
        6,
        10,
        3,
    )


def test_names_do_not_cover_each_other():
    mask = square(200, 50, 150, 50, 150)
    size = (60.0, 20.0)
    taken = []
    for _ in range(20):
        place = next(
            (p for p in overview._places(mask, size) if not overview._covers(p, taken)), None
        )
        if place is not None:
            taken.append(place)
    assert 3 <= len(taken) < 20
    for index, (left, top, right, bottom) in enumerate(taken):
        assert 0 <= left < right <= 200
        assert 0 <= top < bottom <= 200
        assert not overview._covers(taken[index], taken[:index])


@pytest.mark.parametrize(("y", "x"), [(60, 90), (0, 0), (116, 156), (60, 156)])
def test_the_name_of_a_small_object_stands_beside_it(y, x):
    image = np.full((120, 160, 3), 100, np.uint8)
    masks = np.zeros((2, 120, 160), bool)
    masks[0, y : y + 4, x : x + 4] = True
    masks[1, 10:110, 10:150] = True
    named = overview.image_overlay(image, masks, ["cup", "table"])
    bare = overview.image_overlay(image, masks, ["cup", ""])
    nameless = overview.image_overlay(image, masks, ["", ""])
    assert (named != nameless).any()
    np.testing.assert_array_equal(named[masks[0]], nameless[masks[0]])
    np.testing.assert_array_equal(bare[masks[0]], nameless[masks[0]])


def test_a_name_hides_no_object_of_a_crowd():
    masks = np.zeros((49, 140, 140), bool)
    for number in range(49):
        y, x = divmod(number, 7)
        masks[number, 20 * y + 6 : 20 * y + 12, 20 * x + 6 : 20 * x + 12] = True
    image = np.full((140, 140, 3), 90, np.uint8)
    named = overview.image_overlay(image, masks, [f"thing {k}" for k in range(49)])
    bare = overview.image_overlay(image, masks, [""] * 49)
    for mask in masks:
        covered = (named[mask] != bare[mask]).any(axis=1).mean()
        assert covered <= overview.MAX_HIDDEN


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_encoded_images_are_that_kind_and_the_same_each_time(kind):
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    content = overlays.encode_image(image, kind)
    assert content == overlays.encode_image(image, kind)
    decoded = Image.open(io.BytesIO(content))
    assert (decoded.format, decoded.size) == (kind, (30, 20))
    if kind == "PNG":
        np.testing.assert_array_equal(np.asarray(decoded), image)


def test_save_png_and_where_it_cannot_be_saved(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    overlays.save_png(tmp_path / "figures" / "a.png", image)
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["a.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "figures" / "a.png")), image)
    with pytest.raises(UserError, match="cannot be written"):
        overlays.save_png(tmp_path / "figures" / "a.png" / "b.png", image)


def test_training_figure_has_a_panel_for_each_phase_with_losses():
    rows = [{"phase": "warmup", "step": step, "loss": 1 / step, "mil": None} for step in (1, 2, 3)]
    one = training_figure.training_figure([*rows, {"phase": "label", "step": 1, "crops": 3.0}])
    two = training_figure.training_figure([*rows, {"phase": "train", "step": 1, "point": 0.5}])
    assert two.shape == (one.shape[0], 2 * one.shape[1], 3)
    assert one.min() < 60  # something is drawn
    assert training_figure.training_figure([{"phase": "label", "step": 1, "crops": 3.0}]) is None
    assert training_figure.training_figure([]) is None


def test_running_mean_is_the_mean_of_the_last_values():
    mean = training_figure._running_mean(np.array([4.0, 2.0, 6.0, 1.0]), 2)
    np.testing.assert_allclose(mean, [4, 3, 4, 3.5])


def test_metrics_are_read_up_to_a_line_cut_short(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert training_figure.read_metrics(path) == []
    rows = [{"phase": "train", "step": 1, "loss": 0.5}, {"phase": "train", "step": 2, "loss": None}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '3\n{"phase": "tr')
    assert training_figure.read_metrics(path) == rows


def test_no_global_plotting_state():
    code = (
        "import sys; from exits_jax.report import training_figure as t; "
        "t.training_figure([{'phase': 'p', 'step': 1, 'loss': 1.0}]); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
