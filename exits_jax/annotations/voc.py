"""PASCAL VOC -> a COCO-style document.

Boxes in the XML count pixels from 1 and include both ends. Where a SegmentationObject PNG lies
beside the Annotations folder, its value k is the k-th object of the XML; 255 is void and belongs to
no object. Polygons of an object (`voc_polygons`) come after the PNG.
"""

import collections
import math
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float, Num

from exits_jax.annotations.box_forms import BoxTable, reach, refuse_mixup, to_xywh
from exits_jax.annotations.coco import Report
from exits_jax.annotations.draft import PassedOver
from exits_jax.annotations.folder_files import files_in, folder_of, images_below
from exits_jax.annotations.image_files import index_image, measured
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.image_names import name_parts
from exits_jax.annotations.masks import encode_rle
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem, Problem
from exits_jax.annotations.shapes import box_entry, coordinates, turned_box
from exits_jax.annotations.voc_polygons import counted_from_one, object_polygons, polygon_entry
from exits_jax.annotations.xml_files import number_in, parse_xml

# fmt: off
VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
OWN_FORM = "xyxy"  # of what the sides hold
SIDES = ("xmin", "ymin", "xmax", "ymax")
SHARE_IN_BOX = 0.5  # of a mask's pixels; fewer means the PNG's numbers are not this XML's objects


class _Reading(NamedTuple):
    """What all objects of a data set share.

    Attributes:
      report: takes the mistakes.
      passed: counts what is not read, or read otherwise.
      boxes: as written in the files.
      form: `box_form` of `voc_document`.
    """

    report: Report
    passed: PassedOver
    boxes: BoxTable
    form: str


def voc_document(
    file: pathlib.Path, images: ImageFolder | None, report: Report, box_form: str = "auto"
) -> dict[str, Any]:
    """Reads VOC annotations into a COCO-style document; ids are made from the sorted order.

    Args:
      file: one XML file, a folder of them, or a folder with an `Annotations` folder, or one other
        folder of XML files, in it.
      images: the image folder, opened only where an XML does not state its image's size.
      report: takes the mistakes; what is wrong is left out.
      box_form: what xmin, ymin, xmax and ymax hold, a key of `box_forms.FORMS`; "auto" is what the
        names say, and refuses a data set whose boxes as a whole contradict it.

    Returns:
      the document; objects keep `difficult` and `truncated`, objects with a mask have it as RLE.

    Raises:
      UserError: there is no XML, or the boxes are of another form.
    """
    images_list: list[dict[str, Any]] = []
    objects: list[tuple[str, dict[str, Any]]] = []
    renamed: dict[int, str] = {}
    held: list[Problem] = []  # until it is known that the boxes are what they should be
    reading = _Reading(held.append, PassedOver(), BoxTable(), box_form)
    for image_id, path in enumerate(_xml_files(file), start=1):
        try:
            root = _parse(path)
            image = {"id": image_id, **_image_entry(root, path, images, box_form)}
            masks = _object_masks(path, image)
        except BadItem as bad:
            held.append(Problem(bad.code, f"{path.name}: {bad.text}", image_id=image_id))
            continue
        if "renamed_from" in image:
            was = image.pop("renamed_from")
            renamed[image_id] = f"{path.name}: {was} is missing: {image['file_name']} is"
        images_list.append(image)
        objects.extend(_named_objects(root, path.name, image, masks, reading))
    if box_form == "auto":
        refuse_mixup(reading.boxes, OWN_FORM)
    for problem in held:
        report(problem)
    images_list = [*_without_taken(images_list, renamed, report)]
    kept = {image["id"] for image in images_list}
    objects = [(name, entry) for name, entry in objects if entry["image_id"] in kept]
    if images is not None and file.is_dir():
        names = {image["file_name"] for image in images_list}
        _count_unannotated(images, names, reading.passed)
    reading.passed.say(report)
    names = {name for name, _ in objects}
    ordered = list(VOC_NAMES) if names <= set(VOC_NAMES) else sorted(names)
    numbers = {name: number for number, name in enumerate(ordered, start=1)}
    annotations = [
        {"id": number, "category_id": numbers[name], **entry}
        for number, (name, entry) in enumerate(objects, start=1)
    ]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images_list, "annotations": annotations, "categories": categories}


def _without_taken(
    images_list: list[dict[str, Any]], renamed: dict[int, str], report: Report
) -> Iterator[dict[str, Any]]:
    """The images except those named like their XML whose file another one names."""
    uses = collections.Counter(image["file_name"] for image in images_list)
    for image in images_list:
        said = renamed.get(image["id"])
        if said and uses[image["file_name"]] > 1:
            text = f"{said}, but another XML file names it"
            report(Problem("image_taken", text, image_id=image["id"]))
            continue
        if said:
            report(Problem("voc_renamed", said, image_id=image["id"], note=True))
        yield image


def _xml_files(file: pathlib.Path) -> list[pathlib.Path]:
    """The XML files meant by a path, sorted by name."""
    if not file.is_dir():
        return [file]
    inner = file / "Annotations"
    folder = inner if inner.is_dir() else folder_of(file, ".xml")
    files = files_in(folder, ".xml")
    if not files:
        raise BadItem("no_annotations", f"no .xml file in {folder}")
    return files


def _count_unannotated(images: ImageFolder, names: set[str], passed: PassedOver) -> None:
    """Counts the image files without an XML."""
    known = {pathlib.PurePath(path).stem for name in names for path in _paths(images, name)}
    for stem, files in images_below(images.path).items():
        if pathlib.PurePath(stem).name not in known:
            passed.add("images have no XML and are not read", files[0])


def _paths(images: ImageFolder, name: str) -> Iterator[str | pathlib.Path]:
    """What the image of an XML is called there, and where it is."""
    yield name
    try:
        match = images.exact([name]) or images.near([name])
    except BadItem:  # several may be meant, which is refused elsewhere
        return
    if match:
        yield match.path


def _parse(path: pathlib.Path) -> ElementTree.Element:
    """The root element of a VOC XML file."""
    try:
        root = parse_xml(path.read_bytes())
    except OSError as error:
        raise BadItem("bad_xml", f"cannot be read: {error.strerror or error}") from error
    if root.tag != "annotation":
        raise BadItem("bad_xml", f"the root element is {shown(root.tag)}; expected 'annotation'")
    return root


def _image_entry(
    root: ElementTree.Element, path: pathlib.Path, images: ImageFolder | None, box_form: str
) -> dict[str, Any]:
    """File name and size of an XML's image; the size from the image file if the XML has none.

    If the named file is missing, the one named like the XML is meant: people rename both together.
    """
    name = (root.findtext("filename") or "").strip() or f"{path.stem}.jpg"
    named = name_parts(name)
    if images is not None and not (images.exact([name]) or images.near([name])):
        name = images.own_name(name, path.stem) or name
    width, height = (_whole(root.findtext(f"size/{side}")) for side in ("width", "height"))
    size: dict[str, Any] = {"width": width, "height": height}
    if width <= 0 or height <= 0:
        if images is None:
            raise BadItem("bad_size", "no <size>; give the image folder to take it from there")
        size = measured(images.find([name]), images.exif, _reach(root, box_form))
    renamed = {} if name_parts(name) == named else {"renamed_from": "/".join(named)}
    return {"file_name": name, **size, **renamed}


def _reach(root: ElementTree.Element, box_form: str) -> Float[np.ndarray, "n 1 2"]:
    """The lower right corners of the boxes of an XML, as far as they are numbers."""
    boxes = ([number_in(box.findtext(side)) for side in SIDES] for box in root.iter("bndbox"))
    numbers = [np.array(box, np.float64) for box in boxes if None not in box]
    if box_form == "auto":  # minimum and maximum may be exchanged
        corners = [box.reshape(2, 2).max(axis=0) for box in numbers]
    else:
        corners = [reach(box_form, box) for box in numbers]
    return np.array(corners, np.float64).reshape(-1, 1, 2)


def _named_objects(
    root: ElementTree.Element,
    file_name: str,
    image: dict[str, Any],
    masks: Num[np.ndarray, "h w"] | None,
    reading: _Reading,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and annotation of every usable <object> of an XML file."""
    elements = root.findall("object")
    from_one = _from_one(elements)
    for number, element in enumerate(elements, start=1):
        where = f"{file_name}: object {number}"
        if element.findtext("deleted") == "1":  # LabelMe's web tool keeps what was deleted
            reading.passed.add("objects are marked as deleted and not read", where)
            continue
        for _ in element.findall("part"):
            reading.passed.add("<part> elements are not read (their objects are)", where)
        try:
            entry = _object_entry(element, image, from_one, reading, where)
        except BadItem as bad:
            reading.report(Problem(bad.code, f"{where}: {bad.text}", image_id=image["id"]))
            continue
        _add_mask(entry, masks, number)
        yield element.findtext("name", "").strip(), entry


def _from_one(elements: list[ElementTree.Element]) -> bool:
    """Whether the polygons of these objects are counted from 1; no if they are not readable."""
    try:
        return counted_from_one(elements)
    except BadItem:
        return False


def _object_entry(
    element: ElementTree.Element,
    image: dict[str, Any],
    from_one: bool,
    reading: _Reading,
    where: str,
) -> dict[str, Any]:
    """One <object>: its box as [x, y, width, height] from 0, its polygons and its flags."""
    if not element.findtext("name", "").strip():
        raise BadItem("absent_category", "it has no <name>")
    boxed = element.find("bndbox") is not None
    entry = {}
    if not boxed and element.find("robndbox") is not None:
        reading.passed.add("rotated rectangles are read as the upright boxes around them", where)
        entry = _turned_box(element)
    elif boxed or element.find("polygon") is None:
        entry = _box(element, image, reading, where)
    try:
        parts = object_polygons(element)
        if parts:
            x, y, width, height = entry.get("bbox", [0.0] * 4)
            box = np.array([x, y, x + width, y + height]) if entry else None
            entry = polygon_entry(parts, from_one, box)
    except BadItem as bad:
        if not entry:
            raise
        reading.passed.add(
            f"objects have a polygon that is not read, their boxes are ({bad.code})", where
        )
    if not entry:
        raise BadItem("nothing_given", "it has neither <bndbox> nor <polygon>")
    flags = {flag: _whole(element.findtext(flag)) for flag in ("difficult", "truncated")}
    return {"image_id": image["id"], **entry, "iscrowd": 0, **flags}


def _box(
    element: ElementTree.Element, image: dict[str, Any], reading: _Reading, where: str
) -> dict[str, Any]:
    """The box of an <object>, and its area."""
    texts = [element.findtext(f"bndbox/{side}") for side in SIDES]
    numbers = [number_in(text) for text in texts]
    if any(number is None for number in numbers):
        raise BadItem("bad_box", f"bndbox is {shown(texts)}; expected {', '.join(SIDES)}")
    size = image["width"], image["height"]
    reading.boxes.add(np.array(numbers, np.float64), size, None)
    if reading.form not in ("auto", OWN_FORM):
        box = to_xywh(reading.form, np.array(numbers, np.float64), size)
    else:
        x0, y0, x1, y1 = numbers
        if x1 < x0 - 1 or y1 < y0 - 1:
            reading.passed.add(
                "boxes have a maximum below its minimum and are read with the two exchanged", where
            )
            (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
        box = [x0 - 1.0, y0 - 1.0, x1 - x0 + 1.0, y1 - y0 + 1.0]
    if min(box[2:]) <= 0:
        raise BadItem("empty_box", f"bndbox {shown(texts)}: a maximum is below its minimum")
    turn = _turn(element)
    if turn:
        reading.passed.add("rotated rectangles are read as the upright boxes around them", where)
        box = np.array(box)
        return box_entry(turned_box(box, turn, box[:2] + box[2:] / 2))
    return {"bbox": box, "area": box[2] * box[3]}


def _turn(element: ElementTree.Element) -> float:
    """Degrees by which a box of CVAT's VOC export is rotated about its centre, clockwise."""
    for attribute in element.iterfind("attributes/attribute"):
        if attribute.findtext("name") == "rotation":
            return (number_in(attribute.findtext("value")) or 0.0) % 360
    return 0.0


def _turned_box(element: ElementTree.Element) -> dict[str, Any]:
    """The upright box around a <robndbox> of roLabelImg, whose angle is in radians."""
    names = ("cx", "cy", "w", "h", "angle")
    texts = [element.findtext(f"robndbox/{name}") for name in names]
    *box, angle = coordinates([number_in(text) for text in texts], "robndbox", len(names))
    centre, size = np.array(box).reshape(2, 2)
    return box_entry(turned_box(np.append(centre - size / 2, size), math.degrees(angle), centre))


def _object_masks(path: pathlib.Path, image: dict[str, Any]) -> Num[np.ndarray, "h w"] | None:
    """The PNG with object numbers that belongs to an XML; None if there is none."""
    png = path.parent.parent / "SegmentationObject" / f"{path.stem}.png"
    if not png.is_file():
        return None
    numbers = index_image(png)
    if numbers.shape != (image["height"], image["width"]):
        raise BadItem(
            "image_size",
            f"{png.name} has [height, width] {list(numbers.shape)};"
            f" the XML says [{image['height']}, {image['width']}]",
        )
    return numbers


def _add_mask(entry: dict[str, Any], masks: Num[np.ndarray, "h w"] | None, number: int) -> None:
    """Gives an object its mask and the mask's area, if the PNG's number is really its own."""
    if masks is None or number >= 255:
        return
    mask = masks == number
    x, y, width, height = entry["bbox"]
    corners = np.array([x, y, x + width, y + height])
    box = np.clip(corners, 0, np.tile(mask.shape[::-1], 2)).astype(int)
    inside = mask[box[1] : box[3], box[0] : box[2]].sum()
    if inside == 0 or inside < SHARE_IN_BOX * mask.sum():
        return
    entry["segmentation"] = encode_rle(mask)
    entry["area"] = float(mask.sum())


def _whole(text: str | None) -> int:
    """A whole number in an XML element, 0 if there is none."""
    number = number_in(text)
    return int(number) if number is not None else 0
