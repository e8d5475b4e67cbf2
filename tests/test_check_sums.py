"""The checker's lines: few however many findings there are, and what was read."""

import json

import pytest
from annotations_samples import WIDTH, document, save, save_images

from exits_jax.annotations import Problem, read_annotations
from exits_jax.annotations.check import inspect_file
from exits_jax.annotations.summary import FIRST, SHORT, Notes, problem_lines, sum_by_code
from exits_jax.app.command_line import main
from exits_jax.app.workdir import RECORDS
from exits_jax.system.errors import UserError


def check(capsys, *arguments) -> tuple[int, list[str], list[str]]:
    status = main(["main.py", "--mode=check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.splitlines()


def flooded(count: int) -> dict:
    """Boxes over the border, one of them with an unknown category as well."""
    content = document()
    content["annotations"] = [
        {"id": k, "image_id": 1, "category_id": 3, "bbox": [k % 20, 2, WIDTH, 9]}
        for k in range(3, 3 + count)
    ]
    content["annotations"][-1]["category_id"] = 99
    return content


def test_of_many_findings_the_first_of_each_code_and_a_sum(tmp_path, capsys):
    file = save(tmp_path, flooded(2000))
    status, out, err = check(capsys, file)
    problems = inspect_file(file).problems
    codes = {problem.code for problem in problems}
    assert {"absent_category", "box_over_border", "boxes_xyxy"} == codes
    assert status == 1
    assert len(out) <= len(codes) * (FIRST + 1)
    assert any("box_over_border: 1," in line and "more like these" in line for line in out)
    assert any("absent_category: category_id 99" in line for line in out)
    assert "2 images, 2,000 annotations, 2 categories" in err[0]
    assert sum_by_code(problems) in err[0]
    assert "--all" in err[1]
    status, out, _ = check(capsys, file, "--all")
    assert (status, len(out)) == (1, len(problems))


def test_settings_are_given_as_to_labelling(tmp_path, capsys):
    content = document()
    content["annotations"][0]["iscrowd"] = 1
    file = save(tmp_path, content)
    _, out, _ = check(capsys, file)
    assert "1 of 3 annotations with iscrowd 1 passed through" in out[0]
    status, out, _ = check(capsys, file, "--config.data.crowds=label")
    assert (status, len(out)) == (0, 1)
    assert "1 of 3 annotations with iscrowd 1 read as objects" in out[0]
    rows = [{"image_id": "b", "category_id": 3, "bbox": [1, 2, 8, 9], "score": 0.5}]
    boxes = save(tmp_path, rows, "boxes.json")
    status, out, err = check(capsys, file, f"--config.data.boxes={boxes}")
    assert (status, "1 annotation," in err[0]) == (0, True)
    for argument, said in (
        ("crowds=lable", "crowds is 'lable', expected pass or label"),
        ("points=exact", "does not use --config.data.points; it takes --config.data.X with X kind"),
        ("crowd=label", "there is no key 'crowd'; did you mean 'crowds'?"),
    ):
        status, _, err = check(capsys, file, f"--config.data.{argument}")
        assert status == 2
        assert said in err[0]


def test_a_few_findings_are_all_shown(tmp_path, capsys):
    content = flooded(7)
    file = save(tmp_path, content)
    _, out, err = check(capsys, file)
    assert len(out) == len(inspect_file(file).problems) <= SHORT
    assert len(err) == 1


def test_several_files_and_folders(tmp_path, capsys):
    images = save_images(tmp_path / "images")
    (tmp_path / "folder").mkdir()
    clean = save(tmp_path / "folder", document(), "a.json")
    broken = save(tmp_path / "folder", flooded(3), "b.json")
    status, out, err = check(capsys, clean, clean, f"--images={images}")
    assert (status, out) == (0, [])
    assert [line.endswith("2 categories; no findings") for line in err] == [True, True]
    status, out, err = check(capsys, tmp_path / "folder", f"--images={images}")
    assert status == 1
    assert all(str(broken) in line for line in out)
    assert len(err) == 2
    assert check(capsys)[0] == 2


def test_notes_are_said_and_are_no_findings(tmp_path, capsys):
    content = document()
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][2]["id"] = "13"
    status, out, _ = check(capsys, save(tmp_path, content))
    assert status == 0
    assert [line.split(": ")[2] for line in out] == ["plain_numbers", "crowds"]
    assert "1 of 3 annotations with iscrowd 1" in out[1]


def test_crowds_are_labelled_where_that_is_asked_for(tmp_path):
    content = document()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    file = save(tmp_path, content)
    with pytest.raises(UserError, match=r"data\.crowds=label"):
        read_annotations(file)
    found = read_annotations(file, crowds="label")
    assert [instance.id for instance in found.instances] == [11, 12, 13]
    assert {annotation["iscrowd"] for annotation in found.document["annotations"]} == {0}
    assert "3 of 3" in found.notes[0].text


def test_id_zero_is_found_and_said(tmp_path):
    content = document()
    content["annotations"][1]["id"] = 0
    file = save(tmp_path, content)
    assert [(p.code, p.annotation_id) for p in inspect_file(file).problems] == [("id_zero", 0)]
    found = read_annotations(file)
    assert [instance.id for instance in found.instances] == [11, 0, 13]
    assert [note.code for note in found.notes] == ["id_zero"]


KEYPOINTS = [20, 4, 2, 10, 10, 2, 22, 20, 1, 30, 12, 2]


@pytest.mark.parametrize(
    ("keypoints", "source"),
    [
        (KEYPOINTS, "given"),
        ([KEYPOINTS[k : k + 3] for k in range(0, 12, 3)], "given"),
        ([*KEYPOINTS[:2], 0, *KEYPOINTS[3:]], "box"),  # one is hidden
        ([20, 4, 2, 10, 10, 2, 22, 20, 2, 18, 12, 2], "box"),  # a pose: nothing at the right
        ([19, 11, 2, 21, 11, 2, 19, 13, 2, 21, 13, 2], "box"),  # a number plate on a car
        ([20, 4, 2, 10, 10, 2, 22, 20, 2, None, 12, 2], "box"),
        ([0] * 12, "box"),
        ([*KEYPOINTS, 5, 5, 2], "box"),  # five are never extreme points
        ([1, 5, 2] * 17, "box"),  # a person's
        ([20, 4, 10, 10, 22, 20, 30, 12], "given"),  # without visibility
        ([[20, 4], [10, 10], [22, 20], [30, 12]], "given"),
        ([20, 4, 10, 10, 22, 20, 18, 12], "box"),
        ([10, 4, 2, 30, 4, 2, 30, 20, 2, 10, 20, 2], "box"),  # the box's own corners
        ([[11, 4], [29, 5], [30, 20], [10, 19]], "box"),  # a plate's
        ([20, 7, 2, 10, 10, 2, 22, 20, 2, 30, 12, 2], "box"),  # 3 of 16 pixels below the top
    ],
    ids=str,
)
def test_four_keypoints_are_extreme_points_only_where_they_can_be(tmp_path, keypoints, source):
    content = document()
    del content["annotations"][1]["extreme_points"]
    content["annotations"][1]["keypoints"] = keypoints
    file = save(tmp_path, content)
    found = read_annotations(file)
    assert found.instances[1].points_source == source
    said = [note.code for note in found.notes]
    code = "keypoints_used" if source == "given" else "keypoints_unused"
    assert said == [code] * any(keypoints)
    assert inspect_file(file).problems == []


@pytest.mark.parametrize(
    "keypoints",
    [
        [10, 4, 2, 30, 4, 2, 30, 20, 2, 10, 20, 2],
        [20, 4, 2, 10, 10, 2, 22, 20, 2, 18, 12, 2],
        [11, 4, 2, 29, 5, 2, 30, 20, 2, 10, 19, 2],
    ],
    ids=str,
)
def test_four_keypoints_alone_are_extreme_points_only_where_they_can_be(tmp_path, keypoints):
    content = document()
    annotation = content["annotations"][1]
    del annotation["extreme_points"], annotation["bbox"]
    annotation["keypoints"] = keypoints
    with pytest.raises(UserError, match="nothing_given"):
        read_annotations(save(tmp_path, content))
    annotation["keypoints"] = [20, 4, 2, 10, 10, 2, 22, 20, 2, 30, 12, 2]
    read = read_annotations(save(tmp_path, content))
    assert "keypoints_used" in [note.code for note in read.notes]


@pytest.mark.parametrize(("off", "source"), [(0, "given"), (1.5, "given"), (9, "mask")])
def test_keypoints_beside_a_mask_have_to_touch_it(tmp_path, off, source):
    """Four at the sides of the box and not of the object are something else."""
    content = document()
    first = content["annotations"][0]
    first["segmentation"] = [[15, 2, 25, 15, 15, 28, 5, 15]]
    first["bbox"] = [5, 2, 20, 26]
    first["keypoints"] = [15 + off, 2.5, 2, 5.5, 15, 2, 15, 27.5, 2, 24.5, 15 - off, 2]
    found = read_annotations(save(tmp_path, content))
    assert found.instances[0].points_source == source
    code = "keypoints_used" if source == "given" else "keypoints_unused"
    assert [note.code for note in found.notes] == [code]


def test_lines_and_notes_by_hand():
    problems = [Problem("a", "first", k) for k in range(30)] + [Problem("b", "other", 7)]
    lines = [*problem_lines("f", problems)]
    assert lines[:3] == [f"f: annotation {k}: a: first" for k in range(3)]
    assert lines[3:] == ["f: annotation 7: b: other", "f: a: 27 more like these"]
    assert len([*problem_lines("f", problems, everything=True)]) == 31
    notes = Notes()
    for problem in problems:
        notes.add(problem)
    assert [note.text for note in notes.said()] == ["first; 29 more", "other"]
    assert json.dumps(sum_by_code(problems)) == '"30 a, 1 b"'


def test_a_config_beside_the_check_is_refused(tmp_path, capsys):
    status, _, err = check(capsys, "--config=configs/own.py", save(tmp_path, document()))
    assert status == 2
    assert "--mode=check does not use --config;" in err[0]


def test_hidden_files_of_a_folder_are_no_annotations(tmp_path, capsys):
    save(tmp_path, document())
    (tmp_path / "._annotations.json").write_bytes(b"\0\5\x16\7")
    status, out, err = check(capsys, tmp_path)
    assert (status, out, len(err)) == (0, [], 1)


def test_the_records_of_a_workdir_are_no_annotations(tmp_path, capsys):
    save(tmp_path, document())
    for name in RECORDS:
        (tmp_path / name).write_text('{"images": "none"}')
    status, out, err = check(capsys, tmp_path)
    assert (status, out, len(err)) == (0, [], 1)
