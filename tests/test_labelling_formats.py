"""Polygons, index PNGs and YOLO files give the masks back."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from exits_jax.annotations.masks import decode_segmentation, encode_rle
from exits_jax.annotations.records import ImageRecord
from exits_jax.errors import UserError
from exits_jax.labelling.formats import (
    join_parts,
    with_polygons,
    write_index_pngs,
    write_yolo,
)

HEIGHT, WIDTH = 40, 60
IMAGES = {
    1: ImageRecord(1, "set/a.jpg", WIDTH, HEIGHT, None),
    2: ImageRecord(2, "set/a.png", WIDTH, HEIGHT, None),
    3: ImageRecord(3, "b.jpg", WIDTH, HEIGHT, None),
}


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def entry(number, mask, image_id=1, category_id=30, **more):
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": encode_rle(mask),
        "area": int(mask.sum()),
        "iscrowd": 0,
        "exits": {"score": 0.5, "flags": []},
    } | more


def document(*annotations):
    categories = [{"id": 30, "name": "cat"}, {"id": 7, "name": "toy\ncar"}]
    return {"info": 1, "images": [], "categories": categories, "annotations": list(annotations)}


RING = rectangle(5, 5, 25, 25) & ~rectangle(10, 10, 20, 20)
PAIR = rectangle(2, 2, 12, 9) | rectangle(30, 20, 55, 38)


def test_polygons_keep_every_part_and_report_holes():
    crowd = entry(4, rectangle(0, 0, 9, 9), iscrowd=1)
    given = document(entry(1, RING), crowd, entry(2, PAIR))
    before = json.dumps(given)
    output, loss = with_polygons(given)
    assert json.dumps(given) == before
    ring, kept, pair = output["annotations"]
    assert kept == crowd
    assert len(pair["segmentation"]) == 2
    assert np.array_equal(decode_segmentation(pair["segmentation"], HEIGHT, WIDTH), PAIR)
    assert ring["exits"] == {"score": 0.5, "flags": [], "polygon_holes": 1, "polygon_iou": 0.75}
    assert pair["exits"]["polygon_iou"] == 1.0
    assert loss == (2, 1, 0.875, 0.75)
    assert with_polygons(document())[1] == (0, 0, None, None)


def test_index_pngs_number_objects_with_the_smaller_on_top(tmp_path):
    large, small = rectangle(0, 0, 30, 30), rectangle(10, 10, 15, 15)
    crowd = entry(6, rectangle(20, 20, 40, 35), iscrowd=1)
    written = write_index_pngs(
        tmp_path,
        document(entry(8, small), entry(9, large), crowd, entry(3, PAIR, image_id=3)),
        IMAGES,
    )
    assert written == 2
    image = Image.open(tmp_path / "set" / "a.png")
    pixels = np.asarray(image)
    assert image.mode == "L"
    assert np.array_equal(pixels == 1, small)
    assert np.array_equal(pixels == 2, large & ~small)
    assert np.array_equal(pixels == 255, rectangle(20, 20, 40, 35) & ~large)
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["images"] == {"set/a.png": [8, 9], "b.png": [3]}


def test_index_pngs_of_many_objects_are_16_bit_and_names_never_clash(tmp_path):
    crowded = [
        entry(n + 1, rectangle(n % WIDTH, n // WIDTH, n % WIDTH + 1, n // WIDTH + 1))
        for n in range(300)
    ]
    other = entry(1000, PAIR, image_id=2)
    crowd = entry(1001, rectangle(0, 39, 60, 40), iscrowd=1)
    write_index_pngs(tmp_path, document(*crowded, other, crowd), IMAGES)
    pixels = np.asarray(Image.open(tmp_path / "set" / "a.jpg.png"))
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels.ravel()[:300], np.arange(1, 301))
    assert (pixels[39] == 65535).all()
    assert (np.asarray(Image.open(tmp_path / "set" / "a.png.png")) == 1).sum() == PAIR.sum()


def drawn(line):
    """The pixels whose centres a line's polygon covers, drawn eight times as fine."""
    numbers = np.array(line.split()[1:], float).reshape(-1, 2) * [WIDTH * 8, HEIGHT * 8]
    canvas = Image.new("1", (WIDTH * 8, HEIGHT * 8))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in numbers], fill=1)
    return np.asarray(canvas)[4::8, 4::8]


def test_yolo_lines_give_masks_and_classes_back(tmp_path):
    crowd = entry(6, RING, iscrowd=1)
    blob = np.add.outer((np.arange(40) - 20) ** 2, (np.arange(60) - 30) ** 2) < 200
    count = write_yolo(
        tmp_path,
        document(entry(1, blob, category_id=7), crowd, entry(2, PAIR), entry(3, RING, image_id=3)),
        IMAGES,
    )
    assert count == 2
    first, second = (tmp_path / "set" / "a.txt").read_text().splitlines()
    assert (first.split()[0], second.split()[0]) == ("1", "0")
    assert np.array_equal(drawn(first), blob)
    apart = drawn(second) ^ PAIR  # the seam between the parts may be drawn one pixel wide
    assert apart.sum() <= 25
    assert (drawn(second) & PAIR).sum() == PAIR.sum()
    assert np.array_equal(drawn((tmp_path / "b.txt").read_text()), rectangle(5, 5, 25, 25))
    assert (tmp_path / "classes.txt").read_text() == "cat\ntoy car\n"


def test_yolo_refuses_two_images_with_one_text_file(tmp_path):
    with pytest.raises(UserError, match=r"set/a\.jpg: YOLO files are named after"):
        write_yolo(tmp_path, document(entry(1, PAIR), entry(2, PAIR, image_id=2)), IMAGES)


def area(polygon):
    x, y = np.array(polygon).reshape(-1, 2).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_joined_parts_have_the_sum_of_the_areas_and_every_corner():
    corner = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    squares = [(corner + place).ravel().tolist() for place in ((0, 0), (9, 1), (3, 20))]
    joined = join_parts(squares)
    assert area(joined) == 48
    corners = {tuple(point) for point in np.array(joined).reshape(-1, 2).tolist()}
    assert corners == {
        tuple(p) for s in squares for p in np.array(s, float).reshape(-1, 2).tolist()
    }
    assert join_parts(squares[:1]) == squares[0]
