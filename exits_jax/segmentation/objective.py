"""What SOLOv2 minimises: dice of the masks of cells with an object, focal loss of all cells."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exits_jax.losses import dice_loss, focal_loss
from exits_jax.segmentation.build import Segmenter
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.segmentation.solov2 import Outputs
from exits_jax.segmentation.targets import NO_CLASS, Targets, assign
from exits_jax.system.types import Batch, Params
from exits_jax.training.state import merge_params
from exits_jax.training.task import ITEMS, Counts, Objective, Sums

DICE_EPS = 2e-3  # of the released code
# What is added to the number of cells with an object, which the class loss is divided by.
FOCAL_OFFSET = {"focal": 1.0}


def solov2_objective(network: Segmenter, settings: SegmentationSettings) -> Objective:
    """dice + focal over a batch, each with its weight; their counts are `solov2_counts`.

    Args:
      network: of the canvases of the batch.
      settings: targets and weights.

    Returns:
      objective(params, teacher, frozen, batch) -> Sums. A batch is the plan's (`plan.ImagePlan`);
      `tokens`, where it has them, stand for the encoder's frozen layers.
    """

    def objective(params: Params, teacher: Params, frozen: Params, batch: Batch) -> Sums:
        del teacher
        whole = merge_params(params, frozen)
        outputs = network.apply(
            {"params": whole}, batch["image"], batch["extent"], batch.get("tokens")
        )
        targets = _targets(batch, settings)
        dice = mask_losses(outputs, targets, batch) * targets.share
        focal = class_losses(outputs, targets) * targets.weight
        focal = jnp.where(batch["valid"][:, None], focal, 0.0)
        terms = {
            "dice": settings.dice * jnp.sum(dice),
            "focal": settings.focal * jnp.sum(focal),
        }
        shown = {
            "cells": jnp.sum(_owned(targets)),
            "objects": jnp.sum((batch["weight"] > 0) & batch["valid"][:, None]),
            "objects_without_cell": jnp.sum(targets.without_cell),
        }
        return Sums(terms, {name: value.astype(jnp.float32) for name, value in shown.items()})

    return objective


def solov2_counts(settings: SegmentationSettings) -> Counts:
    """What the terms are divided by: pairs of cell and object, and cells with an object.

    With `segmentation.trust` each counts as much as its object's weight.
    """

    def counts(batch: Batch) -> dict[str, Float[Array, ""]]:
        targets = _targets(batch, settings)
        return {
            ITEMS: jnp.sum(batch["valid"].astype(jnp.float32)),
            "dice": jnp.sum(targets.share),
            "focal": jnp.sum(targets.weight * _owned(targets)),
        }

    return counts


def mask_losses(outputs: Outputs, targets: Targets, batch: Batch) -> Float[Array, "b k"]:
    """Dice of each pair's mask: the cell's kernel on the features, against the object's mask."""
    kernels = jnp.take_along_axis(outputs.kernels, targets.cell[..., None], axis=1)
    logits = jnp.einsum("bke,bhwe->bkhw", kernels, outputs.features)
    masks = jax.vmap(lambda rows, wanted: rows[wanted])(batch["masks"], targets.instance)
    flat = (*logits.shape[:2], -1)
    predicted = jax.nn.sigmoid(logits).reshape(flat)
    return dice_loss(predicted, masks.reshape(flat).astype(jnp.float32), DICE_EPS)


def class_losses(outputs: Outputs, targets: Targets) -> Float[Array, "b n"]:
    """Focal loss of each cell, summed over the classes."""
    classes = jnp.arange(outputs.logits.shape[-1])
    return jnp.sum(focal_loss(outputs.logits, targets.classes[..., None] == classes), axis=-1)


def _targets(batch: Batch, settings: SegmentationSettings) -> Targets:
    """The targets of a batch; rows that only fill it have none."""
    weight = jnp.where(batch["valid"][:, None], batch["weight"], 0.0)
    return assign({**batch, "weight": weight}, batch["image"].shape[1:3], settings)


def _owned(targets: Targets) -> Array:
    return (targets.classes != NO_CLASS).astype(jnp.float32)
