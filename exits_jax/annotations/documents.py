"""The COCO-style document in a file or folder of any kind."""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from exits_jax.annotations import (
    cvat,
    label_studio,
    labelme,
    lvis,
    open_images,
    sa1b,
    tf_csv,
    voc,
    yolo,
)
from exits_jax.annotations.coco import Report, list_categories
from exits_jax.annotations.contents import read_content
from exits_jax.annotations.folder_files import files_in, folder_of
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.image_list import images_document
from exits_jax.annotations.kinds import JSON_KINDS, detect_kind, json_kind
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.plain import without_nan
from exits_jax.annotations.recognise import bad_json, refuse_json
from exits_jax.annotations.records import BadItem, Problem

# Kinds whose boxes have a form of their own and are often written in another; JSON's is COCO's. All
# other kinds name what they hold, so there is no form to choose.
KINDS_OF_FORM = {"voc": voc.OWN_FORM, "yolo": yolo.OWN_FORM}
KINDS_OF_COCO = ("json", "coco", "lvis", "sa1b", "images")
HELD = {
    "cvat": "xtl, ytl, xbr and ybr in pixels",
    "label_studio": "x, y, width and height in per cent of the image",
    "labelme": "two corners in pixels",
    "open_images": "XMin, XMax, YMin and YMax in shares of the image",
    "tf_csv": "xmin, ymin, xmax and ymax in pixels",
}
MOST_ENTRIES = 100  # of a list that may be documents
HUGE = re.compile(rb"[eE]\+?\d{3}")


def forms_told(kind: str, boxes: bool, box_form: str) -> tuple[str, str]:
    """What `box_form` means for the reader of a kind of file, and for the document that it makes.

    Args:
      kind: of the file, not "auto".
      boxes: whether a detector's boxes take the place of the file's; the form is theirs then.
      box_form: as it was asked for.

    Raises:
      BadItem: it was asked for, and the kind has none to choose.
    """
    if kind in KINDS_OF_FORM and boxes:  # others take their place, so they are not judged
        return KINDS_OF_FORM[kind], box_form
    if kind in KINDS_OF_FORM and box_form != "auto":
        return box_form, "xywh"
    if not boxes:
        _refuse_form(kind, box_form)
    # What kind "json" is becomes known once it has been read: it is refused then.
    return "auto" if boxes else box_form, box_form


def _refuse_form(kind: str, box_form: str) -> None:
    """Refuses a form of boxes for a kind of file that says itself what its shapes are."""
    if kind in HELD and box_form != "auto":
        text = f"data.box_form is {box_form}, but files of kind {kind} say themselves what it is"
        raise BadItem("box_form", text)


def read_document(
    file: pathlib.Path,
    images: ImageFolder | None,
    kind: str,
    report: Report,
    box_form: str = "auto",
) -> tuple[Any, str]:
    """The COCO-style document in a file, converted where it is of another kind, and that kind.

    What a JSON file holds is returned as it is, still unchecked. `box_form` is the first that
    `forms_told` gives.

    Raises:
      UserError: the file is missing or is not what its kind says.
    """
    if kind == "auto":
        kind = detect_kind(file)
    if kind == "voc":
        return voc.voc_document(file, images, report, box_form), kind
    if kind == "cvat":
        inner = files_in(folder_of(file, ".xml"), ".xml") if file.is_dir() else [file]
        return cvat.cvat_document(read_content(inner[0]), images, report), kind
    if kind == "open_images":
        return open_images.open_images_document(file, images, report), kind
    if kind == "tf_csv":
        return tf_csv.tf_csv_document(file, images, report), kind
    if kind == "yolo":
        return yolo.yolo_document(file, images, report, box_form), kind
    if kind == "images":
        return images_document(images or ImageFolder(file), report), kind
    return _json_document(file, images, kind, report, box_form)


def _json_document(
    file: pathlib.Path, images: ImageFolder | None, kind: str, report: Report, box_form: str
) -> tuple[Any, str]:
    """Document and kind of a JSON file, or a folder of them; `kind` "json": the content tells."""
    document = None if file.is_dir() else _unwrapped(load_json(file, report), report)
    if kind not in JSON_KINDS:
        kind = json_kind(document)
    elif kind == "coco":
        refuse_json(document)
    _refuse_form(kind, box_form)
    if kind == "label_studio":
        return label_studio.label_studio_document(document, images, report), kind
    several = [(file, document)]
    if file.is_dir():
        several = _loaded(files_in(folder_of(file, ".json"), ".json"), report)
    if kind == "labelme":
        return labelme.labelme_document(several, images, report), kind
    if kind == "sa1b":
        return sa1b.sa1b_document(several, report), kind
    if kind == "lvis" and isinstance(document, dict) and not lvis.is_lvis(document):
        raise BadItem("bad_document", "its images have no neg_category_ids: this is not LVIS")
    if isinstance(document, dict):
        list_categories(document, report)
    return document, kind


def _unwrapped(content: Any, report: Report) -> Any:
    """The one COCO document that a list or an object holds; anything else unchanged.

    Raises:
      BadItem: there are several.
    """
    if isinstance(content, list):
        inner = dict(enumerate(content)) if len(content) < MOST_ENTRIES else {}
    else:
        inner = content if isinstance(content, dict) and "images" not in content else {}
    keys = [key for key, value in inner.items() if _is_coco(value)]
    if len(keys) > 1:
        text = f"it holds {len(keys)} COCO documents ({', '.join(map(shown, keys[:5]))})"
        raise BadItem("several_documents", f"{text}; save the one that is meant as its own file")
    if not keys:
        return content
    text = f"the COCO document is that in {shown(keys[0])}"
    rest = f", the other {len(inner) - 1} are not read" if len(inner) > 1 else ""
    report(Problem("wrapped", text + rest, note=True))
    return inner[keys[0]]


def _is_coco(value: Any) -> bool:
    return isinstance(value, dict) and {"images", "annotations"} <= value.keys()


def _loaded(files: list[pathlib.Path], report: Report) -> Iterator[tuple[pathlib.Path, Any]]:
    """Path and content of each JSON file; what is not JSON is reported."""
    for path in files:
        try:
            yield path, load_json(path, report)
        except BadItem as bad:
            report(Problem(bad.code, f"{path.name}: {bad.text}"))


def load_json(file: pathlib.Path, report: Report) -> Any:
    """What a JSON file holds; NaN in what is not read becomes null, and is reported.

    Raises:
      UserError: the file is missing or not JSON, for instance truncated.
    """
    text = read_content(file)
    constants: list[float] = []

    def constant(name: str) -> float:
        constants.append(float(name))
        return constants[-1]

    try:
        document = json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise bad_json(text, error) from error
    # A number like 1e999 becomes infinity without being called so.
    if isinstance(document, dict) and (constants or HUGE.search(text)):
        for note in without_nan(document):
            report(note)
    return document
