"""What a file is: packed and wide ones are read, others named with what to do; no bombs."""

import gzip
import io
import json
import pickle
import re
import tarfile
import zipfile

import numpy as np
import pytest
from annotations_samples import document, save_images
from foreign_exports import cvat, cvat_shape, labelme, pictures, shape
from PIL import Image

from configs import own
from exits_jax.annotations import check_file, read_annotations
from exits_jax.app.run import Run, read_files
from exits_jax.app.settings import read_settings
from exits_jax.app.workdir import Workdir
from exits_jax.system.errors import UserError

COCO = json.dumps(document()).encode()


def zipped(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def refusal(folder, content, name="file.json"):
    """What reading says; the check says the same."""
    (folder / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        read_annotations(folder / name)
    (problem,) = check_file(folder / name)
    assert f"{problem.code}: {problem.text}" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json.gz", gzip.compress(COCO)),
        ("a.zip", zipped(**{"annotations/instances_default.json": COCO})),
        ("a.zip", zipped(**{"result.json": COCO, "images/a.png": b"x", "__MACOSX/r.json": b"{}"})),
        ("a.json", COCO.decode().encode("utf-16")),
        ("a.json", COCO.decode().encode("utf-16-le")),
        ("a.json", COCO.decode().encode("utf-16-be")),
        ("a.json", COCO.decode().encode("utf-8-sig")),
        ("a.json", COCO.decode().encode("utf-32")),
        ("a.json.gz", gzip.compress(COCO.decode().encode("utf-16"))),
        ("no_ending", COCO),
    ],
)
def test_packed_and_wide_files_are_read(tmp_path, name, content):
    images = save_images(tmp_path / "images")
    (tmp_path / name).write_bytes(content)
    read = read_annotations(tmp_path / name, images)
    assert read.document == document()
    assert [i.id for i in read.instances] == [11, 12, 13]
    assert check_file(tmp_path / name, images) == []


def test_a_packed_cvat_export_and_labelme(tmp_path):
    box = cvat_shape("box", xtl=1, ytl=1, xbr=9, ybr=9)
    (tmp_path / "task.zip").write_bytes(zipped(**{"annotations.xml": cvat(box)}))
    assert read_annotations(tmp_path / "task.zip").instances[0].category == "cat"
    content = json.dumps(labelme(shape("dog", "rectangle", [[1, 1], [9, 9]])))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(content.encode()))
    assert read_annotations(tmp_path / "a.json.gz").instances[0].category == "dog"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (gzip.compress(bytes(200_000_000), 9), "unknown_kind: the file is empty, or nothing but"),
        (gzip.compress(b"{" + b" " * 200_000_000, 9), "packed_file: .*unpack it"),
        (zipped(**{"a.json": b"{" + b" " * 200_000_000}), "packed_file: .*unpack it"),
        (gzip.compress(COCO)[:-40], "packed_file: it is a damaged gzip file"),
        (b"\x1f\x8b" + bytes(30), "packed_file: it is a damaged gzip file"),
        (zipped(**{"a.json": COCO})[:-30], "packed_file: it is a damaged zip file"),
        (zipped(**{"a.json": COCO, "b.json": COCO}), r"2 annotation files \(a.json, b.json\)"),
        (zipped(**{"labels/a.txt": b"0 1 1 1 1"}), "no .json, .xml or .csv file .labels/a.txt"),
        (gzip.compress(bytes(9)), "unknown_kind: the file is empty"),
    ],
    ids=["zeros", "spaces", "zip bomb", "cut", "no gzip", "cut zip", "two", "no json", "empty"],
)
def test_what_cannot_be_unpacked(tmp_path, content, expected):
    assert re.search(expected, refusal(tmp_path, content, "a.bin"))


def tar(name):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


def image(kind):
    stream = io.BytesIO()
    Image.new("RGB", (9, 9)).save(stream, kind)
    return stream.getvalue()


def npy():
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


MANIFEST = b'{"source-ref": "s3://b/a.jpg", "boxes": {"annotations": []}, "boxes-metadata": {}}\n'
LABELBOX = b'{"data_row": {"id": "c"}, "media_attributes": {}, "projects": {}}\n'


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (tar("a.json"), "a tar archive, .*unpack it"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive, .*unpack it"),
        (b"Rar!\x1a\x07\x01" + bytes(99), "a RAR archive, .*unpack it"),
        (image("PNG"), "a PNG image, .*data.images"),
        (image("JPEG"), "a JPEG image"),
        (image("WEBP"), "a WebP image"),
        (image("TIFF"), "a TIFF image"),
        (npy(), "a NumPy array"),
        (pickle.dumps([1]), "a Python pickle, which is never opened"),
        (b"PAR1" + bytes(99), "a Parquet file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer.*git lfs",
        ),
        (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "a web page, .*login page"),
        (b"<html><body>404</body></html>", "a web page"),
        (b"<dataset><images></images></dataset>", "dlib's XML"),
        ("ImageID,XMin\n".encode("utf-16"), "text in UTF-16, .*save it as UTF-8"),
        (b"#filename,file_size,file_attributes,region_count,region_id\n", "VIA's CSV"),
        (b"1,1,912,484,97,109,0,7,1\n", "MOT tracks"),
        (b"Car 0.00 0 -1.58 587 173 614 200 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n", "KITTI"),
        (b"path,x1,y1,x2,y2,class\n", "a table with the columns path, x1"),
        (b"MaskPath,ImageID,LabelName,BoxID\n", "Open Images' list of masks"),
        (b"imagesource:GoogleEarth\ngsd:0.14\n", "DOTA labels"),
        (b"2753 2408 2861 2385 2888 2468 2805 2502 large-vehicle 0\n", "DOTA labels"),
        (b"path;x1;y1;x2;y2;class\n", "a table with the columns path, x1"),
        (b"image_id,x,y,w,h,score\n", "a table of detections, .*data.boxes"),
        (b"image\tx\ty\tw\th\tconfidence\n", "a table of detections, .*data.boxes"),
        (b'{"image": "a.jpg"}\n{"image": "b.jpg"}\n', "JSON Lines"),
        (MANIFEST, "a SageMaker Ground Truth manifest"),
        (MANIFEST + MANIFEST, "a SageMaker Ground Truth manifest"),
        (LABELBOX + LABELBOX, "Labelbox JSON"),
    ],
)
def test_other_files_are_named_with_what_to_do(tmp_path, content, what):
    assert re.search(f"foreign_file: this looks like {what}", refusal(tmp_path, content, "file"))


DATALOOP = {"type": "box", "label": "cat", "coordinates": [{"x": 1, "y": 2, "z": 0}]}
VIA = {"a.jpg9": {"filename": "a.jpg", "size": 9, "regions": [], "file_attributes": {}}}
PANOPTIC = {"images": [], "annotations": [{"segments_info": []}], "categories": []}
CAPTIONS = {"images": [], "annotations": [{"id": 1, "image_id": 1, "caption": "a"}]}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (PANOPTIC, "panoptic COCO JSON.*instances file"),
        (CAPTIONS, "COCO's captions"),
        (VIA, r"VIA's JSON, .*Export Annotations \(COCO format\)"),
        ({"_via_settings": {}, "_via_img_metadata": VIA}, "a VIA project"),
        ({"videos": [], "annotations": [], "categories": []}, "YouTube-VIS"),
        ([{"image": "a.jpg", "annotations": []}], "createML"),
        ({"description": "", "tags": [], "size": {}, "objects": []}, "Supervisely"),
        ([{"task_id": "1", "response": {}}], "Scale AI"),
        ({"imgHeight": 9, "imgWidth": 9, "objects": []}, "Cityscapes"),
        ({"info": {}, "categories": {}, "items": []}, "Datumaro JSON, .*datum convert"),
        ({"predictions": [], "image": {"width": 9}}, "Roboflow's inference JSON"),
        ([{"file_name": "a.jpg", "annotations": []}], "detectron2's list of records"),
        ([{"name": "a.jpg", "labels": []}], "BDD100K"),
        ([{"data_row": {}, "projects": {}}], "Labelbox JSON"),
        ({"samples": []}, "FiftyOne JSON"),
        ({"type": "FeatureCollection", "features": []}, "GeoJSON"),
        ({"asset": {"name": "a.jpg"}, "regions": [], "version": "2.1.0"}, "VoTT.*as Pascal VOC"),
        ({"name": "p", "assets": {}, "tags": [], "lastVisitedAssetId": "1"}, "a VoTT project"),
        ({"classes": ["cat"], "labels": {"a": [{"label": 0}]}}, r"FiftyOne's labels\.json"),
        ({"dataset": "d", "image": {"filename": "a.jpg"}, "annotations": []}, "V7 Darwin JSON 1"),
        ({"item": {}, "annotations": [], "version": "2.0"}, "V7 Darwin JSON, "),
        ({"filename": "/a.jpg", "annotations": [DATALOOP]}, "Dataloop JSON"),
        ([{"boxes": [[1, 2, 3, 4]], "labels": [1], "image_id": 1}], "torchvision's targets"),
        ([{"boxes": [], "labels": [], "scores": []}], "torchvision's detections.*data.boxes"),
    ],
)
def test_json_of_other_tools_is_named_with_what_to_do(tmp_path, content, what):
    said = refusal(tmp_path, json.dumps(content).encode())
    assert re.search(f"foreign_file: this looks like {what}", said)


@pytest.mark.parametrize(
    "content",
    [{"coco": document()}, [document()], {"version": 3, "data": document()}, [1, document()]],
    ids=["coco", "list", "beside", "list beside"],
)
def test_the_one_coco_document_in_another_is_read_and_said(tmp_path, content):
    file, images = tmp_path / "a.json", save_images(tmp_path / "images")
    file.write_text(json.dumps(content))
    read = read_annotations(file, images)
    assert read.document == document()
    assert [note.code for note in read.notes] == ["wrapped"]
    assert ("1 are not read" in read.notes[0].text) == (len(content) == 2)
    assert check_file(file, images) == []


@pytest.mark.parametrize("content", [{"train": document(), "val": document()}, [document()] * 2])
def test_two_coco_documents_in_one_file_are_refused(tmp_path, content):
    said = refusal(tmp_path, json.dumps(content).encode())
    assert "several_documents: it holds 2 COCO documents (" in said


@pytest.mark.parametrize("name", ["café", "Straße"])
def test_another_encoding_is_named_and_not_guessed(tmp_path, name):
    content = document()
    content["categories"][0]["name"] = name
    text = json.dumps(content, ensure_ascii=False)
    said = refusal(tmp_path, text.encode("cp1252"))
    place = text.index("éß"["ß" in name])
    assert f"bad_json: byte {ord(text[place]):#04x} at {place} is not UTF-8" in said
    assert "iconv -f WINDOWS-1252 -t UTF-8" in said
    labels = tmp_path / "labels"
    pictures(tmp_path / "images", "a.png")
    labels.mkdir()
    (labels / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (labels / "classes.txt").write_bytes(name.encode("cp1252"))
    with pytest.raises(UserError, match=r"bad_text: byte .*iconv"):
        read_annotations(labels, tmp_path / "images")


def test_results_are_labelled_through_data_boxes(tmp_path):
    results = [{"image_id": 1, "category_id": 3, "bbox": [1, 1, 9, 9], "score": 0.5}]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results))
    assert check_file(file) == []  # good ones
    with pytest.raises(UserError, match=r"a list of detections.*give it as data\.boxes"):
        read_annotations(file)


def test_text_that_is_nearly_json(tmp_path):
    said = refusal(tmp_path, b"{'images': [], 'annotations': []}")
    assert "bad_json: not JSON but printed by Python" in said
    assert "if the file is truncated, copy it again" in refusal(tmp_path, COCO[:-20])


def test_an_xml_of_another_root(tmp_path):
    said = refusal(tmp_path, b"<root><a/></root>", "a.xml")
    assert "bad_xml: the root element is 'root'; expected 'annotation' (VOC) or" in said


def test_folders_of_kitti_and_mot_are_no_yolo(tmp_path):
    (tmp_path / "000001.txt").write_text("Car 0.00 0 -1.58 587 173 614 200 1 1 3 -0.6 1 46 -1.5\n")
    with pytest.raises(UserError, match="foreign_file: this looks like KITTI labels"):
        read_annotations(tmp_path)


def test_folders_with_json_in_them(tmp_path):
    inner = tmp_path / "export" / "annotations"
    inner.mkdir(parents=True)
    (inner / "instances_default.json").write_bytes(COCO)
    with pytest.raises(UserError, match=r"give one file, like annotations/instances_default\.json"):
        read_annotations(tmp_path / "export")
    (inner / "more.json").write_bytes(COCO)
    with pytest.raises(UserError, match=r"2 JSON files \(instances_default\.json, more\.json\)"):
        read_annotations(inner)


def test_a_folder_of_one_json_names_it(tmp_path):
    (tmp_path / "_annotations.coco.json").write_bytes(COCO)
    with pytest.raises(UserError, match=r"give that, .*/_annotations\.coco\.json"):
        read_annotations(tmp_path)


VOC = (
    b"<annotation><filename>a.jpg</filename><size><width>40</width><height>30</height></size>"
    b"<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    b"</bndbox></object></annotation>"
)
LABELME = json.dumps(labelme(shape("cat", "rectangle", [[0, 0], [9, 9]]))).encode()


@pytest.mark.parametrize(("name", "content"), [("a.xml", VOC), ("A.XML", VOC), ("a.json", LABELME)])
def test_folders_in_folders_and_hidden_files(tmp_path, name, content):
    for folder in ("train", "valid"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"._{name}").write_bytes(b"\0\5\x16\7")  # of macOS
    (tmp_path / "README.roboflow.txt").write_text("exported on ...\n")
    (tmp_path / "train" / name).write_bytes(content)
    for given in (tmp_path, tmp_path / "train"):
        assert [one.category for one in read_annotations(given).instances] == ["cat"]
    (tmp_path / "valid" / name).write_bytes(content)
    with pytest.raises(UserError, match=r"in 2 folders \(train, valid\): give one of them"):
        read_annotations(tmp_path)


def test_sa1b_is_read(tmp_path):
    mask = {"size": [30, 40], "counts": [155, 20, 10, 20, 995]}
    row = {"id": 5, "segmentation": mask, "bbox": [5, 5, 2, 20], "area": 40, "predicted_iou": 0.9}
    content = {"image": {"image_id": 1, "width": 40, "height": 30, "file_name": "sa_1.jpg"}}
    for name in ("sa_1", "sa_2"):
        content["image"]["file_name"] = f"{name}.jpg"
        (tmp_path / f"{name}.json").write_text(json.dumps(content | {"annotations": [row]}))
    one = read_annotations(tmp_path / "sa_1.json")
    assert (one.instances[0].category, one.instances[0].points_source) == ("object", "mask")
    np.testing.assert_array_equal(one.instances[0].box_xyxy, [5, 5, 7, 25])
    both = read_annotations(tmp_path)
    assert [i.image.file_name for i in both.instances] == ["sa_1.jpg", "sa_2.jpg"]


@pytest.mark.parametrize("named", [True, False])
def test_a_bare_folder_of_images_with_a_detector_s_boxes(tmp_path, named):
    images = pictures(tmp_path / "images")
    name = {"category_name": "dog"} if named else {}
    results = [{"image_id": 2, "category_id": 18, **name, "bbox": [1, 2, 9, 8], "score": 0.5}]
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(results))
    read = read_annotations(images, images, boxes=boxes)
    assert [image.file_name for image in read.images.values()] == ["a.png", "sub/b.png"]
    (instance,) = read.instances
    assert (instance.category, instance.category_id) == ("dog" if named else "category 18", 18)
    assert instance.image.path == images / "sub/b.png"
    np.testing.assert_array_equal(instance.box_xyxy, [1, 2, 10, 10])


def test_the_image_folder_and_boxes_are_all_that_labelling_needs(tmp_path):
    images = pictures(tmp_path / "images")
    boxes = tmp_path / "images" / "boxes.json"  # a JSON beside the images is no annotation file
    result = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 9, 8], "score": 0.5}
    boxes.write_text(json.dumps([result]))
    config = own.get_config()
    config.data.images, config.data.boxes = str(images), str(boxes)
    read_settings(config)
    read = read_files(Run(read_settings(config), Workdir(tmp_path / "run")), "label")
    assert [instance.image.file_name for instance in read.instances] == ["a.png"]
    config.data.boxes = ""
    with pytest.raises(UserError, match="no annotations: give"):
        read_files(Run(read_settings(config), Workdir(tmp_path / "run")), "label")


def test_boxes_as_yolo_writes_them(tmp_path):
    images = pictures(tmp_path / "images")
    labels = tmp_path / "predict" / "labels"
    labels.mkdir(parents=True)
    (labels / "b.txt").write_text("1 0.4375 0.5 0.625 0.8 0.75\n")
    read = read_annotations(images, images, boxes=labels)
    assert (read.instances[0].category, read.instances[0].category_id) == ("1", 2)
    np.testing.assert_allclose(read.instances[0].box_xyxy, [10, 5, 60, 45])
    assert read.instances[0].image.file_name == "sub/b.png"
    assert read.document["annotations"][0]["score"] == 0.75
    (labels / "classes.txt").write_text("cat\ndog\n")
    read = read_annotations(images, images, boxes=labels)
    assert read.categories == {2: "dog"}
    (labels / "lost.txt").write_text("1 0.4375 0.5 0.625 0.8 0.75\n")
    with pytest.raises(UserError, match=r"absent_image: in .*lost\.txt: line 1: no image is"):
        read_annotations(images, images, boxes=labels)


def test_yolo_s_boxes_for_a_coco_file_go_by_the_categories_names(tmp_path):
    images = save_images(tmp_path / "images")
    file = tmp_path / "a.json"
    file.write_bytes(COCO)
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "b.txt").write_text("0 0.5 0.5 0.5 0.5 0.75\n")
    assert read_annotations(file, images, boxes=labels).instances[0].category == "cat"
    (labels / "b.txt").write_text("dog 0.5 0.5 0.5 0.5 0.75\n")
    assert read_annotations(file, images, boxes=labels).instances[0].category == "dog"
    (labels / "b.txt").write_text("0 0.5 0.5 0.5 0.5 0.75\n")
    (labels / "classes.txt").write_text("dog\ncat\n")
    assert read_annotations(file, images, boxes=labels).instances[0].category == "dog"
    (labels / "classes.txt").write_text("bird\ncat\n")
    with pytest.raises(UserError, match=r"absent_category: .*'bird' is not a category"):
        read_annotations(file, images, boxes=labels)
