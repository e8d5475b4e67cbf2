"""exits_jax: extreme points in, instance masks out.

Letters used in array shapes throughout the package:

* b: crops in a batch; s: side of a crop in pixels
* N: side of the point grid; p: points, N * N cells in row-major order
* n: tokens: p, plus one where the network has a class token
* D: width of the network; m: side of a predicted mask
* k: seed columns; h, w: height and width of an image
"""

from typing import Any

__all__ = ["Session", "label_image", "segment_image"]


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first asked for, so that importing the package is quick."""
    if name in __all__:
        from exits_jax import api

        return getattr(api, name)
    raise AttributeError(f"module 'exits_jax' has no attribute '{name}'")
