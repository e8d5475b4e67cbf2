"""From an example to a row of a batch: the crop, and everything else in crop coordinates.

The keys of a batch, b crops of s x s pixels, all numpy arrays:

  image          uint8[b,s,s,3]    the crop
  student_image  uint8[b,s,s,3]    the crop with changed colours; in training, if asked for
  points_xy      float32[b,4,2]    extreme points in crop coordinates [0,1]; rows are top, left,
                                   bottom, right *of the crop*, also when flipped; zeros if none
  has_points     bool[b]           whether there are extreme points
  box_xyxy       float32[b,4]      the object's box in crop coordinates
  valid_xyxy     float32[b,4]      the image's area in crop coordinates
  window_xyxy    float32[b,4]      the crop's window in image coordinates
  flip           bool[b]           whether the crop is mirrored left to right
  id             int32[b]          of the annotation
  index          int32[b]          position in the source
  valid          bool[b]           False for rows that only fill the batch
"""

import numpy as np
from jaxtyping import Float

from exits_jax.data import crop
from exits_jax.data.rows import Row
from exits_jax.data.source import Example


def cut(
    example: Example, window_xyxy: Float[np.ndarray, "4"], size: int, flip: bool = False
) -> Row:
    """One row of a batch, without its `valid`: the crop, and the object in it."""
    image = crop.crop_image(example["image"], window_xyxy, size, flip)
    return {"image": image, **placed(example, window_xyxy, flip)}


def placed(example: Example, window_xyxy: Float[np.ndarray, "4"], flip: bool = False) -> Row:
    """What a row says of its object, without the crop itself.

    Points and boxes are clipped to the crop: a point an annotator set beside the box may lie
    outside the window.
    """
    height, width = example["image"].shape[:2]
    points = np.zeros((4, 2))
    if example["has_points"]:
        points = crop.to_crop(example["points_xy"], window_xyxy, flip)
        points = np.clip(crop.swap_sides(points) if flip else points, 0.0, 1.0)
    box = np.clip(crop.box_to_crop(example["box_xyxy"], window_xyxy, flip), 0.0, 1.0)
    return {
        "points_xy": points.astype(np.float32),
        "has_points": np.bool_(example["has_points"]),
        "box_xyxy": box.astype(np.float32),
        "valid_xyxy": crop.valid_in_crop(width, height, window_xyxy, flip).astype(np.float32),
        "window_xyxy": window_xyxy.astype(np.float32),
        "flip": np.bool_(flip),
        "id": np.int32(example["annotation_id"]),
        "index": np.int32(example["index"]),
    }
