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
        *_, leaf = path
        if path[-2] in PROJECTIONS:
            if path[-2] != PROJECTIONS[0]:
                continue
            array = np.concatenate(
                [params[_sibling(name, projection)] for projection in PROJECTIONS], axis=-1
            )
            path[-2] = "qkv"
        if leaf == "kernel":
            path[-1] = "weight"
            array = array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
        elif leaf == "scale":
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
            if array.ndim == 2:
                array = array.T
            elif array.ndim == 4:
                array = array.transpose(2, 3, 1, 0)
        if path[-2] != "qkv":
            params["/".join(path)] = array
            continue
        for projection, part in zip(PROJECTIONS, np.split(array, 3, axis=-1), strict=True):
            params["/".join([*path[:-2], projection, path[-1]])] = part
    return params


def _sibling(name: str, projection: str) -> str:
    """The name of the same leaf of another projection."""
    path = name.split("/")
    return "/".join([*path[:-2], projection, path[-1]])
