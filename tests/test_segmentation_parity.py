"""SOLOv2 against one written in PyTorch from the published facts alone, with the same weights.

`fixtures/make_solov2_fixtures.py` says what the files hold. They were computed in float64.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exits_jax.models.load_by_table import rename_tensors
from exits_jax.models.params_io import flatten, unflatten
from exits_jax.models.resnet import ResNet
from exits_jax.segmentation.build import build_segmenter, param_shapes
from exits_jax.segmentation.detect import make_detect
from exits_jax.segmentation.matrix_nms import matrix_nms
from exits_jax.segmentation.objective import FOCAL_OFFSET, solov2_counts, solov2_objective
from exits_jax.segmentation.predict import image_masks
from exits_jax.segmentation.rename_solov2 import SOLOV2S
from exits_jax.segmentation.targets import assign
from tests.solov2_small import CANVAS, CLASSES, DEPTHS, SMALL, WIDTH, small_settings

FOLDER = pathlib.Path(__file__).parent / "fixtures"
NORMS, OWNERS = ("frozen", "group"), ("smaller", "both")
FIRST_CELLS = np.cumsum([0, *(grid**2 for grid in SMALL["grids"])])


@functools.cache
def fixture(name):
    with np.load(FOLDER / f"solov2_{name}.npz") as file:
        return {key: file[key] for key in file.files}


def small_network(norm):
    """Nothing of it is frozen, so that all gradients can be compared."""
    encoder = ResNet(DEPTHS, WIDTH, norm=norm, frozen_stages=0)
    return build_segmenter(small_settings(norm=norm), CLASSES).clone(encoder=encoder)


def renamed(tensors, norm):
    """Arrays under PyTorch's names -> ours; those of another network's are left out."""
    shapes = flatten(param_shapes(small_settings(norm=norm), small_network(norm)))
    shapes = {name: leaf.shape for name, leaf in shapes.items()}
    return rename_tensors(tensors, shapes, SOLOV2S[0])[0]


def params_of(norm):
    arrays = renamed(fixture("weights"), norm)
    return unflatten({name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()})


def batch():
    rows = fixture("batch")
    count = len(rows["image"])
    weight = (rows["area"] > 0).astype(np.float32)
    draw = np.zeros(count, np.uint32)
    rows = {**rows, "weight": weight, "draw": draw, "valid": np.ones(count, bool)}
    return {name: jnp.asarray(row) for name, row in rows.items()}


def loss_of(norm, owners):
    """params -> (the whole loss, its sums and counts), as the training step puts it together."""
    settings = small_settings(norm=norm, owners=owners)
    objective = solov2_objective(small_network(norm), settings)
    counts = solov2_counts(settings)(batch())

    def loss(params):
        terms = objective(params, {}, {}, batch()).loss
        parts = [
            terms[name] / (counts[name] + FOCAL_OFFSET.get(name, 0)) for name in ("dice", "focal")
        ]
        return sum(parts), (terms, counts)

    return loss, settings


@pytest.mark.parametrize("norm", NORMS)
def test_outputs(norm):
    given, expected = batch(), fixture(norm)
    found = jax.jit(small_network(norm).apply)(
        {"params": params_of(norm)}, given["image"], given["extent"]
    )
    np.testing.assert_allclose(found.features, expected["features"], atol=1e-4)
    for kind in ("kernels", "logits"):
        levels = [expected[f"{kind}_{level}"] for level in range(len(SMALL["grids"]))]
        cells = np.concatenate([x.reshape(len(x), -1, x.shape[-1]) for x in levels], axis=1)
        assert cells.std() > 0.5, "a fixture that is all alike shows nothing"
        np.testing.assert_allclose(getattr(found, kind), cells, atol=1e-4)


@pytest.mark.parametrize("owners", OWNERS)
@pytest.mark.parametrize("norm", NORMS)
def test_loss(norm, owners):
    loss, settings = loss_of(norm, owners)
    total, (terms, counts) = jax.jit(loss)(params_of(norm))
    expected = {name: fixture(norm)[f"{name}_{owners}"] for name in ("dice", "focal", "loss")}
    assert int(counts["dice"]) == fixture(norm)[f"pairs_{owners}"]
    assert int(counts["focal"]) == fixture(norm)[f"cells_{owners}"]
    np.testing.assert_allclose(terms["dice"], settings.dice * expected["dice"], rtol=1e-5)
    np.testing.assert_allclose(terms["focal"], settings.focal * expected["focal"], rtol=1e-5)
    np.testing.assert_allclose(total, expected["loss"], rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_gradients(norm):
    """Some as they are, and the norm of every parameter's."""
    loss, _ = loss_of(norm, "smaller")
    gradient = flatten(jax.jit(jax.grad(loss, has_aux=True))(params_of(norm))[0])
    wholes = _with_prefix("d ", fixture(norm))
    for name, expected in renamed(wholes, norm).items():
        size = np.abs(expected).max()
        np.testing.assert_allclose(gradient[name] / size, expected / size, atol=1e-4, err_msg=name)
    # A norm has no layout; as an array of the parameter's shape it can be renamed like one.
    norms = {
        name: np.full(fixture("weights")[name].shape, norm_)
        for name, norm_ in _with_prefix("norm ", fixture(norm)).items()
    }
    expected = {name: array.flat[0] for name, array in renamed(norms, norm).items()}
    assert len(expected) == len(norms) > 60
    found = {name: np.linalg.norm(gradient[name]) for name in expected}
    for name, norm_ in expected.items():
        np.testing.assert_allclose(found[name], norm_, rtol=1e-4, err_msg=name)


def _with_prefix(prefix, arrays):
    return {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}


@pytest.mark.parametrize("norm", NORMS)
def test_detections(norm):
    expected, row = fixture(norm), fixture(norm)["detected"][None]
    given, settings = batch(), small_settings(norm=norm)
    detect = jax.jit(make_detect(small_network(norm), settings))
    found = detect(params_of(norm), given["image"][row], given["extent"][row])
    masks, classes, scores = (np.asarray(part[0]) for part in found)
    count = len(expected["detected_scores"])
    assert count >= 10
    assert (scores > 0).sum() == count
    np.testing.assert_array_equal(classes[:count], expected["detected_classes"])
    np.testing.assert_allclose(scores[:count], expected["detected_scores"], atol=1e-4)
    first = expected["detected_masks"]
    np.testing.assert_allclose(masks[: len(first)], first, atol=1e-4)
    sums = masks[:count].sum(axis=(1, 2))
    np.testing.assert_allclose(sums, expected["detected_mask_sums"], rtol=1e-4)
    in_image = whole_masks(masks[:count], given["extent"][row[0]], expected["image_size"])
    wanted = np.unpackbits(expected["image_masks"], count=in_image.size).reshape(in_image.shape)
    assert 0.1 < wanted.mean() < 0.9
    assert (in_image != wanted).mean() < 1e-5  # a pixel on the threshold may fall either way


def whole_masks(masks, extent, size):
    """Masks of the image, from what the package makes of them: each on its region."""
    found = np.zeros((len(masks), *size), bool)
    known = {"extent": tuple(extent.tolist()), "size": tuple(size.tolist())}
    regions = image_masks(masks, canvas=CANVAS, threshold=0.5, **known)
    for whole, (mask, (x0, y0, x1, y1)) in zip(found, regions, strict=True):
        whole[y0:y1, x0:x1] = mask
    return found


@pytest.mark.parametrize("owners", OWNERS)
def test_targets(owners):
    given = fixture("targets")
    count = len(given["area"])
    rows = {name: given[name] for name in ("centre_xy", "size_wh", "area", "classes")}
    rows |= {"weight": (given["area"] > 0).astype(np.float32), "draw": np.zeros(count, np.uint32)}
    rows = {name: jnp.asarray(row) for name, row in rows.items()}
    found = assign(rows, CANVAS, small_settings(owners=owners, positives=400))
    pairs = set()
    for level, grid in enumerate(SMALL["grids"]):
        cells = slice(FIRST_CELLS[level], FIRST_CELLS[level + 1])
        expected = given[f"classes_{owners}_{level}"].reshape(count, -1)
        np.testing.assert_array_equal(found.classes[:, cells], expected)
        for image, row, column, slot in given[f"pairs_{owners}_{level}"].tolist():
            pairs.add((image, int(FIRST_CELLS[level]) + row * grid + column, slot))
    image, place = np.nonzero(np.asarray(found.share))
    cell, slot = (np.asarray(part)[image, place] for part in (found.cell, found.instance))
    assert set(zip(image.tolist(), cell.tolist(), slot.tolist(), strict=True)) == pairs
    assert len(image) == len(pairs) > 200


def test_matrix_nms():
    given = fixture("nms")
    masks, classes, scores = (jnp.asarray(given[n]) for n in ("masks", "classes", "scores"))
    flat = masks.reshape(len(masks), -1)
    found = matrix_nms(flat, classes, scores, sigma=float(given["sigma"]))
    assert (given["expected"] < 0.9 * given["scores"]).sum() > 10
    np.testing.assert_allclose(found, given["expected"], rtol=1e-5)
