"""How good a mask is, judged without ground truth: a predicted IoU per mask.

Not given in the paper. Four numbers are read off the final map of an instance and put through a
logistic model; the coefficients were fitted on COCO train2017 by experiments/masks.py and are the
only thing in this package that ever saw a mask. They shape scores, never masks.
"""

import math

import numpy as np
from jaxtyping import Float

from exits_jax.pseudo_labels.compete import Crop, cells_in_box
from exits_jax.retrieval.shape import TIGHTNESS_LIMITS

FEATURES = ("soft_iou", "fill", "tightness", "log_side")
SLOPE = 2.0  # the map's log odds are half as large as they should be (train2017)
COEFFICIENTS = (4.7330, 0.9506, 0.3947, -0.0934)
INTERCEPT = -2.6673
# In 90 % of cases the IoU is at most this much lower: split conformal, calibrated on 1,702
# instances of train2017; see experiments/results/masks.md.
LOWER_90 = 0.1893


def predicted_iou(crop: Crop) -> float:
    """The IoU expected of the mask cut from a map at 0, between 0 and 1.

    Fits maps made by the best settings (`configs/base.py`, best_retrieval and best_labelling); with
    others the order is still useful, the value is not.
    """
    total = INTERCEPT + float(np.dot(COEFFICIENTS, evidence(crop)))
    return 1 / (1 + math.exp(-total))


def evidence(crop: Crop) -> Float[np.ndarray, "4"]:
    """What `predicted_iou` is computed from, in the order of `FEATURES`.

    soft_iou: the IoU of the mask with an object of the map's probabilities; fill: share of the
    box's cells in the mask; tightness: the lowest of the maxima over the box's rows and columns,
    limited to [-2, 4]; log_side: logarithm of the square root of the box's area in pixels.
    """
    logits = np.clip(crop.logits.astype(np.float64), -9, 9)
    inside = cells_in_box(crop.instance.box_xyxy, crop.window_xyxy, len(logits))
    side = 0.5 * math.log(max(crop.instance.box_area, 1.0))
    if not inside.any():
        return np.array([0.0, 1.0, 0.0, side])
    probability = np.where(inside, 1 / (1 + np.exp(-SLOPE * logits)), 0.0)
    mask = inside & (logits > 0)
    union = mask.sum() + probability[~mask].sum()
    boxed = np.where(inside, logits, -np.inf)
    lines = [boxed.max(axis)[inside.any(axis)].min() for axis in (0, 1)]
    return np.array(
        [
            probability[mask].sum() / union,
            mask.sum() / inside.sum(),
            float(np.clip(min(lines), *TIGHTNESS_LIMITS)),
            side,
        ]
    )
