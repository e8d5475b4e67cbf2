"""Which kind of annotations a file or folder holds."""

import json
import pathlib
import re
from typing import Any

from exits_jax.annotations.contents import is_packed, read_content
from exits_jax.annotations.csv_files import column_names
from exits_jax.annotations.folder_files import IMAGE_ENDINGS, files_in, folder_of
from exits_jax.annotations.label_studio_tasks import is_label_studio
from exits_jax.annotations.labelme import is_labelme
from exits_jax.annotations.recognise import refuse_json, refuse_numbers, refuse_xml, unknown_file
from exits_jax.annotations.records import BadItem
from exits_jax.annotations.sa1b import is_sa1b
from exits_jax.annotations.tf_csv import COLUMNS
from exits_jax.annotations.yolo_yaml import YAML_ENDINGS, YAML_NAMES

JSON_KINDS = ("coco", "lvis", "labelme", "label_studio", "sa1b")
KINDS = ("auto", *JSON_KINDS, "voc", "cvat", "open_images", "tf_csv", "yolo", "images")
TABLES = (("open_images", ("ImageID", "XMin")), ("tf_csv", COLUMNS))  # by their columns
HEAD_BYTES = 4096
ROOT = re.compile(rb"<([A-Za-z_][^\s/>]*)")  # the first tag that is neither <?...> nor <!...>
YOLO_LINE = re.compile(rb"[^\n,/\\]*[^\s,/\\]([\s,]+-?[\d.]+(e-?\d+)?){4,},?\s*(\n|$)")


def detect_kind(file: pathlib.Path) -> str:
    """The kind of a file or folder by what it holds, one of `KINDS`; "json" for any JSON.

    Raises:
      BadItem: it is none of these; the message says what it looks like and what to do.
      UserError: it cannot be read.
    """
    if file.is_dir():
        return _folder_kind(file)
    if file.suffix.lower() in YAML_ENDINGS:
        return "yolo"
    head = read_content(file, HEAD_BYTES)
    kind = _kind_of(head, file)
    if kind not in ("json", "cvat") and is_packed(file):
        raise BadItem("packed_file", "only JSON and CVAT's XML are read packed: unpack it")
    return kind


def _kind_of(head: bytes, file: pathlib.Path) -> str:
    """The kind of a file by its first bytes."""
    text = _narrow(head).lstrip()
    if text[:1] in (b"{", b"["):
        return "json"
    if text[:1] == b"<":
        return _xml_kind(text)
    columns = set(column_names(head.split(b"\n")[0].decode("utf-8-sig", "replace")))
    for kind, needed in TABLES:
        if columns >= set(needed):
            return kind
    if file.suffix.lower() == ".txt":
        refuse_numbers(head)
        if YOLO_LINE.match(text):
            return "yolo"
    raise unknown_file(head, file.name)


def _xml_kind(text: bytes) -> str:
    """The kind of an XML file by its root element; "voc" if the beginning does not show it."""
    root = ROOT.search(text)
    if root is None or root[1] == b"annotation":
        return "voc"
    if root[1] != b"annotations":
        refuse_xml(root[1].decode("utf-8", "replace"))
    return "cvat"


def json_kind(content: Any) -> str:
    """The kind of a JSON file by its content: one of `JSON_KINDS`, "coco" where it may be COCO.

    Raises:
      BadItem: it is another tool's; the message says whose and what to do.
    """
    if is_labelme(content):
        return "labelme"
    if is_label_studio(content):
        return "label_studio"
    if is_sa1b(content):
        return "sa1b"
    refuse_json(content)
    return "coco"


def _folder_kind(folder: pathlib.Path) -> str:
    """The kind of a folder, by the files in it."""
    # Roboflow's exports have two README.*.txt, which are not labels.
    paths = [path for path in files_in(folder) if not path.name.startswith("README")]
    names, endings = {path.name for path in paths}, {path.suffix.lower() for path in paths}
    if "Annotations" in names:
        return "voc"
    if ".xml" in endings:
        return _xml_folder_kind(folder)
    if {"labels", *YAML_NAMES} & names or any(folder.glob("*/labels")):
        return "yolo"
    if ".json" in endings:
        return _json_folder_kind(folder, folder)
    if ".txt" in endings:
        refuse_numbers(
            read_content(next(p for p in paths if p.suffix.lower() == ".txt"), HEAD_BYTES)
        )
        return "yolo"
    inner = [path for path in paths if path.is_dir()]
    if any(files_in(path, ".xml") for path in inner):
        return _xml_folder_kind(folder_of(folder, ".xml"))
    inner = [path for path in inner if files_in(path, ".json")]
    if inner:
        return _json_folder_kind(inner[0], folder)
    if endings & set(IMAGE_ENDINGS):
        return "images"
    if any(folder.glob("*/*.txt")):
        return "yolo"
    raise BadItem("no_annotations", f"no .xml file, nor any other annotations, in {folder}")


def _xml_folder_kind(folder: pathlib.Path) -> str:
    """Tells CVAT's export, one XML file, from VOC's, a folder of them."""
    xml = files_in(folder, ".xml")
    return "cvat" if len(xml) == 1 and detect_kind(xml[0]) == "cvat" else "voc"


def _json_folder_kind(folder: pathlib.Path, root: pathlib.Path) -> str:
    """The kind of a folder of JSON: labelme's or SA-1B's; for others one file is meant.

    Args:
      folder: with JSON files.
      root: the folder that was given, which holds it.
    """
    files = files_in(folder, ".json")
    for path in files:
        head = read_content(path, HEAD_BYTES)
        labelme = b'"imagePath"' in head or b'"shapes"' in head or b'"shape_type"' in head
        if labelme or (b'"image":' in head and b'"image_id"' in head):
            folder_of(root, ".json")  # refuses several folders of them
            return "labelme" if labelme else "sa1b"
    if folder != root:
        like = files[0].relative_to(root).as_posix()
        raise BadItem("unknown_kind", f"a folder of folders: give one file, like {like}")
    if len(files) == 1:
        raise BadItem("unknown_kind", f"a folder with one JSON file: give that, {files[0]}")
    some = ", ".join(path.name for path in files[:3])
    text = f"a folder with {len(files)} JSON files ({some}): give one of them"
    raise BadItem("unknown_kind", text)


def _narrow(head: bytes) -> bytes:
    """The beginning of a text in UTF-8, whatever Unicode encoding it is in."""
    coding = json.detect_encoding(head)
    return head.decode(coding, "replace").encode("utf-8", "replace").removeprefix(b"\xef\xbb\xbf")
