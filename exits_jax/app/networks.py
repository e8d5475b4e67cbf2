"""The two networks of a run with their parameters, from weights, warm-up or training."""

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from exits_jax.app.settings import Settings, generator_facts
from exits_jax.app.workdir import Workdir
from exits_jax.models.build import (
    attend,
    build_backbone,
    fresh_params,
    param_shapes,
    pretrained_params,
)
from exits_jax.models.decoder import silent_start
from exits_jax.models.generator import Generator
from exits_jax.models.params_io import load_params
from exits_jax.retrieval.crops import crop_scores
from exits_jax.retrieval.score import Scores
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.errors import UserError
from exits_jax.system.types import Params

# The extractor's name among a generator's settings: says what to do if it differs.
EXTRACTOR = "parameters of the extractor (--config.extractor.params)"


def generator(config: Settings) -> Generator:
    """The generator; `train.train_blocks` says which blocks are frozen."""
    return Generator(build_backbone(config.generator, config.crop.size, config.train.train_blocks))


def warmup_network(config: Settings) -> Generator:
    """The similarity extractor with a mask decoder on top, as it is warmed up."""
    blocks = config.warmup.train_blocks
    return Generator(build_backbone(config.extractor, config.crop.size, blocks))


def grid(config: Settings, crop_size: int | None = None) -> int:
    """N, cells per side of the extractor's points on a crop (the config's, or `crop_size`)."""
    return (crop_size or config.crop.size) // config.extractor.patch


def extractor_params(config: Settings, workdir: Workdir) -> Params:
    """The extractor's parameters: `extractor.params`, the workdir's warmed-up ones, or published.

    The last is the "w/o warm-up" row of the supplement's table a3.
    """
    network = build_backbone(config.extractor, config.crop.size)
    path = config.extractor.params or workdir.extractor
    if config.extractor.params or workdir.extractor.exists():
        return load_params(path, param_shapes(network))
    return pretrained_params(config.extractor, network, config.seed)


def initial_generator(config: Settings, network: Generator) -> Params:
    """The generator before training: a pretrained encoder, a fresh decoder."""
    encoder = pretrained_params(config.generator, network.encoder, config.seed)
    decoder = fresh_params(network, config.seed + 1, "decoder")
    if config.generator.prior:  # the first mask is the map's own
        decoder = silent_start(decoder)
    return {"encoder": encoder, "decoder": decoder}


def extractor_with_decoder(config: Settings, network: Generator) -> Params:
    """What the warm-up begins with: the published extractor and a fresh mask decoder on top."""
    encoder = pretrained_params(config.extractor, network.encoder, config.seed)
    return {"encoder": encoder, "decoder": fresh_params(network, config.seed, "decoder")}


def trained_generator(config: Settings, workdir: Workdir, extractor: Params | None) -> Params:
    """The generator's parameters to label with: `generator.params`, or the workdir's trained ones.

    Args:
      config: of the run.
      workdir: of the run.
      extractor: its parameters, if the generator needs the propagation map (`generator.prior`).

    Raises:
      UserError: there are none, or they were trained with settings that differ from these.
    """
    network = generator(config)
    path = config.generator.params or workdir.generator
    if not config.generator.params and not workdir.generator.exists():
        raise UserError(
            f"{workdir.generator}: no trained generator; run --mode=train first, name one with "
            "--config.generator.params=FILE, or label without training: "
            "--config.label.source=propagation"
        )
    return load_params(path, param_shapes(network), made_with(config, extractor))


def made_with(config: Settings, extractor: Params | None) -> dict[str, Any]:
    """The settings that a generator's parameters work with, and no others: kept beside them.

    With the propagation map as prior these include how the map is made, and the extractor.
    """
    facts = generator_facts(config)
    if config.generator.prior and extractor is not None:
        facts[EXTRACTOR] = digest(extractor)
    return facts


def digest(*trees: Params) -> str:
    """A digest of the parameters; names what was made with them."""
    state = hashlib.sha256()
    for leaf in jax.tree.leaves(trees):
        state.update(np.ascontiguousarray(leaf).tobytes())
    return state.hexdigest()[:16]


def scores_function(
    config: Settings, settings: RetrievalSettings, crop_size: int
) -> Callable[[Params, dict[str, Any]], Scores]:
    """(extractor's parameters, batch) -> propagation scores, for crops of `crop_size` pixels."""
    network = build_backbone(config.extractor, crop_size)
    return crop_scores(
        attend(network, config.extractor.normalise),
        depth=network.depth,
        class_token=network.class_token,
        grid=grid(config, crop_size),
        settings=settings,
    )
