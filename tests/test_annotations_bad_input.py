"""Mistakes in annotation files: one clear line, or skipped and listed."""

import pytest
from annotations_samples import HEIGHT, WIDTH, document, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exits_jax.annotations import Problem, check_file, read_annotations
from exits_jax.system.errors import UserError

NAN, INFINITY = float("nan"), float("inf")
POINTS = [[20, 4], [10, 10], [22, 20], [30, 12]]

RLE_OF_ANOTHER = {"size": [1, 2], "counts": "x"}


def refuse(file, **options) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(UserError) as caught:
        read_annotations(file, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert str(file) in line
    assert len(line) < 500 + 3 * len(str(file))
    return line


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        ({"image_id": 99}, "absent_image", "99"),
        ({"image_id": None}, "absent_image", "None"),
        ({"image_id": [1]}, "absent_image", "[1]"),
        ({"category_id": 99}, "absent_category", "99"),
        ({"category_id": None}, "absent_category", "None"),
        ({"bbox": [5, 5, 0, 10]}, "empty_box", "[5, 5, 0, 10]"),
        ({"bbox": [5, 5, 3, -1]}, "empty_box", "-1"),
        ({"bbox": [5, NAN, 3, 3]}, "bad_box", "nan"),
        ({"bbox": [5, 5, INFINITY, 3]}, "bad_box", "inf"),
        ({"bbox": [5, 5, 3]}, "bad_box", "[5, 5, 3]"),
        ({"bbox": ["5x", 5, 3, 3]}, "bad_box", "'5x'"),
        ({"bbox": 7}, "bad_box", "7"),
        ({"bbox": [10**400, 5, 3, 3]}, "bad_box", "1000"),
        ({"bbox": [100, 5, 3, 3]}, "box_outside_image", f"{WIDTH} x {HEIGHT}"),
        ({"extreme_points": POINTS[:3], "bbox": None}, "bad_points", "four points"),
        ({"extreme_points": [*POINTS, [1, 1]]}, "bad_points", "four"),
        ({"extreme_points": [[1, 2, 3], [4], [5, 6], [7, 8]]}, "bad_points", "four"),
        ({"extreme_points": [[20, NAN], *POINTS[1:]]}, "bad_points", "nan"),
        ({"extreme_points": {"top": [1, 2]}, "bbox": None}, "bad_points", "top"),
        ({"extreme_points": "here"}, "bad_points", "'here'"),
        ({"extreme_points": [[20, -1.5], *POINTS[1:]]}, "point_outside_image", "[20.0, -1.5]"),
        ({"extreme_points": [[WIDTH + 2, 5], *POINTS[1:]]}, "point_outside_image", "42.0"),
        ({"bbox": None, "keypoints": [5, 5, 0] * 4}, "bad_points", "labelled"),
        ({"bbox": None, "segmentation": [[1, 2, 3, 4]]}, "nothing_given", "no pixel"),
        ({"bbox": None, "segmentation": [[1, 2, 3, 4, 5]]}, "bad_polygon", "[1, 2, 3, 4, 5]"),
        ({"bbox": None, "segmentation": RLE_OF_ANOTHER}, "rle_size", "[1, 2]"),
        ({"bbox": None}, "nothing_given", "no extreme points"),
        ({"area": INFINITY}, "bad_area", "inf"),
        ({"area": "much"}, "bad_area", "'much'"),
        ({"iscrowd": 2}, "bad_crowd", "2"),
        ({"id": "12a"}, "bad_id", "'12a'"),
        ({"id": 11}, "duplicate_id", "11"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_bad_annotation_stops_or_is_skipped(tmp_path, change, code, found):
    content = document()
    content["annotations"][2].update(change)
    file = save(tmp_path, content)
    line = refuse(file)
    assert f": {code}: " in line
    assert found in line
    assert f"annotation {content['annotations'][2]['id']}" in line or code == "bad_id"
    read = read_annotations(file, on_error="skip")
    assert [instance.id for instance in read.instances] == [11, 12]
    assert [problem.code for problem in read.problems] == [code]
    assert code in [problem.code for problem in check_file(file)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"width": None}, "bad_size"),
        ({"height": 0}, "bad_size"),
        ({"width": 40.5}, "bad_size"),
        ({"width": 65_000, "height": 65_000}, "bad_size"),
        ({"width": 10**9}, "bad_size"),
        ({"file_name": None}, "no_file_name"),
        ({"file_name": "/etc/passwd"}, "unsafe_file_name"),
        ({"file_name": "../../secret.png"}, "unsafe_file_name"),
        ({"file_name": "sub/../../secret.png"}, "unsafe_file_name"),
        ({"file_name": "..\\secret.png"}, "unsafe_file_name"),
        ({"file_name": "C:\\secret.png"}, "unsafe_file_name"),
        ({"file_name": "a\0.png"}, "unsafe_file_name"),
        ({"file_name": "\ud800.png"}, "unsafe_file_name"),
        ({"file_name": "a.png", "coco_url": "http://x/../.."}, "unsafe_file_name"),
        ({"id": "2b"}, "bad_id"),
        ({"id": 1}, "duplicate_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value),
)
def test_a_bad_image_stops_or_takes_its_annotations_along(tmp_path, change, code):
    content = document()
    content["images"][1].update(change)
    file = save(tmp_path, content)
    assert f": {code}: " in refuse(file, images=tmp_path)
    read = read_annotations(file, tmp_path, on_error="skip")
    assert [instance.id for instance in read.instances] == [11]
    listed = change.get("id", 2) == 2  # else its annotations are of an image that is not there
    assert [problem.code for problem in read.problems] == [code, "absent_image"][: 2 - listed]
    along = (
        "; left out together with its 2 annotations"
        if listed
        else "; likewise for its 2 annotations"
    )
    assert read.problems[-1].text.endswith(along)
    assert code in [problem.code for problem in check_file(file, tmp_path)]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unknown_kind"),
        (b"   \n", "unknown_kind"),
        (b"\x89PNG\r\n\x1a\n....", "foreign_file"),
        (b'{"images": [{"id": 1, ', "bad_json"),
        (b'{"images": \xff}', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b"[1, 2]", "bad_document"),
        (b"{}", "bad_document"),
        (b'{"images": [], "annotations": {}, "categories": []}', "bad_document"),
        (b'{"images": [], "annotations": [1]}', "bad_document"),
        (b'{"images": [], "annotations": [], "categories": []}', "no_annotations"),
    ],
)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_bad_file_always_stops(tmp_path, content, code, on_error):
    file = tmp_path / "file.json"
    file.write_bytes(content)
    assert f"{file}: {code}: " in refuse(file, on_error=on_error)
    if content != b"[1, 2]":  # a list is a results file to the checker
        assert [problem.code for problem in check_file(file)] == [code]


def test_items_that_are_no_objects(tmp_path):
    content = document()
    for name in ("images", "annotations", "categories"):
        content[name].append("text")
    read = read_annotations(save(tmp_path, content), on_error="skip")
    codes = [problem.code for problem in read.problems]
    assert codes == ["bad_category", "bad_image", "bad_annotation"]
    assert len(read.instances) == 3


def test_a_line_names_the_file_the_annotation_and_the_image(tmp_path):
    content = document()
    content["annotations"][2]["bbox"] = [1, 2, 0, 4]
    file = save(tmp_path, content)
    assert refuse(file) == (
        f"{file}: annotation 13: empty_box: bbox [1, 2, 0, 4]: width and height must be positive"
        " (image sub/b.png)"
    )
    problem = read_annotations(file, on_error="skip").problems[0]
    assert (problem.annotation_id, problem.image_id) == (13, 2)


def test_nothing_left_to_label(tmp_path):
    crowds, broken = document(), document()
    for annotation in crowds["annotations"]:
        annotation["iscrowd"] = 1
    for annotation in broken["annotations"]:
        annotation["category_id"] = 5
    assert "all 3 annotations are crowd" in refuse(save(tmp_path, crowds))
    assert "absent_category" in refuse(save(tmp_path, broken), on_error="skip")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"kind": "yolov9"}, "'yolov9'"),
        ({"points": "nearest"}, "'nearest'"),
        ({"on_error": "ignore"}, "'ignore'"),
        ({"click_noise": -1.0}, "-1.0"),
        ({"click_noise": NAN}, "nan"),
    ],
)
def test_bad_options(tmp_path, options, found):
    with pytest.raises(UserError, match=found):
        read_annotations(save(tmp_path, document()), **options)


def test_missing_file_and_missing_folder(tmp_path):
    for use in (read_annotations, check_file):
        with pytest.raises(UserError, match=r"absent\.json: cannot be read: No such file"):
            use(tmp_path / "absent.json")
        with pytest.raises(UserError, match="no such image folder"):
            use(save(tmp_path, document()), tmp_path / "nowhere")


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 3, 2**31, 2**70, 10**400, 0.5, 1e308, NAN, INFINITY]),
    st.sampled_from(["", "x", "..", "\ud800"]),
    st.lists(st.one_of(st.integers(-3, 50), st.just(NAN), st.none()), max_size=9),
    st.dictionaries(st.sampled_from(["size", "counts", "top", "left"]), st.integers(), max_size=3),
)


def places(value, path=()):
    """Every path into a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))
        else:
            yield (*path, key)


def mutated(content, path, value, delete):
    """The content with the place replaced or deleted; the whole content for the empty path."""
    if not path:
        return value
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    if delete:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return content


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_fuzzed_documents_only_ever_raise_user_errors(tmp_path, data):
    content = document()
    content["annotations"][0]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": "0l0d0"}
    content["annotations"][1]["exits"] = {
        "extreme_points": [list(point) for point in POINTS],
        "score": 0.5,
        "flags": [],
    }
    for _ in range(data.draw(st.integers(1, 3))):
        if not isinstance(content, dict | list):
            break
        path = data.draw(st.sampled_from(list(places(content))))
        content = mutated(content, path, data.draw(ODD), data.draw(st.booleans()))
    file = save(tmp_path, content)
    for options in ({}, {"on_error": "skip", "click_noise": 1.0, "points": "extremenet"}):
        try:
            read = read_annotations(file, tmp_path, **options)
        except UserError:
            continue
        assert all(-(2**31) < instance.id < 2**31 for instance in read.instances)
        assert all((i.box_xyxy[2:] > i.box_xyxy[:2]).all() for i in read.instances)
    assert all(isinstance(problem, Problem) for problem in check_file(file, tmp_path))


@given(cut=st.floats(0, 0.99), noise=st.binary(max_size=4))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_fuzzed_bytes_only_ever_raise_user_errors(tmp_path, cut, noise):
    file = save(tmp_path, document())
    content = file.read_bytes()
    file.write_bytes(content[: int(cut * len(content))] + noise)
    with pytest.raises(UserError):
        read_annotations(file)
    assert all(isinstance(problem, Problem) for problem in check_file(file))
