"""The batches of stage 2: each a pure function of (seed, epoch, its number), on one canvas.

An epoch visits every image once. The images of each canvas are shuffled and cut into batches, of
which the last one is padded, and the batches of all canvases are shuffled, all drawn from (seed,
epoch); how an image is placed is drawn from (seed, epoch, index). So the batches are the same bytes
for any number of threads and worker processes, and several hosts share one sequence of global
batches, each taking its rows.
"""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from exits_jax.data.iterator import batches_per_epoch
from exits_jax.data.rows import Row, stack
from exits_jax.segmentation.canvas import CanvasSize, choose_canvas, image_row, placed_size
from exits_jax.segmentation.examples import ImageSource
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.system.errors import UserError
from exits_jax.system.types import Batch

Groups = tuple[Int[np.ndarray, " _"], ...]  # by canvas, the positions of its images


@dataclass(frozen=True, eq=False)
class ImagePlan:
    """The function from a batch's number to this host's rows of it; `canvas` has their keys.

    Attributes:
      source: of the images.
      settings: canvases, scales, flip and the places for instances.
      groups: the images of each canvas.
      batch_size: rows of this host.
      seed: of order and augmentation.
      shard: (index, count) of this host.
      content: the source's fingerprint.
    """

    source: ImageSource
    settings: SegmentationSettings
    groups: Groups
    batch_size: int
    seed: int
    shard: tuple[int, int]
    content: str

    def __call__(self, number: int) -> Batch:
        first = self.shard[0] * self.batch_size
        epoch, within = divmod(int(number), self.batches_per_epoch)
        canvas, places = epoch_batches(self._counts, self._global_batch, self.seed, epoch)[within]
        own = places[first : first + self.batch_size]
        # A host whose rows all lie past the end still needs one to repeat.
        chosen = self.groups[canvas][own if own.size else places[:1]]
        size = self.settings.canvases[canvas]
        batch = stack([self._row(epoch, int(i), size) for i in chosen], self.batch_size)
        return batch if own.size else batch | {"valid": np.zeros(self.batch_size, bool)}

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in one pass; the last one of each canvas is padded."""
        return sum(batches_per_epoch(count, self._global_batch) for count in self._counts)

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(len(group) for group in self.groups)

    @property
    def _global_batch(self) -> int:
        return self.batch_size * self.shard[1]

    def _row(self, epoch: int, index: int, canvas: CanvasSize) -> Row:
        settings, record = self.settings, self.source.images[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        flip = bool(rng.random() < settings.flip)
        scale = float(rng.uniform(*settings.scales))
        row = image_row(
            self.source[index],
            canvas,
            size=placed_size(record.height, record.width, canvas, scale),
            flip=flip,
            max_instances=settings.max_instances,
        )
        return row | {"draw": rng.integers(2**32, dtype=np.uint32)}

    def fingerprint(self) -> dict[str, int | str]:
        """What has to be the same for a saved position to mean the same batches."""
        return {
            "seed": self.seed,
            "global_batch_size": self._global_batch,
            "images": len(self.source),
            "content": self.content,
        }


def image_plan(
    source: ImageSource,
    settings: SegmentationSettings,
    *,
    batch_size: int,
    seed: int,
    shard: tuple[int, int] = (0, 1),
) -> ImagePlan:
    """Endless reshuffled passes over the images.

    Args:
      source: of the images. Leave out unusable ones first (`usable_images`): here the first one
        stops the run.
      settings: of stage 2.
      batch_size: rows of a batch on this host.
      seed: of order and augmentation, not negative.
      shard: (index, count) of this host.

    Raises:
      UserError: nothing to train on; and, when called, an image or a mask that cannot be used.
    """
    if not len(source):
        raise UserError("there is no image to train on; check the annotations and the filters")
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard {shard}: expected (index, count) with 0 <= index < count")
    groups = by_canvas(source, settings.canvases)
    return ImagePlan(source, settings, groups, batch_size, seed, shard, source.fingerprint())


def by_canvas(source: ImageSource, canvases: tuple[CanvasSize, ...]) -> Groups:
    """The positions of the images that each canvas shows largest."""
    chosen = np.array([choose_canvas(x.height, x.width, canvases) for x in source.images], int)
    return tuple(np.flatnonzero(chosen == canvas) for canvas in range(len(canvases)))


@functools.lru_cache(maxsize=2)
def epoch_batches(
    counts: tuple[int, ...], rows: int, seed: int, epoch: int
) -> tuple[tuple[int, Int[np.ndarray, " _"]], ...]:
    """The global batches of an epoch: each a canvas, and places in that canvas's group.

    Args:
      counts: images of each canvas.
      rows: of a global batch; the last one of each canvas has fewer.
      seed, epoch: of the order.
    """
    rng = np.random.default_rng([seed, epoch])
    batches: list[tuple[int, Int[np.ndarray, " _"]]] = []
    for canvas, count in enumerate(counts):
        order = rng.permutation(count)
        batches += [(canvas, order[k : k + rows]) for k in range(0, count, rows)]
    return tuple(batches[i] for i in rng.permutation(len(batches)))
