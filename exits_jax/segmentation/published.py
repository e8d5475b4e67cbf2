"""A published SOLOv2 as a model of this project, for `segmentation.params`.

`python -m exits_jax.segmentation.published FILE ANNOTATIONS OUT.safetensors` reads a checkpoint of
ResNet-50 with the full head, in a naming that `rename_solov2` knows. Its classes are the categories
of the COCO file ANNOTATIONS by ascending id, which is the order both projects train in.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from exits_jax.annotations import read_annotations
from exits_jax.models.load_by_table import load_by_table
from exits_jax.models.params_io import flatten, save_params
from exits_jax.segmentation.build import build_segmenter, param_shapes
from exits_jax.segmentation.classes import Classes, classes_of
from exits_jax.segmentation.rename_solov2 import SOLOV2S
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.segmentation.trained import Trained, made_with
from exits_jax.system.errors import UserError


def load_published(
    path: str | os.PathLike,
    classes: Classes,
    settings: SegmentationSettings,
    family: str = "auto",
) -> Trained:
    """A published SOLOv2.

    Args:
      path: of the checkpoint (`models.read_tensors`).
      classes: that it tells apart, in its order.
      settings: of its network.
      family: a name in `rename_solov2.SOLOV2S`, or "auto".

    Raises:
      UserError: unreadable file, unknown naming, or another network or number of classes: missing,
        unused and mis-shaped arrays are listed together.
    """
    network = build_segmenter(settings, len(classes))
    wanted = flatten(param_shapes(settings, network)).items()
    shapes = {name: tuple(leaf.shape) for name, leaf in wanted}
    words = f"SOLOv2({len(classes)} classes, {settings.encoder}, norm {settings.norm!r})"
    params = load_by_table(path, shapes, SOLOV2S, family, words)
    return Trained(settings, classes, network, params)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes a published model in this project's form; exit status 0, or 2 with one line why not.

    Args:
      argv: without the program's name; None: the process's own.
    """
    given = _parser().parse_args(argv)
    try:
        classes = classes_of(read_annotations(given.annotations))
        model = load_published(given.file, classes, SegmentationSettings())
        save_params(given.out, model.params, made_with(model.settings, classes))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{given.out}: {len(classes)} classes; use it as --config.segmentation.params={given.out}"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m exits_jax.segmentation.published",
        description="Writes a published SOLOv2 in this project's form, to predict with.",
    )
    parser.add_argument("file", help="the checkpoint (.pth, .safetensors)")
    parser.add_argument("annotations", help="a COCO file with the categories it was trained on")
    parser.add_argument("out", help="the .safetensors file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
