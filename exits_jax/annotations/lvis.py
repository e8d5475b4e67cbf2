"""LVIS v1: COCO's structure, with images named by `coco_url` and no `iscrowd`."""

from typing import Any
from urllib.parse import urlsplit


def is_lvis(document: dict[str, Any]) -> bool:
    """Whether a COCO-style document is LVIS: its images say which categories were looked for."""
    images = document.get("images")
    first = images[0] if isinstance(images, list) and images else None
    return isinstance(first, dict) and "neg_category_ids" in first


def image_file_names(image: dict[str, Any]) -> list[str]:
    """The names an image may have inside the image folder, likeliest first.

    `file_name` where there is one; then the last two components of `coco_url`, which are COCO's
    folder and name (train2017/000000391895.jpg). The plain name is tried when it is looked up.
    """
    names = []
    if isinstance(image.get("file_name"), str) and image["file_name"]:
        names.append(image["file_name"])
    if isinstance(image.get("coco_url"), str):
        parts = [part for part in _path_of(image["coco_url"]).split("/") if part]
        if parts:
            names.append("/".join(parts[-2:]))
    return names


def _path_of(url: str) -> str:
    """The path in an address; empty if it is not an address."""
    try:
        return urlsplit(url).path
    except ValueError:  # "http://["
        return ""
