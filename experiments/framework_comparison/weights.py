"""Parameters from one framework to the other, by rule; NumPy on both sides.

A Flax parameter is named by its path joined with "/"; PyTorch's by "." . What changes besides:
dense kernels are transposed, convolution kernels go from HWIO to OIHW, layers are counted from 0,
and queries, keys and values are one projection.
"""

import re
from collections.abc import Mapping

import numpy as np

Arrays = dict[str, np.ndarray]

PROJECTIONS = ("query", "key", "value")


def to_torch(params: Mapping[str, np.ndarray]) -> Arrays:
    """Flat Flax parameters -> a PyTorch state dict of NumPy arrays."""
    state: Arrays = {}
    for name, array in params.items():
        path = re.sub(r"block(\d+)", lambda m: f"blocks/{int(m[1]) - 1}", name).split("/")
        if path[-2] in PROJECTIONS[1:]:
            continue
        if path[-2] == PROJECTIONS[0]:
            parts = [params[name.replace("/query/", f"/{part}/")] for part in PROJECTIONS]
            array, path[-2] = np.concatenate(parts, axis=-1), "qkv"
        if path[-1] == "kernel":
            array = array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
        if path[-1] in ("kernel", "scale"):
            path[-1] = "weight"
        state[".".join(path)] = np.ascontiguousarray(array)
    return state


def to_flax(state: Mapping[str, np.ndarray]) -> Arrays:
    """The inverse of `to_torch`; also carries gradients back."""
    params: Arrays = {}
    for name, array in state.items():
        path = re.sub(r"blocks\.(\d+)", lambda m: f"block{int(m[1]) + 1:02d}", name).split(".")
        if path[-1] == "weight":
            path[-1] = "scale" if array.ndim == 1 else "kernel"
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        if path[-2] != "qkv":
            params["/".join(path)] = array
            continue
        for projection, part in zip(PROJECTIONS, np.split(array, 3, axis=-1), strict=True):
            params["/".join([*path[:-2], projection, path[-1]])] = part
    return params
