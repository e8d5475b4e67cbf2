"""Turned photographs: annotations lie on the frame that was annotated, or somebody is told."""

import base64
import io
import json
import pathlib

import numpy as np
import pytest
from annotations_samples import save
from PIL import Image

from exits_jax.annotations import ImageRecord, read_annotations
from exits_jax.annotations.check import inspect_file
from exits_jax.annotations.frames import TURNS
from exits_jax.annotations.image_files import LOOKED_AT, ambiguous_frames, size_on_disk
from exits_jax.data.images import load_image
from exits_jax.system.errors import UserError

RED = (220, 30, 40)
KINDS = {
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 95, "subsampling": 0},
}


def write_turned(path: pathlib.Path, size: tuple[int, int], orientation: int, kind="PNG"):
    """A grey photograph with a red square; returns its box on the pixels as stored, xyxy."""
    width, height = size
    pixels = np.full((height, width, 3), 90, np.uint8)
    pixels[8:16, 16:24] = RED
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    if kind == "TIFF":  # Pillow writes the tag beside the pixels, which stay as they are
        image.save(path, kind, tiffinfo={0x0112: orientation})
    else:
        image.save(path, kind, exif=exif, **KINDS[kind])
    return [16, 8, 24, 16]


def displayed_box(size, orientation):
    """The red square's box in the displayed image, found by turning a mask of it."""
    mask = np.zeros(size[::-1], np.uint8)
    mask[8:16, 16:24] = 255
    turned = np.asarray(Image.fromarray(mask).transpose(TURNS[orientation])) > 0
    rows, columns = (np.flatnonzero(turned.any(axis)) for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def annotation_file(folder, name, size, box):
    x0, y0, x1, y1 = map(int, box)
    content = {
        "images": [{"id": 1, "file_name": name, "width": size[0], "height": size[1]}],
        "categories": [{"id": 1, "name": "square"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        ],
    }
    return save(folder, content)


def under_box(file, folder, **options):
    """Mean colour of the pixels in the box of the only instance, as labelling loads them."""
    (instance,) = read_annotations(file, folder, **options).instances
    x0, y0, x1, y1 = instance.box_xyxy.astype(int)
    return load_image(instance.image)[y0:y1, x0:x1].mean((0, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("size", "orientation"),
    [((32, 32), k) for k in range(2, 9)] + [((48, 32), k) for k in (2, 3, 4)],
)
def test_the_object_lies_under_its_box_in_the_frame_that_was_set(tmp_path, kind, size, orientation):
    name = f"a.{kind.lower()}"
    stored = write_turned(tmp_path / name, size, orientation, kind)
    displayed = displayed_box(size, orientation)
    for box, frame, other in (
        (stored, "stored", "displayed"),
        (displayed, "displayed", "stored"),
        (displayed, "auto", "stored"),
    ):
        file = annotation_file(tmp_path, name, size, box)
        assert np.abs(under_box(file, tmp_path, exif=frame) - RED).max() < 12
        if stored != displayed:  # orientation 5 leaves the diagonal where it is
            assert np.abs(under_box(file, tmp_path, exif=other) - RED).max() > 60
    assert "ambiguous_orientation" in {p.code for p in inspect_file(file, tmp_path).problems}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_where_the_size_tells_check_and_labelling_agree(tmp_path, kind, orientation):
    size, name = (48, 32), f"a.{kind.lower()}"
    stored = write_turned(tmp_path / name, size, orientation, kind)
    for stated, box in ((size, stored), (size[::-1], displayed_box(size, orientation))):
        file = annotation_file(tmp_path, name, stated, box)
        assert np.abs(under_box(file, tmp_path) - RED).max() < 12
        assert inspect_file(file, tmp_path).problems == []
        assert read_annotations(file, tmp_path).notes == []
    file = annotation_file(tmp_path, name, (48, 40), stored)
    assert [p.code for p in inspect_file(file, tmp_path).problems] == ["image_size"]
    with pytest.raises(UserError, match="says 48 x 40"):
        under_box(file, tmp_path)
    assert size_on_disk(tmp_path / name) == (32, 48)
    assert size_on_disk(tmp_path / name, "stored") == (48, 32)


def test_a_frame_that_is_set_must_have_the_stated_size(tmp_path):
    write_turned(tmp_path / "a.png", (48, 32), 6)
    file = annotation_file(tmp_path, "a.png", (48, 32), [1, 2, 30, 20])
    with pytest.raises(UserError, match=r"32 x 48 pixels \(as displayed\).*or data\.exif=auto in"):
        under_box(file, tmp_path, exif="displayed")
    file = annotation_file(tmp_path, "a.png", (32, 48), [1, 2, 30, 20])
    with pytest.raises(UserError, match=r"48 x 32 pixels \(as stored\).*or data\.exif=auto in"):
        under_box(file, tmp_path, exif="stored")
    with pytest.raises(UserError, match="exif is 'turned', expected auto or displayed"):
        read_annotations(file, tmp_path, exif="turned")


def test_upright_photographs_are_nothing_to_speak_of(tmp_path):
    for orientation in (1, 9):
        box = write_turned(tmp_path / "a.png", (32, 32), orientation)
        file = annotation_file(tmp_path, "a.png", (32, 32), box)
        assert inspect_file(file, tmp_path).problems == []
        for exif in ("auto", "displayed", "stored"):
            assert np.abs(under_box(file, tmp_path, exif=exif) - RED).max() == 0


def test_labelling_says_once_how_many_frames_are_unclear(tmp_path):
    box = write_turned(tmp_path / "0.png", (32, 32), 6)
    for k in (1, 2):
        write_turned(tmp_path / f"{k}.png", (32, 32), 2 * k - 1)  # 1 is upright
    content = json.loads(annotation_file(tmp_path, "0.png", (32, 32), box).read_text())
    content["images"] = [
        content["images"][0] | {"id": k, "file_name": f"{k}.png"} for k in range(3)
    ]
    first = content["annotations"][0]
    content["annotations"] = [first | {"id": k + 1, "image_id": k} for k in range(3)]
    file = save(tmp_path, content)
    (note,) = read_annotations(file, tmp_path).notes
    assert note.code == "ambiguous_orientation"
    assert "0.png has EXIF orientation 6" in note.text
    assert "data.exif=displayed or =stored" in note.text
    assert "2 of 3 images examined" in note.text
    for exif in ("displayed", "stored"):
        assert read_annotations(file, tmp_path, exif=exif).notes == []


def test_of_many_images_a_share_is_looked_at(tmp_path):
    write_turned(tmp_path / "a.png", (32, 32), 3)
    turned = ImageRecord(1, "a.png", 32, 32, tmp_path / "a.png")
    missing = ImageRecord(2, "b.png", 32, 32, tmp_path / "b.png")
    note = ambiguous_frames([turned, missing, *[turned] * (2 * LOOKED_AT - 1)])
    assert note.note
    looked_at = int(note.text.split(" of ")[-1].split()[0].replace(",", ""))
    assert LOOKED_AT / 2 < looked_at <= LOOKED_AT
    assert ambiguous_frames([missing]) is None
    assert ambiguous_frames([]) is None


def test_exif_behind_the_pixels_of_a_png_counts_as_well(tmp_path):
    box = write_turned(tmp_path / "a.png", (32, 32), 6)
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4])
    last = content.index(b"IEND") - 4
    moved = content[:start] + content[end:last] + content[start:end] + content[last:]
    (tmp_path / "a.png").write_bytes(moved)
    Image.open(io.BytesIO(moved)).load()
    file = annotation_file(tmp_path, "a.png", (32, 32), displayed_box((32, 32), 6))
    assert np.abs(under_box(file, tmp_path) - RED).max() == 0
    assert [p.code for p in inspect_file(file, tmp_path).problems] == ["ambiguous_orientation"]
    file = annotation_file(tmp_path, "a.png", (32, 32), box)
    assert np.abs(under_box(file, tmp_path, exif="stored") - RED).max() == 0


def test_voc_without_a_size_takes_that_of_the_frame(tmp_path):
    write_turned(tmp_path / "a.jpg", (48, 32), 6, "JPEG")
    file = tmp_path / "a.xml"
    file.write_text(
        "<annotation><filename>a.jpg</filename><object><name>square</name><bndbox><xmin>17</xmin>"
        "<ymin>9</ymin><xmax>24</xmax><ymax>16</ymax></bndbox></object></annotation>"
    )
    assert np.abs(under_box(file, tmp_path, exif="stored") - RED).max() < 12
    assert read_annotations(file, tmp_path).images[1].width == 32


def voc_file(folder, box):
    x0, y0, x1, y1 = box
    file = folder / "a.xml"
    file.write_text(
        "<annotation><filename>a.jpg</filename><object><name>square</name><bndbox>"
        f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object></annotation>"
    )
    return file


def unsized_coco(folder, box):
    content = json.loads(annotation_file(folder, "a.jpg", (1, 1), box).read_text())
    del content["images"][0]["width"], content["images"][0]["height"]
    return save(folder, content)


@pytest.mark.parametrize("write", [voc_file, unsized_coco])
@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((2, 3, 40, 20), (48, 32)),  # only in the pixels as stored
        ((2, 3, 20, 40), (32, 48)),  # only in what is displayed
        ((2, 3, 20, 30), None),  # in both
        ((2, 3, 40, 40), None),  # in neither
    ],
)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_tell_the_frame_of_an_image_whose_size_is_not_stated(
    tmp_path, write, box, size, orientation
):
    write_turned(tmp_path / "a.jpg", (48, 32), orientation, "JPEG")
    file = write(tmp_path, box)
    found = read_annotations(file, tmp_path)
    image = found.images[1]
    assert (image.width, image.height) == (size or (32, 48))
    said = ["ambiguous_orientation"] if size is None else []
    assert [note.code for note in found.notes if note.code.startswith("ambig")] == said
    codes = [p.code for p in inspect_file(file, tmp_path).problems]
    assert [code for code in codes if code.startswith("ambig")] == said
    assert "frame_unclear" not in found.document["images"][0]
    for exif, expected in (("displayed", (32, 48)), ("stored", (48, 32))):
        if max(box[2:]) < 33:
            image = read_annotations(file, tmp_path, exif=exif).images[1]
            assert (image.width, image.height) == expected
            load_image(image)


def unsized_boxes(folder, *boxes):
    """A COCO file without sizes of boxes as they are given, on a photograph of 48 x 32 turned."""
    write_turned(folder / "a.jpg", (48, 32), 6, "JPEG")
    content = json.loads(unsized_coco(folder, (0, 0, 1, 1)).read_text())
    first = content["annotations"][0]
    rows = [first | {"id": k, "bbox": box} for k, box in enumerate(boxes, start=1)]
    return save(folder, content | {"annotations": rows})


def frame_found(file, folder, **settings):
    """The size that was taken, and whether the frame is unclear."""
    image = read_annotations(file, folder, **settings).images[1]
    return image.width, image.height, image.unclear


@pytest.mark.parametrize(
    ("form", "box", "size"),
    [
        ("xyxy", [4, 12, 25, 28], None),  # as corner and size it fits what is displayed alone
        ("xyxy", [4, 12, 25, 40], (32, 48)),
        ("xyxy", [12, 4, 40, 25], (48, 32)),
        ("yxyx", [4, 12, 25, 40], (48, 32)),
        ("cxcywh", [20, 30, 10, 20], (32, 48)),
        ("cxcywh", [20, 20, 10, 20], None),
        ("xywh_from_below", [4, 4, 20, 40], None),
        ("xyxy_shares", [0.1, 0.1, 0.3, 0.9], None),
    ],
)
def test_the_form_that_was_asked_for_tells_the_frame(tmp_path, form, box, size):
    file = unsized_boxes(tmp_path, box)
    found = frame_found(file, tmp_path, box_form=form)
    assert found == (*(size or (32, 48)), size is None)


def test_names_of_sides_and_boxes_that_say_their_form_tell_the_frame(tmp_path):
    names = ("xmin", "ymin", "xmax", "ymax")
    for corners, size in (((4, 12, 25, 28), None), ((12, 4, 40, 25), (48, 32))):
        file = unsized_boxes(tmp_path, dict(zip(names, corners, strict=True)))
        assert frame_found(file, tmp_path) == (*(size or (32, 48)), size is None)
    # Two corners that both fit, or corner and size that only one frame holds: nobody knows.
    assert frame_found(unsized_boxes(tmp_path, [4, 4, 40, 25]), tmp_path) == (48, 32, False)
    assert frame_found(unsized_boxes(tmp_path, [4, 12, 25, 28]), tmp_path) == (32, 48, True)
    # Another box has a height below its y.
    file = unsized_boxes(tmp_path, [4, 12, 25, 28], [4, 20, 8, 9])
    assert frame_found(file, tmp_path) == (32, 48, False)


@pytest.mark.parametrize(("form", "size"), [("yxyx", (48, 32)), ("xyxy", (32, 48))])
def test_the_form_asked_of_voc_tells_its_frame(tmp_path, form, size):
    write_turned(tmp_path / "a.jpg", (48, 32), 6, "JPEG")
    file = voc_file(tmp_path, (4, 12, 25, 40))
    assert frame_found(file, tmp_path, box_form=form) == (*size, False)


def unsized_csv(folder, box):
    file = folder / "boxes.csv"
    row = ",".join(map(str, box))
    file.write_text(f"filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,,,square,{row}\n")
    return file, {}


def unsized_labelme(folder, box):
    shape = {"label": "square", "shape_type": "rectangle", "points": [box[:2], box[2:]]}
    return save(folder, {"imagePath": "a.jpg", "shapes": [shape]}), {}


def unsized_cvat(folder, box):
    sides = " ".join(f'{k}="{v}"' for k, v in zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True))
    file = folder / "a.xml"
    image = f'<image id="0" name="a.jpg"><box label="square" {sides}/></image>'
    file.write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    return file, {}


def detected(folder, box):
    """A folder of images, with a detector's boxes."""
    x0, y0, x1, y1 = box
    found = {"file_name": "a.jpg", "category_id": 1, "score": 0.9}
    return folder, {"boxes": save(folder, [found | {"bbox": [x0, y0, x1 - x0, y1 - y0]}])}


def detected_corners(folder, box):
    found = {"file_name": "a.jpg", "category_id": 1, "score": 0.9, "bbox": box}
    return folder, {"boxes": save(folder, [found]), "box_form": "xyxy"}


UNSIZED = [unsized_csv, unsized_labelme, unsized_cvat, detected, detected_corners]


@pytest.mark.parametrize("write", UNSIZED)
@pytest.mark.parametrize(
    ("box", "size"),
    [
        ([2, 3, 40, 20], (48, 32)),  # only in the pixels as stored
        ([2, 34, 20, 44], (32, 48)),  # only in what is displayed
        ([2, 3, 20, 30], None),  # in both
    ],
)
def test_boxes_in_pixels_of_any_kind_tell_the_frame(tmp_path, write, box, size):
    images = tmp_path / "images"
    images.mkdir()
    write_turned(images / "a.jpg", (48, 32), 6, "JPEG")
    file, settings = write(images if write in UNSIZED[3:] else tmp_path, box)
    if "boxes" in settings:
        settings["boxes"] = settings["boxes"].rename(tmp_path / "boxes.json")
    assert frame_found(file, images, **settings) == (*(size or (32, 48)), size is None)
    found = inspect_file(file, images, **settings)
    expected = [] if size else ["ambiguous_orientation"]
    assert [p.code for p in found.problems if p.code != "no_scores"] == expected
    (instance,) = read_annotations(file, images, **settings).instances
    np.testing.assert_allclose(instance.box_xyxy, box)
    if max(box) < 33:
        assert frame_found(file, images, exif="stored", **settings) == (48, 32, False)


def test_what_was_scaled_by_a_frame_does_not_tell_it(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir(), labels.mkdir()
    write_turned(images / "a.jpg", (48, 32), 6, "JPEG")
    (labels / "a.txt").write_text("0 0.5 0.8 0.5 0.3 0.9\n")  # reaches y 45 of 48
    assert frame_found(images, images, boxes=labels) == (32, 48, True)
    (tmp_path / "coco").mkdir()
    file = unsized_coco(tmp_path / "coco", (0, 0, 9, 9))
    assert frame_found(file, images, boxes=labels) == (32, 48, True)


def test_masks_that_were_made_for_a_frame_do_not_tell_it(tmp_path):
    write_turned(tmp_path / "a.jpg", (48, 32), 6, "JPEG")
    ring = {"label": "b", "shape_type": "polygon", "points": [[1, 1], [40, 1], [40, 20]]}
    buffer = io.BytesIO()
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(buffer, "PNG")
    mask = base64.b64encode(buffer.getvalue()).decode()
    mask = {"label": "a", "shape_type": "mask", "points": [[2, 3], [10, 11]], "mask": mask}
    folder = tmp_path / "labels"
    folder.mkdir()
    file = save(folder, {"imagePath": "a.jpg", "shapes": [ring]})
    assert frame_found(file, tmp_path) == (48, 32, False)
    file = save(folder, {"imagePath": "a.jpg", "shapes": [mask]})
    assert frame_found(file, tmp_path) == (32, 48, True)


@pytest.mark.parametrize("orientation", [1, 2, 6])
def test_shares_of_an_image_never_tell_its_frame(tmp_path, orientation):
    box = write_turned(tmp_path / "a.jpg", (48, 32), orientation, "JPEG")
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text(f"0 {20 / 48} {12 / 32} {8 / 48} {8 / 32}\n")
    (labels / "classes.txt").write_text("thing\n")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(
        f"ImageID,LabelName,XMin,XMax,YMin,YMax\na,x,{16 / 48},{24 / 48},{8 / 32},{16 / 32}\n"
    )
    for file in (labels, boxes):
        codes = [p.code for p in inspect_file(file, tmp_path).problems]
        assert codes == ["ambiguous_orientation"] * (orientation != 1)
        notes = [note.code for note in read_annotations(file, tmp_path).notes]
        assert notes == ["ambiguous_orientation"] * (orientation != 1)
        assert np.abs(under_box(file, tmp_path, exif="stored") - RED).max() < 12
        (instance,) = read_annotations(file, tmp_path, exif="stored").instances
        np.testing.assert_allclose(instance.box_xyxy, box)
