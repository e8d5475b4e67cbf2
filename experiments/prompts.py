"""What a prompt costs: `label_image` beside its network alone, and later prompts beside first ones.

    python -m experiments.prompts --root=data/coco-mini

writes experiments/results/prompts.md. Run it on an idle machine.
"""

import argparse
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import skimage.data
from jaxtyping import Float

import exits_jax
from exits_jax.annotations import Instance, read_annotations
from exits_jax.models.published import DEFAULT
from exits_jax.pseudo_labels.session import CROP_SIZE, programs_of
from exits_jax.system.files import write_bytes
from exits_jax.system.progress import track
from experiments.machine import machine

RESULT = pathlib.Path(__file__).parent / "results" / "prompts.md"
POINTS = np.array([[240.0, 2.0], [2.0, 400.0], [150.0, 511.0], [400.0, 400.0]])  # the astronaut's
ROUNDS, CALLS, OBJECTS = 5, 15, 100


def seconds_of(work: Callable[[], Any], calls: int) -> Float[np.ndarray, " calls"]:
    """How long each of several calls takes, after one that is not counted."""
    work()
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return np.array(taken)


def one_call() -> list[str]:
    """Rows of a table: the network at batch 1 and `label_image` of one object, in alternation."""
    photograph, programs = skimage.data.astronaut(), programs_of(DEFAULT)
    crop = np.zeros((1, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    rows = [
        "| round | network, ms | `label_image`, ms | ratio of medians |",
        "|---|---:|---:|---:|",
    ]
    for number in range(1, ROUNDS + 1):
        network = seconds_of(
            lambda: jax.block_until_ready(programs.see(programs.params, crop)), CALLS
        )
        whole = seconds_of(lambda: exits_jax.label_image(photograph, POINTS), CALLS)
        ratio = np.median(whole) / np.median(network)
        rows.append(f"| {number} | {_spread(network)} | {_spread(whole)} | {ratio:.2f} |")
    return rows


def later_prompts(chosen: Sequence[Instance]) -> list[str]:
    """Sentences: a correction in a view that was seen beside the object's first prompt."""
    session = exits_jax.Session()
    first, second = [], []
    with track("prompts", len(chosen)) as progress:
        for instance in chosen:
            prompt = {"points_xy": instance.points_xy, "box": instance.box_xyxy}
            click = (*instance.box_xyxy[:2].tolist(), -1)

            def begin(path: Any = instance.image.path, prompt: Any = prompt) -> None:
                session.mask(**prompt, view=session.open(path))

            def correct(click: Any = click, prompt: Any = prompt) -> None:
                session.mask(**prompt, corrections=[click])

            first.append(np.median(seconds_of(begin, 3)))
            second.append(np.median(seconds_of(correct, 7)))
            progress.advance()
    ratios = np.array(second) / np.array(first)
    share = np.mean(ratios <= 0.1)
    return [
        f"First prompt, the photograph's decoding included: {_spread(np.array(first))} ms; a",
        f"correction in the same view: {_spread(np.array(second))} ms; its share of the first:",
        f"{ratios.min():.3f} / {np.median(ratios):.3f} / {ratios.max():.3f}, at most a tenth for",
        f"{share:.0%} of the objects. What is left grows with the mask's pixels.",
    ]


def _spread(seconds: Float[np.ndarray, " n"]) -> str:
    low, middle, high = 1e3 * np.percentile(seconds, [0, 50, 100])
    return f"{low:.1f} / {middle:.1f} / {high:.1f}"


def main() -> None:
    """Measures both and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data/coco-mini", help="folder of coco-mini")
    root = pathlib.Path(parser.parse_args().root)
    file = root / "annotations" / "instances_val2017.json"
    instances = read_annotations(file, root / "val2017").instances
    order = np.random.default_rng(0).permutation(len(instances))[:OBJECTS]
    page = [
        "# What a prompt costs",
        "",
        "Least / median / greatest. The network is what a view needs once: DINOv2-S/14 to its keys",
        f"and their similarity, one crop of {CROP_SIZE} pixels. `label_image` of one object on a",
        f"photograph of 512 x 512 pixels that it fills; {CALLS} calls a round.",
        "",
        *one_call(),
        "",
        f"{OBJECTS} random objects of coco-mini's val2017, seed 0, in a `Session`:",
        "",
        *later_prompts([instances[k] for k in order]),
        "",
        f"Machine: {machine()}.",
        "",
        "Command: `python -m experiments.prompts --root=ROOT`",
        "",
    ]
    write_bytes(RESULT, "\n".join(page).encode())
    print("\n".join(page))


if __name__ == "__main__":
    main()
