"""Published weights -> the parameters of `vit.ViT`."""

import os
import re

import jax
import jax.numpy as jnp
import numpy as np

from exits_jax.models.embedding import ConvStem
from exits_jax.models.params_io import flatten, report_misfit, unflatten
from exits_jax.models.read_tensors import read_tensors
from exits_jax.models.rename import FAMILIES, Family
from exits_jax.models.rename_changes import Change
from exits_jax.models.vit import ViT
from exits_jax.system.errors import UserError, one_line
from exits_jax.system.types import Params

_STEM = "embedding/conv_stem/"
_BLOCK = re.compile(r"block(\d+)/")

Tensors = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def load_vit(
    path: str | os.PathLike, vit: ViT, family: str = "auto", *, stem_seed: int = 0
) -> Params:
    """Reads a file of published weights into the parameters of `vit`.

    Every array of the file must be used or listed as ignored in `rename.FAMILIES` (heads,
    decoders, mask tokens), and every parameter has to be found. Two exceptions follow from the
    fields of `vit`: without `class_token` the file's class token is left out; with `stem="conv"`
    the file's patch projection is left out and the stem starts afresh from `stem_seed`.

    Args:
      path: .safetensors, .npz, .pth, .pt or .onnx (`read_tensors`).
      vit: the network to fill.
      family: a name in `rename.FAMILIES`, or "auto" to recognise it from the names in the file.
      stem_seed: seed of a convolution stem's parameters.

    Returns:
      The nested dict for `vit.apply({"params": ...}, ...)`, float32.

    Raises:
      UserError: unreadable file, unknown family, or a network that does not fit: missing, unused
        and mis-shaped arrays are listed together.
    """
    tensors = read_tensors(path)
    scheme = _family(path, tensors, family)
    tensors = _without_prefix(tensors, scheme)
    shapes = _expected(vit)
    found, misfit = rename_tensors(tensors, shapes, scheme)
    report_misfit(path, *misfit, advice=f"Read as {scheme.name!r} weights for {_words(vit)}")
    params = unflatten({name: jnp.asarray(array, jnp.float32) for name, array in found.items()})
    if vit.stem == "conv":
        params["embedding"]["conv_stem"] = _fresh_stem(vit, stem_seed)
    return params


def rename_tensors(
    tensors: Tensors, shapes: Shapes, scheme: Family
) -> tuple[Tensors, tuple[list[str], list[str], list[str]]]:
    """Applies a family's table.

    Args:
      tensors: the family's name -> array, common prefix removed.
      shapes: our '/'-joined name -> shape wanted.
      scheme: the family.

    Returns:
      Our name -> array of everything that fits, and the names (missing, not used, mis-shaped).
    """
    found: Tensors = {}
    missing: list[str] = []
    misshaped: list[str] = []
    used = _unasked(shapes, scheme)
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
    layer = _BLOCK.match(ours)
    theirs, change = scheme.table.get(_BLOCK.sub("block/", ours), (ours, np.asarray))
    return (theirs.format(layer=int(layer[1]) - 1) if layer else theirs), change


def _unasked(shapes: Shapes, scheme: Family) -> set[str]:
    """The family's names for what the network does not use: class token, projection."""
    optional = ("embedding/class_token", "embedding/class_position", "embedding/patch_projection/")
    return {
        theirs
        for ours, (theirs, _) in scheme.table.items()
        if ours.startswith(optional) and ours not in shapes
    }


def _changed(array: np.ndarray, change: Change) -> np.ndarray | None:
    """The array after its change, or None if it does not have the shape for it."""
    try:
        return change(array)
    except (ValueError, IndexError, TypeError):
        return None


def _ignored(name: str, scheme: Family) -> bool:
    """Whether the family's table says that `name` is not part of the encoder."""
    return any(re.fullmatch(pattern, name) for pattern in scheme.ignored)


def _family(path: str | os.PathLike, tensors: Tensors, name: str) -> Family:
    """The family asked for, or the first whose marks are all among the names."""
    known = {family.name: family for family in FAMILIES}
    if name != "auto":
        if name not in known:
            raise UserError(f"family: found {name!r}, expected 'auto' or one of {[*known]}")
        return known[name]
    for family in FAMILIES:
        if all(any(n.endswith(mark) for n in tensors) for mark in family.marks):
            return family
    raise UserError(
        f"{path}: no known ViT: found {len(tensors)} names such as "
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


def _expected(vit: ViT) -> Shapes:
    """Our '/'-joined name -> shape of what a file has to provide (a convolution stem is not)."""
    image = jax.ShapeDtypeStruct((1, vit.patch, vit.patch, 3), jnp.float32)
    params = jax.eval_shape(vit.init, jax.random.key(0), image)["params"]
    flat = flatten(params).items()
    return {name: tuple(leaf.shape) for name, leaf in flat if not name.startswith(_STEM)}


def _fresh_stem(vit: ViT, seed: int) -> Params:
    """Initial parameters of the convolution stem."""
    image = jnp.zeros((1, vit.patch, vit.patch, 3))
    return ConvStem(vit.width).init(jax.random.key(seed), image)["params"]


def _words(vit: ViT) -> str:
    """The network's fields, for an error message."""
    return (
        f"ViT(patch={vit.patch}, width={vit.width}, depth={vit.depth}, "
        f"class_token={vit.class_token}, layer_scale={vit.layer_scale}, stem={vit.stem!r}, "
        f"position_grid={vit.position_grid})"
    )
