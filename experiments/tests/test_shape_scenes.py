"""Scenes whose classes are outlines: the same bytes twice, nothing but the outline tells."""

import json

import numpy as np
import pytest

from exits_jax.annotations import decode_segmentation, extreme_points, tight_box
from experiments import shape_scenes
from experiments.shape_scenes import SHAPES, TEXTURES, VISIBLE, things, write_split


def test_a_seed_gives_the_same_bytes_however_many_images(tmp_path):
    for folder, images in (("one", 3), ("two", 4)):
        write_split(tmp_path / folder, "val", images, seed=1)
    for number in range(3):
        name = f"val/{number:05d}.jpg"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    one, two = (json.loads((tmp_path / f / "val.json").read_text()) for f in ("one", "two"))
    assert one["images"] == two["images"][:3]
    assert one["annotations"] == two["annotations"][: len(one["annotations"])]
    write_split(tmp_path / "other", "val", 3, seed=2)
    other = json.loads((tmp_path / "other" / "val.json").read_text())
    assert other["annotations"] != one["annotations"]


def test_what_an_annotation_says_is_its_masks(tmp_path):
    write_split(tmp_path, "train", 6, seed=0)
    document = json.loads((tmp_path / "train.json").read_text())
    covered = {row["id"]: np.zeros((160, 160), int) for row in document["images"]}
    for row in document["annotations"]:
        mask = decode_segmentation(row["segmentation"], 160, 160).astype(bool)
        x, y, width, height = row["bbox"]
        assert [x, y, x + width, y + height] == tight_box(mask).tolist()
        assert row["extreme_points"] == extreme_points(mask).tolist()
        assert row["area"] == mask.sum()
        covered[row["image_id"]] += mask
    assert max(cover.max() for cover in covered.values()) == 1  # what hides is not what is hidden


def test_objects_are_seen_and_most_touch_another():
    touch = count = 0
    for seed in range(60):
        found = things(np.random.default_rng(seed))
        assert 1 <= len(found) <= shape_scenes.MOST
        masks = shape_scenes._visible(found)
        for thing, mask in zip(found, masks, strict=True):
            assert mask.sum() >= VISIBLE * (thing.alpha >= 0.5).sum()
        for mask in masks:
            near = np.pad(mask, 1)
            near = near[2:, 1:-1] | near[:-2, 1:-1] | near[1:-1, 2:] | near[1:-1, :-2]
            touch += any((near & other).any() for other in masks if other is not mask)
            count += 1
    assert 0.4 < touch / count < 0.9


@pytest.mark.parametrize("shape", SHAPES)
def test_size_does_not_tell_a_shape(shape):
    rng = np.random.default_rng(0)
    for _ in range(5):
        polygons = SHAPES[shape](rng)
        outer, *holes = map(shape_scenes._area, polygons)
        scale = 20 * np.sqrt(np.pi / (outer - sum(holes)))
        stretched = scale * shape_scenes._turned_and_stretched(rng)
        alpha = shape_scenes._alpha([corners @ stretched + 80 for corners in polygons])
        assert alpha.sum() == pytest.approx(np.pi * 20**2, rel=0.03)


def test_train_and_val_share_no_texture():
    for ours, theirs in zip(TEXTURES["train"], TEXTURES["val"], strict=True):
        assert not set(ours) & set(theirs)
