"""Makes the problems both frameworks work on: real crops, and random or pretrained networks.

    python -m experiments.framework_comparison.prepare --size=S --crop=336 --out=problem.npz

Crops come from the demo's photographs through the package's own pipeline. Networks have the form
of DINOv2 (LayerScale, class token, a 37 x 37 position table), which is what the package ships with;
`--size=dinov2` takes its weights, the others are random.
"""

import argparse
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import demo
from exits_jax.annotations import Instance, read_annotations
from exits_jax.data.crop import fixed_window
from exits_jax.models.build import load_backbone
from exits_jax.models.generator import Generator
from exits_jax.models.params_io import flatten, unflatten
from exits_jax.models.published import DEFAULT
from exits_jax.models.settings import SIZES
from exits_jax.models.vit import ViT
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.pseudo_labels.objectives import LossSettings
from exits_jax.retrieval.settings import RESEEDED_KEYS, RetrievalSettings
from experiments.framework_comparison.problem import Arrays, Problem, save_problem

PRETRAINED = "dinov2"
MARGIN = 0.3  # of the crops
NOISE = 0.02  # on random networks' vectors, which start as zeros and ones: see `_network`
# Of the paper, and of coco_mini: the residual on the propagation map, the last two blocks learning.
LOSSES = {
    "paper": LossSettings(),
    "residual": LossSettings(soft=1.0, point=0.25, crf=0.0),
}
TRAINED_BLOCKS = {"paper": -1, "residual": 2}
PRIOR = {"paper": 0.0, "residual": 1.0}
# Rates of plain SGD that move parameters by more than rounding and do not diverge. Pretrained
# features are a hundred times larger than random ones.
SGD_RATE = {"paper": 0.1, "residual": 0.01}
PRETRAINED_RATE = {"paper": 1e-6, "residual": 1e-4, "peak": 1e-5}
# The paper's relatives' AdamW, at rates that move parameters within ten steps.
OPTIMISER = {
    "peak": 1e-4,
    "total_steps": 100,
    "warmup_steps": 2,
    "final_rate": 0.2,
    "betas": [0.9, 0.9],
    "weight_decay": 5e-4,
    "clip_norm": 0.0,
    "decoder_rate": 3.0,
    "sgd": False,
}


def make_problem(size: str, *, patch: int, crop: int, batch: int, seed: int = 0) -> Problem:
    """Networks of a size ("Ti", "S", "B", "L" or "dinov2") and a batch of crops for them."""
    network, extractor = _network(size, patch, seed)
    generator = Generator(network)
    image = jnp.zeros((1, 2 * network.patch, 2 * network.patch, 3))
    decoder = jax.jit(generator.init)(jax.random.key(seed + 1), image)["params"]["decoder"]
    params = {"encoder": extractor, "decoder": _noisy(decoder, seed + 2)}
    return Problem(
        specification(size, network, crop),
        make_batch(batch, crop, crop // network.patch, seed),
        _arrays(params),
        _arrays(extractor),
    )


def specification(size: str, network: ViT, crop: int) -> dict[str, Any]:
    """Every setting the other framework needs, as JSON values."""
    names = ("patch", "width", "depth", "heads", "class_token", "layer_scale", "stem")
    names += ("position_grid", "position_resize")
    rates = PRETRAINED_RATE if size == PRETRAINED else SGD_RATE
    return {
        "size": size,
        "crop": crop,
        "pixels": "imagenet",
        "vit": {name: getattr(network, name) for name in names},
        "retrieval": {
            "attention": dataclasses.asdict(RetrievalSettings()),
            "keys": dataclasses.asdict(RESEEDED_KEYS),
        },
        "losses": {name: dataclasses.asdict(losses) for name, losses in LOSSES.items()},
        "trained_blocks": TRAINED_BLOCKS,
        "prior": PRIOR,
        "optimiser": {**OPTIMISER, "peak": rates.get("peak", OPTIMISER["peak"])},
        "sgd_rate": {form: rates[form] for form in LOSSES},
        "teacher_rate": 0.996,
        "instances": [
            {
                "path": str(instance.image.path),
                "box": instance.box_xyxy.tolist(),
                "points": None if instance.points_xy is None else instance.points_xy.tolist(),
            }
            for instance in demo_instances()
        ],
    }


def make_batch(count: int, crop: int, grid: int, seed: int) -> Arrays:
    """Crops of instances of the demo, evenly spread; the last one is known by its box alone."""
    instances = demo_instances()
    chosen = [instances[i] for i in np.linspace(0, len(instances) - 1, count).round().astype(int)]
    (batch,) = label_batches(chosen, crop_size=crop, margin=MARGIN, batch_size=count)
    batch["has_points"] = batch["has_points"] & (np.arange(count) < count - 1)
    # As `training.once` brings them: log odds on the canonical crop, here a smooth random map.
    rng = np.random.default_rng(seed)
    coarse = jnp.asarray(rng.normal(size=(count, 6, 6)), jnp.float32)
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


def flax_params(arrays: Arrays) -> dict[str, Any]:
    """Flat arrays -> parameters as Flax takes them, on the device."""
    return jax.device_put(unflatten(arrays))


def _network(size: str, patch: int, seed: int) -> tuple[ViT, dict[str, Any]]:
    """A ViT and its parameters; those of a random one get noise where they start alike."""
    if size == PRETRAINED:
        return load_backbone(DEFAULT)
    width, depth, heads = SIZES[size]
    network = ViT(patch, width, depth, heads, layer_scale=True, position_grid=37)
    image = jnp.zeros((1, 2 * patch, 2 * patch, 3))
    params = jax.jit(network.init)(jax.random.key(seed), image)["params"]
    return network, _noisy(params, seed)


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
    parser.add_argument("--patch", type=int, default=14)
    parser.add_argument("--crop", type=int, default=336)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    save_problem(
        given.out,
        make_problem(given.size, patch=given.patch, crop=given.crop, batch=given.batch),
    )


if __name__ == "__main__":
    main()
