"""Losses on arrays, float32 throughout.

Point, MIL and CRF loss are the pseudo-label generator's (EXITS supplement, B), each per crop [b];
`p` may be any number of points, there usually the cells of the mask grid. Dice and focal loss are
those of instance segmentation.
"""

from exits_jax.losses.crf import crf_loss, mean_field
from exits_jax.losses.dice import dice_loss
from exits_jax.losses.focal import focal_loss
from exits_jax.losses.mil import mil_loss
from exits_jax.losses.point import point_loss

__all__ = ["crf_loss", "dice_loss", "focal_loss", "mean_field", "mil_loss", "point_loss"]
