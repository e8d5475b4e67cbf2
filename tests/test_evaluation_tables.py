"""Groups, intervals and the tables made of them."""

import io
import pathlib

import numpy as np
import pytest
import rich.console

from exits_jax.annotations.records import ImageRecord, Instance
from exits_jax.evaluation.iou import GroundTruth
from exits_jax.evaluation.summary import (
    METRICS,
    category_names,
    grouped_means,
    image_names,
    paired_bootstrap,
)
from exits_jax.evaluation.tables import (
    breakdown,
    comparison,
    differences,
    markdown,
    rich_table,
    shown,
)


def truth_of(*pairs):
    """A ground truth of (file name, category) pairs; the masks play no part."""
    instances = [
        Instance(
            id=number,
            index=number,
            image=ImageRecord(1, name, 10, 10, pathlib.Path(name)),
            category_id=1,
            category=category,
            box_xyxy=np.zeros(4),
            points_xy=None,
            points_source="box",
            area=1.0,
        )
        for number, (name, category) in enumerate(pairs)
    ]
    no = np.zeros(len(pairs), bool)
    return GroundTruth(instances, [{}] * len(pairs), no, no, [], {})


TRUTH = truth_of(("b.jpg", "coin"), ("a.jpg", "cat"), ("b.jpg", "cat"), ("b.jpg", "coin"))


def test_groups_by_photograph_and_by_category():
    ious = np.array([0.5, 0.9, 0.25, 1.0])
    assert grouped_means(image_names(TRUTH), ious) == [
        ("b.jpg", 3, pytest.approx(1.75 / 3, abs=1e-6)),
        ("a.jpg", 1, 0.9),
    ]
    assert grouped_means(category_names(TRUTH), ious) == [("coin", 2, 0.75), ("cat", 2, 0.575)]
    names = category_names(TRUTH, {"coin": "coins"}, rest="the rest")
    assert names == ["coins", "the rest", "the rest", "coins"]


def test_bootstrap_of_a_constant_difference_has_no_width():
    iou = np.random.default_rng(0).random(50)
    mean, low, high = paired_bootstrap(iou + 0.1, iou, samples=300)
    assert (mean, low, high) == pytest.approx((0.1, 0.1, 0.1))


def test_bootstrap_interval_is_the_normal_one_for_many_instances():
    rng = np.random.default_rng(1)
    difference = rng.normal(0.02, 0.2, 2000)
    mean, low, high = paired_bootstrap(difference, np.zeros(2000), seed=3, samples=4000)
    half = 1.96 * difference.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.08 * half)
    assert paired_bootstrap(difference, np.zeros(2000), seed=3, samples=4000) == (mean, low, high)


def test_bootstrap_by_photograph_is_wider_when_a_photograph_moves_together():
    rng = np.random.default_rng(2)
    photographs = np.repeat(np.arange(20), 10)
    difference = rng.normal(0, 0.2, 20)[photographs]
    alone = paired_bootstrap(difference, np.zeros(200), samples=2000)
    together = paired_bootstrap(
        difference, np.zeros(200), samples=2000, groups=photographs.tolist()
    )
    assert together[0] == alone[0]
    assert together[2] - together[1] > 2 * (alone[2] - alone[1])
    with pytest.raises(ValueError, match="resampled"):
        paired_bootstrap(np.zeros(0), np.zeros(0))


def figures(**known):
    return dict.fromkeys(METRICS) | known


def test_the_comparison_shows_numbers_and_says_where_there_are_none():
    evaluation = figures(miou=0.7831, share_iou_75=0.7, ap=0.5) | {
        "baselines": {"filled_box": figures(miou=0.588), "propagation_only": figures()}
    }
    assert comparison(evaluation) == [
        ["", "mean IoU", "share > .75", "AP"],
        ["filled box", "0.588", "n/a", "n/a"],
        ["propagation only", "n/a", "n/a", "n/a"],
        ["generator", "0.783", "0.700", "0.500"],
    ]
    assert (shown(None), shown(3), shown(0.25)) == ("n/a", "3", "0.250")


def test_breakdown_and_differences():
    methods = {"box": np.array([0.5, 0.5, 0.5, 0.5]), "ours": np.array([0.5, 0.9, 0.25, 1.0])}
    assert breakdown(image_names(TRUTH), methods) == [
        ["photo", "n", "box", "ours"],
        ["b.jpg", "3", "0.500", "0.583"],
        ["a.jpg", "1", "0.500", "0.900"],
        ["all", "4", "0.500", "0.662"],
    ]
    rows = differences(methods, "box")
    assert rows[1] == ["box", "0.500", "", ""]
    assert rows[2][:3] == ["ours", "0.662", "+0.163"]
    assert " to " in rows[2][3]


def test_markdown_and_terminal_show_every_cell():
    rows = [["photo", "n"], ["a|b.jpg", "3"]]
    assert markdown(rows) == "| photo | n |\n| --- | ---: |\n| a\\|b.jpg | 3 |\n"
    console = rich.console.Console(file=io.StringIO(), width=60)
    console.print(rich_table(rows, title="By photo [val]"))
    text = console.file.getvalue()
    assert all(cell in text for row in rows for cell in row)
