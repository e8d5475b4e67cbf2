"""Hostile files, as bytes: valid ones of every kind, and how hypothesis spoils them."""

import copy
import csv
import io
import json
import math
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from exits_jax.annotations import encode_rle

WIDTH, HEIGHT = 40, 30  # pixels of the images a.png and sub/b.png
DEEP = "(deep)"  # becomes many brackets, which json.dumps itself could not write
CANARY = "executed"  # the folder that a pickle makes if it is run

TEXTS = (
    *("", " ", ".", "./.", "..", "/", "a.png", "sub/b.png", "secret.png", "../secret.png"),
    *("sub/../../secret.png", "/etc/passwd", "C:\\secret.png", "..\\secret.png", "a.png/"),
    *("\0", "a\0.png", "\ud800", "\udc80.png", "a\nb.png", "\u2028", "\u202egnp.a", "x" * 300),
    *("y/" * 3000, "http://[", "http://x/../..", "nan", "1e999", "-1", "1_0", "<&>", DEEP),
)
COMPRESSED_RUNS = {
    "size": [HEIGHT, WIDTH],
    "counts": "k4d0:0in0",
}  # columns 5 and 6, 20 pixels each
NUMBERS = (
    *(0, -1, 1, 2, 3, 11, 0.5, -0.0, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf),
    *(2**15, 2**31, -(2**31), 2**53 + 1, 2**63, 2**64, 2**70, 10**400, 65_535, 10**15),
)
ODD = st.one_of(
    st.none() | st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.lists(st.sampled_from([-3, 0, 5.5, 30, 49, math.nan, None, "x", [1, 2]]), max_size=9),
    st.dictionaries(st.sampled_from(["size", "counts", "top", "left", "id"]), st.integers()),
)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every path into a JSON value, the empty one first."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def mostly(draw: st.DrawFn, usual: Any, *odd: Any) -> Any:
    """The usual value in nine cases of ten, else one of the others: so most of a file is valid."""
    return usual if draw(st.integers(0, 9)) < 9 else draw(st.sampled_from(odd))


@st.composite
def spoilt(draw: st.DrawFn, valid: Any) -> Any:
    """A JSON value with up to three places replaced, left out, repeated or taken from elsewhere."""
    content = copy.deepcopy(valid)
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(content))[1:]
        if not found:
            return content
        *path, last = draw(st.sampled_from(found))
        inside = content
        for key in path:
            inside = inside[key]
        kind = draw(st.sampled_from(["replace", "replace", "delete", "repeat"]))
        if kind == "delete":
            del inside[last]
        elif kind == "repeat" and isinstance(inside, list):
            inside.append(copy.deepcopy(inside[last]))
        else:
            inside[last] = copy.deepcopy(draw(ODD))
    return draw(ODD) if draw(st.integers(0, 40)) == 40 else content


@st.composite
def damaged(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that are mostly whole: the others cut short, with bits flipped or bytes put in."""
    content = draw(contents)
    kind = draw(st.sampled_from(["whole"] * 7 + ["cut", "flip", "insert"]))
    if kind == "whole" or not content:
        return content
    place = draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        return content[:place]
    if kind == "insert":
        return content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:]
    flipped = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        flipped[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(flipped)


def as_json(value: Any, depth: int = 700) -> bytes:
    """JSON text with NaN and infinity as Python writes them, DEEP as nested lists."""
    text = json.dumps(value)
    return text.replace(json.dumps(DEEP), "[" * depth + "]" * depth).encode()


@st.composite
def json_files(draw: st.DrawFn, documents: Sequence[Any]) -> bytes:
    """Spoilt documents as text; a few in an encoding that JSON allows, or too deep to be read."""
    content = draw(spoilt(draw(st.sampled_from(list(documents)))))
    text = as_json(content, draw(st.sampled_from([20, 700, 930, 100_000])))
    coding = draw(st.sampled_from(["utf-8"] * 12 + ["utf-8-sig", "utf-16", "utf-32"]))
    return text.decode().encode(coding)


# --- COCO, LVIS, results ---------------------------------------------------------------------


def coco_document() -> dict[str, Any]:
    """Two images and every form an annotation can have."""
    box = {"bbox": [5, 5, 20, 10], "iscrowd": 0}
    points = [[15, 5], [5, 10], [15, 15], [25, 10]]
    roles = dict(zip(("top", "left", "bottom", "right"), points, strict=True))
    runs = {"size": [HEIGHT, WIDTH], "counts": [155, 20, 10, 20, WIDTH * HEIGHT - 205]}
    exits = {"extreme_points": points, "score": 0.5, "flags": ["parts:2"]}
    forms = [
        box | {"segmentation": [[5, 5, 25, 5, 25, 15, 5, 15]], "area": 200},
        box | {"segmentation": runs, "area": 40, "exits": exits},
        box | {"segmentation": COMPRESSED_RUNS, "area": 40},
        box | {"extreme_points": points},
        {"extreme_points": [number for point in points for number in point]},
        box | {"extreme_points": roles},
        box | {"extreme_points": {"top": [15, 5], "left": None}},
        box | {"keypoints": [15, 5, 2, 5, 10, 2, 15, 15, 2, 25, 10, 2]},
        {"segmentation": runs, "iscrowd": 1, "bbox": [5, 5, 20, 10], "area": 40},
        box,
    ]
    sizes = {"width": WIDTH, "height": HEIGHT}
    return {
        "info": {"year": 2026},
        "images": [
            {"id": 1, "file_name": "a.png", **sizes},
            {"id": 2, "file_name": "sub/b.png", **sizes},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": 11 + k, "image_id": 1 + k % 2, "category_id": 3 + 4 * (k % 2), **form}
            for k, form in enumerate(forms)
        ],
    }


def lvis_document() -> dict[str, Any]:
    """COCO's document as LVIS writes it: images by address, no `iscrowd`."""
    document = coco_document()
    for image in document["images"]:
        name = image.pop("file_name")
        image["coco_url"] = f"http://images.example.org/{name}"
        image["neg_category_ids"], image["not_exhaustive_category_ids"] = [7], []
    for annotation in document["annotations"]:
        annotation.pop("iscrowd", None)
    return document


def results_list() -> list[dict[str, Any]]:
    """COCO's results form: boxes and run lengths with scores."""
    common = {"image_id": 1, "category_id": 3, "score": 0.75}
    runs = COMPRESSED_RUNS
    return [
        common | {"bbox": [5, 5, 20, 10]},
        common | {"segmentation": runs},
        common | {"bbox": [5, 5, 20, 10], "segmentation": runs, "extreme_points": []},
    ]


# --- PASCAL VOC, Open Images -----------------------------------------------------------------

VOC_XML = b"""<annotation><folder>VOC</folder><filename>a.png</filename>
<size><width>40</width><height>30</height><depth>3</depth></size><segmented>1</segmented>
<object><name>cat</name><truncated>0</truncated><difficult>1</difficult>
<bndbox><xmin>6</xmin><ymin>6</ymin><xmax>25</xmax><ymax>15</ymax></bndbox></object>
<object><name>dog</name><bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>
</object></annotation>"""
BOMB_XML = (
    '<!DOCTYPE annotation [<!ENTITY a "' + "x" * 64 + '">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 16}">' for a, b in zip("abcde", "bcdef", strict=True))
    + "]><annotation><filename>&f;</filename></annotation>"
)  # fmt: skip
OUTSIDE_XML = (
    '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    "<annotation><filename>&a;</filename></annotation>"
)
VOC_SEEDS = [
    VOC_XML,
    *(text.encode(coding) for text in (BOMB_XML, OUTSIDE_XML) for coding in ("utf-8", "utf-16")),
]


@st.composite
def voc_files(draw: st.DrawFn) -> bytes:
    """VOC XML with elements renamed, emptied, repeated or left out; entities in two encodings."""
    if draw(st.integers(0, 20)) == 20:
        return draw(st.sampled_from(VOC_SEEDS))
    root = ElementTree.fromstring(VOC_XML)
    for _ in range(draw(st.integers(0, 3))):
        parent = draw(
            st.sampled_from([element for element in root.iter() if len(element)] or [root])
        )
        if not len(parent):
            break
        child = draw(st.sampled_from(list(parent)))
        kind = draw(st.sampled_from(["text", "text", "text", "remove", "repeat", "tag", "nest"]))
        if kind == "text":
            # What XML cannot hold stays in, as a character reference that its readers refuse.
            child.text = str(draw(st.sampled_from((*TEXTS, *NUMBERS))))
        elif kind == "remove":
            parent.remove(child)
        elif kind == "tag":
            child.tag = draw(st.sampled_from(["name", "object", "size", "xmin", "x" * 400]))
        else:
            (parent if kind == "repeat" else child).append(copy.deepcopy(child))
    coding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "latin-1"]))
    return ElementTree.tostring(root, "unicode").encode(
        coding, "xmlcharrefreplace" if coding == "latin-1" else "replace"
    )


OPEN_IMAGES = [
    *(["ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"],),
    ["a", "xclick", "/m/01yrx", "1", "0.125", "0.625", "0.2", "0.5"],
    ["a", "activemil", "/m/0bt9lr", "1", "0", "1", "0", "1"],
    ["missing", "xclick", "/m/01yrx", "1", "0.1", "0.2", "0.1", "0.2"],
]
OPEN_IMAGES[0] += [f"XClick{i}{axis}" for i in range(1, 5) for axis in "XY"]
OPEN_IMAGES[0] += ["IsGroupOf", "IsOccluded"]
OPEN_IMAGES[1] += ["0.4", "0.2", "0.125", "0.3", "0.4", "0.5", "0.625", "0.3", "0", "1"]
OPEN_IMAGES[2] += ["-1"] * 8 + ["1", "0"]
OPEN_IMAGES[3] += ["-1.0"] * 8 + ["0", "0"]


@st.composite
def open_images_files(draw: st.DrawFn) -> bytes:
    """The CSV with cells replaced, lines cut short or lengthened."""
    rows = copy.deepcopy(OPEN_IMAGES)
    for _ in range(draw(st.integers(0, 3))):
        row = rows[draw(st.integers(0, 3))]
        column = draw(st.integers(0, len(row) - 1)) if row else 0
        kind = draw(st.sampled_from(["cell", "cell", "cell", "cell", "cut", "long"]))
        if kind == "cell" and row:
            row[column] = str(draw(st.sampled_from((*TEXTS, *NUMBERS, "z" * 140_000))))
        else:
            row[column:] = [] if kind == "cut" else ["0.5"] * 40
    return as_csv(rows)


def as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    """Rows as CSV text; what has no encoding becomes '?'."""
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue().encode("utf-8", "replace")


# --- segmentations ---------------------------------------------------------------------------

COMPRESSED = st.text(st.characters(min_codepoint=46, max_codepoint=113), max_size=12)


def compressed(pixels: Sequence[bool]) -> str:
    """The compressed counts of 10 x 12 pixels, column by column."""
    return encode_rle(np.array(pixels).reshape(12, 10).T)["counts"]


COUNTS = st.one_of(
    COMPRESSED,
    COMPRESSED.map(lambda text: "o" * 30 + text),
    st.lists(st.integers(-2, 80), max_size=8),
    st.lists(st.integers(0, 14), max_size=8).map(lambda runs: [*runs, 120 - sum(runs)]),
    st.lists(st.booleans(), min_size=120, max_size=120).map(compressed),
    st.lists(st.sampled_from(NUMBERS), max_size=4),
    ODD,
)
CORNERS = st.one_of(
    st.floats(-10, 20), st.integers(-12, 25), st.sampled_from(NUMBERS), st.sampled_from([0, 10, 12])
)
SEGMENTATIONS = st.one_of(
    st.fixed_dictionaries({"size": st.just([10, 12]), "counts": COUNTS}),
    st.fixed_dictionaries({"size": ODD, "counts": COUNTS}),
    st.lists(st.lists(CORNERS, max_size=10), max_size=3),
    st.lists(st.lists(st.floats(-10, 20), min_size=6, max_size=8), min_size=1, max_size=3),
    ODD,
)


@st.composite
def segmentation_files(draw: st.DrawFn) -> bytes:
    """{"height", "width", "segmentation"} as JSON: 10 x 12 pixels, or whatever it says."""
    height, width = (mostly(draw, side, 1, 300, 65_535, *NUMBERS) for side in (10, 12))
    segmentation = draw(SEGMENTATIONS)
    if isinstance(segmentation, dict) and segmentation.get("size") == [10, 12]:
        segmentation["size"] = [height, width]
    content = {"height": height, "width": width, "segmentation": segmentation}
    return as_json(content)


def scribble(corners: int, width: int, height: int) -> list[float]:
    """A polygon that runs to and fro across an image: a short text with a very long outline."""
    return [side for k in range(corners) for side in (-width if k % 2 else 2 * width, k % height)]


SEGMENTATION_SEEDS = [
    as_json({"height": 10, "width": 12, "segmentation": segmentation})
    for segmentation in (
        {"size": [10, 12], "counts": [25, 3, 7, 3, 82]},
        {"size": [10, 12], "counts": "P1460000000V1"},
        [[1, 1, 8, 1, 8, 7, 1, 7], [0, 0, 3, 0, 3, 3]],
    )
] + [
    as_json({"height": 2700, "width": 65_535, "segmentation": [scribble(300, 65_535, 2700)]}),
    as_json({"height": 10, "width": 12, "segmentation": {"size": [10, 12], "counts": "o" * 99}}),
]

# --- weights ---------------------------------------------------------------------------------


def safetensors_file(header: Any, payload: bytes = bytes(40), length: int | None = None) -> bytes:
    """A safetensors file with any header, and any length that it claims to have."""
    text = header if isinstance(header, bytes) else as_json(header)
    return struct.pack("<Q", len(text) if length is None else length) + text + payload


SAFETENSORS_HEADER = {
    "__metadata__": {"made_with": '{"patch": 8}'},
    "block/a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "block/b": {"dtype": "I64", "shape": [2], "data_offsets": [24, 40]},
}
DTYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F4", "I8", "U64", "BOOL", "C64", "X9")


@st.composite
def safetensors_files(draw: st.DrawFn) -> bytes:
    """Headers with other types, shapes, offsets and settings; payloads too short or too long."""
    header = draw(spoilt(SAFETENSORS_HEADER))
    if isinstance(header, dict) and draw(st.booleans()):
        begin, size = mostly(draw, 24, 0, 8, 40), mostly(draw, 16, 0, 4, 40)
        shapes = st.lists(st.sampled_from([0, 1, 2, 4, 2**40, 2**63, -1]), max_size=4)
        header[mostly(draw, "block/b", "block/a/c", "", "\u2028")] = {
            "dtype": draw(st.sampled_from(DTYPES)),
            "shape": draw(st.one_of(st.sampled_from([[2], [4], [2, 2], [8], [16]]), shapes)),
            "data_offsets": [begin, begin + size],
        }
    if isinstance(header, dict) and draw(st.booleans()):
        header["__metadata__"] = {
            "made_with": mostly(draw, '{"patch": 8}', "[1]", "{", "null", "7", "[" * 100_000, "")
        }
    length = mostly(draw, None, 0, 1, 10**15, 2**64 - 1, 100)
    return safetensors_file(header, bytes(mostly(draw, 40, 0, 39, 64)), length)


def onnx_file(tensors: Sequence[TensorProto], nodes: Sequence[onnx.NodeProto] = ()) -> bytes:
    """A model with these initializers, not checked in any way."""
    graph = onnx.GraphProto(name="graph", node=nodes, initializer=tensors)
    return onnx.ModelProto(ir_version=9, graph=graph).SerializeToString()


def external(location: str) -> TensorProto:
    """An initializer whose numbers are said to be in another file."""
    tensor = TensorProto(name="x.bias", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def onnx_seed() -> bytes:
    """A dense layer, a class token and a list of positions, as PyTorch's exporter leaves them."""
    arrays = {
        "onnx::MatMul_1": np.ones((2, 3), np.float32),
        "dense.bias": np.zeros(3, np.float32),
        "cls_token": np.zeros((1, 1, 2), np.float32),
        "onnx::Concat_2": np.zeros((1, 1, 2), np.float32),
        "onnx::Resize_3": np.zeros((1, 4, 2), np.float32),
    }
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_1"], ["y"]),
        helper.make_node("Add", ["dense.bias", "y"], ["z"]),
        helper.make_node("Concat", ["onnx::Concat_2", "p"], ["q"]),
        helper.make_node("Resize", ["onnx::Resize_3"], ["r"]),
    ]
    return onnx_file(tensors, nodes)


NAMES = st.sampled_from(
    ["x", "y", "x.bias", "onnx::1", "onnx::2", "onnx::3", "cls_token", "", "\u2028"]
)
DIMS = st.lists(st.sampled_from([0, 1, 2, 3, 4, -1, 2**40, 2**63 - 1]), max_size=4)


@st.composite
def onnx_tensors(draw: st.DrawFn) -> TensorProto:
    """An initializer whose type, dims and data need not agree."""
    if draw(st.integers(0, 30)) == 30:
        return external(draw(st.sampled_from(["secret.bin", "../secret.bin", "/etc/passwd", ""])))
    usual = st.lists(st.integers(1, 3), min_size=1, max_size=3)
    tensor = TensorProto(name=draw(NAMES), dims=draw(mostly(draw, usual, DIMS)))
    tensor.data_type = mostly(draw, 1, *range(28), 99)
    size = mostly(draw, math.prod(tensor.dims) * 4 % 4096, 0, 4, 24, 25)
    if draw(st.integers(0, 9)) < 7:
        tensor.raw_data = bytes(size)
        return tensor
    kind = draw(st.sampled_from(["float", "float", "int32", "string"]))
    if kind == "string":
        tensor.string_data.extend([b"a\n", b"\xff"])
    else:
        getattr(tensor, f"{kind}_data").extend([1] * (size // 4))
    return tensor


@st.composite
def onnx_files(draw: st.DrawFn) -> bytes:
    """Graphs of such initializers, and nodes with any number of inputs and outputs."""
    nodes = st.builds(
        onnx.NodeProto,
        op_type=st.sampled_from(["MatMul", "Add", "Concat", "Resize"]),
        input=st.lists(NAMES, max_size=3),
        output=st.lists(NAMES, max_size=2),
    )
    content = onnx_file(
        draw(st.lists(onnx_tensors(), max_size=5)), draw(st.lists(nodes, max_size=4))
    )
    seed = onnx_seed()
    return seed + content if draw(st.booleans()) else content  # protobuf merges what follows


def npy(header: str, payload: bytes = bytes(24)) -> bytes:
    """An .npy file with any header."""
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + payload


def zipped(members: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive; one name may be there twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


class _Executed:
    """Pickles to a call that makes the folder CANARY in the working directory."""

    def __reduce__(self):
        import os

        return os.mkdir, (CANARY,)


NPY_HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
HARMFUL = pickle.dumps(_Executed(), protocol=2)
NPY_OBJECT = npy(NPY_HEADER.replace("<f4", "|O"), HARMFUL)
NPZ_SEEDS = [
    zipped([("Transformer/a.npy", npy(NPY_HEADER)), ("b.npy", npy(NPY_HEADER))]),
    zipped([("a.npy", npy(NPY_HEADER.replace("(2, 3)", "(6,)")))], zipfile.ZIP_DEFLATED),
    zipped([("a.npy", NPY_OBJECT)]),
    NPY_OBJECT,
    npy(NPY_HEADER),
]


@st.composite
def npz_files(draw: st.DrawFn) -> bytes:
    """Archives of arrays with any header, of things that are no arrays, and no archives."""
    shapes = ("(6,)", "()", "(2**40,)", "(-1,)", "(1000000000000000,)", "(0, 99999999999)")
    types = ("|O", "<f8", "<U6", "|V24", "<c8", "?", "<M8[s]", "x", "|S0", "<U0", "<i4", ">f4")
    members = []
    for _ in range(draw(st.integers(0, 3))):
        header = NPY_HEADER.replace("<f4", mostly(draw, "<f4", *types))
        header = header.replace("(2, 3)", mostly(draw, "(2, 3)", *shapes))
        header = mostly(draw, header, "{", "{}", "[" * 9000, "1", header + "x", "{[]: 1}")
        payload = mostly(draw, bytes(24), b"", bytes(1 << 20), HARMFUL)
        name = draw(st.sampled_from(["a.npy", "b.npy", "a", "../a.npy", "/x.npy", "\u2028.npy"]))
        members.append((name, mostly(draw, npy(header, payload), payload)))
    if members and draw(st.integers(0, 30)) == 30:
        return members[0][1]
    codings = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    return zipped(members, draw(st.sampled_from(codings)))


# A state dict as torch.save writes it, put together from pickle's own op codes without PyTorch.


def op_text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def _whole(numbers: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"


def _integer(number: int) -> bytes:
    return pickle.dumps(number, protocol=2)[2:-1]


def torch_tensor(
    size: Sequence[int] = (2, 3),
    stride: Sequence[int] = (3, 1),
    storage: str = "torch.FloatStorage",
    count: int = 6,
    offset: int = 0,
    rebuild: str = "torch._utils._rebuild_tensor_v2",
) -> bytes:
    """The op codes of one tensor in the record data/0."""
    where = b"(" + op_text("storage") + _global(storage) + op_text("0") + op_text("cpu")
    where += _integer(count) + b"tQ"
    rest = _integer(offset) + _whole(size) + _whole(stride) + b"\x89"
    return _global(rebuild) + b"(" + where + rest + _global("collections.OrderedDict") + b")RtR"


def torch_file(entries: Sequence[tuple[bytes, bytes]], payload: bytes = bytes(24)) -> bytes:
    """A .pth archive of a dict with these keys and values, both as op codes."""
    items = b"".join(key + value for key, value in entries)
    return torch_archive(b"\x80\x02}(" + items + b"u.", payload)


def torch_archive(pickled: bytes, payload: bytes = bytes(24)) -> bytes:
    """A .pth archive with any pickle."""
    members = {"data.pkl": pickled, "byteorder": b"little", "data/0": payload, "version": b"3\n"}
    return zipped([(f"archive/{name}", content) for name, content in members.items()])


TORCH_SEEDS = [
    torch_file([(op_text("a"), torch_tensor()), (op_text("b"), torch_tensor((6,), (1,)))]),
    torch_file([(op_text("model"), b"}(" + op_text("a") + torch_tensor() + b"u")]),
    torch_file([(op_text("a"), torch_tensor((10**12,), (0,)))]),
    torch_archive(HARMFUL),
    HARMFUL,
]


@st.composite
def torch_files(draw: st.DrawFn) -> bytes:
    """State dicts whose keys, sizes, strides, storages and calls need not make sense."""
    sizes = st.lists(st.sampled_from([0, 1, 2, 3, 6, -1, 10**6, 10**12, 2**62]), max_size=3)
    storages = ("Half", "BFloat16", "Long", "Bool", "ComplexFloat", "QInt8", "No", "Double")
    calls = [f"torch._utils._rebuild_{kind}" for kind in ("qtensor", "parameter", "sparse_tensor")]
    entries = []
    for _ in range(draw(st.integers(0, 3))):
        size = draw(mostly(draw, st.sampled_from([[2, 3], [3, 2], [2, 2]]), sizes))
        stride = draw(mostly(draw, st.just([3, 1][-len(size) :]), st.lists(st.integers(-1, 3))))
        call = mostly(draw, "torch._utils._rebuild_tensor_v2", *calls, "os.mkdir")
        storage = f"torch.{mostly(draw, 'Float', *storages)}Storage"
        count, offset = mostly(draw, 6, 0, 1, -1, 10**12), mostly(draw, 0, 1, -1, 10**12)
        value = torch_tensor(size, stride, storage, count, offset, call)
        key = mostly(
            draw, op_text(draw(st.sampled_from("abc"))), _integer(7), b"N", op_text("model")
        )
        entries.append((key, mostly(draw, value, b"N", op_text("x"), b"}", HARMFUL)))
    if draw(st.integers(0, 15)) == 15:
        return draw(st.sampled_from(TORCH_SEEDS))
    return torch_file(entries, bytes(mostly(draw, 24, 0, 6, 48)))
