"""Segmentations in every form that tools write: the mask is the same, or it is none."""

import json

import numpy as np
import pytest
from annotations_samples import HEIGHT, WIDTH, disc, document, save

from exits_jax.annotations import check_file, decode_segmentation, encode_rle, read_annotations
from exits_jax.annotations.check import inspect_file
from exits_jax.annotations.segmentations import is_rectangle, plain_outline
from exits_jax.system.errors import UserError

PENTAGON = [5.0, 5.0, 15.0, 3.0, 25.0, 5.0, 25.0, 15.0, 5.0, 15.0]
PAIRS = [PENTAGON[k : k + 2] for k in range(0, 10, 2)]
MASK = decode_segmentation([PENTAGON], HEIGHT, WIDTH)
RUNS = {"size": [HEIGHT, WIDTH], "counts": encode_rle(MASK)["counts"]}
VIA = {"all_points_x": PENTAGON[::2], "all_points_y": PENTAGON[1::2]}
BOX = [5, 3, 20, 12]


def content_of(segmentation, bbox=BOX) -> dict:
    content = document()
    content["annotations"] = content["annotations"][:1]
    content["annotations"][0].update(segmentation=segmentation, bbox=bbox, area=None)
    return content


def read(tmp_path, segmentation, bbox=BOX, **options):
    return read_annotations(save(tmp_path, content_of(segmentation, bbox)), **options)


def uncompressed() -> list[float]:
    column_major = MASK.T.ravel()
    edges = np.flatnonzero(np.diff(column_major.astype(int))) + 1
    return np.diff([0, *edges, column_major.size]).astype(float).tolist()


@pytest.mark.parametrize(
    "segmentation",
    [
        [PENTAGON],
        PENTAGON,
        PAIRS,
        [PAIRS],
        [{"x": x, "y": y} for x, y in PAIRS],
        [[{"x": x, "y": y} for x, y in PAIRS]],
        [[str(number) for number in PENTAGON]],
        [f"{number:.1f}" for number in PENTAGON],
        json.dumps([PENTAGON]),
        [PENTAGON, []],
        [[7, 7], PENTAGON, [1, 2, 3, 4]],
        RUNS,
        RUNS | {"size": [float(HEIGHT), f"{WIDTH}"]},
        RUNS | {"size": f"[{HEIGHT}, {WIDTH}]"},
        RUNS | {"counts": repr(RUNS["counts"].encode())},
        json.dumps(RUNS),
        [RUNS],
        [RUNS | {"size": [str(HEIGHT), str(WIDTH)], "counts": repr(RUNS["counts"].encode())}],
        VIA,
        [VIA],
        {"name": "polygon"} | VIA,
        [[PENTAGON]],
        [[PENTAGON, PENTAGON]],
        [[PAIRS]],
        [[PAIRS], [PENTAGON]],
        {"size": [HEIGHT, WIDTH], "counts": uncompressed()},
    ],
    ids=lambda value: json.dumps(value)[:24],
)
def test_one_mask_in_every_form(tmp_path, segmentation):
    found = read(tmp_path, segmentation)
    (instance,) = found.instances
    assert instance.points_source == "mask"
    plain = found.document["annotations"][0]["segmentation"]
    np.testing.assert_array_equal(decode_segmentation(plain, HEIGHT, WIDTH), MASK)
    assert check_file(save(tmp_path, content_of(segmentation))) == []


@pytest.mark.parametrize(
    "segmentation",
    [None, [], [[]], [[], []], {}, "", "[]", float("nan"), [[1, 2, 3, 4]], [[7, 7]], [7, 7]],
    ids=str,
)
def test_no_mask_in_every_form_means_the_box(tmp_path, segmentation):
    found = read(tmp_path, segmentation)
    assert found.instances[0].points_source == "box"
    assert found.instances[0].box_xyxy.tolist() == [5, 3, 25, 15]
    assert not found.document["annotations"][0]["segmentation"]
    with pytest.raises(UserError, match="nothing_given"):
        read(tmp_path, segmentation, bbox=None)


@pytest.mark.parametrize(
    ("segmentation", "code"),
    [
        ([[1, 2, 3, 4, 5]], "bad_polygon"),
        ([[0, 0, 9, 9, 1e6, 3]], "bad_polygon"),
        ([[1, 2, "x", 4, 5, 6]], "bad_polygon"),
        ({"size": [1, 2], "counts": "x"}, "rle_size"),
        ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "bad_rle"),
        ([RUNS, RUNS], "bad_polygon"),
        (RUNS | {"counts": "b'x"}, "bad_rle"),
        ([VIA | {"all_points_y": 3}], "bad_polygon"),
        ([[PAIRS, PAIRS]], "bad_polygon"),  # an outline and a hole, or two parts?
        ("a drawing", "bad_segmentation"),
        (7, "bad_segmentation"),
    ],
    ids=str,
)
def test_a_bad_mask_beside_a_good_box_costs_the_mask(tmp_path, segmentation, code):
    found = read(tmp_path, segmentation)
    assert found.instances[0].points_source == "box"
    assert [note.code for note in found.notes] == [code]
    assert [problem.code for problem in check_file(save(tmp_path, content_of(segmentation)))] == [
        code
    ]
    with pytest.raises(UserError, match=code):
        read(tmp_path, segmentation, bbox=None)


def corners(x0, y0, x1, y1):
    return [x0, y0, x1, y0, x1, y1, x0, y1]


@pytest.mark.parametrize(
    "polygon",
    [
        corners(5, 3, 25, 15),
        corners(25, 15, 5, 3),
        [*corners(5, 3, 25, 15), 5, 3],  # closed
        [5, 3, 5, 15, 25, 15, 25, 3],  # the other way round
        corners(4.5, 2.25, 25.125, 15.5),
        [5, 3, 15, 3, 25, 3, 25, 9, 25, 15, 15, 15, 5, 15, 5, 9],  # the middle of each side, too
        [5, 3, 5, 9, 5, 15, 15, 15, 25, 15, 25, 9, 25, 3, 15, 3, 5, 3],
    ],
    ids=str,
)
@pytest.mark.parametrize("with_box", [True, False])
def test_a_box_written_as_a_polygon_is_a_box(tmp_path, polygon, with_box):
    x, y = np.array(polygon).reshape(-1, 2).T
    box = [float(side) for side in (x.min(), y.min(), np.ptp(x), np.ptp(y))]
    found = read(tmp_path, [polygon], box if with_box else None)
    assert found.instances[0].points_source == "box"
    assert found.instances[0].points_xy is None
    assert found.instances[0].box_xyxy.tolist() == [x.min(), y.min(), x.max(), y.max()]
    assert [note.code for note in found.notes] == ["box_as_mask"]
    notes = inspect_file(save(tmp_path, content_of([polygon], box))).notes
    assert [note.code for note in notes] == ["box_as_mask"]


@pytest.mark.parametrize(
    "polygon",
    [
        [15, 3, 25, 9, 15, 15, 5, 9],  # a rhombus
        [5, 3, 25, 3.5, 25, 15, 5, 15],  # a screen, drawn by hand
        [5, 3, 25, 15, 25, 3, 5, 15],  # across: a bow tie
        [5, 3, 25, 3, 25, 12, 22, 15, 5, 15],  # a corner is cut off
        [5, 3, 25, 3, 25, 15, 15, 13, 5, 15],  # bent inwards
    ],
    ids=str,
)
def test_four_corners_that_are_no_box_are_a_mask(tmp_path, polygon):
    assert read(tmp_path, [polygon]).instances[0].points_source == "mask"


def filled(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(
    ("masks", "sources"),
    [
        ([filled(5, 3, 25, 15), filled(1, 20, 30, 28)], ["mask"] * 2),  # two screens, it may be
        ([filled(5, 3, 25, 15), filled(1, 20, 30, 28), filled(0, 0, 9, 9)], ["box"] * 3),
        ([filled(5, 3, 25, 15), disc(), disc(20, 15, 5)], ["mask"] * 3),  # one screen among discs
        (
            [filled(5, 3, 25, 15), filled(0, 0, 9, 9), filled(1, 20, 30, 28), disc()],
            ["box", "box", "box", "mask"],
        ),
        ([filled(k, 3, k + 3, 5) for k in (0, 9, 20)], ["mask"] * 3),  # specks fill their boxes
    ],
)
def test_boxes_written_as_run_lengths_are_boxes_where_most_are(tmp_path, masks, sources):
    content = document()
    content["annotations"] = [
        {"id": k, "image_id": 1, "category_id": 3, "segmentation": encode_rle(mask)}
        for k, mask in enumerate(masks, start=1)
    ]
    found = read_annotations(save(tmp_path, content))
    assert [instance.points_source for instance in found.instances] == sources
    kept = [bool(a["segmentation"]) for a in found.document["annotations"]]
    assert kept == [source == "mask" for source in sources]


@pytest.mark.parametrize(("polygons", "source"), [(4, "mask"), (3, "box"), (0, "box")])
def test_polygons_count_against_run_lengths_that_fill_their_boxes(tmp_path, polygons, source):
    """Screens among things that people outlined are no boxes."""
    content = document()
    screens = [encode_rle(filled(2 + k, 3, 25 + 4 * k, 15)) for k in range(3)]
    outlines = [[[x + 3 * k for x in PENTAGON]] for k in range(polygons)]
    rectangle = [corners(1, 1, 30, 28)]  # is a box itself, and says nothing
    content["annotations"] = [
        {"id": k, "image_id": 1, "category_id": 3, "segmentation": segmentation}
        for k, segmentation in enumerate([*screens, *outlines, rectangle], start=1)
    ]
    found = read_annotations(save(tmp_path, content)).instances
    sources = [instance.points_source for instance in found]
    assert sources == [source] * 3 + ["mask"] * polygons + ["box"]


def test_no_real_mask_is_taken_for_a_box(coco_mini):
    for name in ("val2017", "train2017"):
        found = read_annotations(coco_mini / "annotations" / f"instances_{name}.json")
        assert {instance.points_source for instance in found.instances} == {"mask"}
        assert {note.code for note in found.notes} <= {"crowds", "near_duplicate"}


def test_a_box_of_zeros_is_an_absent_one(tmp_path):
    found = read(tmp_path, [PENTAGON], bbox=[0, 0, 0, 0])
    assert found.instances[0].box_xyxy.tolist() == [5, 3, 25, 15]
    assert [note.code for note in found.notes] == ["zero_box"]
    with pytest.raises(UserError, match="nothing_given"):
        read(tmp_path, None, bbox=[0, 0, 0, 0])


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        (RUNS | {"size": [str(HEIGHT), float(WIDTH)]}, "run lengths"),
        ([RUNS], "run lengths"),
        (VIA, "polygons"),
        ([[PENTAGON]], "polygons"),
    ],
    ids=["size", "list", "VIA", "deep"],
)
def test_the_note_says_as_what_it_is_read(tmp_path, segmentation, what):
    (note,) = read(tmp_path, segmentation).notes
    assert note.code == "other_form"
    assert f"is read as {what} (" in note.text


def test_backslashes_in_printed_bytes_are_single_ones():
    counts = "02\\34"
    assert plain_outline({"size": [1, 9], "counts": repr(counts.encode())}).segmentation == {
        "size": [1, 9],
        "counts": counts,
    }


def test_corners_beyond_all_numbers_are_no_rectangle():
    assert not is_rectangle([[5, 5, 25, 5, 25, 1e308, 5, 1e308]])
    assert not is_rectangle([[5, 5, 1e308, 5, 1e308, 1e308, 5, 1e308]])
