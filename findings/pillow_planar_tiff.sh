#!/usr/bin/env bash
# Package:  Pillow 13.0.0 (files written by tifffile 2026.3.3, numpy 2.4.6)
# Expected: a 16-bit RGB TIFF opens with the same values whether its samples
#           lie interleaved (contig) or plane by plane (separate), or the
#           layout that is not supported is refused. Pillow gives a 16-bit RGB
#           TIFF as 8-bit RGB: the high byte of each sample.
# Happens:  the interleaved file gives the high bytes. The planar one opens as
#           RGB with no error or warning, and its values are wrong: the bytes
#           of each 16-bit plane are read as if they were 8-bit samples, so
#           low and high bytes alternate along a row. A planar 8-bit file is
#           read rightly, and tifffile reads all of the files rightly.
# Seen:
#   8-bit separate: RGB, right: True, first row's reds [0, 11, 23, 35]
#   16-bit contig: RGB, right: True, first row's reds [0, 11, 23, 35]
#   16-bit separate: RGB, right: False, first row's reds [5, 0, 189, 11]
#   first row's reds should be [0, 11, 23, 35]
# Exit status: 0 if it still behaves so, 1 if the behaviour has changed,
#              2 if the packages could not be installed.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; cd "$tmp"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check \
    pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6 || exit 2
cat > check.py <<'PY'
import warnings
import numpy as np, tifffile
from PIL import Image
warnings.simplefilter("error")
deep = (np.arange(48, dtype=np.uint16) * 1000 + 5).reshape(4, 4, 3)
for bits, layout in ((8, "separate"), (16, "contig"), (16, "separate")):
    data = deep if bits == 16 else (deep >> 8).astype(np.uint8)
    planes = np.moveaxis(data, -1, 0)
    tifffile.imwrite("a.tif", data if layout == "contig" else planes,
                     photometric="rgb", planarconfig=layout)
    back = tifffile.imread("a.tif")
    assert np.array_equal(back, data if layout == "contig" else planes)
    with Image.open("a.tif") as im:
        mode, got = im.mode, np.asarray(im)
    right = np.array_equal(got, deep >> 8)
    print(f"{bits}-bit {layout}: {mode}, right: {right}, first row's reds {got[0, :, 0].tolist()}")
    assert mode == "RGB" and right == (not (bits == 16 and layout == "separate"))
print("first row's reds should be", (deep >> 8)[0, :, 0].tolist())
# What comes out is the first bytes of each plane, in file order.
assert got[:, :, 0].ravel().tolist() == list(planes[0].astype("<u2").tobytes()[:16])
PY
venv/bin/python check.py
