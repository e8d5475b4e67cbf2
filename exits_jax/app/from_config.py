"""Where the config is read: networks, settings and optimisers as the package takes them.

The rooms (annotations, data, models, ...) never see a config.
"""

import operator
from typing import Any

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from exits_jax.data.pipeline import Augment, batches_per_epoch
from exits_jax.models import Generator, ViT, build_vit
from exits_jax.pseudo_labels.edges import Edges
from exits_jax.pseudo_labels.objectives import LossSettings
from exits_jax.retrieval import RetrievalSettings
from exits_jax.system.errors import UserError
from exits_jax.training.loop import Schedule
from exits_jax.training.optimiser import learning_rate_schedule, make_optimiser

# Settings that change what a generator's parameters mean; shapes tell of the others.
GENERATOR_KEYS = ("layer_scale", "normalise", "position_resize", "prior")
# Settings that change the propagation map.
MAP_KEYS = (
    "source", "layers", "sinkhorn_iterations", "symmetric", "form", "hops", "beta", "decision",
    "delta", "temperature", "distance_sigma", "box_only", "rounds", "centring",
)  # fmt: skip

PAPER_CROP = 512  # the side of the crop in whose pixels `retrieval.delta` is given


def vit(section: ConfigDict, crop_size: int, train_blocks: int = -1) -> ViT:
    """The ViT that `config.extractor` or `config.generator` describes.

    Args:
      section: the section of the config.
      crop_size: side of the crops in pixels, to be refused here if the patches do not fit.
      train_blocks: the last so many blocks learn; -1: all, and the embedding.
    """
    if crop_size % section.patch:
        raise UserError(
            f"a crop of {crop_size} pixels does not divide into patches of {section.patch}"
        )
    network = build_vit(
        section.size,
        section.patch,
        class_token=section.class_token,
        layer_scale=section.layer_scale,
        stem=section.stem,
        position_grid=section.position_grid,
        position_resize=section.position_resize,
        dtype=jnp.bfloat16 if section.bf16 else jnp.float32,
        remat=section.remat,
        attention=section.attention,
    )
    return network.clone(frozen_blocks=frozen_blocks(network, train_blocks))


def frozen_blocks(network: ViT, train_blocks: int) -> int:
    """How many blocks, from the input, stay as they are when the last `train_blocks` learn."""
    return 0 if train_blocks < 0 else max(network.depth - train_blocks, 0)


def generator(config: ConfigDict) -> Generator:
    """The generator, with the blocks frozen that `config.train.train_blocks` says."""
    return Generator(vit(config.generator, config.crop.size, config.train.train_blocks))


def warmup_network(config: ConfigDict) -> Generator:
    """The similarity extractor with a mask decoder on it, as it is warmed up."""
    return Generator(vit(config.extractor, config.crop.size, config.warmup.train_blocks))


def generator_settings(config: ConfigDict) -> dict[str, Any]:
    """The settings that trained parameters of the generator only work with, by their keys."""
    keys = ["crop.size", *(f"generator.{name}" for name in GENERATOR_KEYS)]
    if config.generator.prior:
        keys += [f"retrieval.{name}" for name in MAP_KEYS]
        keys += ["extractor.normalise", "extractor.position_resize"]
    return {key: operator.attrgetter(key)(config) for key in keys}


def grid(config: ConfigDict, crop_size: int | None = None) -> int:
    """N, cells per side of the extractor's points on a crop (the config's, or `crop_size`)."""
    return (crop_size or config.crop.size) // config.extractor.patch


def retrieval(config: ConfigDict) -> RetrievalSettings:
    """The settings of point retrieval; `delta` becomes a share of the crop's side."""
    section = config.retrieval
    return RetrievalSettings(
        source=section.source,
        layers=tuple(section.layers) or "all",
        hops=section.hops,
        beta=section.beta,
        form=section.form,
        decision=section.decision,
        tau_fg=section.tau_fg,
        tau_bg=section.tau_bg,
        delta=delta(config),
        sinkhorn=section.sinkhorn_iterations,
        symmetric=section.symmetric,
        temperature=section.temperature,
        distance_sigma=section.distance_sigma or None,
        centring=section.centring,
        box_only=section.box_only,
        rounds=section.rounds,
    )


def delta(config: ConfigDict) -> float:
    """The push of the extreme points as a share of the crop's side."""
    return config.retrieval.delta / PAPER_CROP


def edges(config: ConfigDict) -> Edges:
    """How the edges of masks are drawn."""
    section = config.label
    return Edges(section.cubic, section.smooth, section.fill_holes)


def losses(config: ConfigDict) -> LossSettings:
    """Weights and forms of the losses."""
    section = config.loss
    return LossSettings(
        mil=section.mil,
        point=section.point,
        crf=section.crf,
        balanced=section.balanced,
        mil_everywhere=section.mil_everywhere,
        soft=section.soft,
        crf_sweeps=section.crf_sweeps,
        crf_sigma=section.crf_sigma,
    )


def augment(config: ConfigDict) -> Augment:
    """How a training crop is cut and coloured."""
    section = config.crop
    return Augment(
        crop_size=section.size,
        margin_scale=section.train_margin,
        flip_probability=section.flip,
        colour=section.colour,
    )


def schedule(config: ConfigDict, phase: ConfigDict, instances: int) -> Schedule:
    """How long a phase ("warmup" or "train") runs on so many instances."""
    return Schedule(
        total_steps=max(round(steps_asked(phase, instances)), phase.min_steps, 1),
        checkpoint_every=config.train.checkpoint_every,
        log_every=config.train.log_every,
    )


def rates(phase: ConfigDict, instances: int, total_steps: int) -> optax.Schedule:
    """The phase's learning rate by step, over `total_steps`.

    Where `min_steps` lengthens the phase it lengthens the warm-up of the rate with it: Adam's first
    step at the full rate moves every weight by it, which ruins what only a few steps follow.
    """
    longer = max(phase.min_steps / steps_asked(phase, instances), 1.0)
    batches = batches_per_epoch(instances, phase.batch_size)
    return learning_rate_schedule(
        phase.learning_rate * phase.batch_size,
        total_steps=total_steps,
        warmup_steps=round(phase.rate_warmup_epochs * batches * longer),
        final_rate=phase.final_rate,
    )


def steps_asked(phase: ConfigDict, instances: int) -> float:
    """The steps that a phase's epochs are, not rounded; of no epochs (`--mode=warmup`) one."""
    return phase.epochs * batches_per_epoch(instances, phase.batch_size) or 1.0


def optimiser(phase: ConfigDict, learning_rate: optax.Schedule) -> optax.GradientTransformation:
    """AdamW with the phase's settings at the `rates` given."""
    return make_optimiser(
        learning_rate,
        betas=tuple(phase.betas),
        weight_decay=phase.weight_decay,
        clip_norm=phase.clip_norm,
        decoder_rate=phase.decoder_rate,
        sgd=phase.sgd,
    )
