"""The networks of a run: how a residual begins, and what its parameters are bound to."""

import jax
import numpy as np
import pytest

from exits_jax.app import networks
from exits_jax.app.settings import read_settings
from tests import tiny_config


def config_with_prior():
    config = tiny_config.get_config()
    config.generator.prior = 1.0
    config.retrieval.decision = "log_ratio"
    return config


def made_with(config, extractor):
    return networks.made_with(read_settings(config), extractor)


def test_a_residual_begins_at_zero():
    settings = read_settings(config_with_prior())
    network = networks.generator(settings)
    params = networks.initial_generator(settings, network)
    image = jax.random.normal(jax.random.key(0), (1, 64, 64, 3))
    assert not np.any(jax.jit(network.apply)({"params": params}, image))


@pytest.mark.parametrize(
    ("key", "value"),
    [("crop.size", 128), ("retrieval.rounds", 3), ("extractor.normalise", "half")],
)
def test_settings_that_a_generator_is_bound_to(key, value):
    config, other = config_with_prior(), config_with_prior()
    extractor = {"a": np.zeros(2, np.float32)}
    section, name = key.split(".")
    other[section][name] = value
    assert made_with(config, extractor) != made_with(other, extractor)
    other = {"a": np.ones(2, np.float32)}
    assert made_with(config, extractor) != made_with(config, other)


def test_without_the_map_the_extractor_does_not_matter():
    config = tiny_config.get_config()
    facts = made_with(config, {"a": np.zeros(2, np.float32)})
    assert facts == made_with(config, None)
    assert not any(key.startswith("retrieval.") for key in facts)
