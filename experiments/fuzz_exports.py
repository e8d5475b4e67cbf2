"""Hostile exports of other tools, as bytes: YOLO, labelme, CVAT, Label Studio, packed files."""

import copy
import gzip
from typing import Any
from xml.etree import ElementTree

from hypothesis import strategies as st

from experiments.fuzz_cases import (
    HEIGHT,
    NUMBERS,
    TEXTS,
    WIDTH,
    as_json,
    coco_document,
    json_files,
    zipped,
)

CORNERS = [[5, 5], [25, 5], [15, 15]]
# An RGB PNG of one pixel: the smallest mask.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg=="
)


def labelme_file() -> dict[str, Any]:
    """Every shape there is, some of them in groups."""
    shapes = [
        ("cat", "polygon", CORNERS, 1),
        ("cat", "mask", [[7, 8], [7, 8]], 1),
        ("cat", "rectangle", [[5, 5], [25, 15]], None),
        ("dog", "circle", [[15, 10], [15, 15]], None),
        ("dog", "linestrip", CORNERS, None),
        ("dog", "rotation", [*CORNERS, [9, 9]], None),
        *[("dog", "point", [corner], 2) for corner in [*CORNERS, [15, 5]]],
    ]
    rows = [
        {"label": label, "points": points, "group_id": group, "shape_type": kind, "mask": PIXEL}
        for label, kind, points, group in shapes
    ]
    sides = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None}
    return {"version": "5.5.0", "shapes": rows, "imagePath": "a.png", **sides}


def painted_over() -> list[int]:
    """The brush mask of a whole picture: the head, and one block of 255 repeated."""
    values = 4 * WIDTH * HEIGHT
    bits = f"{values:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += f"111{values - 1:016b}{255:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


def label_studio_export() -> list[dict[str, Any]]:
    """Two tasks with every region there is, a prediction and a row of the minimal export."""
    sizes = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    values = [
        ("rectangle", {"x": 10, "y": 20, "width": 50, "height": 30, "rotation": 10}),
        ("polygon", {"points": [[10, 10], [60, 10], [30, 50]]}),
        ("ellipse", {"x": 40, "y": 50, "radiusX": 10, "radiusY": 20}),
        ("brush", {"format": "rle", "rle": painted_over()}),
        *[("keypoint", {"x": x, "y": 9 * x, "width": 1}) for x in (2, 4, 6, 8)],
    ]
    results = [
        {
            **sizes,
            "id": f"r{number}",
            "type": f"{kind}labels",
            "value": {**value, f"{kind}labels": ["dog" if kind == "keypoint" else "cat"]},
        }
        for number, (kind, value) in enumerate(values)
    ]
    task = {
        "id": 1,
        "data": {"image": "/data/upload/1/0a1b2c3d-a.png"},
        "annotations": [{"id": 5, "result": results, "was_cancelled": False}],
    }
    guessed = {"id": 2, "data": {"image": "s3://bucket/sub/b.png"}, "annotations": []}
    return [task, guessed | {"predictions": [{"result": results[:1]}]}]


CVAT_XML = f"""<annotations><version>1.1</version>
<meta><task><labels><label><name>cat</name></label></labels></task></meta>
<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">
<box label="cat" occluded="1" xtl="5" ytl="5" xbr="25" ybr="15" rotation="30" z_order="0"/>
<polygon label="dog" points="5,5;25,5;15,15" group_id="1"><attribute name="a">b</attribute>
</polygon>
<mask label="dog" rle="2, 3, 4" left="3" top="4" width="3" height="3" group_id="1"/>
<points label="cat" points="5,5;25,5;15,15;15,3"/><polyline label="cat" points="5,5;25,5"/>
<ellipse label="cat" cx="15" cy="10" rx="5" ry="6"/></image><track label="cat" id="1"/>
</annotations>"""

YOLO_LINES = [
    "0 0.4 0.4 0.3 0.3",
    "1 0.1 0.1 0.6 0.1 0.3 0.5",
    "1 0.4 0.4 0.3 0.3 0.75",
    "0 0.4 0.4 0.3 0.3 0.2 0.2 2 0.3 0.3 1",
    "1 0.1 0.1 0.6 0.1 0.6 0.5 0.1 0.5",
]
YOLO_YAML = """path: .
train: images
val: [images/val, ../x]
kpt_shape: [2, 3]
names:
  0: cat
  1: dog
"""
MERGE_BOMB = "k0: &k0 {b: c}\n" + "".join(
    f"k{i}: &k{i}\n  <<: [*k{i - 1}, *k{i - 1}, *k{i - 1}]\n" for i in range(1, 40)
)
YAML_TEXTS = (
    "names: [a, b]", "names: *x", "&x [*x]", "names: {0: a, 0: b}", "!!python/object:os.x {}",
    "[" * 2000, "a: 2026-99-99", "kpt_shape: [99999999999, 9]", "train: /etc", "train: ../../..",
    "path: \x00", "names: {1e400: a}", "? {a: b}\n: c", "<<: 3", "names: [yes, 3, 0x1F, .nan]",
    MERGE_BOMB,
)  # fmt: skip


@st.composite
def cvat_files(draw: st.DrawFn) -> bytes:
    """CVAT XML with attributes replaced, elements renamed, repeated or left out."""
    root = ElementTree.fromstring(CVAT_XML)
    for _ in range(draw(st.integers(0, 3))):
        element = draw(st.sampled_from(list(root.iter())))
        kind = draw(st.sampled_from(["attribute"] * 4 + ["drop", "tag", "nest", "repeat"]))
        if kind in ("attribute", "drop") and element.attrib:
            name = draw(st.sampled_from(sorted(element.attrib)))
            del element.attrib[name]
            if kind == "attribute":
                odd = (*TEXTS, *NUMBERS, "5,5;" * 2000 + "5,5", "1,2", "99999999999,1", "0," * 999)
                element.set(name, str(draw(st.sampled_from(odd))))
        elif kind == "tag":
            element.tag = draw(st.sampled_from(["image", "box", "mask", "points", "x" * 400]))
        elif kind == "nest":
            element.append(copy.deepcopy(element))
        elif len(element):
            element.append(copy.deepcopy(draw(st.sampled_from(list(element)))))
    return ElementTree.tostring(root, "unicode").encode("utf-8", "replace")


@st.composite
def yolo_files(draw: st.DrawFn) -> bytes:
    """Label files with numbers replaced, lines cut short, lengthened or of anything."""
    lines = [line.split() for line in YOLO_LINES]
    for _ in range(draw(st.integers(0, 3))):
        line = draw(st.sampled_from(lines))
        place = draw(st.integers(0, len(line) - 1)) if line else 0
        kind = draw(st.sampled_from(["cell", "cell", "cell", "cut", "long"]))
        if kind == "cell" and line:
            line[place] = str(draw(st.sampled_from((*TEXTS, *NUMBERS, "0.5", "1.01", "9" * 5000))))
        else:
            line[place:] = [] if kind == "cut" else ["0.5"] * draw(st.integers(1, 4000))
    coding = draw(st.sampled_from(["utf-8"] * 4 + ["utf-16", "latin-1"]))
    return "\n".join(map(" ".join, lines)).encode(coding, "replace")


@st.composite
def yaml_files(draw: st.DrawFn) -> bytes:
    """A data.yaml with lines replaced by hostile ones."""
    lines = YOLO_YAML.splitlines()
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        text = draw(st.sampled_from((*YAML_TEXTS, *TEXTS)))
        key = lines[place].split(":")[0]
        lines[place] = draw(st.sampled_from([text, f"{key}: {text}"]))
    return "\n".join(lines).encode("utf-8", "replace")


@st.composite
def packed_files(draw: st.DrawFn) -> bytes:
    """Annotations in gzip and zip, with any names, damaged, repeated or inside one another."""
    documents = [coco_document(), labelme_file(), label_studio_export()]
    content = draw(st.one_of(json_files(documents), cvat_files(), st.binary(max_size=64)))
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            content = gzip.compress(content, mtime=0)
            continue
        names = st.sampled_from(
            ["a.json", "x/b.xml", "../c.json", "/d.json", "e.png", "\u2028.json"]
        )
        members = [(name, content) for name in draw(st.lists(names, max_size=2))]
        content = zipped(members, draw(st.sampled_from([0, 8, 12, 14])))
    return content


LABELME_SEEDS = [as_json(labelme_file())]
LABEL_STUDIO_SEEDS = [as_json(label_studio_export())]
YOLO_SEEDS = ["\n".join(YOLO_LINES).encode()]
PACKED_SEEDS = [
    gzip.compress(as_json(coco_document()), mtime=0),
    zipped([("a.json", as_json(coco_document()))], 8),
]
