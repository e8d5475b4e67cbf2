"""A bare folder of images -> a COCO-style document without annotations, for a detector's boxes."""

from typing import Any

from exits_jax.annotations.coco import Report
from exits_jax.annotations.draft import Draft
from exits_jax.annotations.folder_files import images_below
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.annotations.records import BadItem


def images_document(images: ImageFolder, report: Report) -> dict[str, Any]:
    """The images of a folder and its folders, sorted by name; sizes from the files.

    Args:
      images: the folder.
      report: takes the files that are not images after all.

    Raises:
      BadItem: there is none.
    """
    draft = Draft(report)
    names = sorted(name for names in images_below(images.path).values() for name in names)
    if not names:
        raise BadItem("no_annotations", f"no image file in {images.path}")
    for name in names:
        try:
            draft.add_measured(name, images.path / name, images.exif, name, pixels=True)
        except BadItem as bad:
            draft.refuse(bad, name)
    return draft.document()
