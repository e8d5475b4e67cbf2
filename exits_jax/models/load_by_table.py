"""Published weights -> a network's parameters, by the table of the family that names them."""

import os
import re

import jax.numpy as jnp
import numpy as np

from exits_jax.models.params_io import report_misfit, unflatten
from exits_jax.models.read_tensors import read_tensors
from exits_jax.models.rename import Family
from exits_jax.models.rename_changes import Change
from exits_jax.system.errors import UserError, one_line
from exits_jax.system.types import Params

_BLOCK = re.compile(r"block(\d+)/")

Tensors = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def load_by_table(
    path: str | os.PathLike,
    shapes: Shapes,
    families: tuple[Family, ...],
    family: str,
    network: str,
    optional: tuple[str, ...] = (),
) -> Params:
    """Reads a file of published weights into a network's parameters.

    Every array of the file must be used or listed as ignored by its family, and every parameter
    has to be found.

    Args:
      path: .safetensors, .npz, .pth, .pt or .onnx (`read_tensors`).
      shapes: our '/'-joined name -> shape of every parameter wanted.
      families: the namings to choose from.
      family: the name of one, or "auto" to recognise it from the names in the file.
      network: what is to be filled, for messages: "ViT(patch=16, ...)".
      optional: beginnings of our names; what the file has of them need not be wanted.

    Returns:
      Nested dict, float32.

    Raises:
      UserError: unreadable file, unknown family, or a network that does not fit: missing, unused
        and mis-shaped arrays are listed together.
    """
    tensors = read_tensors(path)
    scheme = _family(path, tensors, families, family, network.partition("(")[0])
    tensors = _without_prefix(tensors, scheme)
    found, misfit = rename_tensors(tensors, shapes, scheme, optional)
    report_misfit(path, *misfit, advice=f"Read as {scheme.name!r} weights for {network}")
    return unflatten({name: jnp.asarray(array, jnp.float32) for name, array in found.items()})


def rename_tensors(
    tensors: Tensors, shapes: Shapes, scheme: Family, optional: tuple[str, ...] = ()
) -> tuple[Tensors, tuple[list[str], list[str], list[str]]]:
    """Applies a family's table.

    Args:
      tensors: the family's name -> array, common prefix removed.
      shapes: our '/'-joined name -> shape wanted.
      scheme: the family.
      optional: beginnings of our names; what the file has of them need not be wanted.

    Returns:
      Our name -> array of everything that fits, and the names (missing, not used, mis-shaped).
    """
    found: Tensors = {}
    missing: list[str] = []
    misshaped: list[str] = []
    used = {
        theirs
        for ours, (theirs, _) in scheme.table.items()
        if optional and ours.startswith(optional) and ours not in shapes
    }
    for ours, shape in shapes.items():
        theirs, change = _row(ours, scheme)
        used.add(theirs)
        if theirs not in tensors:
            missing.append(theirs)
            continue
        array = _changed(tensors[theirs], change)
        if array is None or array.shape != shape:
            misshaped.append(f"{theirs} {list(tensors[theirs].shape)} for {ours} {list(shape)}")
        else:
            found[ours] = array
    extra = [n for n in tensors if n not in used and not _ignored(n, scheme)]
    return found, (sorted(set(missing)), extra, misshaped)


def _row(ours: str, scheme: Family) -> tuple[str, Change]:
    """The table's row of one of our names: the family's name and the change.

    A parameter the family never has (LayerScale, say) is reported missing under our own name.
    """
    layer = _BLOCK.search(ours)
    theirs, change = scheme.table.get(_BLOCK.sub("block/", ours), (ours, np.asarray))
    return (theirs.format(layer=int(layer[1]) - 1) if layer else theirs), change


def _changed(array: np.ndarray, change: Change) -> np.ndarray | None:
    """The array after its change, or None if it does not have the shape for it."""
    try:
        return change(array)
    except (ValueError, IndexError, TypeError):
        return None


def _ignored(name: str, scheme: Family) -> bool:
    """Whether the family's table says that `name` is not part of the network."""
    return any(re.fullmatch(pattern, name) for pattern in scheme.ignored)


def _family(
    path: str | os.PathLike, tensors: Tensors, families: tuple[Family, ...], name: str, kind: str
) -> Family:
    """The family asked for, or the first whose marks are all among the names."""
    known = {family.name: family for family in families}
    if name != "auto":
        if name not in known:
            raise UserError(f"family: found {name!r}, expected 'auto' or one of {[*known]}")
        return known[name]
    for family in families:
        if all(any(n.endswith(mark) for n in tensors) for mark in family.marks):
            return family
    raise UserError(
        f"{path}: no known {kind}: found {len(tensors)} names such as "
        f"{[one_line(name) for name in sorted(tensors)[:4]]}; expected "
        f"the naming of one of {[*known]}"
    )


def _without_prefix(tensors: Tensors, scheme: Family) -> Tensors:
    """Removes the prefix ("backbone.", "vit.", "params/") that the family's first mark has.

    Arrays beside the encoder's (of a decoder, a head) do not have that prefix and keep their names.
    """
    mark = scheme.marks[0]
    prefix = next((name.removesuffix(mark) for name in tensors if name.endswith(mark)), "")
    return {name.removeprefix(prefix): array for name, array in tensors.items()}
