#!/usr/bin/env bash
# Package:  Pillow 13.0.0 (files written by tifffile 2026.3.3, numpy 2.4.6)
# Expected: in a grey TIFF whose photometric tag is WhiteIsZero, 0 means white.
#           Pillow turns such an 8-bit file over on reading, so that 0 is black
#           as in its other grey pictures; a 16-bit one should be treated the
#           same way, or flagged.
# Happens:  the 8-bit file comes back inverted (255 - v), the 16-bit one as
#           stored, in the same mode (I;16) as a BlackIsZero file: the picture
#           is a negative, with no error or warning. Only the tag tells.
# Seen:
#   uint8 minisblack: L, stored [0, 1, 2, 3], opened [0, 1, 2, 3]
#   uint8 miniswhite: L, stored [0, 1, 2, 3], opened [255, 254, 253, 252]
#   uint16 minisblack: I;16, stored [0, 100, 200, 300], opened [0, 100, 200, 300]
#   uint16 miniswhite: I;16, stored [0, 100, 200, 300], opened [0, 100, 200, 300]
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
got = {}
for kind, step in ((np.uint8, 1), (np.uint16, 100)):
    grey = (np.arange(16) * step).astype(kind).reshape(4, 4)
    for photometric in ("minisblack", "miniswhite"):
        tifffile.imwrite("g.tif", grey, photometric=photometric)
        with Image.open("g.tif") as im:
            mode, tag, out = im.mode, im.tag_v2[262], np.asarray(im)
        print(f"{kind.__name__} {photometric}: {mode}, stored "
              f"{grey[0].tolist()}, opened {out[0].tolist()}")
        assert tag == (0 if photometric == "miniswhite" else 1)
        assert mode == ("L" if kind is np.uint8 else "I;16")
        inverted = np.array_equal(out, np.iinfo(kind).max - grey)
        kept = np.array_equal(out, grey)
        got[kind.__name__, photometric] = "inverted" if inverted else "kept" if kept else "other"
assert got == {("uint8", "minisblack"): "kept", ("uint8", "miniswhite"): "inverted",
               ("uint16", "minisblack"): "kept", ("uint16", "miniswhite"): "kept"}, got
PY
venv/bin/python check.py
