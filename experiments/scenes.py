"""Synthetic scenes with exact masks: what is hard about shapes and neighbours, and nothing else.

    python -m experiments.scenes --out=data/scenes
    python main.py --config=configs/own.py --workdir=runs/scenes \\
        --config.label.source=propagation \\
        --config.data.annotations=data/scenes/annotations.json --config.data.images=data/scenes

Textures are cut from scikit-image's photographs. A category is a difficulty: `touching` and
`overlapping` objects of one texture, `multi_part` (behind a bar), `hole`, `thin`, `border` (cut by
the image), `plain`. The tables of the run then are by difficulty.
"""

import pathlib

import numpy as np
from absl import app, flags
from jaxtyping import Float, UInt8

from experiments.scene_parts import Mask, SceneFile, patch, photograph, with_noise

OUT = flags.DEFINE_string("out", "data/scenes", "folder to write")
PER_KIND = flags.DEFINE_integer("per_kind", 12, "scenes of each difficulty")
SEED = flags.DEFINE_integer("seed", 0, "of everything that is drawn")

SIZE = 320
KINDS = ("plain", "touching", "overlapping", "multi_part", "hole", "thin", "border")
# Textured nearly everywhere.
PHOTOGRAPHS = (
    "coffee", "rocket", "chelsea", "hubble_deep_field", "immunohistochemistry", "brick", "grass",
    "gravel",
)  # fmt: skip


def blob(x: float, y: float, radius: float, rng: np.random.Generator) -> Mask:
    """A round thing with a wavy outline."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    angle = np.arctan2(rows - y, columns - x)
    waves = sum(rng.uniform(0, 0.12) * np.cos(k * angle + rng.uniform(0, 7)) for k in (2, 3, 5))
    return np.hypot(rows - y, columns - x) < radius * (1 + waves)


def stroke(rng: np.random.Generator) -> Mask:
    """A long bent line, 7 to 14 pixels wide."""
    along = np.linspace(0, 1, 400)
    x = 40 + 240 * along
    y = SIZE / 2 + rng.uniform(-60, 60) * np.sin(np.pi * along * rng.uniform(1, 2))
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    width = rng.uniform(3.5, 7)
    distance = np.full((SIZE, SIZE), np.inf)
    for px, py in zip(x, y, strict=True):
        distance = np.minimum(distance, np.hypot(rows - py, columns - px))
    return distance < width


def shapes(kind: str, rng: np.random.Generator) -> tuple[list[Mask], Mask]:
    """Visible masks of a scene's objects, and what covers them without being one."""
    nothing = np.zeros((SIZE, SIZE), bool)
    middle, radius = SIZE / 2 + rng.uniform(-20, 20, 2), rng.uniform(45, 65)
    if kind in ("touching", "overlapping"):
        turn = rng.uniform(0, np.pi)
        apart = radius * (0.85 if kind == "touching" else 0.65)
        step = apart * np.array([np.cos(turn), np.sin(turn)])
        front = blob(*(middle + step), radius * rng.uniform(0.7, 1.0), rng)
        return [front, blob(*(middle - step), radius, rng) & ~front], nothing
    if kind == "multi_part":
        rows, columns = np.mgrid[:SIZE, :SIZE]
        place = rows if rng.random() < 0.5 else columns
        bar = np.abs(place - SIZE / 2) < rng.uniform(10, 20)
        return [blob(*middle, radius * 1.3, rng) & ~bar], bar
    if kind == "hole":
        return [blob(*middle, radius * 1.3, rng) & ~blob(*middle, radius * 0.6, rng)], nothing
    if kind == "thin":
        return [stroke(rng)], nothing
    if kind == "border":
        return [blob(SIZE - rng.uniform(0, 25), middle[1], radius * 1.3, rng)], nothing
    return [blob(*middle, radius * 1.3, rng)], nothing


def paint(masks: list[Mask], cover: Mask, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Background, objects of one texture, and the cover, with softened seams."""
    chosen = rng.permutation(len(PICTURES))[:3]
    ground, thing, bar = (patch(PICTURES[k], SIZE, rng) for k in chosen)
    scene: Float[np.ndarray, "h w 3"] = ground
    for mask in masks:  # the same photograph, each object its own piece and light
        piece = 0.5 * thing + 0.5 * patch(PICTURES[chosen[1]], SIZE, rng)
        scene = np.where(mask[..., None], piece, scene)
    scene = np.where(cover[..., None], bar, scene)
    return with_noise(scene, rng)


def main(argv: list[str]) -> None:
    """Draws the scenes and writes images and annotations."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    folder, rng = pathlib.Path(OUT.value), np.random.default_rng(SEED.value)
    file = SceneFile(folder, KINDS)
    for kind in KINDS:
        for number in range(PER_KIND.value):
            masks, cover = shapes(kind, rng)
            file.add(
                f"{kind}_{number:02d}.png",
                paint(masks, cover, rng),
                [(kind, mask) for mask in masks],
            )
    file.write(folder / "annotations.json")


PICTURES = [photograph(name) for name in PHOTOGRAPHS]

if __name__ == "__main__":
    app.run(main)
