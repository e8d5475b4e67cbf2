#!/usr/bin/env bash
# Package:  supervision 0.31.2 (with Pillow 13.0.0, numpy 2.4.6)
# Expected: a YOLO data set in the usual layout with splits as subfolders
#           (images/train/a.jpg beside labels/train/a.txt) is loaded by
#           DetectionDataset.from_yolo when given images/ and labels/, or the
#           call says that it found no picture there.
# Happens:  only the files lying directly in the folder given are looked at.
#           The result is a data set of 0 images with the right class names,
#           and no error, warning, log record or output. Given one split's own
#           pair of folders, the picture and its box are loaded.
# Seen:
#   images: 0 images, 0 boxes, classes ['cat'], 0 warnings
#   images/train: 1 images, 1 boxes, classes ['cat'], 0 warnings
#   images/val: 1 images, 1 boxes, classes ['cat'], 0 warnings
# Exit status: 0 if it still behaves so, 1 if the behaviour has changed,
#              2 if the packages could not be installed.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; cd "$tmp"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check \
    supervision==0.31.2 pillow==13.0.0 numpy==2.4.6 || exit 2
mkdir -p images/{train,val} labels/{train,val}
echo "0 0.5 0.5 0.5 0.5" | tee labels/train/a.txt > labels/val/b.txt
printf '%s\n' "path: ." "train: images/train" "val: images/val" "names: [cat]" > data.yaml
cat > check.py <<'PY'
import contextlib, io, logging, warnings
from PIL import Image
import supervision as sv

Image.new("RGB", (40, 40)).save("images/train/a.jpg")
Image.new("RGB", (40, 40)).save("images/val/b.jpg")
said = io.StringIO()
logging.basicConfig(stream=said, level=logging.INFO, force=True)

def load(images, labels):
    with warnings.catch_warnings(record=True) as warned, \
            contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("always")
        data = sv.DetectionDataset.from_yolo(images, labels, "data.yaml")
    boxes = sum(len(found) for found in data.annotations.values())
    print(f"{images}: {len(data)} images, {boxes} boxes, classes {data.classes}, "
          f"{len(warned)} warnings")
    return len(data), boxes, data.classes, len(warned)

assert load("images", "labels") == (0, 0, ["cat"], 0)
assert said.getvalue() == "", said.getvalue()
for split in ("train", "val"):
    assert load(f"images/{split}", f"labels/{split}")[:3] == (1, 1, ["cat"])
PY
venv/bin/python check.py
