"""Label Studio tasks, read by the rules of its run lengths (by its own library: `make interop`)."""

import json
import urllib.parse
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from labels_document import (
    HEIGHT,
    IMAGES,
    PAIR,
    RING,
    WIDTH,
    document,
    entry,
    rectangle,
    with_photographs,
)

from exits_jax.annotations import decode_segmentation
from exits_jax.export.formats import write_format
from exits_jax.export.formats.label_studio import brush_rle

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


class Bits:
    """A string of bits, read from the front."""

    def __init__(self, content):
        self.text, self.place = "".join(f"{byte:08b}" for byte in content), 0

    def number(self, width):
        self.place += width
        return int(self.text[self.place - width : self.place], 2)


def decoded(rle, height, width):
    """The four channels of an image in Label Studio's run lengths."""
    bits = Bits(rle)
    count, value_width = bits.number(32), bits.number(5) + 1
    widths = [bits.number(4) + 1 for _ in range(4)]
    values = []
    while len(values) < count:
        repeated = bits.number(1)
        length = bits.number(widths[bits.number(2)]) + 1
        if repeated:
            values += [bits.number(value_width)] * length
        else:
            values += [bits.number(value_width) for _ in range(length)]
    assert len(values) == count
    return np.array(values).reshape(height, width, 4)


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_brush_masks_are_read_back(mask):
    channels = decoded(brush_rle(mask), *mask.shape)
    assert np.array_equal(channels, np.repeat(mask[:, :, None] * 255, 4, axis=2))


def test_long_runs_are_cut():
    mask = np.zeros((300, 200), bool)
    mask[290:, 7:] = True
    assert np.array_equal(decoded(brush_rle(mask), 300, 200)[..., 3] == 255, mask)


def tasks(folder):
    return json.loads((folder / "tasks.json").read_text())


GIVEN = document(
    entry(0, RING, category_id=7, exits={"score": 0.9, "flags": []}), entry(12, PAIR),
    entry(5, rectangle(0, 0, 9, 9), iscrowd=1),
)  # fmt: skip


def test_every_image_is_a_task_and_every_label_a_region(tmp_path):
    images = with_photographs(tmp_path / "some photographs")
    said = write_format("label_studio", tmp_path, GIVEN, images)
    assert said == f"3 tasks, 1 with predictions; serve local files from {tmp_path}"
    first, second, third = tasks(tmp_path / "label_studio")
    assert "predictions" not in second
    assert "predictions" not in third
    address = urllib.parse.urlsplit(first["data"]["image"])
    place = urllib.parse.parse_qs(address.query)["d"][0]
    assert (tmp_path / place).samefile(images[1].path)
    (prediction,) = first["predictions"]
    assert prediction["score"] == 0.5  # of the label to look at first
    ring, pair = prediction["result"]
    assert (ring["id"], pair["id"]) == ("0", "12")
    assert ring["value"]["brushlabels"] == ["toy car"]
    assert (ring["original_width"], ring["original_height"]) == (WIDTH, HEIGHT)
    assert np.array_equal(decoded(ring["value"]["rle"], HEIGHT, WIDTH)[..., 3] > 0, RING)
    assert np.array_equal(decoded(pair["value"]["rle"], HEIGHT, WIDTH)[..., 3] > 0, PAIR)
    view = ElementTree.parse(tmp_path / "label_studio" / "interface.xml").getroot()
    control = view.find("BrushLabels")
    assert control.get("toName") == view.find("Image").get("name") == ring["to_name"]
    assert control.get("name") == ring["from_name"]
    assert [label.get("value") for label in control] == ["cat", "toy car"]


def test_polygons_are_a_region_a_part(tmp_path):
    write_format("label_studio_polygons", tmp_path, GIVEN, IMAGES)
    folder = tmp_path / "label_studio_polygons"
    (prediction,) = tasks(folder)[0]["predictions"]
    assert [region["id"] for region in prediction["result"]] == ["0", "12", "12-2"]
    parts = [
        (np.array(region["value"]["points"]) * (WIDTH, HEIGHT) / 100).ravel().tolist()
        for region in prediction["result"][1:]
    ]
    assert np.array_equal(decode_segmentation(parts, HEIGHT, WIDTH), PAIR)
    assert ElementTree.parse(folder / "interface.xml").getroot().find("PolygonLabels") is not None


@pytest.mark.parametrize("name", ['say "hi" & <bye>', "it's", "東京"])
def test_names_stay_what_they_are_in_the_interface(name, tmp_path):
    named = {**GIVEN, "categories": [{"id": 30, "name": name}, {"id": 7, "name": "b"}]}
    write_format("label_studio", tmp_path, named, IMAGES)
    view = ElementTree.parse(tmp_path / "label_studio" / "interface.xml").getroot()
    assert view.find("BrushLabels")[0].get("value") == name
