"""What is computed once and kept in a folder: scores, crops with their features, generators' IoU.

A file is named after what it depends on, but for the code and the photographs: delete the folder
when those change.
"""

import functools
import hashlib
import io
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from exits_jax.models.build import build_backbone, fresh_params, load_backbone
from exits_jax.models.published import DEFAULT, published
from exits_jax.models.vit import ViT, normalise
from exits_jax.retrieval.score import Scores
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.files import write_bytes
from exits_jax.training.state import Params
from experiments.retrieval_measures import Examples, in_batches, score_all
from experiments.supplement.protocol import MARGIN, ids

RANDOM = "random"


class Extractor(NamedTuple):
    """A similarity extractor.

    Fields:
      weights: a name of `BACKBONES`, or `RANDOM` (of the default's shape).
      params: other parameters than the published ones.
      digest: of those parameters (`networks.digest`).
    """

    weights: str = DEFAULT
    params: Params | None = None
    digest: str = ""

    def load(self) -> tuple[ViT, Params, str]:
        """Network, parameters and normalisation of its input."""
        if self.weights == RANDOM:
            vit = build_backbone(published(DEFAULT))
            return vit, fresh_params(vit, 0), "imagenet"
        vit, loaded = load_backbone(self.weights)
        params = loaded if self.params is None else self.params
        return vit, params, published(self.weights).normalise


PUBLISHED = Extractor()


def scores_of(
    folder: str,
    chosen: Examples,
    settings: Mapping[str, RetrievalSettings],
    size: int,
    extractor: Extractor = PUBLISHED,
) -> dict[str, Scores]:
    """`score_all` under every setting; what the folder lacks is computed in one pass.

    Args:
      folder: where scores are kept.
      chosen: instances.
      settings: by name.
      size: side of a crop in pixels.
      extractor: of the similarity.
    """
    facts = (ids(chosen), size, MARGIN, extractor.weights, extractor.digest)
    paths = {name: path_of(folder, "scores", (*facts, one)) for name, one in settings.items()}
    missing = {name: settings[name] for name, path in paths.items() if not path.exists()}
    if missing:
        vit, params, pixels = extractor.load()
        found = score_all(
            chosen.instances, missing, vit, params, size=size, margin=MARGIN, pixels=pixels
        )
        for name, scores in found.items():
            _save(paths[name], scores._asdict())
    return {name: Scores(**_load(path)) for name, path in paths.items()}


class Crops(NamedTuple):
    """Labelling crops with the features of the frozen encoder, one row per instance."""

    features: Float[np.ndarray, "n N N D"]  # float16
    batch: dict[str, np.ndarray]  # the keys of `exits_jax.pseudo_labels.crops`


def crops_of(folder: str, chosen: Examples, size: int) -> Crops:
    """The crops of these instances and their features."""
    path = path_of(folder, "crops", (ids(chosen), size, MARGIN))
    if not path.exists():
        _save(path, _crops(chosen, size))
    return _read_crops(path)


@functools.cache
def _read_crops(path: pathlib.Path) -> Crops:
    """Kept in memory: every run of a sweep reads the same crops."""
    batch = _load(path)
    return Crops(batch.pop("features"), batch)


def _crops(chosen: Examples, size: int) -> dict[str, np.ndarray]:
    """Rows of `Crops`, the features among them."""
    vit, params = load_backbone(DEFAULT)

    @jax.jit
    def forward(image: jax.Array) -> jax.Array:
        return vit.apply({"params": params}, normalise(image))[0]

    def rows(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return batch | {"features": np.asarray(forward(batch["image"]), np.float16)}

    return in_batches("features", chosen.instances, rows, size=size, margin=MARGIN)


def path_of(folder: str, name: str, facts: Any, suffix: str = "npz") -> pathlib.Path:
    """Where something is kept that depends on `facts`."""
    return pathlib.Path(folder) / f"{name}-{digest_of(facts)}.{suffix}"


def digest_of(facts: Any) -> str:
    """Changes with the representation of `facts`."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def _save(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def _load(path: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)
