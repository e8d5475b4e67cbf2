"""The arrays in a file of weights, whatever its format, under the names they have there."""

import math
import os
import pathlib
import zipfile
from typing import Any

import jax.numpy as jnp
import numpy as np

from exits_jax.models.params_io import read_safetensors
from exits_jax.system.errors import UserError, one_line

_REAL = (jnp.floating, jnp.integer, jnp.bool_)
# An .npz may unpack to this many times its size, and to this many bytes whatever its size.
_LARGEST_RATIO, _ALWAYS_FINE = 100, 2**26
# Where a checkpoint of PyTorch's has its weights: MAE, DeiT and detectron2; mmdetection.
_STATE = ("model", "state_dict")
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Name -> array of a .safetensors, .npz, .pth, .pt or .onnx file.

    Names are the file's own, except that ONNX gets PyTorch's back (`onnx_tensors`). Files are read
    as data: nothing in them is run, no other file is opened, and what an array claims to be is
    compared with what the file holds before memory is asked for.

    Raises:
      UserError: missing or unreadable file, another extension, arrays that are not of real numbers,
        or PyTorch not installed (.pth, .pt).
    """
    path = pathlib.Path(path)
    readers = {
        ".safetensors": read_safetensors,
        ".npz": _read_npz,
        ".pth": _read_torch,
        ".pt": _read_torch,
        ".onnx": _read_onnx,
    }
    if path.suffix not in readers:
        raise UserError(
            f"{path}: expected a file that ends in {', '.join(readers)}; found {path.suffix!r}"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    tensors = readers[path.suffix](path)
    for name, array in tensors.items():
        if not any(jnp.issubdtype(array.dtype, kind) for kind in _REAL):
            raise UserError(f"{path}: {one_line(name)!r} holds {array.dtype}, not real numbers")
    return tensors


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """NumPy's archive; nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            stated = sum(member.file_size for member in members)
            if stated > _LARGEST_RATIO * path.stat().st_size + _ALWAYS_FINE:
                raise UserError(f"{path}: claims to hold {stated} bytes; refused as a zip bomb")
            return dict(_read_npy(archive, member) for member in members)
    except UserError:
        raise
    except Exception as error:  # zipfile, its decompressors and NumPy's headers raise many kinds
        raise UserError(f"{path}: cannot be read as .npz: {one_line(error)}") from error


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[str, np.ndarray]:
    """Name and array of a member of an .npz, whose shape is compared with the member's size.

    Raises:
      ValueError: it holds no array, or not as many numbers as its header says.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # NumPy uses no other methods; their decompressors allocate what the file claims.
        raise ValueError(f"{member.filename} is compressed by another method than NumPy's")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = _NPY_HEADERS.get(version)
        if header is None:
            raise ValueError(f"{member.filename} is of version {version}")
        shape, _, dtype = header(file)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise ValueError(
                f"{member.filename} claims {list(shape)} of {dtype}: Python objects, or truncated"
            )
        file.seek(0)
        array = np.lib.format.read_array(file, allow_pickle=False)
    return member.filename.removesuffix(".npy"), array


def _read_onnx(path: pathlib.Path) -> dict[str, np.ndarray]:
    """ONNX; the package is imported only here, because that takes a while."""
    from exits_jax.models.onnx_tensors import read_onnx

    return read_onnx(path)


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A PyTorch state dict, also one in a checkpoint (`_STATE`); no code in the file is run."""
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path}: reading this needs PyTorch: pip install torch") from error
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, key and runtime errors alike
        raise UserError(
            f"{path}: PyTorch cannot read this: damaged, or more than weights"
        ) from error
    content = content if isinstance(content, dict) else {}
    content = next((content[key] for key in _STATE if key in content), content)
    content = content if isinstance(content, dict) else {}
    tensors = {str(name): item for name, item in content.items() if torch.is_tensor(item)}
    if not tensors:
        raise UserError(f"{path}: holds no state dict, neither at the top nor under {_STATE}")
    return {name: _torch_array(path, name, item) for name, item in tensors.items()}


def _torch_array(path: pathlib.Path, name: str, tensor: Any) -> np.ndarray:
    """A tensor as float32. One that repeats its storage (stride 0) could be of any size.

    Raises:
      UserError: it is larger than its storage, or of a kind that NumPy does not have (sparse,
        quantized).
    """
    try:
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"claims {list(tensor.shape)}, more than the file holds")
        if tensor.is_complex():
            raise ValueError("holds complex numbers")
        return tensor.detach().float().numpy()
    except Exception as error:  # each kind of tensor has its own way of refusing
        raise UserError(f"{path}: {one_line(name)!r}: {one_line(error)}") from error
