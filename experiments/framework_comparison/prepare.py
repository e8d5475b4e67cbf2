"""Makes the problems both frameworks work on: real crops, and random or pretrained networks.

    python -m experiments.framework_comparison.prepare --size=S --crop=336 --out=problem.npz

Crops come from the demo's photographs through the package's own pipeline. Networks have the form
of the backbone that the package ships with; `--size=dinov2` takes its weights, the others are
random.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import demo
from exits_jax.annotations import Instance, read_annotations
from exits_jax.data.crop import fixed_window
from exits_jax.models.build import fresh_params, load_backbone
from exits_jax.models.generator import Generator
from exits_jax.models.params_io import flatten
from exits_jax.models.settings import SIZES
from exits_jax.models.vit import ViT
from exits_jax.pseudo_labels.label_crops import label_batches
from experiments.framework_comparison.problem import (
    BACKBONE,
    CROP,
    DEFAULT,
    PATCH,
    PRETRAINED,
    Arrays,
    Problem,
    save_problem,
    vit_shape,
)

NOISE = 0.02  # on random networks' vectors, which start as zeros and ones: see `_noisy`


def make_problem(size: str, crop: int, batch: int, seed: int = 0) -> Problem:
    """Networks of a size and a batch of crops for them."""
    network = vit_of(size)
    if size == PRETRAINED:
        extractor = load_backbone(DEFAULT)[1]
    else:
        extractor = _noisy(fresh_params(network, seed), seed)
    decoder = _noisy(fresh_params(Generator(network), seed + 1, "decoder"), seed + 2)
    instances = [
        {
            "path": str(instance.image.path),
            "box": instance.box_xyxy.tolist(),
            "points": None if instance.points_xy is None else instance.points_xy.tolist(),
        }
        for instance in demo_instances()
    ]
    generator = {"encoder": extractor, "decoder": decoder}
    crops = make_batch(batch, crop, seed)
    return Problem(size, instances, crops, _arrays(generator), _arrays(extractor))


def vit_of(size: str, **changes: Any) -> ViT:
    """The network of a size."""
    width, depth, heads = vit_shape(size)
    grid = BACKBONE.position_grid
    return ViT(PATCH, width, depth, heads, layer_scale=True, position_grid=grid, **changes)


def make_batch(count: int, crop: int, seed: int) -> Arrays:
    """Crops of instances of the demo, evenly spread; the last one is known by its box alone."""
    instances, grid = demo_instances(), crop // PATCH
    chosen = [instances[i] for i in np.linspace(0, len(instances) - 1, count).round().astype(int)]
    margin = CROP.label_margin
    (batch,) = label_batches(chosen, crop_size=crop, margin=margin, batch_size=count)
    batch["has_points"] = batch["has_points"] & (np.arange(count) < count - 1)
    # As `training.once` brings them: log odds on the canonical crop, here a smooth random map.
    coarse = jnp.asarray(np.random.default_rng(seed).normal(size=(count, 6, 6)), jnp.float32)
    return batch | {
        "canonical_score": np.asarray(jax.image.resize(coarse, (count, grid, grid), "cubic")),
        "canonical_window": np.stack([fixed_window(i.box_xyxy, 0.5) for i in chosen]).astype("f4"),
        "instance_box": np.stack([instance.box_xyxy for instance in chosen]),
        "image_size": np.array([[i.image.height, i.image.width] for i in chosen]),
    }


def demo_instances() -> list[Instance]:
    """The instances of the demo's photographs."""
    config = demo.get_config()
    return read_annotations(config.data.annotations, config.data.images).instances


def _noisy(params: dict[str, Any], seed: int) -> dict[str, Any]:
    """Zeros and ones hide a bias or a scale that is put in the wrong place: they get noise."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: x + NOISE * rng.normal(size=x.shape).astype("f4") if x.ndim == 1 else x, params
    )


def _arrays(params: dict[str, Any]) -> Arrays:
    return {name: np.asarray(array, np.float32) for name, array in flatten(params).items()}


def main() -> None:
    """Writes one problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="S", choices=[*SIZES, PRETRAINED])
    parser.add_argument("--crop", type=int, default=336)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    save_problem(given.out, make_problem(given.size, given.crop, given.batch))


if __name__ == "__main__":
    main()
