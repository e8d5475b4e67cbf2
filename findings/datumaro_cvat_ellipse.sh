#!/usr/bin/env bash
# Package:  datumaro 1.13.12
# Expected: importing "CVAT for images 1.1" brings in every shape, or says
#           which it leaves out. Ellipses are ordinary shapes in CVAT, and
#           Datumaro has an annotation type for them (AnnotationType.ellipse).
# Happens:  the box and the polygon of the picture are imported and the ellipse
#           is dropped, with no error, warning, log record (from INFO up) or
#           output: the data set has one object fewer than the file.
# Seen:
#   in the file: ['box', 'ellipse', 'polygon']
#   imported:    ['bbox', 'polygon'] (0 warnings, output '')
# Exit status: 0 if it still behaves so, 1 if the behaviour has changed,
#              2 if the packages could not be installed.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; cd "$tmp"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check datumaro==1.13.12 || exit 2
mkdir -p data/images
cat > data/annotations.xml <<'XML'
<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>t</name><size>1</size><mode>annotation</mode>
    <labels><label><name>cat</name><attributes></attributes></label></labels></task></meta>
  <image id="0" name="a.png" width="100" height="80">
    <box label="cat" source="manual" occluded="0" xtl="10" ytl="10" xbr="30" ybr="30" z_order="0"></box>
    <ellipse label="cat" source="manual" occluded="0" cx="60" cy="40" rx="20" ry="10" z_order="0"></ellipse>
    <polygon label="cat" source="manual" occluded="0" points="5,50;25,50;25,70" z_order="0"></polygon>
  </image>
</annotations>
XML
cat > check.py <<'PY'
import contextlib, io, logging, warnings
import xml.etree.ElementTree as ET
from PIL import Image
import datumaro as dm

Image.new("RGB", (100, 80)).save("data/images/a.png")
said = io.StringIO()
logging.basicConfig(stream=said, level=logging.INFO, force=True)
with warnings.catch_warnings(record=True) as warned, \
        contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    warnings.simplefilter("always")
    items = list(dm.Dataset.import_from("data", "cvat"))
    got = [a.type.name for item in items for a in item.annotations]
stored = [shape.tag for shape in ET.parse("data/annotations.xml").find("image")]
print("in the file:", stored)
print("imported:   ", got, f"({len(warned)} warnings, output {said.getvalue()!r})")
assert hasattr(dm.AnnotationType, "ellipse")
assert stored == ["box", "ellipse", "polygon"] and sorted(got) == ["bbox", "polygon"]
assert len(items) == 1 and not warned and said.getvalue() == ""
PY
venv/bin/python check.py
