"""Labels for readers that do not take run lengths, one module per format.

All start from the document that `export.pseudo_labels` makes and leave it unchanged. Crowd regions
are not labels: they stay as they are among polygons, are void in index images and left out
elsewhere.
"""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from exits_jax.annotations.records import ImageRecord
from exits_jax.export.formats.label_studio import write_label_studio
from exits_jax.export.formats.limits import export_problems
from exits_jax.export.formats.png import write_index_pngs
from exits_jax.export.formats.polygons import write_polygons
from exits_jax.export.formats.voc import write_voc
from exits_jax.export.formats.yolo import write_yolo
from exits_jax.export.paths import FORMATS, PATHS

__all__ = ["FORMATS", "export_problems", "format_paths", "write_format"]


def format_paths(name: str) -> tuple[str, ...]:
    """What a format writes, relative to the run's folder: a file, or a folder of its own."""
    return (PATHS[name],)


def write_format(
    name: str,
    folder: pathlib.Path,
    document: Mapping[str, Any],
    images: Mapping[int, ImageRecord],
    *,
    simplify: float = 0.0,
) -> str:
    """Writes the labels in one further format into a run's folder, replacing an older version.

    Args:
      name: one of `FORMATS`.
      folder: the run's; the format gets a file or a folder of its own in it (`format_paths`).
      document: from `export.pseudo_labels`.
      images: `Annotations.images`.
      simplify: pixels by which polygons may deviate from the masks' outlines; 0: none.

    Returns:
      What was written, in words.

    Raises:
      UserError: a file cannot be written, or the format cannot hold these labels.
    """
    path = folder / PATHS[name]
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)  # labels that an earlier min_score kept
    if name == "polygons":
        return write_polygons(path, document, simplify)
    if name == "png":
        return write_index_pngs(path, document, images)
    if name == "voc":
        return write_voc(path, document, images)
    if name == "yolo":
        return write_yolo(path, document, images, simplify)
    brush = name == "label_studio"
    return write_label_studio(path, document, images, None if brush else simplify)
