"""Other tools get the same masks back; `make interop` runs this where all are installed."""

import importlib.util

import numpy as np
import pytest

from exits_jax.annotations import decode_segmentation, read_annotations
from exits_jax.export.formats.label_studio import brush_rle
from experiments.interop.compare import (
    EXPECTED,
    READS,
    REFUSED,
    compare,
    surprises,
    trouble_outcome,
)
from experiments.interop.document import (
    FOLDERS,
    FORMS,
    IMAGE_NAMES,
    TROUBLES,
    folder_images,
    write_documents,
    write_folders,
)
from experiments.interop.folder_readers import FOLDER_READERS
from experiments.interop.readers import READERS, Found, Loaded

pytestmark = pytest.mark.filterwarnings("ignore")  # what tools warn of in themselves

WHOLE_FILE = [reader for reader in READERS if reader.form == "coco"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interop")
    return folder, write_documents(folder)


def needs(tool):
    """Skips, and says so, where a tool is not installed; a tool that is broken fails."""
    if importlib.util.find_spec(tool.replace("-", "_")) is None:
        pytest.skip(f"{tool} is not installed here: `make interop` runs its tests; SKIPPED")


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: f"{reader.tool}-{reader.form}")
def test_a_tool_gets_back_all_but_what_is_known_to_get_lost(reader, written):
    needs(reader.tool)
    folder, truths = written
    loaded = reader.load(folder, FORMS[reader.form])
    found = compare(truths[reader.form], IMAGE_NAMES, loaded)
    assert surprises(found, EXPECTED[reader.tool, reader.form]) == []


@pytest.fixture(scope="module")
def written_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    return folder, write_folders(folder)


@pytest.mark.parametrize("reader", FOLDER_READERS, ids=lambda one: f"{one.tool}-{one.form}")
def test_a_tool_takes_a_folder_as_it_is(reader, written_folders):
    needs(reader.tool)
    folder, truths = written_folders
    expected = truths[reader.form]
    loaded = reader.load(folder, FOLDERS[reader.form])
    images = folder_images(expected, reader.form)
    found = compare(expected, images, loaded, ordered=reader.ordered)
    assert surprises(found, EXPECTED[reader.tool, reader.form]) == []


def test_brush_masks_are_label_studios_own_bytes(written_folders):
    needs("label-studio-sdk")
    from label_studio_sdk.converter.brush import mask2rle

    for truth in written_folders[1]["label_studio"]:
        ours, theirs = brush_rle(truth.mask), mask2rle(truth.mask.astype(np.uint8) * 255)
        assert ours == theirs[: len(ours)]
        assert theirs[len(ours) :] in ([], [0])  # a byte too many where the bits fill whole ones


@pytest.mark.parametrize("reader", WHOLE_FILE, ids=lambda reader: reader.tool)
def test_what_a_tool_refuses_is_known(reader, tmp_path):
    needs(reader.tool)
    for number, trouble in enumerate(TROUBLES):
        outcome = trouble_outcome(reader, tmp_path / str(number), trouble)
        assert outcome == REFUSED.get((reader.tool, trouble), READS), trouble


def held(truths):
    """What a tool without any loss would hold."""
    found = [
        Found(
            image=truth.file_name,
            mask=truth.mask,
            annotation_id=truth.annotation_id,
            category=truth.category,
            box_xywh=truth.box_xywh,
            area=float(truth.mask.sum()),
            score=truth.score,
            crowd=truth.crowd,
            exits=truth.exits,
        )
        for truth in truths
    ]
    return Loaded(set(IMAGE_NAMES), found)


NOTHING_LOST = EXPECTED["pycocotools", "results"]._replace(fields={})


def test_the_comparison_sees_every_kind_of_loss(written):
    truths = written[1]["coco"]
    whole = held(truths)
    assert surprises(compare(truths, IMAGE_NAMES, whole), NOTHING_LOST) == []

    def lines(change=lambda one: one, keep=slice(None), images=frozenset(IMAGE_NAMES)):
        first, *others = whole.found
        loaded = Loaded(set(images), [change(first), *others][keep])
        return surprises(compare(truths, IMAGE_NAMES, loaded), NOTHING_LOST)

    flipped = whole.found[0].mask.copy()
    flipped[-1, -1] ^= True
    assert lines(lambda one: one._replace(mask=flipped)) == ["the mask of 'a hole' differs"]
    turned = np.ascontiguousarray(whole.found[0].mask.T)
    assert lines(lambda one: one._replace(mask=turned)) == ["the mask of 'a hole' differs"]
    moved = [5.02, 6.0, 20.0, 24.0]
    assert lines(lambda one: one._replace(box_xywh=moved)) == ["boxes: 12/13; expected all"]
    assert lines(lambda one: one._replace(score=None)) == ["scores: 11/12; expected all"]
    assert lines(lambda one: one._replace(crowd=True)) == ["crowd: 12/13; expected all"]
    assert lines(lambda one: one._replace(exits={})) == ["exits: 11/12; expected all"]
    assert lines(images=IMAGE_NAMES[1:]) == ["images: 2/3"]
    gone = lines(keep=slice(1, None))
    assert "the mask of 'a hole' differs" in gone
    assert "ids: 12/13; expected all" in gone


def test_ids_that_are_counted_anew_are_not_taken_for_ours(written):
    truths = written[1]["results"]
    whole = held(truths)
    anew = [one._replace(annotation_id=n) for n, one in enumerate(whole.found, start=1)]
    found = compare(truths, IMAGE_NAMES, Loaded(whole.images, anew))
    assert found.masks == "12/12"
    assert found.fields["ids"] == "0/12"


def test_what_is_known_to_get_lost_and_does_not_is_said(written):
    truths = written[1]["coco"]
    found = compare(truths, IMAGE_NAMES, held(truths))
    assert "the mask of 'one pixel' is equal, which it was not" in surprises(
        found, NOTHING_LOST._replace(different=frozenset({"one pixel"}))
    )


def test_the_package_reads_its_own_files_as_drawn(written):
    folder, truths = written
    annotations = read_annotations(folder / FORMS["coco"], folder / "images")
    entries = annotations.document["annotations"]
    assert [entry["id"] for entry in entries] == [truth.annotation_id for truth in truths["coco"]]
    for entry, truth in zip(entries, truths["coco"], strict=True):
        mask = decode_segmentation(entry["segmentation"], *truth.mask.shape)
        np.testing.assert_array_equal(mask, truth.mask)
    assert len(annotations.instances) == len(entries) - 1
