"""What the tables share: sizes, and the three sets of instances.

Thresholds and generators come from 1,000 instances of train2017, settings are compared on 300
others of other photographs, and val2017 is only ever reported.
"""

import argparse
from typing import NamedTuple

import numpy as np

from exits_jax.retrieval.settings import RetrievalSettings
from experiments.retrieval_measures import Examples, examples

MARGIN = 0.3  # of the labelling crop, share of the box's half-size per side
TRAIN, TUNE = 1000, 300
CALIBRATION = 300  # of `train`: thresholds where retrieval alone is compared
EMPTY = 0.07  # share of crops without a retrieved point [supplement, B]
# Retrieval alone is compared at 24 x 24 points, generators are trained at 16 x 16; the paper has
# 32 x 32 for both.
RETRIEVAL_SIZE, GENERATOR_SIZE = 336, 224

PAPER = RetrievalSettings()  # the paper's defaults


class Sets(NamedTuple):
    """The three sets of instances."""

    train: Examples
    tune: Examples
    val: Examples


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The arguments every table has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", default="data/coco-mini", help="folder of the COCO subset")
    parser.add_argument(
        "--cache", default="runs/supplement", help="folder of what is computed once"
    )
    return parser


def read_sets(root: str) -> Sets:
    """Reads train2017 and val2017 of a COCO folder and draws the sets."""
    train, tune = split(examples(root, "train2017"))
    return Sets(train, tune, examples(root, "val2017"))


def split(everything: Examples) -> tuple[Examples, Examples]:
    """`train` and `tune`, which share no photograph.

    Photographs are put in random order; the first fill `tune`, the next `train`. The photograph
    that the border falls into is left out of `train`.
    """
    images = [instance.image.id for instance in everything.instances]
    order = np.random.default_rng(0).permutation(sorted(set(images)))
    position = {int(image): rank for rank, image in enumerate(order)}
    by_rank = sorted(range(len(images)), key=lambda index: position[images[index]])
    tune = by_rank[:TUNE]
    rest = [index for index in by_rank[TUNE:] if images[index] != images[tune[-1]]]
    return everything.take(rest[:TRAIN]), everything.take(tune)


def ids(chosen: Examples) -> list[int]:
    """Annotation ids."""
    return [instance.id for instance in chosen.instances]
