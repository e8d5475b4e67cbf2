"""A trained model of stage 2: its parameters, and what their file says of network and classes."""

import dataclasses
import os
from typing import Any, NamedTuple

from exits_jax.models.params_io import load_params, read_made_with
from exits_jax.models.published import BACKBONES
from exits_jax.segmentation.build import Segmenter, build_segmenter, param_shapes
from exits_jax.segmentation.classes import Classes, classes_from
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.system.errors import UserError
from exits_jax.system.settings import Affects, affected, tuples
from exits_jax.system.types import Params

DEFAULTS = SegmentationSettings()
CLASSES, PREFIX = "classes", f"{SegmentationSettings.NAME}."  # keys of what is kept with parameters


class Trained(NamedTuple):
    """A trained model.

    Attributes:
      settings: of the network those it was trained with.
      classes: that it tells apart.
      network, params: of it.
    """

    settings: SegmentationSettings
    classes: Classes
    network: Segmenter
    params: Params


def made_with(settings: SegmentationSettings, classes: Classes) -> dict[str, Any]:
    """All that a network is built from, to be kept beside its parameters; JSON values."""
    facts = {name: getattr(settings, name) for name in affected(type(settings), Affects.NETWORK)}
    if settings.encoder == "vit":  # whose architecture is that of its first weights
        facts["weights"] = settings.weights if settings.weights in BACKBONES else "random"
    return {**{PREFIX + name: value for name, value in facts.items()}, CLASSES: classes.record()}


def load_trained(path: str | os.PathLike, settings: SegmentationSettings = DEFAULTS) -> Trained:
    """A model from its file; the network's settings are the file's, all others as given.

    Args:
      path: written with `made_with`.
      settings: for predictions; classes that they name must be the model's.

    Raises:
      UserError: no such file, or one of another kind; a model with other classes.
    """
    settings, classes = trained_settings(path, settings)
    network = build_segmenter(settings, len(classes))
    return Trained(settings, classes, network, load_params(path, param_shapes(settings, network)))


def trained_settings(
    path: str | os.PathLike, settings: SegmentationSettings = DEFAULTS
) -> tuple[SegmentationSettings, Classes]:
    """Settings and classes of a model in a file; arguments and errors as `load_trained`."""
    facts = read_made_with(path)
    own = {k.removeprefix(PREFIX): tuples(v) for k, v in facts.items() if k.startswith(PREFIX)}
    if CLASSES not in facts or not own:
        raise UserError(
            f"{path}: does not say which network it is of, as a model of --mode=segment does"
        )
    known = {field.name for field in dataclasses.fields(settings)}
    if unknown := sorted(own.keys() - known):
        raise UserError(f"{path}: this version has no setting {PREFIX}{unknown[0]}; train it anew")
    classes = classes_from(facts[CLASSES])
    _check_classes(path, classes, own.get("classes"), settings.classes)
    return dataclasses.replace(settings, **own), classes


def _check_classes(
    path: str | os.PathLike, classes: Classes, chosen: Any, wanted: tuple[str, ...]
) -> None:
    """Refuses a model whose classes are not those that the settings name, if they name any."""
    if wanted and tuple(wanted) not in (chosen, classes.names):
        raise UserError(
            f"{path}: its classes are {_listed(classes.names)}, segmentation.classes asks for "
            f"{_listed(wanted)}; leave it out or name another model"
        )


def _listed(names: tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
