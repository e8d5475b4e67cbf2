"""The tensors of an ONNX file, under the names the network had in PyTorch.

The file is read as data, with the `onnx` package; nothing is run. PyTorch's exporter folds
constants: a dense layer's weight is stored transposed under a made-up name ("onnx::MatMul_1966")
and a list of positions is split in two. Both are recognised from the graph, not from those names:

* the weight of a MatMul whose result is added to an initializer called "X.bias" is "X.weight";
* of the unnamed initializers that are lists of vectors [1, r, D], the one a Concat reads (r = 1) is
  the class token's position, the one that is resized (r a square) is the grid's. Together they are
  "position_embeddings" beside "cls_token".
"""

import math
import pathlib

import numpy as np
import onnx
from onnx import external_data_helper, numpy_helper

from exits_jax.system.errors import UserError, one_line

_MADE_UP = "onnx::"


def read_onnx(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Name -> array of every initializer, dense weights as [out, in] like PyTorch's.

    Initializers that no rule names keep their made-up name, so a strict loader reports them.

    Raises:
      UserError: not a readable ONNX file, or one whose tensors are in other files.
    """
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # protobuf's own error type is not public
        raise UserError(f"{path}: not a readable ONNX file: {one_line(error)}") from error
    arrays = {item.name: _array(path, item) for item in graph.initializer}
    positions = _positions(graph, arrays)
    for made_up, name in _dense_weights(graph, arrays).items():
        arrays[name] = arrays.pop(made_up).T
    return {**arrays, **positions}


def _array(path: pathlib.Path, tensor: onnx.TensorProto) -> np.ndarray:
    """The array of an initializer whose data are in the file and agree with its dims.

    Raises:
      UserError: they are not.
    """
    name = one_line(tensor.name)
    if not isinstance(tensor.name, str):  # protobuf returns bytes for text that is not UTF-8
        raise UserError(f"{path}: the name {name} is not UTF-8")
    if external_data_helper.uses_external_data(tensor):  # its path may lead anywhere
        raise UserError(f"{path}: {name!r} is in another file; save the model as one file")
    dims = list(tensor.dims)
    # An item takes two bits or more. A dimension of 0 must not hide the size of another.
    if min([0, *dims]) < 0 or max([math.prod(dims), *dims]) > 4 * tensor.ByteSize():
        raise UserError(f"{path}: {name!r} claims {dims}, more than the file holds")
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # unknown types raise key errors, wrong sizes value errors
        raise UserError(f"{path}: {name!r} cannot be read: {one_line(error)}") from error


def _dense_weights(graph: onnx.GraphProto, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Made-up name of a MatMul's weight -> its name, by the bias its result is added to."""
    biases = {}
    for node in graph.node:
        if node.op_type == "Add" and len(node.input) == 2:
            for result, bias in (node.input, reversed(node.input)):
                if bias in arrays and bias.endswith(".bias"):
                    biases[result] = bias
    products = [
        (node.input[1], node.output[0])
        for node in graph.node
        if node.op_type == "MatMul" and len(node.input) == 2 and len(node.output) == 1
    ]
    return {
        weight: biases[result].removesuffix("bias") + "weight"
        for weight, result in products
        if weight in arrays and result in biases
    }


def _positions(graph: onnx.GraphProto, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes the two halves of the list of positions from `arrays` and joins them."""
    token = next((name for name in arrays if name.endswith("cls_token")), None)
    lists = {
        name for name, array in arrays.items() if name.startswith(_MADE_UP) and array.ndim == 3
    }
    read_by = {name: node.op_type for node in graph.node for name in node.input if name in lists}
    first = [n for n in lists if read_by.get(n) == "Concat" and arrays[n].shape[1] == 1]
    grid = [n for n in lists if n not in first]
    if token is None or len(first) != 1 or len(grid) != 1:
        return {}
    if arrays[first[0]].shape[::2] != arrays[grid[0]].shape[::2]:
        return {}
    joined = np.concatenate([arrays.pop(first[0]), arrays.pop(grid[0])], axis=1)
    return {token.removesuffix("cls_token") + "position_embeddings": joined}
