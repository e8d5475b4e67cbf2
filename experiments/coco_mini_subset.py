"""Cuts coco-mini out of an official COCO 2017 download.

  python experiments/coco_mini_subset.py --coco=COCO --out=data/coco-mini

COCO is the folder with annotations/, train2017/ and val2017/. The image ids are in
experiments/coco_mini_ids.json. Images are linked, or copied where links are not possible.
"""

import json
import os
import pathlib
import shutil
import sys
from typing import Any

from absl import app, flags
from rich.progress import track

_COCO = flags.DEFINE_string("coco", None, "folder of the official download", required=True)
_OUT = flags.DEFINE_string("out", "data/coco-mini", "folder to write")

IDS = pathlib.Path(__file__).parent / "coco_mini_ids.json"
SPLITS = ("train2017", "val2017")


def subset(document: dict[str, Any], ids: set[int]) -> dict[str, Any]:
    """The document with the images in `ids` and their annotations; the rest as it was."""
    images = [image for image in document["images"] if image["id"] in ids]
    annotations = [row for row in document["annotations"] if row["image_id"] in ids]
    return {**document, "images": images, "annotations": annotations}


def link(source: pathlib.Path, target: pathlib.Path) -> None:
    """A hard link, or a copy where the file system has none."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def main(argv: list[str]) -> None:
    """Writes both splits."""
    del argv
    coco, out = pathlib.Path(_COCO.value), pathlib.Path(_OUT.value)
    for split in SPLITS:
        name = f"annotations/instances_{split}.json"
        if not (coco / name).exists():
            sys.exit(f"{coco / name}: not found; --coco is the folder with annotations/")
        ids = set(json.loads(IDS.read_text())[split])
        document = subset(json.loads((coco / name).read_text()), ids)
        for folder in (out / "annotations", out / split):
            folder.mkdir(parents=True, exist_ok=True)
        for image in track(document["images"], split):
            link(coco / split / image["file_name"], out / split / image["file_name"])
        (out / name).write_text(json.dumps(document))
        print(f"{out / name}: {len(document['images'])} images")


if __name__ == "__main__":
    app.run(main)
