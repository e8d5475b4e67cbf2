"""What an unreadable file looks like, and what to do with it: one line for people."""

import csv
import json
import re
from typing import Any

from exits_jax.annotations.records import BadItem
from exits_jax.system.errors import one_line

READ = (
    "COCO or LVIS JSON, PASCAL VOC XML, Open Images or TensorFlow CSV, YOLO text files, labelme"
    " JSON, CVAT XML or Label Studio JSON"
)
COCO_INSTEAD = "export the data as COCO JSON"
RESULTS_INSTEAD = "save the detections as COCO results (JSON) and give them as data.boxes"
UNPACK = "unpack it and give the file or folder that was in it"
IMAGE = "give it as part of the image folder (data.images), and the annotations here"

# bytes at the beginning -> what it is, what to do
SIGNATURES = {
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", UNPACK),
    b"Rar!": ("a RAR archive", UNPACK),
    b"\xfd7zXZ\0": ("an xz file", UNPACK),
    b"BZh": ("a bzip2 file", UNPACK),
    b"\x28\xb5\x2f\xfd": ("a zstd file", UNPACK),
    b"PAR1": ("a Parquet file", COCO_INSTEAD),
    b"ARROW1": ("an Arrow file", COCO_INSTEAD),
    b"\x93NUMPY": ("a NumPy array (.npy)", COCO_INSTEAD),
    b"\x80": ("a Python pickle, which is never opened because it can run programs", COCO_INSTEAD),
    b"MATLAB": ("a MATLAB file", COCO_INSTEAD),
    b"\x89HDF": ("an HDF5 file", COCO_INSTEAD),
    b"SQLite format 3\0": ("an SQLite database", COCO_INSTEAD),
    b"%PDF": ("a PDF", COCO_INSTEAD),
    b"\x89PNG": ("a PNG image", IMAGE),
    b"\xff\xd8\xff": ("a JPEG image", IMAGE),
    b"GIF8": ("a GIF image", IMAGE),
    b"RIFF": ("a WebP image", IMAGE),
    b"BM": ("a BMP image", IMAGE),
    b"II*\0": ("a TIFF image", IMAGE),
    b"MM\0*": ("a TIFF image", IMAGE),
    b"version https://git-lfs": (
        "a Git LFS pointer, not the file itself",
        "fetch the file with 'git lfs pull'",
    ),
    b"\xff\xfe": ("text in UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("text in UTF-16", "save it as UTF-8"),
}

FIFTYONE = "export it with fiftyone.types.COCODetectionDataset"
VOTT = "in VoTT export as Pascal VOC, which is read"

# keys of a JSON object -> what it is, what to do; the first whose keys are all there
OBJECTS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("videos", "annotations"), "YouTube-VIS JSON", "export single images as COCO JSON"),
    (("_via_img_metadata",), "a VIA project", "in VIA choose Annotation > Export (COCO format)"),
    (("_via_settings",), "a VIA project", "in VIA choose Annotation > Export (COCO format)"),
    (("tags", "objects", "size"), "Supervisely JSON", "in Supervisely export as COCO"),
    (("imgHeight", "objects"), "Cityscapes JSON", COCO_INSTEAD),
    (("categories", "items", "info"), "Datumaro JSON", "run 'datum convert -f coco'"),
    (("samples",), "FiftyOne JSON", FIFTYONE),
    (("classes", "labels"), "FiftyOne's labels.json", FIFTYONE),
    (("assets", "lastVisitedAssetId"), "a VoTT project", VOTT),
    (("asset", "regions"), "VoTT's JSON of an image", VOTT),
    (("predictions", "image"), "Roboflow's inference JSON", RESULTS_INSTEAD),
    (("dataset", "image", "annotations"), "V7 Darwin JSON 1.0", "in V7 export as COCO"),
    (("item", "annotations"), "V7 Darwin JSON", "in V7 export as COCO"),
    (("data_row", "projects"), "Labelbox JSON", "convert it to COCO JSON"),
    (("task_id", "response"), "Scale AI JSON", "convert it to COCO JSON"),
    (("source-ref",), "a SageMaker Ground Truth manifest", "convert it to COCO JSON"),
    (("boxes", "labels", "scores"), "torchvision's detections", RESULTS_INSTEAD),
    (("boxes", "labels"), "torchvision's targets", COCO_INSTEAD),
    (("type", "features"), "GeoJSON", COCO_INSTEAD),
)
# the same for the first object of a list, or of a file with an object on each line
ROWS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("image", "annotations"), "createML JSON", COCO_INSTEAD),
    (("name", "labels"), "BDD100K (Scalabel) JSON", COCO_INSTEAD),
    (("Label", "External ID"), "Labelbox's old JSON", "convert it to COCO JSON"),
    (("file_name", "annotations"), "detectron2's list of records", COCO_INSTEAD),
    (("file_name", "objects"), "a list of Hugging Face records", COCO_INSTEAD),
    *OBJECTS,
)
# the same for the first of the annotations of an object that lists no boxes
ENTRIES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("segments_info",),
        "panoptic COCO JSON",
        "give the instances file (instances_*.json), or convert the panoptic PNGs to instances",
    ),
    (("caption",), "COCO's captions", "give the instances file (instances_*.json)"),
    (("type", "label", "coordinates"), "Dataloop JSON", "in Dataloop export as COCO"),
)
XML_ROOTS = {
    "html": ("a web page", "it may be a login page: download the file again"),
    "dataset": ("dlib's XML", COCO_INSTEAD),
    "tagset": ("ICDAR's XML", COCO_INSTEAD),
    "kml": ("KML", COCO_INSTEAD),
    "svg": ("an SVG drawing", COCO_INSTEAD),
    "project": ("a project file", COCO_INSTEAD),
}
CSV_COLUMNS = (
    (("filename", "file_size", "region_count"), "VIA's CSV"),
    (("image_id", "width", "height", "bbox"), "a table of boxes"),
    (("ImageId", "EncodedPixels"), "Kaggle's run length CSV"),
    (("MaskPath", "ImageID"), "Open Images' list of masks (its box CSV is read)"),
    (("score",), "a table of detections"),
    (("confidence",), "a table of detections"),
)

# the beginning of a text beside YOLO's labels -> what it is
YOLO_LISTS = (
    (re.compile(rb"\s*classes\s*=\s*\d"), "darknet's obj.data"),
    (re.compile(rb"(?i)[^\n]*\.(jpe?g|png|bmp|tiff?|webp)\s*(\n|$)"), "a list of image files"),
)


def unknown_file(head: bytes, name: str) -> BadItem:
    """Why a file that begins like this is not read.

    Args:
      head: its first bytes.
      name: of the file.
    """
    if not head.strip(b"\xef\xbb\xbf \t\r\n\0"):
        return BadItem(
            "unknown_kind", "the file is empty, or nothing but zeros; copy or export it again"
        )
    if head[257:262] == b"ustar":
        return _foreign("a tar archive", UNPACK)
    if name.lower().endswith((".tfrecord", ".record", ".tfrecords")):
        return _foreign("a TFRecord file", COCO_INSTEAD)
    for signature, (what, advice) in SIGNATURES.items():
        if head.startswith(signature):
            return _foreign(what, advice)
    refuse_numbers(head)
    for pattern, what in YOLO_LISTS:
        if pattern.match(head):
            raise _foreign(what, "give the folder that it lies in")
    found = _table(head.decode("utf-8-sig", "replace"))
    if found:
        detected = "detections" in found
        return _foreign(found, RESULTS_INSTEAD if detected else COCO_INSTEAD)
    return BadItem("unknown_kind", f"the file begins with {head[:20]!r}; expected {READ}")


def delimiter_of(line: str) -> str:
    """What separates the columns in the first line of a table."""
    return max(",;\t", key=line.count)


def _table(text: str) -> str | None:
    """What a text of columns is, by its first line."""
    line = (text.splitlines() or [""])[0]
    try:
        cells = next(csv.reader([line.lstrip("#")], delimiter=delimiter_of(line)))
    except (csv.Error, StopIteration):
        return None
    for columns, what in CSV_COLUMNS:
        if set(columns) <= set(cells):
            return what
    if len(cells) > 3:
        return f"a table with the columns {one_line(', '.join(cells[:6]))}"
    return None


def refuse_numbers(head: bytes) -> None:
    """Raises BadItem for the beginning of a text file of numbers that is another tool's."""
    lines = head.decode("utf-8-sig", "replace").splitlines()
    what = _numbers_of(lines[0]) if lines else None
    if what:
        raise _foreign(what, COCO_INSTEAD)


def _numbers_of(line: str) -> str | None:
    """What a text of lines of numbers is."""
    cells = line.strip().split(",")
    numbers = [re.fullmatch(r" *(-?\d+)(\.\d*)? *", cell) for cell in cells]
    # YOLO's shares of an image are in 0 to 1, a box of MOT is in pixels.
    if len(cells) in range(7, 11) and all(numbers) and any(int(n[1]) > 1 for n in numbers[2:]):
        return "MOT tracks (frame, id, x, y, width, height, ...)"
    if re.fullmatch(r"[A-Za-z]\w*( -?[\d.]+){14,15}", line.strip()):
        return "KITTI labels"
    corners = re.fullmatch(r"(-?[\d.]+\s+){8}[A-Za-z][\w-]*(\s+\d)?", line.strip())
    if corners or line.startswith(("imagesource:", "gsd:")):
        return "DOTA labels (rotated boxes)"
    return None


def refuse_xml(root: str) -> None:
    """Raises BadItem for an XML file whose root element is not one that is read."""
    what, advice = XML_ROOTS.get(root.rpartition("}")[2].lower(), ("", ""))
    if what:
        raise _foreign(what, advice)
    text = f"the root element is {one_line(root)!r}; expected 'annotation' (VOC) or 'annotations'"
    raise BadItem("bad_xml", f"{text} (CVAT)")


def refuse_json(content: Any) -> None:
    """Raises BadItem if the content of a JSON file is that of another known tool."""
    if isinstance(content, dict) and not {"images", "annotations"} <= content.keys():
        _refuse_row(content, OBJECTS)
    if isinstance(content, list) and content:
        _refuse_row(content[0], ROWS)
    if isinstance(content, dict):
        rows = content.get("annotations")
        first = rows[0] if isinstance(rows, list) and rows else None
        if isinstance(first, dict) and "bbox" not in first:
            _refuse_row(first, ENTRIES)
        value = next(iter(content.values()), None)
        if isinstance(value, dict) and {"filename", "regions"} <= value.keys():
            advice = "in VIA choose Annotation > Export Annotations (COCO format)"
            raise _foreign("VIA's JSON", advice)


def _refuse_row(row: Any, table: tuple[tuple[tuple[str, ...], str, str], ...]) -> None:
    """Raises BadItem for an object that has the keys of a line of the table."""
    for keys, what, advice in table if isinstance(row, dict) else ():
        if row.keys() >= set(keys):
            raise _foreign(what, advice)


def refuse_results(rows: list[Any] | None) -> None:
    """Raises BadItem for a list of detections that is given where annotations are expected."""
    first = rows[0] if rows else None
    if isinstance(first, dict) and "image_id" in first and "score" in first:
        raise _foreign(
            "a list of detections (COCO results)",
            "give it as data.boxes, and as data.annotations a file that lists the images, or none",
        )


def bad_json(text: bytes, error: Exception) -> BadItem:
    """Why a text that begins like JSON is not JSON."""
    if isinstance(error, UnicodeDecodeError):
        return BadItem("bad_json", not_utf8(error))
    if text.lstrip()[:1] not in (b"{", b"["):
        return unknown_file(text[:4096], "")
    first, _, rest = text.strip().partition(b"\n")
    if rest.lstrip().startswith(b"{") and _is_json(first):
        try:
            _refuse_row(json.loads(first), ROWS)
        except BadItem as bad:
            return bad
        return _foreign("JSON Lines (one object per line)", f"{COCO_INSTEAD}, one object in all")
    if re.match(rb"[\[{]\s*'", text):
        return BadItem(
            "bad_json", "not JSON but printed by Python (single quotes); write it with json.dump"
        )
    return BadItem(
        "bad_json",
        f"not valid JSON ({error}; {len(text)} bytes in all); if the file is truncated, copy it "
        "again",
    )


def not_utf8(error: UnicodeDecodeError) -> str:
    """The text about a file that cannot be decoded: guessing could silently change names."""
    return (
        f"byte {error.object[error.start]:#04x} at {error.start} is not UTF-8: the text is in"
        " another encoding; if that is Windows-1252, convert it with"
        " 'iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW'"
    )


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _foreign(what: str, advice: str) -> BadItem:
    return BadItem("foreign_file", f"this looks like {what}, which is not read; {advice}")
