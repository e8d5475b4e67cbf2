"""The picture of the README: four points on a photograph, what they propagate to, the mask.

    python -m experiments.front_picture

Photographs and annotations are the demo's (both photographs are CC0, see THIRD_PARTY.md); the
extreme points are those of its polygons, the masks are `exits_jax.label_image`'s.
"""

import argparse
import io
import pathlib

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

import exits_jax
from configs import demo
from exits_jax.annotations import Instance
from exits_jax.annotations.read import read_annotations
from exits_jax.data.images import decode_image
from exits_jax.models.build import attend, load_backbone
from exits_jax.models.published import DEFAULT, published
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.pseudo_labels.predict import propagation_predictor
from exits_jax.pseudo_labels.session import CROP_SIZE, MARGIN
from exits_jax.report import drawing
from exits_jax.retrieval.crops import crop_scores
from exits_jax.retrieval.settings import RESEEDED_KEYS
from exits_jax.system.cpu import prefer_eigen
from exits_jax.system.files import write_bytes

SHOWN = (15, 7)  # annotation ids: a cup on its saucer, a photographer
WIDTH, GAP, TITLE = 280, 40, 30  # pixels: of a panel, between panels (an arrow), of the headings
FINE = 3  # drawn so many times larger, then shrunk
TITLES = ("four extreme points", "propagation: object or not", "mask")


def propagation_maps(instances: list[Instance]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The map [N,N] of each instance (positive: object), and the window of the image it covers."""
    network, params = load_backbone(DEFAULT)
    grid = CROP_SIZE // network.patch
    scores = crop_scores(
        attend(network, published(DEFAULT).normalise),
        depth=network.depth,
        class_token=network.class_token,
        grid=grid,
        settings=RESEEDED_KEYS,
    )
    predict = propagation_predictor(scores, params, grid)
    cut = {"crop_size": CROP_SIZE, "margin": MARGIN, "batch_size": len(instances)}
    (batch,) = label_batches(instances, **cut)
    return [*zip(predict(batch), batch["window_xyxy"], strict=True)]


def panels(
    instance: Instance,
    cells: Float[np.ndarray, "N N"],
    window_xyxy: Float[np.ndarray, "4"],
) -> list[Image.Image]:
    """Photograph with points, with the map, with the mask, each `WIDTH` wide."""
    pixels = decode_image(instance.image.path)
    (mask,), _ = exits_jax.label_image(pixels, instance.points_xy)
    height = round(WIDTH * len(pixels) / pixels.shape[1])
    size = (FINE * WIDTH, FINE * height)
    scale = size[0] / pixels.shape[1]
    fine = drawing.resize_picture(pixels, *size)
    drawn = [
        Image.fromarray(fine),
        Image.fromarray(_under_map(fine, cells, window_xyxy * scale)),
        Image.fromarray(
            drawing.paint_mask(
                fine, drawing.resize_mask(mask, *size), drawing.LABEL, thickness=2 * FINE
            )
        ),
    ]
    draw = ImageDraw.Draw(drawn[0])
    for x, y in instance.points_xy:
        drawing.draw_disc(draw, (x * scale, y * scale), 5 * FINE, drawing.POINT)
    return [picture.resize((WIDTH, height), Image.Resampling.LANCZOS) for picture in drawn]


def _under_map(
    fine: UInt8[np.ndarray, "h w 3"], cells: Float[np.ndarray, "N N"], window: np.ndarray
) -> UInt8[np.ndarray, "h w 3"]:
    """The greyed photograph with the map's colours in its window."""
    grey = fine.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    picture = Image.fromarray(np.rint(0.5 * grey + 127).astype(np.uint8))
    x0, y0, x1, y1 = (round(float(value)) for value in window)
    heat = drawing.heat_colours(cells, float(np.quantile(np.abs(cells), 0.9)))
    heat = drawing.resize_cells(heat, 24 * len(cells))
    layer = Image.new("RGB", picture.size)
    layer.paste(Image.fromarray(heat).resize((x1 - x0, y1 - y0), Image.Resampling.BOX), (x0, y0))
    cover = Image.new("L", picture.size)
    cover.paste(190, (x0, y0, x1, y1))
    shaded = Image.fromarray(np.rint(0.75 * grey).astype(np.uint8))
    return np.asarray(Image.composite(layer, Image.composite(shaded, picture, cover), cover))


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """The rows on white, with arrows between the panels and headings above."""
    count = len(TITLES)
    height = TITLE + sum(row[0].height for row in rows) + GAP // 3 * (len(rows) - 1)
    picture = Image.new("RGB", (count * WIDTH + (count - 1) * GAP, height), drawing.PAPER)
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(TITLES):
        x = column * (WIDTH + GAP)
        letters = drawing.font(17, bold=True)
        draw.text((x + WIDTH / 2, TITLE / 2 - 2), title, drawing.INK, letters, anchor="mm")
    y = TITLE
    for row in rows:
        for column, panel in enumerate(row):
            x = column * (WIDTH + GAP)
            picture.paste(panel, (x, y))
            if column:
                _arrow(draw, x - GAP, y + panel.height // 2)
        y += row[0].height + GAP // 3
    return picture


def _arrow(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    """An arrow that fills a gap, from its left edge to its right."""
    draw.line((x + 8, y, x + GAP - 14, y), drawing.INK, width=4)
    tip = x + GAP - 7
    draw.polygon([(tip, y), (tip - 12, y - 8), (tip - 12, y + 8)], drawing.INK)


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/pictures/idea.png"))
    out = parser.parse_args().out
    prefer_eigen()
    data = demo.get_config().data
    found = {item.id: item for item in read_annotations(data.annotations, data.images).instances}
    chosen = [found[number] for number in SHOWN]
    rows = [
        panels(instance, *of_map)
        for instance, of_map in zip(chosen, propagation_maps(chosen), strict=True)
    ]
    file = io.BytesIO()
    sheet(rows).save(file, "PNG", optimize=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, file.getvalue())
    print(f"wrote {out}: {len(file.getvalue()) // 1000} kB")


if __name__ == "__main__":
    main()
