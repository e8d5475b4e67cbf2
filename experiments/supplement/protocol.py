"""What the tables share: the instances, the extractor, and what is computed once and kept.

Thresholds and generators come from 1,000 instances of train2017, settings are compared on 300
others of other photographs, and val2017 is only ever reported.
"""

import argparse
import functools
import hashlib
import io
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from exits_jax.data.labelling import label_batches
from exits_jax.files import write_bytes
from exits_jax.models import ViT, normalise
from exits_jax.models.backbones import BACKBONES, DEFAULT, backbone_vit, load_backbone
from exits_jax.progress import track
from exits_jax.retrieval import RetrievalSettings, Scores, calibrate_thresholds
from exits_jax.training.state import Params
from experiments.retrieval_measures import Examples, examples, score_all

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
    """Draws the sets: photographs in random order, the first for `tune`, the next for `train`."""
    everything = examples(root, "train2017")
    images = [instance.image.id for instance in everything.instances]
    order = np.random.default_rng(0).permutation(sorted(set(images)))
    position = {int(image): rank for rank, image in enumerate(order)}
    by_rank = sorted(range(len(images)), key=lambda index: position[images[index]])
    # The photograph the border falls into is left out of `train`.
    border = images[by_rank[TUNE - 1]]
    rest = [index for index in by_rank[TUNE:] if images[index] != border]
    return Sets(
        everything.take(rest[:TRAIN]),
        everything.take(by_rank[:TUNE]),
        examples(root, "val2017"),
    )


def _path(folder: str, name: str, facts: Any) -> pathlib.Path:
    """Where something is kept that depends on `facts` and on nothing else."""
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    return pathlib.Path(folder) / f"{name}-{digest}.npz"


def _save(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def _load(path: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


class Extractor(NamedTuple):
    """A similarity extractor.

    Fields:
      weights: a name of `backbones.BACKBONES`, or "random" (of the default's shape).
      params: other parameters than the published ones.
      trained: what `params` are, for the cache.
    """

    weights: str = DEFAULT
    params: Any = None
    trained: str = ""

    def load(self) -> tuple[ViT, Params, str]:
        """Network, parameters and normalisation of its input."""
        if self.weights == "random":
            vit = backbone_vit(DEFAULT)
            image = jnp.zeros((1, 2 * vit.patch, 2 * vit.patch, 3))
            return vit, vit.init(jax.random.key(0), image)["params"], "imagenet"
        vit, published = load_backbone(self.weights)
        params = published if self.params is None else self.params
        return vit, params, BACKBONES[self.weights].pixels


def scores_of(
    folder: str,
    chosen: Examples,
    settings: Mapping[str, RetrievalSettings],
    size: int,
    extractor: Extractor = Extractor(),  # noqa: B008 -- immutable
) -> dict[str, Scores]:
    """`score_all` under every setting; what the cache lacks is computed in one pass.

    Args:
      folder: the cache.
      chosen: instances.
      settings: by name.
      size: side of a crop in pixels.
      extractor: of the similarity.
    """
    facts = (ids(chosen), size, MARGIN, extractor.weights, extractor.trained)
    paths = {name: _path(folder, "scores", (*facts, one)) for name, one in settings.items()}
    missing = {name: settings[name] for name, path in paths.items() if not path.exists()}
    if missing:
        vit, params, pixels = extractor.load()
        found = score_all(
            chosen.instances, missing, vit, params, size=size, margin=MARGIN, pixels=pixels
        )
        for name, scores in found.items():
            _save(paths[name], scores._asdict())
    return {name: Scores(**_load(path)) for name, path in paths.items()}


def ids(chosen: Examples) -> list[int]:
    """Annotation ids."""
    return [instance.id for instance in chosen.instances]


def calibrated(scores: Scores, settings: RetrievalSettings) -> tuple[float, float]:
    """Thresholds that leave 7 % of the crops empty; no mask is read."""
    ratio = (settings.tau_fg, settings.tau_bg)
    return calibrate_thresholds(scores.score, scores.inside_box, EMPTY, ratio=ratio)


class Crops(NamedTuple):
    """Labelling crops with the features of the frozen encoder, one row per instance."""

    features: Float[np.ndarray, "n N N D"]  # float16
    batch: dict[str, np.ndarray]  # the keys of `exits_jax.data.batches`


@functools.cache
def _read_crops(path: pathlib.Path) -> Crops:
    """Kept in memory: every run of a sweep reads the same crops."""
    batch = _load(path)
    return Crops(batch.pop("features"), batch)


def crops_of(folder: str, chosen: Examples, size: int = GENERATOR_SIZE) -> Crops:
    """The crops and their features, computed once."""
    path = _path(folder, "crops", (ids(chosen), size, MARGIN))
    if not path.exists():
        _save(path, _crops(chosen, size))
    return _read_crops(path)


def _crops(chosen: Examples, size: int) -> dict[str, np.ndarray]:
    """Rows of `Crops`, the features among them."""
    vit, params = load_backbone(DEFAULT)

    @jax.jit
    def forward(image: jax.Array) -> jax.Array:
        return vit.apply({"params": params}, normalise(image))[0]

    parts: list[dict[str, np.ndarray]] = []
    with track("features", len(chosen.instances)) as progress:
        for batch in label_batches(chosen.instances, crop_size=size, margin=MARGIN, batch_size=4):
            features = np.asarray(forward(batch["image"]), np.float16)
            rows = batch | {"features": features}
            parts.append({key: value[batch["valid"]] for key, value in rows.items()})
            progress.advance(int(batch["valid"].sum()))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
