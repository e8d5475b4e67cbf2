"""Rows of a batch, and how they become one of a fixed size."""

from collections.abc import Sequence

import numpy as np

from exits_jax.system.types import Batch

Row = dict[str, np.ndarray]


def stack(rows: Sequence[Row], batch_size: int) -> Batch:
    """Rows -> a full batch; missing rows repeat the last one and are not `valid`."""
    filled = [*rows, *[rows[-1]] * (batch_size - len(rows))]
    batch = {key: np.stack([row[key] for row in filled]) for key in rows[0]}
    return batch | {"valid": np.arange(batch_size) < len(rows)}
