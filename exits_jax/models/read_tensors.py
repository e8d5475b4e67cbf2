"""The arrays in a file of weights, whatever its format, under the names they have there."""

import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from exits_jax.errors import UserError
from exits_jax.models.params_io import read_safetensors


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Name -> array of a .safetensors, .npz, .pth, .pt or .onnx file.

    Names are the file's own, except that ONNX gets PyTorch's back (`onnx_tensors`).

    Raises:
      UserError: missing or unreadable file, another ending, or PyTorch not installed (.pth, .pt).
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
        raise UserError(f"{path}: weights end in {', '.join(readers)}; found {path.suffix!r}")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return readers[path.suffix](path)


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """NumPy's archive; nothing is unpickled."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as .npz: {error}") from error


def _read_onnx(path: pathlib.Path) -> dict[str, np.ndarray]:
    """ONNX; the package is imported only here, it takes a while."""
    from exits_jax.models.onnx_tensors import read_onnx

    return read_onnx(path)


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A PyTorch state dict, also one under "model" (MAE, DeiT); no code in the file is run."""
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path}: reading this needs PyTorch: pip install torch") from error
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, key and runtime errors alike
        raise UserError(
            f"{path}: PyTorch cannot read this: damaged, or not weights alone"
        ) from error
    content = content.get("model", content) if isinstance(content, dict) else {}
    arrays = {name: item for name, item in content.items() if torch.is_tensor(item)}
    if not arrays:
        raise UserError(f"{path}: holds no state dict, neither at the top nor under 'model'")
    return {name: item.detach().float().numpy() for name, item in arrays.items()}
