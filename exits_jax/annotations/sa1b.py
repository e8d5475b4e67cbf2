"""SA-1B JSON (Segment Anything's masks, one file per image) -> a COCO-style document."""

import pathlib
from collections.abc import Iterable
from typing import Any

from exits_jax.annotations.coco import Report
from exits_jax.annotations.draft import Draft
from exits_jax.annotations.image_files import check_file_name, stated_size
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem

CATEGORY = "object"  # SA-1B has masks without classes


def is_sa1b(content: Any) -> bool:
    """Whether the content of a JSON file is SA-1B's: one image with its masks."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("image"), dict)
        and isinstance(content.get("annotations"), list)
        and not {"images", "dataset"} & content.keys()  # COCO's, and Darwin's
    )


def sa1b_document(files: Iterable[tuple[pathlib.Path, Any]], report: Report) -> dict[str, Any]:
    """Reads SA-1B files into a document; ids are made from their order.

    Args:
      files: path and content of each.
      report: takes the mistakes; what is wrong is left out.
    """
    draft = Draft(report)
    for path, content in files:
        if not is_sa1b(content):
            draft.passed.add("JSON files are not SA-1B's and are not read", path.name)
            continue
        try:
            name = content["image"].get("file_name")
            if not isinstance(name, str):
                raise BadItem("no_file_name", f"file_name is {shown(name)}")
            check_file_name(name)
            image = draft.add_image(name, stated_size(content["image"]), path.name)
        except BadItem as bad:
            draft.refuse(bad, path.name)
            continue
        for row in content["annotations"]:
            if isinstance(row, dict):
                kept = {key: row[key] for key in ("segmentation", "bbox", "area") if key in row}
                draft.add(image, CATEGORY, kept)
            else:
                draft.refuse(BadItem("bad_annotation", f"found {shown(row)}"), path.name, image)
    return draft.document()
