"""The two phases that train: the warm-up of the extractor, and the mask generator."""

import math

import jax

from exits_jax.app import fitting, networks
from exits_jax.app.fit_task import TRAIN_OVER_FORWARD
from exits_jax.app.phases import Counts, Estimate
from exits_jax.app.run import Run
from exits_jax.models.build import param_shapes
from exits_jax.models.generator import Generator
from exits_jax.models.params_io import save_params
from exits_jax.system.errors import UserError
from exits_jax.system.hosts import wait_for_all
from exits_jax.training.schedule import total_steps
from exits_jax.training.settings import PhaseSettings


def warmup(run: Run) -> None:
    """Warms up the similarity extractor."""
    params = fitting.warm_up(run)
    if run.hosts.first:
        save_params(run.workdir.extractor, params)
    wait_for_all("warmup")


def needs_no_warmup(run: Run) -> bool:
    """Whether the extractor is warmed up, or does not need to be."""
    config = run.config
    if config.label.source == "generator" and config.generator.params:
        return True  # nothing is trained, and labelling never opens the training set
    wanted = config.warmup.epochs and not config.extractor.params
    return not wanted or run.workdir.extractor.exists()


def train(run: Run) -> None:
    """Trains the mask generator."""
    config, warmed_up = run.config, run.workdir.extractor
    if config.warmup.epochs and not (config.extractor.params or warmed_up.exists()):
        raise UserError(f"{warmed_up}: does not exist yet; run --mode=warmup first")
    extractor = networks.extractor_params(config, run.workdir)
    params = fitting.train(run, extractor)
    if run.hosts.first:
        save_params(run.workdir.generator, params, networks.made_with(config, extractor))
    wait_for_all("train")


def needs_no_training(run: Run) -> bool:
    """Whether the generator is trained, or labels come from elsewhere."""
    wanted = run.config.label.source == "generator" and not run.config.generator.params
    return not wanted or run.workdir.generator.exists()


def estimate_warmup(run: Run, counts: Counts) -> Estimate:
    """For `--dry_run`."""
    return _estimate(run, run.config.warmup, counts.large)


def estimate_train(run: Run, counts: Counts) -> Estimate:
    """For `--dry_run`; retrieval before the training is a forward pass of every instance."""
    found = _estimate(run, run.config.train, counts.large)
    once = counts.large if run.config.retrieval.when == "once" else 0
    return found._replace(crops=found.crops + once)


def _estimate(run: Run, section: PhaseSettings, instances: int) -> Estimate:
    steps = total_steps(section, instances)
    return Estimate(
        f"{instances} instances, {section.epochs} epochs, {steps} steps of {section.batch_size}",
        steps * section.batch_size * TRAIN_OVER_FORWARD,
        2 * _checkpoint_megabytes(networks.generator(run.config)),
    )


def _checkpoint_megabytes(network: Generator) -> float:
    """Parameters, teacher and the two moments of Adam, float32, everything trained."""
    return 4 * 4 * sum(math.prod(x.shape) for x in jax.tree.leaves(param_shapes(network))) / 1e6
