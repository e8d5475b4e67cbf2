"""Scenes for stage 2: objects whose class is their outline, on textures that val does not share.

    python -m experiments.shape_scenes --out=data/shape_scenes

One to six objects an image touch and overlap; masks are what is visible. Neither texture, colour
nor size tells a class: area, turn, stretch and texture of every shape are drawn from the same
distributions. train and val have other seeds, other photographs and other patterns. Writes
train.json, val.json (COCO, with extreme points) and the pictures in train/ and val/.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from absl import app, flags
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from scipy import ndimage

from experiments.scene_parts import Mask, SceneFile, patch, photograph, with_noise

SIZE = 160  # side of an image, pixels
BORDER = 64  # drawn around it, for what an object at the border loses
FINE = 3  # drawn so many times larger, then shrunk: soft seams
MOST = 6  # objects of an image
RADII = (18.0, 40.0)  # of the circle of an object's area, pixels
NEIGHBOUR = 0.6  # probability that an object is put beside another one
RIM = 10.0  # along the border, without the middle of an object, pixels
VISIBLE = 0.55  # least share of an object that is
CONTRAST = 70.0  # least distance of the mean colours of two textures of an image
DEPTH = 0.4  # of a texture: what is left of its distance from its mean colour
TRIES = 20

Corners = Float[np.ndarray, "n 2"]  # xy of a polygon
Alpha = Float[np.ndarray, "h w"]  # share of a pixel that an object covers
Texture = Callable[[np.random.Generator], Float[np.ndarray, "h w 3"]]


# Outlines, of any size, round (0, 0). A second polygon is a hole in the first.


def _arc(corners: int, first: float = 0.0, last: float = 2 * np.pi) -> Corners:
    """Corners on the unit circle, from one angle up to another, which is left out."""
    angle = np.linspace(first, last, corners, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def disc(rng: np.random.Generator) -> list[Corners]:
    """A full circle."""
    return [_arc(64)]


def ring(rng: np.random.Generator) -> list[Corners]:
    """A circle with a round hole."""
    return [_arc(64), rng.uniform(0.45, 0.6) * _arc(64)]


def triangle(rng: np.random.Generator) -> list[Corners]:
    """Three corners."""
    return [_arc(3)]


def cross(rng: np.random.Generator) -> list[Corners]:
    """Four arms."""
    arm = rng.uniform(0.24, 0.34)
    quarter = np.array([[1.0, arm], [arm, arm], [arm, 1.0]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return [np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])]


SHAPES: Mapping[str, Callable[[np.random.Generator], list[Corners]]] = {
    shape.__name__: shape for shape in (disc, triangle, ring, cross)
}


def _area(corners: Corners) -> float:
    """Of a polygon, by the shoelace formula."""
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


# Textures.


def _mixed(
    field: Callable[[np.random.Generator], Float[np.ndarray, "h w"]], rng: np.random.Generator
) -> Float[np.ndarray, "h w 3"]:
    """Two colours, and a pattern 0..1 that mixes them."""
    first, second = rng.uniform(20, 235, (2, 3))
    return first + (second - first) * field(rng)[..., None]


def _turned(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates in a turned frame."""
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _stripes(rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    x, _ = _turned(rng)
    return 0.5 + 0.5 * np.sin(2 * np.pi * x / rng.uniform(6, 24))


def _clouds(rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    noise = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), rng.uniform(2, 8), mode="wrap")
    return np.clip(0.5 + 0.25 * noise / noise.std(), 0, 1)


def _checks(rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    side = rng.uniform(5, 16)
    x, y = (np.floor(axis / side) for axis in _turned(rng))
    return (x + y) % 2


def _cells(rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Every point by its distance to the nearest of some seeds."""
    seeds = np.ones((SIZE, SIZE), bool)
    seeds[tuple(rng.integers(0, SIZE, (2, int(rng.integers(60, 240)))))] = False
    distance = ndimage.distance_transform_edt(seeds)
    return distance / distance.max()


def _textures(photographs: tuple[str, ...], patterns: tuple[Callable, ...]) -> list[Texture]:
    pictures = [functools.partial(patch, photograph(name), SIZE) for name in photographs]
    return pictures + [functools.partial(_mixed, pattern) for pattern in patterns]


TEXTURES: Mapping[str, tuple[tuple[str, ...], tuple[Callable, ...]]] = {
    "train": (
        ("coffee", "chelsea", "hubble_deep_field", "brick", "grass", "retina"),
        (_stripes, _clouds),
    ),
    "val": (
        ("rocket", "astronaut", "immunohistochemistry", "gravel", "camera"),
        (_checks, _cells),
    ),
}


# Scenes.


class Thing(NamedTuple):
    """An object of a scene.

    Fields:
      shape: its class.
      alpha: of its outline, with `BORDER` around the image.
      middle: xy in the image, pixels.
      radius: of the circle of its area, pixels.
    """

    shape: str
    alpha: Alpha
    middle: Float[np.ndarray, "2"]
    radius: float


def _thing(others: list[Thing], rng: np.random.Generator) -> Thing:
    """Draws an object, beside one of the others or anywhere."""
    radius = float(np.exp(rng.uniform(*np.log(RADII))))
    middle = rng.uniform(RIM, SIZE - RIM, 2)
    if others and rng.random() < NEIGHBOUR:
        other, angle = others[rng.integers(len(others))], rng.uniform(0, 2 * np.pi)
        away = (radius + other.radius) * rng.uniform(0.6, 1.2)
        middle = other.middle + away * np.array([np.cos(angle), np.sin(angle)])
        middle = np.clip(middle, RIM, SIZE - RIM)
    shape = str(rng.choice([*SHAPES]))
    polygons = SHAPES[shape](rng)
    outer, *holes = map(_area, polygons)
    frame = radius * np.sqrt(np.pi / (outer - sum(holes))) * _turned_and_stretched(rng)
    return Thing(shape, _alpha([c @ frame + middle for c in polygons]), middle, radius)


def _turned_and_stretched(rng: np.random.Generator) -> Float[np.ndarray, "2 2"]:
    """Keeps areas."""
    turn, stretch = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0.75, 1 / 0.75))
    turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.diag([stretch, 1 / stretch]) @ turned


def _alpha(polygons: list[Corners]) -> Alpha:
    """Share of each pixel inside the first polygon and outside the next."""
    side = FINE * (SIZE + 2 * BORDER)
    picture = Image.new("L", (side, side))
    draw = ImageDraw.Draw(picture)
    for corners, ink in zip(polygons, (255, 0), strict=False):
        draw.polygon(((corners + BORDER) * FINE).ravel().tolist(), fill=ink)
    return np.asarray(picture.reduce(FINE), np.float64) / 255


def _visible(things: list[Thing]) -> list[Mask]:
    """What later objects and the image's border leave of each."""
    free, masks = np.ones((SIZE, SIZE), bool), []
    for thing in reversed(things):
        mask = _in_image(thing.alpha) >= 0.5
        masks.append(mask & free)
        free &= ~mask
    return masks[::-1]


def _in_image(alpha: Alpha) -> Alpha:
    return alpha[BORDER:-BORDER, BORDER:-BORDER]


def _well_seen(things: list[Thing]) -> bool:
    return all(
        mask.sum() >= VISIBLE * (thing.alpha >= 0.5).sum()
        for thing, mask in zip(things, _visible(things), strict=True)
    )


def things(rng: np.random.Generator) -> list[Thing]:
    """The objects of a scene, the hindmost first; what hides too much is drawn again."""
    found: list[Thing] = []
    for _ in range(int(rng.integers(1, MOST + 1))):
        drawn = (_thing(found, rng) for _ in range(TRIES))
        found += next(([thing] for thing in drawn if _well_seen([*found, thing])), [])
    return found


def paint(
    found: list[Thing], textures: list[Texture], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Ground and objects, each of a piece of its own whose colour differs from the others'."""
    scene, *pieces = _pieces(1 + len(found), textures, rng)
    for thing, piece in zip(found, pieces, strict=True):
        alpha = _in_image(thing.alpha)[..., None]
        scene = alpha * piece + (1 - alpha) * scene
    return with_noise(scene, rng)


def _pieces(
    count: int, textures: list[Texture], rng: np.random.Generator
) -> list[Float[np.ndarray, "h w 3"]]:
    """Pieces of random textures; one whose mean colour is near another's is drawn again."""
    pieces: list[Float[np.ndarray, "h w 3"]] = []
    colours = np.full((count, 3), np.inf)
    for place in range(count):
        for _ in range(TRIES):
            piece = textures[rng.integers(len(textures))](rng)
            colours[place] = colour = piece.mean((0, 1))
            piece = colour + DEPTH * (piece - colour)
            if (np.linalg.norm(colours[:place] - colours[place], axis=1) >= CONTRAST).all():
                break
        pieces.append(piece)
    return pieces


def write_split(folder: pathlib.Path, split: str, images: int, seed: int) -> None:
    """Draws and writes `train` or `val`; an image depends on seed, split and its number alone."""
    textures, file = _textures(*TEXTURES[split]), SceneFile(folder / split, [*SHAPES])
    for number in range(images):
        rng = np.random.default_rng([seed, [*TEXTURES].index(split), number])
        found = things(rng)
        objects = zip([thing.shape for thing in found], _visible(found), strict=True)
        file.add(f"{number:05d}.jpg", paint(found, textures, rng), objects)
    file.write(folder / f"{split}.json")


def main(argv: list[str]) -> None:
    """Writes both splits."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    asked = flags.FLAGS
    for split, images in (("train", asked.train), ("val", asked.val)):
        write_split(pathlib.Path(asked.out), split, images, asked.seed)


if __name__ == "__main__":
    flags.DEFINE_string("out", "data/shape_scenes", "folder to write")
    flags.DEFINE_integer("train", 2000, "images of train")
    flags.DEFINE_integer("val", 250, "images of val")
    flags.DEFINE_integer("seed", 0, "of everything that is drawn")
    app.run(main)
