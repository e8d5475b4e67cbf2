"""What came back of a file, field by field, and what is known to get lost."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.interop.document import FORMS, TROUBLES, Mask, Truth, write_documents
from experiments.interop.readers import Found, Loaded, Reader

FIELDS = ("ids", "categories", "boxes", "areas", "scores", "crowd", "exits")
BOX_TOLERANCE = 0.01  # pixels: readers keep boxes as float32 or as shares of the image


class Comparison(NamedTuple):
    """A file as drawn and written against the file as read.

    Attributes:
      images: "k/n", how many images are there, those without annotations included.
      masks: "k/n", how many masks are equal in every pixel.
      lowest_iou: of a mask with the drawn one.
      different: the shapes whose mask is not equal.
      fields: by name of `FIELDS`, "k/n" equal of those the file states; "dropped" where the tool
        holds none, "" where the file states none.
    """

    images: str
    masks: str
    lowest_iou: float
    different: frozenset[str]
    fields: dict[str, str]


def compare(
    truths: Sequence[Truth], images: Iterable[str], loaded: Loaded, *, ordered: bool = True
) -> Comparison:
    """Sets what a tool holds against what it should hold.

    Args:
      truths: of the file.
      images: names of all images of the file.
      loaded: of the tool.
      ordered: the tool keeps the order in an image; else the likest are set against each other.
    """
    pairs = list(zip(truths, _partners(truths, loaded.found, ordered), strict=True))
    ious = [_iou(truth.mask, found.mask) if found else 0.0 for truth, found in pairs]
    names = set(images)
    return Comparison(
        images=f"{len(names & loaded.images)}/{len(names)}",
        masks=f"{sum(iou == 1 for iou in ious)}/{len(ious)}",
        lowest_iou=min(ious),
        different=frozenset(
            truth.shape for (truth, _), iou in zip(pairs, ious, strict=True) if iou < 1
        ),
        fields={
            name: _kept([(_stated(truth)[name], _held(found)[name]) for truth, found in pairs])
            for name in FIELDS
        },
    )


def _partners(truths: Sequence[Truth], found: Sequence[Found], ordered: bool) -> list[Found | None]:
    """The annotation of the tool for each of ours: by id where ids are kept, else by the order.

    An id alone does not say that ids are kept: counting from 1 meets some of ours by chance.
    """
    by_id = {one.annotation_id: one for one in found}
    if by_id.keys() <= {truth.annotation_id for truth in truths}:
        return [by_id.get(truth.annotation_id) for truth in truths]
    waiting: dict[str, list[Found]] = {}
    for one in found:
        waiting.setdefault(one.image, []).append(one)
    partners: list[Found | None] = []
    for truth in truths:
        queue = waiting.get(truth.file_name, [])
        alike = [k for k, one in enumerate(queue) if ordered or _alike(truth, one)]
        partners.append(queue.pop(alike[0]) if alike else None)
    return partners


def _alike(truth: Truth, found: Found) -> bool:
    return found.category == truth.category and _iou(truth.mask, found.mask) > 0.5


def _iou(one: Mask, other: Mask) -> float:
    if one.shape != other.shape:
        return 0.0
    return float((one & other).sum() / (one | other).sum())


def _stated(truth: Truth) -> dict[str, Any]:
    """What our file says; None where it says nothing."""
    return {
        "ids": truth.annotation_id,
        "categories": truth.category,
        "boxes": truth.box_xywh,
        "areas": float(truth.mask.sum()),
        "scores": truth.score,
        "crowd": truth.crowd,
        "exits": truth.exits,
    }


def _held(found: Found | None) -> dict[str, Any]:
    """What the tool has of it; None where it has nothing."""
    if found is None:
        return dict.fromkeys(FIELDS)
    return {
        "ids": found.annotation_id,
        "categories": found.category,
        "boxes": found.box_xywh,
        "areas": found.area,
        "scores": found.score,
        "crowd": found.crowd,
        "exits": found.exits,
    }


def _kept(values: Sequence[tuple[Any, Any]]) -> str:
    """How many values came back, of those that were stated."""
    stated = [(one, other) for one, other in values if one is not None]
    if not stated:
        return ""
    if all(other is None for _, other in stated):
        return "dropped"
    return f"{sum(_same(one, other) for one, other in stated)}/{len(stated)}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return bool(np.allclose(one, other, rtol=0, atol=BOX_TOLERANCE))
    return bool(other == one)


class Loss(NamedTuple):
    """What a tool is known not to keep of a file.

    Attributes:
      why: for people; the tool's doing unless it says otherwise.
      different: shapes whose masks are not equal.
      fields: those of `FIELDS` that do not come back whole, and how many do.
    """

    why: str
    different: frozenset[str] = frozenset()
    fields: Mapping[str, str] = {}


HOLES = frozenset({"a hole", "a part in a hole", "along the whole border", "many holes"})
OUTSIDE_BOX = frozenset(
    {"box through pixel centres", "box over the image's border", "box thinner than a pixel"}
)
OUTLINED = frozenset(  # without holes, and the image goes on to the right or below
    {
        "two parts, box between pixels",
        "pixels that touch at corners",
        "extreme points, no box",
    }
)

IN_EXITS = "Keeps the annotation's whole dict."
ANEW = "Ids are counted from 1, in the file's order."
FILLED = "Polygons cannot say holes: those masks come filled, as `exits.polygon_iou` says."
CUT = (
    "Holds the part of a mask inside its `bbox`, rounded with halves to the even side. Where a"
    " given `bbox` ends in .5 an outermost row can be lost; where it is thinner than a pixel or"
    " begins outside the image the mask comes out empty. Ids need `include_annotation_id=True`."
    " Only the importer was run: a `Dataset` needs MongoDB."
)
FLAT = "Holds boxes, masks, classes, `area` and `iscrowd`, nothing else."
SPLIT = (
    "Takes a folder: `images/` and `annotations/instances_NAME.json`. An annotation becomes a mask"
    " and a box of one id and group; areas are counted anew. Category id 0 becomes no label."
)

NO_MORE = {"ids": "dropped", "areas": "dropped"}
AS_POLYGONS = "Holds polygons (drawn by pycocotools here): holes filled, parts joined by seams."

EXPECTED: dict[tuple[str, str], Loss] = {
    ("pycocotools", "coco"): Loss(IN_EXITS, fields={"scores": "dropped"}),
    ("pycocotools", "results"): Loss(ANEW, fields={"ids": "0/12"}),
    ("pycocotools", "polygons"): Loss(FILLED, HOLES, {"scores": "dropped"}),
    ("lvis", "coco"): Loss(IN_EXITS, fields={"scores": "dropped"}),
    ("lvis", "results"): Loss(ANEW + " The 300 best of an image are kept.", fields={"ids": "0/12"}),
    ("lvis", "polygons"): Loss(FILLED, HOLES, {"scores": "dropped"}),
    ("supervision", "coco"): Loss(
        FLAT, fields={"ids": "dropped", "scores": "dropped", "exits": "dropped"}
    ),
    ("supervision", "polygons"): Loss(
        "Draws a polygon's outline as inside, so that masks are a pixel wider to the right and"
        " below; holes come filled.",
        HOLES | OUTLINED | OUTSIDE_BOX,
        {"ids": "dropped", "scores": "dropped", "exits": "dropped"},
    ),
    ("fiftyone", "coco"): Loss(CUT, OUTSIDE_BOX, {"scores": "dropped", "areas": "dropped"}),
    ("fiftyone", "polygons"): Loss(
        FILLED, HOLES | OUTSIDE_BOX, {"scores": "dropped", "areas": "dropped"}
    ),
    ("datumaro", "coco"): Loss(
        SPLIT, fields={"categories": "12/13", "scores": "dropped", "exits": "dropped"}
    ),
    ("datumaro", "polygons"): Loss(
        "Every part is a polygon annotation of its own, of one id and group; drawn here by"
        " `polygons_to_masks`. Holes come filled.",
        HOLES,
        {"categories": "12/13", "areas": "9/13", "scores": "dropped", "exits": "dropped"},
    ),
    ("ultralytics", "yolo"): Loss(
        AS_POLYGONS + " Equal rows become one: here two objects that differ in their holes alone.",
        frozenset({"a part in a hole"}),
        NO_MORE | {"categories": "11/12"},
    ),
    ("supervision", "yolo"): Loss(
        "Draws outlines as inside, as with polygons. Looks into no folders of `images/`.",
        OUTLINED | OUTSIDE_BOX | {"a hole", "a part in a hole", "many holes"},
        NO_MORE,
    ),
    ("fiftyone", "yolo"): Loss(AS_POLYGONS, fields=NO_MORE),
    ("datumaro", "voc"): Loss(
        "Holds masks without what smaller ones cover. Crowds come as objects called `ignored`. Its"
        " groups count masks from 1 and boxes from 0: a group is one object's mask and the next"
        " one's box.",
        fields=NO_MORE,
    ),
    ("label-studio-sdk", "label_studio"): Loss(
        "Finds every prediction valid for `interface.xml`; brush masks are the very masks.",
        fields={"areas": "dropped"},
    ),
    ("label-studio-sdk", "label_studio_polygons"): Loss(
        "Finds every prediction valid for `interface.xml`; a region a part, holes filled.",
        fields={"areas": "dropped"},
    ),
}


# What of `document.TROUBLES` a tool cannot take: the error it raises, or the masks it loses.
REFUSED: dict[tuple[str, str], str] = {
    ("supervision", "a category without `name`"): "KeyError: 'name'",
    ("fiftyone", "a category without `name`"): "KeyError: 'name'",
    ("datumaro", "a category without `name`"): "MissingFieldError",
    ("datumaro", 'a category named ""'): "AssertionError",
    ("supervision", "two categories of one name"): "ValueError",
    ("datumaro", "two categories of one name"): "AssertionError",
    ("datumaro", "two images whose names differ in the ending alone"): "RepeatedItemError",
    ("supervision", "a crowd without `bbox`"): "KeyError: 'bbox'",
    ("fiftyone", "a crowd without `bbox`"): "leaves out a crowd of the input",
    ("datumaro", "a crowd without `bbox`"): "MissingFieldError",
    ("supervision", "images without `file_name` (LVIS)"): "KeyError: 'file_name'",
    ("fiftyone", "images without `file_name` (LVIS)"): "KeyError: 'file_name'",
    ("datumaro", "images without `file_name` (LVIS)"): "MissingFieldError",
}


READS = "reads it"


def trouble_outcome(reader: Reader, folder: pathlib.Path, trouble: str) -> str:
    """What a tool makes of a file with one of `TROUBLES`: `READS`, or what `REFUSED` would say.

    Args:
      reader: of the form "coco".
      folder: an empty one, for the files.
      trouble: a key of `TROUBLES`.
    """
    truths = write_documents(folder, TROUBLES[trouble])[reader.form]
    try:
        loaded = reader.load(folder, FORMS[reader.form])
    except Exception as error:  # whatever a tool raises is its answer
        return _first_cause(error)
    different = compare(truths, loaded.images, loaded).different
    lost = different - EXPECTED[reader.tool, reader.form].different
    return f"leaves out {', '.join(sorted(lost))}" if lost else READS


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"KeyError: {error}" if isinstance(error, KeyError) else type(error).__name__


def surprises(found: Comparison, expected: Loss) -> list[str]:
    """Where a comparison is not what is known, a line each; none where all is as expected."""
    lines = []
    if found.different != expected.different:
        more, fewer = found.different - expected.different, expected.different - found.different
        lines += [f"the mask of {shape!r} differs" for shape in sorted(more)]
        lines += [f"the mask of {shape!r} is equal, which it was not" for shape in sorted(fewer)]
    if not _whole(found.images):
        lines.append(f"images: {found.images}")
    for name, kept in found.fields.items():
        known = expected.fields.get(name)
        if kept != known and not (known is None and _whole(kept)):
            lines.append(f"{name}: {kept}; expected {known or 'all'}")
    return lines


def _whole(kept: str) -> bool:
    """Whether "k/n" is n/n, or nothing was to be kept."""
    return kept != "dropped" and len(set(kept.split("/"))) == 1
