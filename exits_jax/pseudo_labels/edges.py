"""How the edge of a mask is drawn from a map of few cells (none of it is in the paper)."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from exits_jax.annotations.masks import hole_areas
from exits_jax.annotations.regions import Region
from exits_jax.pseudo_labels.settings import Edges


def drawn_edges(
    mask: Bool[np.ndarray, "h w"],
    region: Region,
    box: Region,
    cell_yx: Float[np.ndarray, "2"],
    edges: Edges,
) -> Bool[np.ndarray, "h w"]:
    """A mask with its edge smoothed and its holes filled; never less than a pixel of it.

    Args:
      mask: on the region, at least one pixel.
      region: (x0, y0, x1, y1), the part of the image that the mask shows.
      box: the pixels of the image that may belong to the mask; inside the region.
      cell_yx: height and width of a cell of the map, pixels.
      edges: what to do.
    """
    if edges.smooth:
        mask = _smoothed(mask, region, box, edges.smooth * cell_yx)
    if edges.fill_holes:
        holes, areas = hole_areas(mask)
        small = np.concatenate([[False], areas <= edges.fill_holes * mask.sum()])
        mask = mask | small[holes]
    return mask


def _smoothed(
    mask: Bool[np.ndarray, "h w"],
    region: Region,
    box: Region,
    deviation_yx: Float[np.ndarray, "2"],
) -> Bool[np.ndarray, "h w"]:
    """Where most of what is near is mask; beyond the box everything is as if mirrored at it."""
    rows = slice(box[1] - region[1], box[3] - region[1])
    columns = slice(box[0] - region[0], box[2] - region[0])
    inside = mask[rows, columns].astype(np.float32)
    near = ndimage.gaussian_filter(inside, deviation_yx, mode="reflect") > 0.5
    if not near.any():
        return mask
    smoothed = np.zeros_like(mask)
    smoothed[rows, columns] = near
    return smoothed
