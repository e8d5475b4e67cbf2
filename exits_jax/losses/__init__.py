"""The three losses of the pseudo-label generator (EXITS supplement, B), each per crop [b].

float32 throughout; `p` may be any number of points, here usually the cells of the mask grid.
"""

from exits_jax.losses.crf import crf_loss, mean_field
from exits_jax.losses.mil import mil_loss
from exits_jax.losses.point import point_loss

__all__ = ["crf_loss", "mean_field", "mil_loss", "point_loss"]
