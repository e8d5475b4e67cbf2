"""Exports of other tools, as those tools write them, of two small pictures.

a.png has a cat and a dog, sub/b.png nothing; sizes differ per axis so that mixed-up axes show.
"""

import base64
import io
import json
import pathlib
import zlib
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 80, 50
TRIANGLE = [[10.0, 10.0], [50.0, 10.0], [30.0, 40.0]]
SQUARE = [[60.0, 20.0], [70.0, 20.0], [70.0, 30.0], [60.0, 30.0]]
POINTS = [[30.0, 5.0], [10.0, 20.0], [32.0, 45.0], [60.0, 22.0]]  # top, left, bottom, right


def pictures(folder: pathlib.Path, *names: str) -> pathlib.Path:
    """Writes pictures of WIDTH x HEIGHT under these names; returns the folder."""
    for name in names or ("a.png", "sub/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 30)).save(folder / name)
    return folder


def disc(x: float = 30.0, y: float = 25.0, radius: float = 15.0) -> np.ndarray:
    """A filled disc with a hole, as bool[HEIGHT, WIDTH]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = (columns - x) ** 2 + (rows - y) ** 2
    return (distance <= radius**2) & (distance >= 4)


def flat(corners: list[list[float]]) -> list[float]:
    """[[x, y], ...] as [x, y, ...]."""
    return [side for corner in corners for side in corner]


# --- labelme ---------------------------------------------------------------------------------


def shape(label: Any, kind: Any, points: Any, **more: Any) -> dict[str, Any]:
    """A shape as labelme 5 writes it."""
    shape = {"label": label, "points": points, "group_id": None, "description": ""}
    return {**shape, "shape_type": kind, "flags": {}, "mask": None, **more}


def labelme(*shapes: Any, image: Any = "a.png", **more: Any) -> dict[str, Any]:
    """A labelme file."""
    head = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": image}
    return {**head, "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH, **more}


def png_text(mask: np.ndarray) -> str:
    """A mask as labelme keeps it: a PNG in base64."""
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


# --- CVAT ------------------------------------------------------------------------------------

CVAT_HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><id>7</id><name>t</name><size>2</size>
<mode>annotation</mode><labels>
<label><name>dog</name><color>#fa3253</color><type>any</type><attributes></attributes></label>
<label><name>cat</name><color>#33ddff</color><type>any</type><attributes></attributes></label>
</labels></task><dumped>2026-11-01 10:00:00.000000+00:00</dumped></meta>"""


def cvat(*shapes: str, image: str = "a.png", size: bool = True, rest: str = "") -> bytes:
    """A CVAT for images 1.1 file with one image, and `rest` behind it."""
    sides = f' width="{WIDTH}" height="{HEIGHT}"' if size else ""
    body = f'<image id="0" name="{image}"{sides}>{"".join(shapes)}</image>'
    return f"{CVAT_HEAD}{body}{rest}</annotations>".encode()


def cvat_shape(tag: str, label: str = "cat", inside: str = "", **attributes: Any) -> str:
    """A shape as CVAT writes it."""
    usual = {"label": label, "source": "manual", "occluded": 0, **attributes, "z_order": 0}
    stated = " ".join(f'{name}="{value}"' for name, value in usual.items())
    return f"<{tag} {stated}>{inside}</{tag}>"


def cvat_points(corners: list[list[float]]) -> str:
    """[[x, y], ...] as "x,y;x,y"."""
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)


def cvat_rle(mask: np.ndarray) -> str:
    """The runs of a mask row by row, background first."""
    values = mask.ravel().astype(int)
    edges = np.flatnonzero(np.diff(values)) + 1
    runs = np.diff([0, *edges, values.size]).tolist()
    return ", ".join(map(str, ([0] if values[0] else []) + runs))


# --- Label Studio ----------------------------------------------------------------------------


def region(kind: str, label: str | None, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A result of Label Studio with sizes in percent."""
    labels = {} if label is None else {f"{kind}labels": [label]}
    number = more.pop("id", f"r{zlib.crc32(json.dumps([kind, label, value]).encode())}")
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**value, **labels},
        "id": number,
        "from_name": "label",
        "to_name": "image",
        "type": f"{kind}labels",
        "origin": "manual",
        **more,
    }


def percent(corners: list[list[float]]) -> list[list[float]]:
    """Pixels as percent of the picture."""
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners]


def rectangle(x: float, y: float, width: float, height: float, turn: float = 0) -> dict[str, Any]:
    """A rectangle in pixels as Label Studio's value."""
    (px, py), (pw, ph) = percent([[x, y], [width, height]])
    return {"x": px, "y": py, "width": pw, "height": ph, "rotation": turn}


def key_points(label: str, points: list[list[float]] = POINTS, **more: Any) -> list[dict]:
    """A result for each of the points."""
    rows = enumerate(percent(points))
    return [
        region("keypoint", label, {"x": x, "y": y, "width": 0.5}, id=f"{label}{k}", **more)
        for k, (x, y) in rows
    ]


def task(*results: Any, image: Any = "/data/upload/1/0a1b2c3d-a.png", **more: Any) -> dict:
    """A task of Label Studio's JSON export with one annotation."""
    annotation = {"id": 5, "completed_by": 1, "result": list(results), "was_cancelled": False}
    annotation |= {"ground_truth": False, "lead_time": 3.2}
    return {
        "id": 17,
        "annotations": [annotation],
        "drafts": [],
        "predictions": [],
        "data": {"image": image},
        "file_upload": "0a1b2c3d-a.png",
        "project": 1,
        **more,
    }


def brush_stream(mask: np.ndarray) -> list[int]:
    """A mask in thi.ng's bit stream as Label Studio's web page writes it: literals and repeats."""
    values = np.zeros((*mask.shape, 4), np.uint8)
    values[mask] = (51, 120, 200, 255)
    flat_values = values.ravel()
    bits = f"{flat_values.size:032b}" + f"{7:05b}" + "".join(f"{n - 1:04b}" for n in (3, 4, 8, 16))
    pieces, start = [bits], 0
    while start < flat_values.size:
        run = 1
        while start + run < flat_values.size and flat_values[start + run] == flat_values[start]:
            run += 1
            if run == 256:
                break
        if run > 8:
            pieces.append(f"110{run - 1:08b}{flat_values[start]:08b}")
        else:
            run = min(6, flat_values.size - start)
            pieces.append(f"000{run - 1:03b}")
            pieces += [f"{value:08b}" for value in flat_values[start : start + run]]
        start += run
    text = "".join(pieces)
    text += "0" * (-len(text) % 8)
    return [int(text[k : k + 8], 2) for k in range(0, len(text), 8)]
