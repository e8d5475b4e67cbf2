"""Crops for labelling: every instance once, in order, at a fixed margin."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from exits_jax.annotations import Instance
from exits_jax.data import crop
from exits_jax.data.ahead import in_order
from exits_jax.data.images import RGBImage
from exits_jax.data.rows import Row, stack
from exits_jax.data.source import Source, as_source
from exits_jax.pseudo_labels.crops import cut
from exits_jax.system.errors import UserError
from exits_jax.system.types import Batch

# Called for an image that cannot be used: the positions of its instances, and why.
OnError = Callable[[list[int], UserError], None]


def label_batches(
    examples: Source | Sequence[Instance],
    *,
    crop_size: int,
    margin: float,
    batch_size: int,
    threads: int = 2,
    on_error: OnError | None = None,
) -> Iterator[Batch]:
    """Full batches (keys: `exits_jax.pseudo_labels.crops`) of all instances, without augmentation.

    Rows come in the order of the instances. Neighbours on the same image share one decoding: bring
    the instances of an image together first (`source.by_image`) where the file does not. Lazy: at
    most `threads` + 1 images and their crops are held at a time.

    Args:
      examples: a source, or instances whose images are files.
      crop_size: side of the crops in pixels.
      margin: share of the box's half-size added on each side (`crop.fixed_window`).
      batch_size: rows; the last batch is padded with rows that are not `valid`.
      threads: decode and crop ahead of the consumer; 0 does it in the consumer's thread. The
        batches are the same for any number.
      on_error: called for an image that cannot be used, whose instances are then left out. None
        raises instead.

    Raises:
      UserError: an image cannot be used; names the annotation and the file.
    """
    source = as_source(examples)

    def rows_of_run(indices: list[int]) -> list[Row] | UserError:
        try:
            image = source.decoded(indices[0])
        except UserError as error:
            return error
        return [_row(source, index, image, crop_size, margin) for index in indices]

    waiting: list[Row] = []
    groups = _runs(source)
    for indices, rows in zip(groups, in_order(rows_of_run, groups, threads), strict=True):
        if isinstance(rows, UserError):
            if on_error is None:
                raise rows
            on_error(indices, rows)
            continue
        waiting += rows
        while len(waiting) >= batch_size:
            yield stack(waiting[:batch_size], batch_size)
            waiting = waiting[batch_size:]
    if waiting:
        yield stack(waiting, batch_size)


def _row(source: Source, index: int, image: RGBImage, crop_size: int, margin: float) -> Row:
    window = crop.fixed_window(source.box_xyxy[index], margin)
    return cut(source.example(index, image), window, crop_size)


def _runs(source: Source) -> list[list[int]]:
    """Positions of the instances, neighbours on the same image together."""
    positions = range(len(source))
    return [list(run) for _, run in itertools.groupby(positions, source.image_index.__getitem__)]
