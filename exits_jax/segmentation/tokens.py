"""What the frozen layers of a ViT say of every image, computed once and kept.

Where nothing of an image is drawn at random but its flip, training sees just two pictures of it,
and frozen layers say the same of them in every epoch. They are kept as float16, whose rounding is
all that differs.
"""

import hashlib
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float16

from exits_jax.annotations import ImageRecord
from exits_jax.models.slices import jit_in_slices
from exits_jax.segmentation.build import Segmenter
from exits_jax.segmentation.canvas import choose_canvas, place, placed_size
from exits_jax.segmentation.examples import ImageSource
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_npy
from exits_jax.system.progress import track
from exits_jax.system.types import Batch, Params

PART = 32  # images in a file
# [images, as it is or flipped, layer, token, channel]
Kept = list[Float16[np.ndarray, "i 2 l n D"]]


def kept_tokens(
    network: Segmenter,
    params: Params,
    source: ImageSource,
    settings: SegmentationSettings,
    folder: pathlib.Path,
) -> Kept:
    """The tokens of all images, in parts; those that are in `folder` are not computed again.

    Raises:
      UserError: settings that draw more than a flip; an image that cannot be used.
    """
    if not network.frozen_layers:
        raise UserError(
            "segmentation.cache_features needs a ViT with frozen layers: set segmentation.encoder "
            "to 'vit' and segmentation.train_blocks to fewer than it has"
        )
    if tuple(settings.scales) != (1.0, 1.0):
        raise UserError(
            f"segmentation.cache_features needs segmentation.scales=(1,1), found {settings.scales}:"
            " features are those of one size"
        )
    forward = jit_in_slices(_tokens(network))
    parts = []
    with track("features", len(source)) as progress:
        for first in range(0, len(source), PART):
            path = folder / f"part-{first // PART:05d}.npy"
            chosen = range(first, min(first + PART, len(source)))
            if not path.exists():
                rows = []
                for index in chosen:
                    rows.append(np.asarray(forward(params, _both(source, index, settings))))
                    progress.advance()
                write_npy(path, np.stack(rows))
            else:
                progress.skip(len(chosen))
            parts.append(np.load(path, mmap_mode="r"))
    return parts


def tokens_key(network: Segmenter, source: ImageSource, settings: SegmentationSettings) -> str:
    """Changes with the images, how they are placed and the layers read; not with their masks.

    An image file is known by its path, size and time.
    """
    records = [(x.id, x.file_name, x.height, x.width, _file_facts(x)) for x in source.images]
    facts = str((records, settings.canvases, network.frozen_layers))
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _file_facts(record: ImageRecord) -> tuple[str, int, int] | None:
    """None for an image of a prepared data set, which may have no file."""
    if record.path is None or not record.path.exists():
        return None
    facts = record.path.stat()
    return str(record.path), facts.st_size, facts.st_mtime_ns


def with_tokens(network: Segmenter, kept: Kept) -> Callable[[Batch], Batch]:
    """Builds the function that adds "tokens" to a batch, by `index` and `flip`."""
    layers = network.frozen_layers

    def extend(batch: Batch) -> Batch:
        rows = [
            kept[index // PART][index % PART, int(flip)]
            for index, flip in zip(batch["index"].tolist(), batch["flip"], strict=True)
        ]
        return batch | {
            "tokens": {layer: np.stack([row[k] for row in rows]) for k, layer in enumerate(layers)}
        }

    return extend


def _tokens(network: Segmenter) -> Callable[[Params, Batch], jax.Array]:
    """(parameters, {image, extent}) -> float16 [b,l,n,D]."""

    def forward(params: Params, batch: Batch) -> jax.Array:
        tokens = network.apply({"params": params}, **batch, method="frozen_tokens")
        stacked = jnp.stack([tokens[layer] for layer in network.frozen_layers], axis=1)
        return stacked.astype(jnp.float16)

    return forward


def _both(source: ImageSource, index: int, settings: SegmentationSettings) -> Batch:
    """An image on its canvas, as it is and flipped."""
    image = source.image(index)
    canvas = settings.canvases[choose_canvas(*image.shape[:2], settings.canvases)]
    size = placed_size(*image.shape[:2], canvas)
    return {
        "image": np.stack([place(image, size, canvas, flip) for flip in (False, True)]),
        "extent": np.array([size, size], np.int32),
    }
