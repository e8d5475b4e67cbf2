"""The settings of the data: what is labelled, what is trained on, and how files are read."""

import dataclasses
from typing import ClassVar

from exits_jax.annotations.box_forms import FORMS
from exits_jax.annotations.detection_images import IMAGES_BY
from exits_jax.annotations.frames import EXIF
from exits_jax.annotations.kinds import KINDS
from exits_jax.system.settings import Affects, Section, at_least, one_of, setting

LABELS, PARAMETERS, NOTHING = Affects.LABELS, Affects.PARAMETERS, Affects.NOTHING


@dataclasses.dataclass(frozen=True)
class DataSettings(Section):
    """What is labelled and evaluated, and what is trained on."""

    NAME: ClassVar[str] = "data"

    root: str = setting(
        "",
        "folder of the data set, from which a config builds the paths below",
        mark="?",
        affects=NOTHING,
        path=True,
    )
    annotations: str = setting(
        "",
        "what is labelled and evaluated: an annotation file, or a folder; with data.boxes the "
        "images alone are enough",
        mark="?",
        affects=LABELS,
        path=True,
    )
    images: str = setting(
        "", "folder of the images of data.annotations", mark="?", affects=LABELS, path=True
    )
    boxes: str = setting(
        "",
        "a detector's boxes (COCO's results form, or YOLO's text files with confidences), "
        "labelled in place of the file's annotations, which average precision is then measured "
        "against",
        mark="?",
        affects=LABELS,
        path=True,
    )
    boxes_by: str = setting(
        "auto",
        'how these name their images: by "id", by the "name" or stem of the file, or "auto" to '
        "tell from all of them",
        mark="?",
        affects=LABELS,
        check=one_of(*IMAGES_BY),
    )
    train_annotations: str = setting(
        "",
        "what is trained on; empty: what is labelled",
        mark="?",
        affects=PARAMETERS,
        path=True,
    )
    train_images: str = setting(
        "",
        "folder of the images of data.train_annotations",
        mark="?",
        affects=PARAMETERS,
        path=True,
    )
    kind: str = setting(
        "auto",
        "format of the annotation file; auto recognises it by its content; images is a bare "
        "folder, for data.boxes",
        mark="?",
        affects=LABELS,
        check=one_of(*KINDS),
    )
    points: str = setting(
        "exact",
        "how extreme points are extracted from a mask where a file has no points",
        mark="?",
        affects=LABELS,
        check=one_of("exact", "extremenet"),
    )
    box_form: str = setting(
        "auto",
        "how boxes are written: auto means the form of that kind of file (COCO: xywh in pixels, "
        "YOLO: cxcywh_shares, VOC: xyxy), and a file whose boxes as a whole contradict it is "
        "refused; xywh_from_below counts y from the lower border; _shares, _percent and "
        "_thousandths are of the image's sides",
        mark="?",
        affects=LABELS,
        check=one_of("auto", *FORMS),
    )
    crowds: str = setting(
        "pass",
        "annotations with iscrowd 1: pass hands them on unlabelled, label treats each as an object",
        mark="?",
        affects=LABELS,
        check=one_of("pass", "label"),
    )
    exif: str = setting(
        "auto",
        "the frame in which a photograph with an EXIF orientation was annotated: displayed, "
        "stored (the pixels as in the file), or auto: the one of the stated size, displayed if "
        "both have it",
        mark="?",
        affects=LABELS,
        check=one_of(*EXIF),
    )
    source: str = setting(
        "files",
        "where examples are read from: files (annotations and images) or tfds (--mode=prepare)",
        mark="?",
        affects=NOTHING,
        check=one_of("files", "tfds"),
    )
    prepared: str = setting(
        "",
        "folder of the prepared data; empty: prepared/ in the workdir",
        mark="?",
        affects=NOTHING,
        path=True,
    )
    on_error: str = setting(
        "stop",
        "at a faulty annotation or image: stop, or skip it and list it at the end",
        mark="?",
        affects=NOTHING,
        check=one_of("stop", "skip"),
    )
    min_train_area: int = setting(
        2048,
        "boxes under this many square pixels are not trained on (they are labelled)",
        mark="I",
        affects=PARAMETERS,
        check=at_least(0),
    )
    workers: int = setting(
        0,
        "processes that decode and crop for training; 0: none, the main process does it",
        mark="?",
        affects=NOTHING,
        check=at_least(0),
    )
