#!/usr/bin/env bash
# Package:  pycocotools 2.0.11 (with numpy 2.4.6)
# Expected: COCOeval(..., "segm") judges masks. A results row may hold the mask's
#           `bbox` beside its `segmentation`; AP for small, medium and large
#           objects goes by the areas of the masks either way.
# Happens:  loadRes looks at `bbox` first: where a row has one, `area` becomes
#           that of the box. A false mask, thin and slanting, of 97 pixels in a
#           box of 2,401 then is a medium object and no longer counts among the
#           small ones. The same masks have another AP for small objects with
#           and without the box that somebody put beside them; AP over all sizes
#           is the same.
# Seen:
#   masks alone:           area 97, AP 0.500, AP small 0.500
#   masks and their boxes: area 2401, AP 0.500, AP small 1.000
# Exit status: 0 if it still behaves so, 1 if the behaviour has changed,
#              2 if the packages could not be installed.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; cd "$tmp"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check pycocotools==2.0.11 numpy==2.4.6 || exit 2
cat > check.py <<'PY'
import contextlib, io
import numpy as np
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

thing = np.zeros((90, 90), np.uint8)
thing[5:25, 5:25] = 1
slanting = np.zeros((90, 90), np.uint8)
k = np.arange(49)
slanting[30 + k, 30 + k] = slanting[30 + k, 30 + np.minimum(k + 1, 48)] = 1

def row(mask, **more):
    code = masks.encode(np.asfortranarray(mask))
    more["segmentation"] = {"size": code["size"], "counts": code["counts"].decode()}
    return {"image_id": 1, "category_id": 1, **more}

def box(mask):
    ys, xs = mask.nonzero()
    return [int(v) for v in (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)]

truth = COCO()
truth.dataset = {
    "images": [{"id": 1, "width": 90, "height": 90}],
    "categories": [{"id": 1, "name": "thing"}],
    "annotations": [row(thing, id=1, area=400, bbox=box(thing), iscrowd=0)],
}

def judge(with_boxes):
    found = [(slanting, 0.9), (thing, 0.8)]
    rows = [row(m, score=s, **({"bbox": box(m)} if with_boxes else {})) for m, s in found]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = truth.loadRes(rows)
        judged = COCOeval(truth, results, "segm")
        judged.evaluate(), judged.accumulate(), judged.summarize()
    return int(results.anns[1]["area"]), round(judged.stats[0], 3), round(judged.stats[3], 3)

alone, both = judge(False), judge(True)
print("masks alone:           area %d, AP %.3f, AP small %.3f" % alone)
print("masks and their boxes: area %d, AP %.3f, AP small %.3f" % both)
raise SystemExit(alone[1:] != (0.5, 0.5) or both[1:] != (0.5, 1.0) or alone[0] == both[0])
PY
venv/bin/python check.py
