#!/usr/bin/env bash
# Package:  label-studio-sdk 2.1.2
# Expected: LabelInterface(config).validate_task(task) answers True or False
#           for a task that carries predictions or annotations, as it does for
#           a task with data alone.
# Happens:  it raises TypeError whenever the key "predictions" or
#           "annotations" is there, an empty list included: validate_task calls
#           validate_prediction() and validate_annotation() without handing
#           them anything to check. Calling those two directly, one prediction
#           or annotation at a time, works.
# Seen:
#   validate_prediction: True
#   validate_annotation: True
#   data alone: True
#   with 1 predictions: TypeError: LabelInterface.validate_prediction() missing 1 required positional argument: 'prediction'
#   with 1 annotations: TypeError: LabelInterface.validate_annotation() missing 1 required positional argument: 'annotation'
#   with 0 predictions: TypeError: LabelInterface.validate_prediction() missing 1 required positional argument: 'prediction'
# Exit status: 0 if it still behaves so, 1 if the behaviour has changed,
#              2 if the packages could not be installed.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT; cd "$tmp"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check label-studio-sdk==2.1.2 || exit 2
cat > check.py <<'PY'
from label_studio_sdk.label_interface import LabelInterface

interface = LabelInterface("""<View>
  <Image name="img" value="$image"/>
  <RectangleLabels name="box" toName="img"><Label value="cat"/></RectangleLabels>
</View>""")
region = {"id": "r1", "from_name": "box", "to_name": "img", "type": "rectanglelabels",
          "original_width": 100, "original_height": 100, "image_rotation": 0,
          "value": {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0,
                    "rectanglelabels": ["cat"]}}
data = {"image": "https://example.com/a.jpg"}
prediction = {"model_version": "one", "score": 0.5, "result": [region]}
annotation = {"result": [region]}

def validate(task):
    try:
        return interface.validate_task(task)
    except TypeError as error:
        return f"TypeError: {error}"

print("validate_prediction:", one := interface.validate_prediction(prediction))
print("validate_annotation:", two := interface.validate_annotation(annotation))
assert one is True and two is True
print("data alone:", answer := validate({"data": data}))
assert answer is True
for key, items in (("predictions", [prediction]), ("annotations", [annotation]),
                   ("predictions", [])):
    answer = validate({"data": data, key: items})
    print(f"with {len(items)} {key}:", answer)
    assert str(answer).startswith("TypeError: ") and "missing 1 required" in answer
PY
venv/bin/python check.py
