#!/usr/bin/env bash
# Package:  pycocotools 2.0.11 (with numpy 2.4.6)
# Expected: an annotation's id is only a key, so the number it starts from
#           should not change a score. A detection equal to its ground truth
#           scores AP 1.0.
# Happens:  a ground-truth annotation with id 0 can never be matched: the
#           evaluation stores the matched id per detection and reads 0 as "no
#           match". The detection becomes a false positive and AP falls to 0.0,
#           for boxes and masks alike, without a warning.
# Seen:
#   bbox: AP with annotation id 0: 0.0, with id 1: 1.0
#   segm: AP with annotation id 0: 0.0, with id 1: 1.0
# Exit status: 0 if it still behaves so, 1 if the behaviour has changed,
#              2 if the packages could not be installed.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; cd "$tmp"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check pycocotools==2.0.11 numpy==2.4.6 || exit 2
cat > check.py <<'PY'
import contextlib, io
import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

def average_precision(first_id, kind):
    square = np.zeros((100, 100), np.uint8, order="F")
    square[10:30, 10:30] = 1
    gt = COCO()
    gt.dataset = {
        "info": {}, "categories": [{"id": 1, "name": "a"}],
        "images": [{"id": 1, "width": 100, "height": 100, "file_name": "a.jpg"}],
        "annotations": [{"id": first_id, "image_id": 1, "category_id": 1,
                         "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0,
                         "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}]}
    found = {"image_id": 1, "category_id": 1, "score": 0.9}
    if kind == "bbox":
        found["bbox"] = [10, 10, 20, 20]
    else:
        found["segmentation"] = mask.encode(square)
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex()
        run = COCOeval(gt, gt.loadRes([found]), kind)
        run.evaluate(); run.accumulate(); run.summarize()
    return round(float(run.stats[0]), 6)

for kind in ("bbox", "segm"):
    zero, one = average_precision(0, kind), average_precision(1, kind)
    print(f"{kind}: AP with annotation id 0: {zero}, with id 1: {one}")
    assert (zero, one) == (0.0, 1.0)
PY
venv/bin/python check.py
