"""The two networks of a run with their parameters, from weights, warm-up or training."""

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from exits_jax.app import from_config
from exits_jax.app.workdir import Workdir
from exits_jax.models import Generator, ViT, load_params, load_vit, normalise
from exits_jax.models.backbones import backbone_path
from exits_jax.models.decoder import silent_start
from exits_jax.retrieval import RetrievalSettings, Scores, crop_scores
from exits_jax.system.errors import UserError
from exits_jax.training.state import Params

# How the extractor is named among the settings of a generator: says what to do if it differs.
EXTRACTOR = "parameters of the extractor (--config.extractor.params)"


def published_params(section: ConfigDict, network: ViT, seed: int) -> Params:
    """The parameters `section.weights` names: a known backbone, a file, or "random"."""
    if section.weights == "random":
        return fresh_params(network, seed)
    return load_vit(backbone_path(section.weights), network, section.family, stem_seed=seed)


def fresh_params(network: Generator | ViT, seed: int, part: str = "") -> Params:
    """A network's initialisation, or one part of it; compiled, so nothing else is computed."""

    def start(key: jax.Array) -> Params:
        params = network.init(key, _example(network))["params"]
        return params[part] if part else params

    return jax.jit(start)(jax.random.key(seed))


def extractor_params(config: ConfigDict, workdir: Workdir) -> Params:
    """The similarity extractor: `extractor.params`, the workdir's warmed-up one, or as published.

    The last is the "w/o warm-up" row of the supplement's table a3.
    """
    network = from_config.vit(config.extractor, config.crop.size)
    path = config.extractor.params or workdir.extractor
    if config.extractor.params or workdir.extractor.exists():
        return load_params(path, _shapes(network))
    return published_params(config.extractor, network, config.seed)


def initial_generator(config: ConfigDict, workdir: Workdir, network: Generator) -> Params:
    """The generator before training: a pretrained encoder, a fresh decoder."""
    if config.generator.from_extractor:
        encoder = extractor_params(config, workdir)
    else:
        encoder = published_params(config.generator, network.encoder, config.seed)
    decoder = fresh_params(network, config.seed + 1, "decoder")
    if config.generator.prior:  # the first mask is the map's
        decoder = silent_start(decoder)
    return {"encoder": encoder, "decoder": decoder}


def extractor_with_decoder(config: ConfigDict, network: Generator) -> Params:
    """What the warm-up begins with: the published extractor and a fresh mask decoder on it."""
    encoder = published_params(config.extractor, network.encoder, config.seed)
    return {"encoder": encoder, "decoder": fresh_params(network, config.seed, "decoder")}


def trained_generator(config: ConfigDict, workdir: Workdir, extractor: Params | None) -> Params:
    """The generator to label with: `generator.params`, or what was trained in the workdir.

    Args:
      config: of the run.
      workdir: of the run.
      extractor: its parameters, if the generator needs the propagation map (`generator.prior`).

    Raises:
      UserError: there is none, or it was trained with settings it does not work without.
    """
    network = from_config.generator(config)
    path = config.generator.params or workdir.generator
    if not config.generator.params and not workdir.generator.exists():
        raise UserError(
            f"{workdir.generator}: no trained generator; run --mode=train first, name one with "
            "--config.generator.params=FILE, or label without training: "
            "--config.label.source=propagation"
        )
    return load_params(path, _shapes(network), made_with(config, extractor))


def made_with(config: ConfigDict, extractor: Params | None) -> dict[str, Any]:
    """What a generator's parameters work with and no other value of: kept beside them.

    With the propagation map as prior that includes how the map is made, and the extractor.
    """
    facts = from_config.generator_settings(config)
    if config.generator.prior and extractor is not None:
        facts[EXTRACTOR] = digest(extractor)
    return facts


def attend(network: ViT, pixels: str) -> Callable[..., dict[str, dict[int, Any]]]:
    """The extractor as retrieval takes it: (parameters, image uint8, layers) -> intermediates."""

    def intermediates(params: Params, image: Any, **asked: tuple[int, ...]) -> dict:
        return network.apply({"params": params}, normalise(image, pixels), features=False, **asked)[
            1
        ]

    return intermediates


def digest(*trees: Params) -> str:
    """Changes with any of the parameters; names what was made with them."""
    state = hashlib.sha256()
    for leaf in jax.tree.leaves(trees):
        state.update(np.ascontiguousarray(leaf).tobytes())
    return state.hexdigest()[:16]


def scores_function(
    config: ConfigDict, settings: RetrievalSettings, crop_size: int
) -> Callable[[Params, dict[str, Any]], Scores]:
    """(extractor's parameters, batch) -> propagation scores, for crops of `crop_size` pixels."""
    network = from_config.vit(config.extractor, crop_size)
    return crop_scores(
        attend(network, config.extractor.normalise),
        depth=network.depth,
        class_token=network.class_token,
        grid=from_config.grid(config, crop_size),
        settings=settings,
    )


def _shapes(network: Generator | ViT) -> Params:
    """Names and shapes of a network's parameters, without computing them."""
    return jax.eval_shape(network.init, jax.random.key(0), _example(network))["params"]


def _example(network: Generator | ViT) -> jax.Array:
    """The smallest image a network takes; parameters do not depend on the size."""
    patch = network.encoder.patch if isinstance(network, Generator) else network.patch
    return jnp.zeros((1, 2 * patch, 2 * patch, 3))
