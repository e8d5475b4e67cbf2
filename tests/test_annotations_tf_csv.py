"""The box CSV of TensorFlow's tutorials and of Roboflow: separators, sizes, mistakes."""

import numpy as np
import pytest
from foreign_exports import HEIGHT, WIDTH, pictures

from exits_jax.annotations import check_file, read_annotations
from exits_jax.system.errors import UserError

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"
CAT = f"a.png,{WIDTH},{HEIGHT},cat,10,5,60,45"
DOG = f"sub/b.png,{WIDTH},{HEIGHT},dog,1.5,2,9,8"


def save(folder, *rows, header=HEADER):
    path = folder / "boxes.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_boxes_in_pixels(tmp_path, separator):
    images = pictures(tmp_path / "images")
    rows = [row.replace(",", separator) for row in (HEADER, CAT, DOG, CAT)]
    file = save(tmp_path, *rows[1:-1], header=rows[0])
    read = read_annotations(file, images)
    boxes = [instance.box_xyxy for instance in read.instances]
    np.testing.assert_allclose(boxes, [[10, 5, 60, 45], [1.5, 2, 9, 8]])
    assert [instance.category for instance in read.instances] == ["cat", "dog"]
    assert [instance.image.path.name for instance in read.instances] == ["a.png", "b.png"]
    assert (read.images[1].width, read.images[1].height) == (WIDTH, HEIGHT)
    assert check_file(file, images) == []


def test_columns_in_another_order_and_more_of_them(tmp_path):
    header = "class,xmax,ymax,xmin,ymin,filename,height,width,split"
    file = save(tmp_path, f"cat,60,45,10,5,a.png,{HEIGHT},{WIDTH},train", header=header)
    np.testing.assert_allclose(read_annotations(file).instances[0].box_xyxy, [10, 5, 60, 45])


@pytest.mark.parametrize("size", [",", "0,0"])
def test_sizes_that_are_not_stated_are_the_files(tmp_path, size):
    images = pictures(tmp_path / "images")
    file = save(tmp_path, f"a.png,{size},cat,10,5,60,45")
    assert read_annotations(file, images).images[1].width == WIDTH
    with pytest.raises(UserError, match=r"bad_size: line 2: the size of 'a\.png' is not"):
        read_annotations(file)


def test_lines_without_a_box_are_counted(tmp_path):
    read = read_annotations(save(tmp_path, CAT, f"b.png,{WIDTH},{HEIGHT},,,,,"))
    assert [image.file_name for image in read.images.values()] == ["a.png", "b.png"]
    assert read.notes[0].text == "lines have no box: 1 (the first: line 3)"


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (CAT.replace("60", "x"), "bad_number"),
        (CAT.replace("60", "9"), "empty_box"),
        (CAT.replace("cat", ""), "absent_category"),
        (CAT.replace(f"{WIDTH},", "x,"), "bad_size"),
        (CAT.replace(f"{WIDTH},", "9,"), "duplicate_image"),
        ("a.png,80", "bad_csv"),
    ],
)
def test_mistakes_name_their_line(tmp_path, row, code):
    file = save(tmp_path, CAT, row)
    with pytest.raises(UserError, match=f"{code}: line 3"):
        read_annotations(file)
    assert code in [problem.code for problem in check_file(file)]


@pytest.mark.parametrize(
    ("box", "seen"),
    [
        ("0.1,0.2,0.5,0.9", "in shares of the image; files of"),
        ("5,30,45,75", "as [x0, y0, x1, y1] 0 of 4 boxes fit their images, as [y0, x0, y1, x1] 4"),
    ],
)
def test_boxes_of_another_form_are_refused_without_a_setting_that_is_none(tmp_path, box, seen):
    file = save(tmp_path, *[f"{k}.png,{WIDTH},{HEIGHT},cat,{box}" for k in range(4)])
    with pytest.raises(UserError) as refused:
        read_annotations(file)
    assert seen in str(refused.value)
    assert "files of this kind hold xmin, ymin, xmax and ymax in pixels" in str(refused.value)
    assert "box_form" not in str(refused.value)
    assert check_file(file)[0].text in str(refused.value)
    with pytest.raises(UserError, match="box_form is yxyx, but files of kind tf_csv say"):
        read_annotations(file, box_form="yxyx")
