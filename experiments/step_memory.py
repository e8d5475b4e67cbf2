"""How much memory a training step takes, by batch and crop, with and without remat; nothing runs.

    python -m experiments.step_memory

asks XLA for the paper's step with retrieval in it, on the device at hand, and writes
experiments/results/step_memory.md. On a CPU a batch runs two crops at a time, as in training.
"""

import argparse
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from exits_jax.app.networks import attend
from exits_jax.models.generator import Generator
from exits_jax.models.vit import build_vit
from exits_jax.pseudo_labels.objectives import LossSettings, generator_objective
from exits_jax.pseudo_labels.supervision import supervise_online
from exits_jax.retrieval.crops import crop_scores
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.cpu import prefer_eigen
from exits_jax.system.files import write_bytes
from exits_jax.system.progress import track
from exits_jax.training.optimiser import make_optimiser
from exits_jax.training.parallel import automatic_microbatches
from exits_jax.training.state import init_state
from exits_jax.training.step import make_step
from exits_jax.training.task import count_rows, over_rows
from experiments.machine import machine

RESULT = pathlib.Path(__file__).parent / "results" / "step_memory.md"
PATCH = 16
CROPS, BATCHES = (224, 336, 512), (1, 2, 8)
# LLVM's optimisations change no buffer, and take most of the time a compilation takes.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def step_bytes(size: str, crop: int, batch: int, remat: bool) -> tuple[int, int]:
    """Bytes that stay from step to step, and bytes that one step takes besides."""
    vit = build_vit(size, PATCH, remat=remat)
    settings, grid = RetrievalSettings(), crop // PATCH
    scores = crop_scores(
        attend(vit, "imagenet"), depth=vit.depth, class_token=True, grid=grid, settings=settings
    )
    objective = generator_objective(
        Generator(vit), "imagenet", supervise_online(scores, settings), LossSettings()
    )
    optimiser = make_optimiser(
        lambda step: 1e-5, betas=(0.9, 0.9), weight_decay=5e-4, clip_norm=0.0, decoder_rate=1.0
    )
    image = jax.ShapeDtypeStruct((1, 2 * PATCH, 2 * PATCH, 3), jnp.float32)
    params = jax.eval_shape(Generator(vit).init, jax.random.key(0), image)["params"]
    state = jax.eval_shape(lambda p: init_state(p, optimiser, teacher=True), params)
    frozen = {"generator": {}, "extractor": params["encoder"]}
    step = make_step(
        over_rows(objective),
        count_rows,
        optimiser,
        teacher_rate=0.996,
        microbatches=automatic_microbatches(batch),
    )
    lowered = jax.jit(step).lower(state, frozen, _batch(batch, crop))
    analysis = lowered.compile(compiler_options=QUICKLY).memory_analysis()
    taken = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return analysis.argument_size_in_bytes, taken


def _batch(count: int, crop: int) -> dict[str, jax.ShapeDtypeStruct]:
    shapes = {
        "image": ((crop, crop, 3), np.uint8),
        "points_xy": ((4, 2), np.float32),
        "has_points": ((), bool),
        "box_xyxy": ((4,), np.float32),
        "valid_xyxy": ((4,), np.float32),
        "valid": ((), bool),
    }
    return {
        name: jax.ShapeDtypeStruct((count, *shape), kind) for name, (shape, kind) in shapes.items()
    }


def main() -> None:
    """Compiles every combination and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="S")
    parser.add_argument("--crops", type=int, nargs="+", default=[*CROPS])
    parser.add_argument("--batches", type=int, nargs="+", default=[*BATCHES])
    parser.add_argument("--output", default=str(RESULT))
    given = parser.parse_args()
    prefer_eigen()
    rows = []
    cases = [*itertools.product(given.crops, given.batches, (False, True))]
    with track("compile", len(cases)) as progress:
        for crop, batch, remat in cases:
            kept, taken = step_bytes(given.size, crop, batch, remat)
            rows.append(
                f"| {crop} | {batch} | {'yes' if remat else 'no'} | {kept / 1e6:.0f} | "
                f"{taken / 1e6:.0f} |"
            )
            progress.advance()
    text = "\n".join([HEAD.format(size=given.size, patch=PATCH), *rows, "", machine(), ""])
    write_bytes(given.output, text.encode())
    print(text)


HEAD = """# Memory of a training step

ViT-{size}/{patch} as generator, teacher and extractor, the paper's step in float32, by XLA's own
account (`python -m experiments.step_memory`; `--size=B` for the paper's network). "Stays": state,
frozen parameters and batch; "takes": everything else a step needs at once, the new state included.
Remat is for accelerators: XLA for CPUs orders the work so that it saves nothing.

| crop, px | batch | remat | stays, MB | takes, MB |
|---:|---:|---|---:|---:|"""

if __name__ == "__main__":
    main()
