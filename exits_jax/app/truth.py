"""What labels, boxes and predictions are measured against."""

from exits_jax.annotations import Annotations
from exits_jax.annotations.records import NoAnnotations
from exits_jax.app.run import Run, read_files


def annotated_masks(run: Run, role: str, what: str) -> Annotations | None:
    """The annotation file of a role; None, and said, where it has no masks.

    Args:
      run: whose settings name the file.
      role: of `files_of`.
      what: cannot be measured without masks.
    """
    try:
        annotations = read_files(run, role, report=False)
    except NoAnnotations:
        print(f"no annotations in the annotation file: nothing to measure {what} against")
        return None
    if any_mask(annotations):
        return annotations
    print(f"no ground-truth masks in the annotation file: nothing to measure {what} against")
    return None


def any_mask(annotations: Annotations) -> bool:
    """Whether any instance has a mask to measure against."""
    rows = annotations.document["annotations"]
    return any(rows[instance.index].get("segmentation") for instance in annotations.instances)
