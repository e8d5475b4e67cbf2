"""Shape evidence: full boxes get larger masks, slack ones smaller."""

import jax.numpy as jnp
import numpy as np

from exits_jax.retrieval.shape import (
    QUADRILATERAL_STRENGTH,
    TIGHTNESS_STRENGTH,
    USUAL_QUADRILATERAL,
    USUAL_TIGHTNESS,
    shape_offset,
)

BOX = jnp.array([[0.25, 0.25, 0.75, 0.75]])
WHOLE = jnp.array([[0.0, 0.0, 1.0, 1.0]])
DIAMOND = jnp.array([[[0.5, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 0.5]]])  # half of the box
LINE = jnp.array([[[0.25, 0.25], [0.25, 0.25], [0.75, 0.75], [0.75, 0.75]]])  # none of it


def offset(level, points=DIAMOND, known=True, box=BOX):
    logits = jnp.full((1, 16, 16), level)
    return float(shape_offset(logits, points, jnp.array([known]), box, WHOLE)[0])


def test_quadrilateral_and_tightness_add_up():
    expected = QUADRILATERAL_STRENGTH * (0.5 - USUAL_QUADRILATERAL)
    assert np.isclose(offset(USUAL_TIGHTNESS), expected, atol=1e-6)
    expected -= TIGHTNESS_STRENGTH * (1.0 - USUAL_TIGHTNESS)
    assert np.isclose(offset(1.0), expected, atol=1e-6)


def test_an_object_along_the_diagonal_gets_a_higher_cut():
    assert offset(1.0, LINE) < offset(1.0, DIAMOND)


def test_without_points_tightness_speaks_alone():
    assert np.isclose(offset(USUAL_TIGHTNESS, LINE, known=False), 0.0, atol=1e-6)


def test_the_weakest_row_or_column_counts_and_outliers_are_limited():
    logits = np.full((1, 16, 16), 3.0, np.float32)
    logits[0, 6, 4:12] = -1.0  # one row of the box
    found = shape_offset(jnp.asarray(logits), DIAMOND, jnp.array([True]), BOX, WHOLE)
    assert np.isclose(float(found[0]), offset(-1.0), atol=1e-6)
    assert offset(-50.0) == offset(-2.0)


def test_a_box_without_a_cell_stays_finite():
    nowhere = jnp.array([[0.3, 0.3, 0.3, 0.3]])
    assert np.isfinite(offset(1.0, box=nowhere))
