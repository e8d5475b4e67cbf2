"""Which file of the image folder an entry means: its own, or one that it alone can mean."""

import os
import time
import unicodedata

import numpy as np
import pytest
from annotations_samples import save
from PIL import Image

from exits_jax.annotations import check_file, read_annotations
from exits_jax.annotations.folder_files import IMAGE_ENDINGS
from exits_jax.annotations.image_folder import ImageFolder
from exits_jax.data.images import load_image
from exits_jax.system.errors import UserError

SIZE = 24
HASH = "68cb444f62494b5756c4708d119a66da"
CAFE = "café.png"  # one code point for the accented letter


def save_pictures(folder, *names: str):
    """A picture of its own grey for each name; the greys by path."""
    greys = {}
    for number, name in enumerate(names, start=1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (SIZE, SIZE), 10 * number).save(path, "PNG")
        greys[path] = 10 * number
    return greys


def coco(*names: str | None, **fields) -> dict:
    """A document with an image of each name and a box on each of them."""
    images = [
        {"id": k, "file_name": name, "width": SIZE, "height": SIZE, **fields}
        for k, name in enumerate(names, start=1)
    ]
    boxes = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [2, 2, 9, 9], "iscrowd": 0}
        for k, _ in enumerate(names, start=1)
    ]
    return {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ball"}]}


def read_in(tmp_path, names, files, folder="images", **options):
    """What is read of a document with these names over a folder with these files."""
    root = tmp_path / folder
    root.mkdir(exist_ok=True, parents=True)
    greys = save_pictures(root, *files)
    return read_annotations(save(tmp_path, coco(*names)), root, **options), root, greys


ONE_NAME = {  # name in the annotation file, files in the folder "images", the one that is meant
    "as it stands": ("a.png", ["a.png", "b.png"], "a.png"),
    "in a folder": ("sub/a.png", ["sub/a.png", "a.png"], "sub/a.png"),
    "dot": ("./a.png", ["a.png", "b.png"], "a.png"),
    "double separator": ("sub//a.png", ["sub/a.png", "a.png"], "sub/a.png"),
    "backslash": ("images\\0a1b-s.jpg", ["0a1b-s.jpg"], "0a1b-s.jpg"),
    "backslashes in folders": ("train\\cam2\\7.jpg", ["cam1/7.jpg", "cam2/7.jpg"], "cam2/7.jpg"),
    "drive": ("C:\\data\\cam2\\7.jpg", ["cam1/7.jpg", "cam2/7.jpg"], "cam2/7.jpg"),
    "drive with slashes": ("D:/photos/7.jpg", ["7.jpg", "17.jpg"], "7.jpg"),
    "drive alone": ("C:7.jpg", ["7.jpg"], "7.jpg"),
    "share": ("\\\\server\\photos\\7.jpg", ["7.jpg"], "7.jpg"),
    "absolute": ("/content/data/images/0a1b-s.jpg", ["0a1b-s.jpg"], "0a1b-s.jpg"),
    "absolute, deeper": ("/content/b/7.jpg", ["x/a/7.jpg", "x/b/7.jpg"], "x/b/7.jpg"),
    "climbing": ("../../photos/7.jpg", ["7.jpg"], "7.jpg"),
    "climbing within": ("cam1/../7.jpg", ["cam1/7.jpg", "7.jpg"], "7.jpg"),
    "address": ("https://localhost/data/upload/1/0a1b-s.jpg", ["0a1b-s.jpg"], "0a1b-s.jpg"),
    "address with a query": ("http://h/b/7.jpg?X-Amz-Date=1&sig=a%2Fb", ["7.jpg"], "7.jpg"),
    "address with a fragment": ("https://h/7.jpg#t=1", ["7.jpg"], "7.jpg"),
    "address of a bucket": ("s3://bucket/set/7.jpg", ["7.jpg"], "7.jpg"),
    "address of a file": ("file:///C:/set/my%20image.jpg", ["my image.jpg"], "my image.jpg"),
    "relative address": ("/data/upload/3/7.jpg?d=1", ["7.jpg"], "7.jpg"),
    "Label Studio's local files": (
        "/data/local-files/?d=set/cam2/7.jpg",
        ["cam1/7.jpg", "cam2/7.jpg"],
        "cam2/7.jpg",
    ),
    "fewer folders on disk": ("data/train/7.jpg", ["7.jpg"], "7.jpg"),
    "more folders on disk": ("7.jpg", ["deep/er/7.jpg", "8.jpg"], "deep/er/7.jpg"),
    "more folders in front": ("b/7.jpg", ["x/a/7.jpg", "x/b/7.jpg"], "x/b/7.jpg"),
    "the folder's own name": ("images/7.jpg", ["7.jpg", "sub/7.jpg"], "7.jpg"),
    "upper-case ending": ("IMG_1.jpg", ["IMG_1.JPG", "IMG_11.JPG"], "IMG_1.JPG"),
    "case of a folder": ("Cam1/IMG_1.jpg", ["cam1/img_1.jpg"], "cam1/img_1.jpg"),
    "decomposed on disk": (CAFE, [unicodedata.normalize("NFD", CAFE)], "cafe\u0301.png"),
    "composed on disk": (unicodedata.normalize("NFD", CAFE), [CAFE], CAFE),
    "percent": ("my%20image.jpg", ["my image.jpg", "image.jpg"], "my image.jpg"),
    "percent in a folder": ("set%201/a.jpg", ["set 1/a.jpg", "set 2/a.jpg"], "set 1/a.jpg"),
    "percent on disk": ("my image.jpg", ["my%20image.jpg"], "my%20image.jpg"),
    "a name with a percent sign": ("50%25.jpg", ["50%25.jpg", "50%.jpg"], "50%25.jpg"),
    "other ending": ("IMG_1.jpg", ["IMG_1.png", "IMG_2.png"], "IMG_1.png"),
    "jpeg": ("7.jpeg", ["7.jpg", "17.jpg"], "7.jpg"),
    "no ending": ("IMG_2", ["IMG_1.png", "IMG_2.png"], "IMG_2.png"),
    "ending and case": ("IMG_2.jpg", ["img_2.PNG"], "img_2.PNG"),
    "dots in the name": ("a.b.jpg", ["a.b.png", "a.png"], "a.b.png"),
    "dots and no ending": ("frame.0012", ["frame.0012.png", "frame.0013.png"], "frame.0012.png"),
    "brackets": ("img (1).jpg", ["img (1).png", "img.png", "img [1].png"], "img (1).png"),
    "not only images": ("7.jpg", ["7.png", "7.txt", "7.json", "7.xml"], "7.png"),
    "Roboflow's export": (f"a_jpg.rf.{HASH}.jpg", ["a.jpg", "b.jpg"], "a.jpg"),
    "Roboflow's export of a PNG": (f"train/a.b_png.rf.{HASH}.jpg", ["a.b.png"], "a.b.png"),
    "Roboflow's export of .JPG": (f"IMG_1_JPG_jpg.rf.{HASH}.jpg", ["IMG_1.JPG"], "IMG_1.JPG"),
    "Roboflow's export on disk": ("a.jpg", [f"a_jpg.rf.{HASH}.jpg"], f"a_jpg.rf.{HASH}.jpg"),
    "an upload": ("/data/upload/1/0a1b2c3d-a.jpg", ["a.jpg", "b.jpg"], "a.jpg"),
    "an upload in Windows' form": ("images\\1/0a1b2c3d-a.jpg", ["a.jpg"], "a.jpg"),
    "an upload on disk": ("a.jpg", ["0a1b2c3d-a.jpg", "0a1b2c3d-b.jpg"], "0a1b2c3d-a.jpg"),
    "a doubled ending": ("a.jpg.jpg", ["a.jpg", "b.jpg"], "a.jpg"),
    "a doubled ending on disk": ("a.jpg", ["a.jpg.JPG", "b.jpg"], "a.jpg.JPG"),
    "a space behind": ("a.jpg ", ["a.jpg", "b.jpg"], "a.jpg"),
    "a space in front": ("sub/ a.jpg", ["sub/a.jpg", "b.jpg"], "sub/a.jpg"),
    "a space on disk": ("a.jpg", [" a.jpg", "b.jpg"], " a.jpg"),
    "a mask beside": ("images/7.jpg", ["images/7.JPG", "masks/7.png"], "images/7.JPG"),
}


@pytest.mark.parametrize("case", ONE_NAME)
def test_the_only_file_that_is_meant_is_found(tmp_path, case):
    name, files, meant = ONE_NAME[case]
    read, root, greys = read_in(tmp_path, [name], files)
    record = read.images[1]
    assert record.path == root / meant
    assert np.unique(load_image(record)).tolist() == [greys[root / meant]]
    exactly = (root / name).is_file() and os.path.normpath(name) == name
    exactly |= os.path.normpath(root.parent / name) == str(root / meant)
    assert bool(read.notes) == (not exactly)  # what is not as it stands there is said
    assert read.document["images"][0]["file_name"] == name
    assert not record.file_name.startswith("/")
    assert not {"..", "C:", "http:"} & set(record.file_name.replace("\\", "/").split("/"))
    assert check_file(tmp_path / "annotations.json", root) == []


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_every_reader_knows_the_same_endings(tmp_path, ending):
    name = f"a{ending}"
    images, labels = tmp_path / "images", tmp_path / "labels"
    save_pictures(images, name)
    labels.mkdir()
    (labels / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    square = {"x": 10, "y": 10, "width": 50, "height": 50, "rectanglelabels": ["ball"]}
    result = {"type": "rectanglelabels", "value": square}
    row = {"id": 1, "data": {"photo": name}, "annotations": [{"result": [result]}]}
    for file in (save(tmp_path, coco("a")), labels, save(tmp_path, [row], "export.json")):
        assert read_annotations(file, images).images[1].path == images / name
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 9, 8], "score": 0.5}
    read = read_annotations(images, images, boxes=save(tmp_path, [box], "boxes.json"))
    assert read.images[1].path == images / name


WAYS = {  # what an entry that is found otherwise is said to be found by
    "Roboflow's export": "their names without Roboflow's additions",
    "an upload on disk": "their names without Label Studio's prefix",
    "a doubled ending": "their names without a doubled extension",
    "a space behind": "their names without spaces around them",
    "percent on disk": "their decoded names",
    "case of a folder": "their names in another case or Unicode form",
    "drive": "their last components",
}


@pytest.mark.parametrize("case", WAYS)
def test_each_way_is_counted_and_said(tmp_path, case):
    name, files, _ = ONE_NAME[case]
    read, *_ = read_in(tmp_path, [name], files)
    assert f"1 image found by {WAYS[case]}: " in read.notes[0].text


def test_the_name_that_roboflow_keeps_leads_one_copy_to_its_picture(tmp_path):
    save_pictures(tmp_path / "images", "img (1).jpg", "img (2).jpg")
    names = [f"img-{k}-_jpg.rf.{HASH}.jpg" for k in (1, 2)]
    content = coco(*names)
    for k, image in enumerate(content["images"], start=1):
        image["extra"] = {"name": f"img ({k}).jpg"}
    read = read_annotations(save(tmp_path, content), tmp_path / "images")
    assert [read.images[k].path.name for k in (1, 2)] == ["img (1).jpg", "img (2).jpg"]
    assert "2 images found by the names that Roboflow keeps in extra" in read.notes[0].text
    content["images"][1]["extra"] = content["images"][0]["extra"]  # two copies of one picture
    problems = check_file(save(tmp_path, content), tmp_path / "images")
    assert [problem.code for problem in problems].count("image_taken") == 2


def test_the_most_similar_name_is_told_without_what_tools_add(tmp_path):
    save_pictures(tmp_path / "images", "there.png", f"picture_12_jpg.rf.{HASH}.jpg")
    problems = check_file(save(tmp_path, coco("there.png", "picture_21.jpg")), tmp_path / "images")
    assert any("picture_21.jpg" in problem.text for problem in problems)
    read = read_annotations(
        save(tmp_path, coco("there.png", "picture_21.jpg")), tmp_path / "images"
    )
    assert f"the most similar is picture_12_jpg.rf.{HASH}.jpg" in read.notes[0].text


NO_NAME = {  # name, files: nothing that is certain
    "another number": ("1.jpg", ["01.jpg", "11.jpg"]),
    "a longer name": ("a.jpg", ["a.b.jpg", "aa.jpg"]),
    "a shorter name": ("a.b.jpg", ["a.jpg", "b.jpg"]),
    "a copy": ("img.jpg", ["img (1).jpg", "img_1.jpg", "img - Copy.jpg"]),
    "two in other letters": ("Img_1.jpg", ["IMG_1.jpg", "img_1.JPG"]),
    "two endings": ("7", ["7.jpg", "7.png"]),
    "two other endings": ("7.bmp", ["7.jpg", "7.png"]),
    "two folders": ("7.jpg", ["cam1/7.jpg", "cam2/7.jpg"]),
    "two folders alike": ("x/7.jpg", ["cam1/7.jpg", "cam2/7.jpg"]),
    "another copy of Roboflow's": ("a_jpg.rf.0a1.jpg", ["a_jpg.rf.1a0.jpg"]),
    "two copies of Roboflow's": ("a.jpg", [f"a_jpg.rf.{h}.jpg" for h in (HASH, HASH[::-1])]),
    "another upload": ("0a1b2c3d-a.jpg", ["d0a1b2c3-a.jpg"]),
    "a date is no upload": ("20261103-a.jpg", ["a.jpg"]),
    "a mask of it": ("a.jpg", ["a.jpg.png"]),
    "no image": ("notes.jpg", ["notes.txt", "notes.json", "other.jpg"]),
    "nothing like it": ("zebra.jpg", ["a.jpg", "b.jpg"]),
    "nothing at all": ("a.jpg", []),
}


@pytest.mark.parametrize("case", NO_NAME)
def test_what_is_not_certain_is_refused_and_says_what_there_is(tmp_path, case):
    name, files = NO_NAME[case]
    save_pictures(tmp_path / "images", "there.png", *files)
    file = save(tmp_path, coco("there.png", name))
    problems = check_file(file, tmp_path / "images")
    assert problems
    try:
        read = read_annotations(file, tmp_path / "images")
    except UserError as error:
        line = str(error)
        assert len(line.splitlines()) == 1
    else:  # left to whoever opens it: no file may be there
        assert not read.images[2].path.exists()
        line = "; ".join(note.text for note in read.notes)
    assert os.path.basename(name) in line
    alike = [file for file in files if os.path.basename(file)[:3] == os.path.basename(name)[:3]]
    assert not alike or name == "notes.jpg" or any(file in line for file in alike)


TWO_NAMES = {  # names, files, the index of the one that must not be read
    "cameras": (["cam1/0001.jpg", "cam2/0001.jpg"], ["0001.jpg"], "cam1", 1),
    "in the other order": (["cam2/0001.jpg", "cam1/0001.jpg"], ["0001.jpg"], "cam1", 0),
    "letters": (["a.jpg", "A.jpg"], ["a.jpg"], "images", 1),
    "endings": (["a.jpg", "a.png"], ["a.png"], "images", 0),
    "folders": (["a.jpg", "sub/a.jpg"], ["a.jpg"], "images", 1),
    "address": (["https://h/1/a.jpg", "a.jpg"], ["a.jpg"], "images", 0),
    "percent": (["a%20b.jpg", "a b.jpg"], ["a b.jpg"], "images", 0),
    "Unicode": ([unicodedata.normalize("NFD", CAFE), CAFE], [CAFE], "images", 0),
}


@pytest.mark.parametrize("case", TWO_NAMES)
def test_two_entries_never_meet_in_one_file(tmp_path, case):
    names, files, folder, refused = TWO_NAMES[case]
    root = tmp_path / folder
    save_pictures(root, *files)
    file = save(tmp_path, coco(*names))
    other = 1 - refused
    assert any(problem.image_id == refused + 1 for problem in check_file(file, root))
    read = read_annotations(file, root, on_error="skip")
    assert read.images[other + 1].path == root / files[0]
    taken = read.images.get(refused + 1)
    assert taken is None or not taken.path.exists()


def test_two_entries_that_are_both_like_one_file_are_both_refused(tmp_path):
    root = tmp_path / "images"
    save_pictures(root, "a.jpg")
    file = save(tmp_path, coco("https://h/1/a.jpg", "https://h/2/a.jpg"))
    with pytest.raises(UserError, match=r"a\.jpg"):
        read_annotations(file, root)
    assert {problem.image_id for problem in check_file(file, root)} >= {1, 2}


def test_one_name_twice_is_said_and_found(tmp_path):
    read, root, _ = read_in(tmp_path, ["a.png", "b.png", "a.png"], ["a.png", "b.png"])
    assert [record.path.name for record in read.images.values()] == ["a.png", "b.png", "a.png"]
    assert [note.code for note in read.notes] == ["image_twice"]
    problems = check_file(tmp_path / "annotations.json", root)
    assert [(problem.code, problem.image_id) for problem in problems] == [("image_twice", 3)]


OUTSIDE = (
    "../secret.png",
    "{tmp}/secret.png",
    "images/../../secret.png",
    "file://{tmp}/secret.png",
)


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_the_folder_is_opened(tmp_path, name):
    save_pictures(tmp_path, "secret.png")
    root = tmp_path / "images"
    save_pictures(root, "a.png")
    file = save(tmp_path, coco("a.png", name.format(tmp=tmp_path)))
    assert any(problem.image_id in (2, None) for problem in check_file(file, root))
    read = read_annotations(file, root, on_error="skip")
    for record in read.images.values():
        assert os.path.normpath(record.path).startswith(f"{root}{os.sep}")
    inside = save_pictures(root, "secret.png")
    found = read_annotations(file, root, on_error="skip").images[2]
    assert found.path in inside


@pytest.mark.parametrize("name", ["a\0.png", "a\n.png", "\ud800.png", "..", "/", "C:\\", "http://"])
def test_what_is_no_name_is_refused(tmp_path, name):
    root = tmp_path / "images"
    save_pictures(root, "a.png")
    file = save(tmp_path, coco("a.png", name))
    with pytest.raises(UserError, match=r"image 2: \w*file_name: "):
        read_annotations(file, root)


def test_a_link_to_a_file_is_followed_and_a_circle_of_folders_ends(tmp_path):
    save_pictures(tmp_path, "elsewhere.png")
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "7.jpg").symlink_to(tmp_path / "elsewhere.png")
    (root / "sub" / "again").symlink_to(root)
    (root / "gone.jpg").symlink_to(tmp_path / "nothing.png")
    file = save(tmp_path, coco("SUB/7.JPG"))
    assert read_annotations(file, root).images[1].path == root / "sub" / "7.jpg"
    assert check_file(file, root) == []


def test_without_a_folder_names_are_made_safe_and_nothing_is_looked_for(tmp_path):
    read = read_annotations(save(tmp_path, coco("a.png", "/data/b.png", "..\\c.png")))
    names = [record.file_name for record in read.images.values()]
    assert names == ["a.png", "data/b.png", "c.png"]
    assert [image["file_name"] for image in read.document["images"]] == [
        "a.png",
        "/data/b.png",
        "..\\c.png",
    ]


def test_exports_of_several_programs_in_one_file(tmp_path):
    names = ["a.png", "/content/set/b.png", "https://host/1/c.png", "set\\d.png", "C:\\e.png"]
    files = [f"{letter}.png" for letter in "abcde"]
    read, root, _ = read_in(tmp_path, names, files, folder="photos")
    assert [record.path for record in read.images.values()] == [root / file for file in files]
    assert [record.file_name for record in read.images.values()] == [
        *("a.png", "content/set/b.png", "1/c.png", "set/d.png", "e.png")
    ]


def test_another_folders_picture_is_not_taken_where_folders_are_kept(tmp_path):
    root = tmp_path / "cam1"
    save_pictures(root, "0001.jpg", "0002.jpg")
    file = save(tmp_path, coco("cam1/0001.jpg", "cam2/0002.jpg"))
    assert any(problem.image_id in (2, None) for problem in check_file(file, root))
    images = read_annotations(file, root, on_error="skip").images
    assert images[1].path == root / "0001.jpg"
    assert 2 not in images or not images[2].path.exists()


def test_a_name_that_is_in_many_folders_is_not_compared_with_all_of_them(tmp_path, monkeypatch):
    folders = 60
    names = [f"video{k}/0001.jpg" for k in range(folders)]
    root = tmp_path / "images"
    for name in names:
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
    compared = []
    agreement = ImageFolder._agreement
    monkeypatch.setattr(
        ImageFolder, "_agreement", lambda *pair: compared.append(pair) or agreement(*pair)
    )
    folder = ImageFolder(root)
    for name in names:
        assert folder.near([f"/content/set/{name}"]).path == root / name
    assert len(compared) <= 4 * folders


def test_very_deep_names_take_no_time(tmp_path):
    root = tmp_path / "images"
    save_pictures(root, "7.png")
    folder = ImageFolder(root)
    started = time.monotonic()
    for _ in range(200):
        folder.exact(["a/" * 500 + "7.png"])
    assert time.monotonic() - started < 5


def save_voc(tmp_path, stem: str, filename: str, size: bool = True):
    sides = f"<width>{SIZE}</width><height>{SIZE}</height>" if size else ""
    box = "<xmin>3</xmin><ymin>3</ymin><xmax>12</xmax><ymax>12</ymax>"
    path = tmp_path / "Annotations" / f"{stem}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"<annotation><filename>{filename}</filename><size>{sides}</size><object><name>ball</name>"
        f"<bndbox>{box}</bndbox></object></annotation>"
    )


VOC = {  # stem of the XML, <filename>, files, the one that is meant
    "as it stands": ("000001", "000001.jpg", ["000001.jpg", "000002.jpg"], "000001.jpg"),
    "renamed": ("000001", "IMG_7.jpg", ["000001.jpg", "000002.jpg"], "000001.jpg"),
    "renamed, another ending": ("000001", "IMG_7.jpg", ["000001.PNG"], "000001.PNG"),
    "no ending": ("n07_18", "n07_18", ["n07_18.JPEG", "n07_1.JPEG"], "n07_18.JPEG"),
    "nothing": ("7", "", ["7.jpg"], "7.jpg"),
    "nothing, another ending": ("7", "", ["7.png"], "7.png"),
    "a path": ("7", "C:\\Users\\me\\images\\7.jpg", ["7.jpg", "8.jpg"], "7.jpg"),
    "case": ("7", "IMG_7.jpg", ["IMG_7.JPG", "IMG_8.JPG"], "IMG_7.JPG"),
    "percent": ("7", "my%20image.jpg", ["my image.jpg"], "my image.jpg"),
    "the named one is there": ("8", "7.jpg", ["7.jpg", "8.jpg"], "7.jpg"),
}


@pytest.mark.parametrize("case", VOC)
@pytest.mark.parametrize("size", [True, False])
def test_voc(tmp_path, case, size):
    stem, filename, files, meant = VOC[case]
    root = tmp_path / "JPEGImages"
    greys = save_pictures(root, *files)
    save_voc(tmp_path, stem, filename, size)
    read = read_annotations(tmp_path, root)
    assert read.images[1].path == root / meant
    assert np.unique(load_image(read.images[1])).tolist() == [greys[root / meant]]
    said = [note for note in read.notes if note.code != "passed_over"]
    assert bool(said) == (filename != meant and bool(filename or meant != f"{stem}.jpg"))
    assert check_file(tmp_path, root) == []


def test_voc_never_two_on_one_file(tmp_path):
    root = tmp_path / "JPEGImages"
    save_pictures(root, "000001.jpg")
    save_voc(tmp_path, "000001", "IMG_7.jpg")
    save_voc(tmp_path, "000002", "000001.jpg")
    assert check_file(tmp_path, root)
    images = read_annotations(tmp_path, root, on_error="skip").images
    assert [key for key, record in images.items() if record.path.exists()] == [2]


OPEN_IMAGES = {  # ImageID, files, the one that is meant
    "as it stands": ("00a1", ["00a1.jpg", "00a2.jpg"], "00a1.jpg"),
    "upper case": ("00a1", ["00a1.JPG", "00a2.JPG"], "00a1.JPG"),
    "another ending": ("00a1", ["00a1.png", "00a11.png"], "00a1.png"),
    "with its ending": ("00a1.jpg", ["00a1.jpg"], "00a1.jpg"),
    "in a folder": ("00a1", ["train_0/00a1.jpg", "train_0/00a2.jpg"], "train_0/00a1.jpg"),
    "a path": ("train/00a1", ["00a1.jpg"], "00a1.jpg"),
}


@pytest.mark.parametrize("case", OPEN_IMAGES)
def test_open_images(tmp_path, case):
    image_id, files, meant = OPEN_IMAGES[case]
    root = tmp_path / "images"
    greys = save_pictures(root, *files)
    file = tmp_path / "boxes.csv"
    file.write_text(f"ImageID,LabelName,XMin,XMax,YMin,YMax\n{image_id},/m/01,0.1,0.5,0.2,0.6\n")
    read = read_annotations(file, root)
    assert read.images[1].path == root / meant
    assert np.unique(load_image(read.images[1])).tolist() == [greys[root / meant]]
    assert check_file(file, root) == []


@pytest.mark.parametrize("names", [["00a1", "00A1"], ["00a1", "x/00a1"]])
def test_open_images_never_two_on_one_file(tmp_path, names):
    root = tmp_path / "images"
    save_pictures(root, "00a1.jpg")
    file = tmp_path / "boxes.csv"
    rows = "".join(f"{name},/m/01,0.1,0.5,0.2,0.6\n" for name in names)
    file.write_text(f"ImageID,LabelName,XMin,XMax,YMin,YMax\n{rows}")
    assert check_file(file, root)
    images = read_annotations(file, root, on_error="skip").images
    assert [key for key, record in images.items() if record.path.exists()] == [1]


LVIS = {  # coco_url, files, the one that is meant
    "folder": ("http://i.org/val2017/01.jpg", ["train2017/01.jpg", "val2017/01.jpg"], 1),
    "flat": ("http://i.org/val2017/01.jpg", ["01.jpg"], 0),
    "case": ("http://i.org/val2017/01.jpg", ["01.JPG", "02.JPG"], 0),
    "ending": ("http://i.org/val2017/01.jpg", ["val2017/01.png"], 0),
}


@pytest.mark.parametrize("case", LVIS)
def test_lvis(tmp_path, case):
    url, files, meant = LVIS[case]
    root = tmp_path / "images"
    save_pictures(root, *files)
    document = coco(None, coco_url=url, neg_category_ids=[])
    del document["images"][0]["file_name"]
    read = read_annotations(save(tmp_path, document), root)
    assert read.images[1].path == root / files[meant]


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({}, True),
        ({"width": None, "height": None}, True),
        ({"width": 0, "height": 0}, True),
        ({"width": -1, "height": -1}, True),
        ({"width": 24.0, "height": "18"}, True),
        ({"width": 24, "height": 18}, False),
    ],
)
def test_sizes_that_are_not_stated_or_in_other_clothes(tmp_path, stated, said):
    root = tmp_path / "images"
    root.mkdir()
    Image.new("RGB", (24, 18)).save(root / "a.png")
    document = coco("a.png")
    document["images"][0] = {"id": 1, "file_name": "a.png", "kept": [1]} | stated
    file = save(tmp_path, document)
    read = read_annotations(file, root)
    assert (read.images[1].width, read.images[1].height) == (24, 18)
    assert read.document["images"][0] == {
        **{"id": 1, "file_name": "a.png", "kept": [1]},
        **{"width": 24, "height": 18},
    }
    assert bool(read.notes) == said
    assert check_file(file, root) == []


def test_a_size_from_a_turned_photograph_is_the_displayed_one(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (18, 24)).save(root / "a.jpg", exif=exif)
    document = coco("a.jpg")
    del document["images"][0]["width"], document["images"][0]["height"]
    read = read_annotations(save(tmp_path, document), root)
    assert (read.images[1].width, read.images[1].height) == (24, 18)


@pytest.mark.parametrize("stated", [{"width": 24}, {"width": 24, "height": "tall"}])
def test_half_a_size_is_refused(tmp_path, stated):
    root = tmp_path / "images"
    save_pictures(root, "a.png")
    document = coco("a.png")
    document["images"][0] = {"id": 1, "file_name": "a.png"} | stated
    with pytest.raises(UserError, match="bad_size"):
        read_annotations(save(tmp_path, document), root)


def test_without_size_and_without_its_file_an_image_is_refused(tmp_path):
    document = coco("a.png", width=None, height=None)
    with pytest.raises(UserError, match="bad_size"):
        read_annotations(save(tmp_path, document))
    root = tmp_path / "images"
    save_pictures(root, "b.png")
    with pytest.raises(UserError, match="image 1: "):
        read_annotations(save(tmp_path, document), root)


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"file_name": 7, "path": "C:\\data\\b.png"}, "b.png"),
        ({"file_name": None, "image": "b.png", "name": "a street"}, "b.png"),
        ({"file_name": None, "path": "x/b.png", "name": "b.png"}, "b.png"),
        ({"file_name": None, "coco_url": "http://images/val/b.png"}, "b.png"),
        ({"file_name": 12, "id": 2}, "12.png"),
        ({"file_name": None, "path": "b.png", "url": "http://images/a.png"}, None),
        ({"file_name": 12, "path": "b.png"}, None),
        ({"file_name": 3, "path": "q.png", "name": "u.png"}, None),
        ({"file_name": None, "path": "nowhere.png"}, None),
        ({"file_name": None}, None),
    ],
    ids=str,
)
def test_a_picture_by_other_keys_where_file_name_is_none(tmp_path, fields, meant):
    save_pictures(tmp_path, "a.png", "b.png", "12.png")
    content = coco("a.png", None)
    content["images"][1].update(fields)
    file = save(tmp_path, content)
    if meant is None:
        with pytest.raises(UserError, match="image 2: no_file_name: ") as caught:
            read_annotations(file, tmp_path)
        assert all(str(v) in str(caught.value) for v in fields.values() if v is not None)
        return
    found = read_annotations(file, tmp_path)
    assert found.images[2].path == tmp_path / meant
    assert "other_file_name" in [note.code for note in found.notes]
    assert isinstance(found.document["images"][1]["file_name"], str)
    assert check_file(file, tmp_path) == []


def test_a_likeness_by_another_key_does_not_take_anothers_picture(tmp_path):
    save_pictures(tmp_path, "a.png")
    content = coco("a.png", None)
    content["images"][1]["path"] = "other/a.png"
    with pytest.raises(UserError, match="image_taken"):
        read_annotations(save(tmp_path, content), tmp_path)
