"""Tasks with predictions that Label Studio imports: brush masks or polygons."""

import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import Bool, Int, UInt8

from exits_jax.annotations.outlines import mask_to_polygons
from exits_jax.annotations.records import ImageRecord
from exits_jax.export.formats.names import class_names
from exits_jax.export.formats.rows import Row, id_in, label_mask, labels_by_image
from exits_jax.system.files import write_bytes, write_json_rows

IMAGE, CONTROL = "image", "label"  # names of the two tags in the labelling interface
KINDS = {"brushlabels": "BrushLabels", "polygonlabels": "PolygonLabels"}
RUN_BITS = (3, 4, 8, 16)  # widths of a run's length, in bits; two bits say which
CHANNELS = 4  # the format has RGBA images; a brush is in all four channels


def write_label_studio(
    directory: pathlib.Path,
    document: Mapping[str, Any],
    images: Mapping[int, ImageRecord],
    simplify: float | None,
) -> str:
    """`tasks.json`, a task for each image with its labels as a prediction, and `interface.xml`.

    Brush masks hold components and holes; an object is one region with the annotation's id. With
    polygons each component is a region of its own, `ID` or `ID-2`, and holes are filled.

    Images are named as Label Studio serves local files, below the folder that holds theirs:
    `/data/local-files/?d=FOLDER/NAME`.

    Args:
      directory: where to write.
      document: from `export.pseudo_labels`.
      images: `Annotations.images`.
      simplify: None: brush masks; a number: polygons with this tolerance in pixels.

    Returns:
      What was written, in words.

    Raises:
      UserError: a file cannot be written.
    """
    kind = "brushlabels" if simplify is None else "polygonlabels"
    names = class_names(document)
    groups = labels_by_image(document, images)
    root = _root([image.path for image in images.values() if image.path is not None])
    tasks = (
        {"data": {IMAGE: _address(image, root)}}
        | ({"predictions": [_prediction(groups[key], names, simplify)]} if key in groups else {})
        for key, image in images.items()
    )
    write_json_rows(directory / "tasks.json", tasks)
    write_bytes(directory / "interface.xml", _interface(kind, [*names.values()]).encode())
    served = f"; serve local files from {root}" if root else ""
    return f"{len(images)} tasks, {len(groups)} with predictions{served}"


def _prediction(
    rows: Sequence[Row], names: Mapping[int, str], simplify: float | None
) -> dict[str, Any]:
    """The labels of an image; Label Studio sorts tasks by the prediction's score."""
    regions = [
        region
        for row in rows
        for region in _regions(row, names[id_in(row, "category_id")], simplify)
    ]
    return {
        "model_version": "exits_jax",
        "score": round(min(row["exits"]["score"] for row in rows), 4),
        "result": regions,
    }


def _regions(row: Row, name: str, simplify: float | None) -> list[dict[str, Any]]:
    """A brush mask, or a polygon for each component."""
    mask = label_mask(row)
    height, width = mask.shape
    if simplify is None:
        values = [{"format": "rle", "rle": brush_rle(mask), "brushlabels": [name]}]
    else:
        polygons = mask_to_polygons(mask, simplify)[0]
        shares = [100 * np.reshape(one, (-1, 2)) / (width, height) for one in polygons]
        values = [
            {"points": points.round(4).tolist(), "closed": True, "polygonlabels": [name]}
            for points in shares
        ]
    return [
        {
            "id": f"{row['id']}" if number == 1 else f"{row['id']}-{number}",
            "type": "brushlabels" if simplify is None else "polygonlabels",
            "from_name": CONTROL,
            "to_name": IMAGE,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": row["exits"]["score"],
            "value": value,
        }
        for number, value in enumerate(values, start=1)
    ]


def brush_rle(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """A mask in Label Studio's run lengths: the bytes of a string of bits.

    The header: 32 bits for the number of values, 5 for their width less one, four times 4 for the
    widths of run lengths less one. Then each run: a 1, which of the four widths its length has, the
    length less one, and the value. Values are of an RGBA image, row by row; a pixel of the mask is
    255 in all of its channels.
    """
    values = mask.ravel()
    edges = np.flatnonzero(np.diff(values)) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff(np.concatenate([starts, [values.size]])) * CHANNELS
    lengths, values = _cut_runs(lengths, values[starts])
    head = _bits(np.array([mask.size * CHANNELS]), 32)[0]
    widths = [_bits(np.array([width - 1]), 4)[0] for width in RUN_BITS]
    head = np.concatenate([head, _bits(np.array([7]), 5)[0], *widths])
    return np.packbits(np.concatenate([head, _run_bits(lengths, values)])).tolist()


def _cut_runs(
    lengths: Int[np.ndarray, "n"], values: Bool[np.ndarray, "n"]
) -> tuple[Int[np.ndarray, "m"], Bool[np.ndarray, "m"]]:
    """Runs, none longer than the largest width can hold."""
    most = 2 ** RUN_BITS[-1]
    pieces = -(-lengths // most)
    cut = np.full(pieces.sum(), most)
    last = np.cumsum(pieces) - 1
    cut[last] = lengths - (pieces - 1) * most
    return cut, np.repeat(values, pieces)


def _run_bits(
    lengths: Int[np.ndarray, "n"], values: Bool[np.ndarray, "n"]
) -> UInt8[np.ndarray, "bits"]:
    """Each run, with the smallest width that holds its length, as consecutive bits."""
    limits = 2 ** np.array(RUN_BITS)
    which = np.searchsorted(limits, lengths)
    longest = RUN_BITS[-1]
    bits = np.concatenate(
        [
            np.ones((len(lengths), 1), np.uint8),
            _bits(which, 2),
            _bits(lengths - 1, longest),
            np.repeat(values[:, None].astype(np.uint8), 8, axis=1),
        ],
        axis=1,
    )
    written = np.ones(bits.shape, bool)
    skipped = longest - np.array(RUN_BITS)[which]
    written[:, 3 : 3 + longest] = np.arange(longest) >= skipped[:, None]
    return bits[written]


def _bits(numbers: Int[np.ndarray, "n"], width: int) -> UInt8[np.ndarray, "n width"]:
    """Numbers as bits, the highest bit first."""
    return (numbers[:, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8)


def _root(paths: Sequence[pathlib.Path]) -> str:
    """The folder above the one that all photographs are in: served files have to be below it."""
    if not paths:
        return ""
    folders = {os.path.dirname(os.path.abspath(path)) for path in paths}
    return os.path.dirname(os.path.commonpath(folders))


def _address(image: ImageRecord, root: str) -> str:
    """Where Label Studio finds a photograph."""
    name = os.path.relpath(os.path.abspath(image.path), root) if image.path else image.file_name
    return "/data/local-files/?d=" + urllib.parse.quote(name)


def _interface(kind: str, names: Sequence[str]) -> str:
    """The labelling interface that the predictions are for."""
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in names)
    return (
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}" zoom="true"/>\n'
        f'  <{KINDS[kind]} name="{CONTROL}" toName="{IMAGE}">\n{labels}  </{KINDS[kind]}>\n'
        "</View>\n"
    )
