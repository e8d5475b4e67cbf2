"""exits_jax: extreme points in, instance masks out.

Letters used in array shapes all over the package:

* b: crops in a batch; s: side of a crop in pixels
* N: side of the point grid; p: points, N * N cells in row-major order
* n: tokens: p, plus one where the network has a class token
* D: width of the network; m: side of a predicted mask
* k: seed columns; h, w: height and width of an image
"""

from typing import Any

__all__ = ["label_image"]


def __getattr__(name: str) -> Any:
    """Loads `label_image` when it is first asked for, so that importing the package is quick."""
    if name == "label_image":
        from exits_jax.api import label_image

        return label_image
    raise AttributeError(f"module 'exits_jax' has no attribute '{name}'")
