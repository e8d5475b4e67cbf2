"""What is fuzzed: each target reads one hostile file and has to answer with a value or a UserError.

`run_case` is the one judge, of the experiment `experiments.fuzz` and of the tests alike.
"""

import json
import os
import pathlib
import shutil
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_masks

from exits_jax.annotations import (
    check_file,
    decode_segmentation,
    encode_rle,
    extreme_points,
    mask_to_polygons,
    problem_line,
    read_annotations,
)
from exits_jax.annotations.image_files import stated_size
from exits_jax.app.label_phase import pack
from exits_jax.export.export import (
    pseudo_label_rows,
    pseudo_labels,
    results,
    review_queue,
)
from exits_jax.export.formats import FORMATS, export_problems, write_format
from exits_jax.export.quality import Label
from exits_jax.models.params_io import load_params
from exits_jax.models.read_tensors import read_tensors
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_json_rows
from experiments import fuzz_cases as cases
from experiments import fuzz_exports as exports

LONGEST_MESSAGE = 4000  # characters; paths of files are in it
READING = ("read", "coco", "fields", "numbers", "extreme", "masks", "image_files", "records")


class Broken(AssertionError):
    """A promise that did not hold although nothing else was raised."""


@dataclass(frozen=True)
class Target:
    """One reader under fuzzing.

    Attributes:
      file: what the case's file is called in its folder.
      cases: hypothesis's structured cases.
      seeds: valid and half-valid files that atheris starts from.
      read: reads the file; returns where it is accepted, raises UserError where it is refused.
      modules: whose line coverage belongs to it, relative to the package.
    """

    file: str
    cases: st.SearchStrategy[bytes]
    seeds: list[bytes]
    read: Callable[[pathlib.Path], None]
    modules: tuple[str, ...]


def prepare(folder: pathlib.Path) -> None:
    """The surroundings of a case: images inside, and a secret outside that nobody may touch."""
    inside = folder / "case" / "images"
    (inside / "sub").mkdir(parents=True)
    picture = Image.new("RGB", (cases.WIDTH, cases.HEIGHT), (90, 120, 30))
    for path in (inside / "a.png", inside / "a.jpg", inside / "sub/b.png"):
        picture.save(path)
    picture.save(folder / "case" / "secret.png")
    (folder / "case" / "secret.bin").write_bytes(bytes(8))
    masks = np.zeros((cases.HEIGHT, cases.WIDTH), np.uint8)
    masks[5:15, 5:25] = 1
    (folder / "case" / "SegmentationObject").mkdir()
    Image.fromarray(masks).save(folder / "case" / "SegmentationObject" / "case.png")
    names = "/m/01yrx,Cat\n/m/0bt9lr,Dog\n"
    (folder / "case" / "Annotations").mkdir()
    (folder / "case" / "Annotations" / "class-descriptions-boxable.csv").write_text(names)
    (folder / "case" / "labels").mkdir()
    (folder / "case" / "labels" / "b.txt").write_text(exports.YOLO_LINES[0])
    (folder / "case" / "valid.json").write_bytes(cases.as_json(cases.coco_document()))


def run_case(target: Target, content: bytes, folder: pathlib.Path) -> bool:
    """Whether `content` is accepted; raises whatever a reader must not.

    Args:
      target: the reader.
      content: of the file.
      folder: prepared by `prepare`, and the working directory.
    """
    path = folder / "case" / target.file
    path.write_bytes(content)
    try:
        target.read(path)
        accepted = True
    except UserError as error:
        _one_clear_line(str(error))
        if _has_cause(error, MemoryError):
            raise Broken("memory was asked for before the size was checked") from error
        accepted = False
    _nothing_outside(folder)
    return accepted


def _one_clear_line(text: str) -> None:
    """A message that a terminal can show in one line."""
    if len(text.splitlines()) != 1 or len(text) > LONGEST_MESSAGE:
        raise Broken(f"a message of {len(text)} characters, not one short line: {text[:300]!r}")
    text.encode()  # raises on lone surrogates, which no terminal and no file takes


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__
    return False


def _nothing_outside(folder: pathlib.Path) -> None:
    """Nothing was written beside the case's folder, by a path or by a pickle that ran."""
    found = sorted(os.listdir(folder))
    if found != ["case"]:
        raise Broken(f"written outside the case's folder: {found}")


def read_document(path: pathlib.Path, kind: str = "auto") -> None:
    """Both ways of reading: stop at the first mistake, and skip them all."""
    images = next(parent / "images" for parent in path.parents if (parent / "images").is_dir())
    try:
        _within(read_annotations(path, images, kind=kind), images)
    except UserError as error:
        _one_clear_line(str(error))
    options = {"kind": kind, "on_error": "skip", "points": "extremenet", "click_noise": 1.0}
    read = read_annotations(path, images, **options)
    _within(read, images)
    for problem in read.problems:
        _one_clear_line(problem_line(path, problem))


def _within(read, images: pathlib.Path) -> None:
    """What is accepted is usable: ids that fit, boxes with an area, points inside, safe paths."""
    for record in read.images.values():
        if not os.path.normpath(record.path).startswith(f"{images}{os.sep}"):
            raise Broken(f"{record.path} is outside {images}")
    for instance in read.instances:
        size = np.array([instance.image.width, instance.image.height])
        box = instance.box_xyxy
        points = np.zeros((4, 2)) if instance.points_xy is None else instance.points_xy
        inside = (points >= 0).all() and (points <= size).all() and np.isfinite(instance.area)
        if not (abs(instance.id) < 2**31 and (box[2:] > box[:2]).all() and inside):
            raise Broken(f"an unusable instance: {instance}")


def read_boxes(path: pathlib.Path) -> None:
    """A detector's boxes for a valid annotation file."""
    images = path.parent / "images"
    valid = path.parent / "valid.json"
    try:
        _within(read_annotations(valid, images, boxes=path), images)
    except UserError as error:
        _one_clear_line(str(error))
    _within(read_annotations(valid, images, boxes=path, on_error="skip"), images)


def check(path: pathlib.Path) -> None:
    """The checker; it lists, so only files that cannot be read at all are refused."""
    for images in (None, path.parent / "images"):
        for problem in check_file(path, images):
            _one_clear_line(problem_line(path, problem))


def read_segmentation(path: pathlib.Path) -> None:
    """A segmentation to a mask and back: what is accepted means what pycocotools says it means."""
    content = path.read_bytes()
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):  # raw bytes are compressed counts
        counts = content.decode("latin-1")
        entry = {"height": 10, "width": 12, "segmentation": {"size": [10, 12], "counts": counts}}
    width, height = stated_size(entry)
    mask = decode_segmentation(entry.get("segmentation"), height, width)
    rle = encode_rle(mask)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools, of its use of NumPy
        theirs = coco_masks.decode(rle).astype(bool)
    if not np.array_equal(theirs, mask):
        raise Broken("encoded run lengths are another mask")
    if not np.array_equal(decode_segmentation(rle, height, width), mask):
        raise Broken("decoding what was encoded gives another mask")
    if mask.any():
        extreme_points(mask)
    if mask.size < 100_000:
        _, holes, iou = mask_to_polygons(mask)
        if holes == 0 and iou < 1:
            raise Broken(f"polygons without holes have IoU {iou} with their mask")


def read_weights(path: pathlib.Path) -> None:
    """Names and arrays of numbers, no more bytes than a file of that size can hold."""
    for name, array in read_tensors(path).items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray) or array.dtype.hasobject:
            raise Broken(f"{name!r} is {type(array)}")
        np.asarray(array, np.float32)


def read_params(path: pathlib.Path) -> None:
    """A safetensors file as weights and as our own parameters."""
    try:
        load_params(path, made_with={"patch": 8})
    finally:
        read_weights(path)


def write_labels(path: pathlib.Path) -> None:
    """Everything that is written under names out of an annotation file."""
    output = path.parent / "output"
    shutil.rmtree(output, ignore_errors=True)
    read = read_annotations(path, path.parent / "images", on_error="skip")
    labels = {}
    for instance in read.instances:
        if instance.image.width * instance.image.height > 10**6:
            return  # masks of that size are honest work, and slow
        mask = np.zeros((instance.image.height, instance.image.width), bool)
        x0, y0, x1, y1 = instance.box_xyxy.astype(int)
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
        labels[instance.id] = Label(
            annotation_id=instance.id,
            rle=encode_rle(mask),
            area=int(mask.sum()),
            score=0.5,
            flags=[],
        )
    pack(read)
    document = pseudo_labels(read.document, labels, read.instances)
    rows = pseudo_label_rows(read.document, labels, read.instances)
    write_json_rows(output / "labels.json", rows, read.document)
    write_json_rows(output / "results.json", results(labels, read.instances))
    write_json_rows(output / "queue.json", review_queue(labels, read.instances))
    name = FORMATS[zlib.crc32(path.read_bytes()) % len(FORMATS)]  # one a case: each is slow
    if export_problems([name], document, read.images):
        return
    write_format(name, output, document, read.images, simplify=1.0)
    if name == "png":
        index = json.loads((output / "png" / "index.json").read_text())["images"]
        if len(index) != sum(1 for _ in (output / "png").rglob("*.png")):
            raise Broken("two images share an index PNG")


def _annotations(*names: str) -> tuple[str, ...]:
    return tuple(f"annotations/{name}.py" for name in names)


FORMAT_MODULES = tuple(
    f"export/formats/{name}.py"
    for name in ("label_studio", "limits", "names", "png", "polygons", "rows", "voc", "yolo")
)
COCO, LVIS = cases.coco_document(), cases.lvis_document()
RESULTS = cases.results_list()
CHECKED = st.one_of(
    cases.json_files([COCO, COCO, LVIS, RESULTS]), cases.voc_files(), cases.open_images_files()
)
WEIGHTS = ("models/read_tensors.py",)

TARGETS = {
    "coco": Target(
        "case.json",
        cases.damaged(cases.json_files([COCO])),
        [cases.as_json(COCO)],
        lambda path: read_document(path, "coco"),
        _annotations(*READING),
    ),
    "lvis": Target(
        "case.json",
        cases.damaged(cases.json_files([LVIS])),
        [cases.as_json(LVIS)],
        lambda path: read_document(path, "lvis"),
        _annotations("lvis", *READING),
    ),
    "voc": Target(
        "Annotations/case.xml",
        cases.damaged(cases.voc_files()),
        cases.VOC_SEEDS,
        lambda path: read_document(path, "voc"),
        _annotations("voc", "voc_polygons", *READING),
    ),
    "open_images": Target(
        "Annotations/case.csv",
        cases.damaged(cases.open_images_files()),
        [cases.as_csv(cases.OPEN_IMAGES)],
        lambda path: read_document(path, "open_images"),
        _annotations("open_images", *READING),
    ),
    "labelme": Target(
        "case.json",
        cases.damaged(cases.json_files([exports.labelme_file()])),
        exports.LABELME_SEEDS,
        lambda path: read_document(path, "labelme"),
        _annotations("labelme", "draft", "shapes", *READING),
    ),
    "label_studio": Target(
        "case.json",
        cases.damaged(cases.json_files([exports.label_studio_export()])),
        exports.LABEL_STUDIO_SEEDS,
        lambda path: read_document(path, "label_studio"),
        _annotations(
            "label_studio", "label_studio_tasks", "label_studio_brush", "draft", "shapes", *READING
        ),
    ),
    "cvat": Target(
        "case.xml",
        cases.damaged(exports.cvat_files()),
        [exports.CVAT_XML.encode()],
        lambda path: read_document(path, "cvat"),
        _annotations("cvat", "xml_files", "draft", "shapes", *READING),
    ),
    "yolo": Target(
        "labels/b.txt",
        cases.damaged(exports.yolo_files()),
        exports.YOLO_SEEDS,
        lambda path: read_document(path, "yolo"),
        _annotations("yolo", "yolo_layout", "folder_files", "draft", "shapes", *READING),
    ),
    "yolo_yaml": Target(
        "data.yaml",
        cases.damaged(exports.yaml_files()),
        [exports.YOLO_YAML.encode()],
        read_document,
        _annotations("yolo_layout", "yolo_yaml", *READING),
    ),
    "packed": Target(
        "case.zip",
        cases.damaged(exports.packed_files()),
        exports.PACKED_SEEDS,
        read_document,
        _annotations("contents", "kinds", "recognise", *READING),
    ),
    "results": Target(
        "case.json",
        cases.damaged(cases.json_files([RESULTS])),
        [cases.as_json(RESULTS)],
        read_boxes,
        _annotations("results"),
    ),
    "checker": Target(
        "case.txt",
        cases.damaged(CHECKED),
        [
            *(cases.as_json(content) for content in (COCO, LVIS, RESULTS)),
            cases.VOC_XML,
            cases.as_csv(cases.OPEN_IMAGES),
        ],
        check,
        _annotations("check", "findings", "results"),
    ),
    "rle": Target(
        "case.json",
        cases.damaged(cases.segmentation_files()),
        cases.SEGMENTATION_SEEDS,
        read_segmentation,
        _annotations("masks", "extreme"),
    ),
    "safetensors": Target(
        "case.safetensors",
        cases.damaged(cases.safetensors_files()),
        [cases.safetensors_file(cases.SAFETENSORS_HEADER)],
        read_params,
        ("models/params_io.py", *WEIGHTS),
    ),
    "onnx": Target(
        "case.onnx",
        cases.damaged(cases.onnx_files()),
        [cases.onnx_seed(), cases.onnx_file([cases.external("../secret.bin")])],
        read_weights,
        ("models/onnx_tensors.py", *WEIGHTS),
    ),
    "npz": Target(
        "case.npz", cases.damaged(cases.npz_files()), cases.NPZ_SEEDS, read_weights, WEIGHTS
    ),
    "pth": Target(
        "case.pth", cases.damaged(cases.torch_files()), cases.TORCH_SEEDS, read_weights, WEIGHTS
    ),
    "writers": Target(
        "case.json",
        cases.json_files([COCO, LVIS]),
        [cases.as_json(COCO), cases.as_json(LVIS)],
        write_labels,
        ("export/export.py", "annotations/outlines.py", *FORMAT_MODULES, "system/files.py"),
    ),
}
