"""Instances in, labels out: predict, paste, cut, check."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from exits_jax.annotations import Instance
from exits_jax.annotations.regions import box_pixels
from exits_jax.data.source import Source
from exits_jax.export.in_parts import Maker
from exits_jax.export.quality import Label, box_label, make_label
from exits_jax.export.unfinished import Predicted
from exits_jax.pseudo_labels.compete import Crop, compete
from exits_jax.pseudo_labels.edges import drawn_edges
from exits_jax.pseudo_labels.label_crops import label_batches
from exits_jax.pseudo_labels.paste import binary_mask, paste_probability
from exits_jax.pseudo_labels.predict import Predict
from exits_jax.pseudo_labels.settings import Edges
from exits_jax.system.errors import UserError

STRAIGHT = Edges()


def part_maker(
    label: Callable[..., list[Label]], source: Source, instances: Sequence[Instance]
) -> Maker:
    """A `Labeller` as the maker of parts of `instances`, which are those of `source`."""

    def make(
        positions: range, made: Sequence[Predicted], keep: Callable[[Predicted], None]
    ) -> list[Label]:
        return label(source.take(positions), [instances[i] for i in positions], made, keep)

    return make


class Labeller:
    """Turns instances into labels with one predictor and one set of settings.

    Fields:
      predict: batch -> mask logits; see `predict`.
      crop_size: side of the crops in pixels.
      margin: share of the box's half-size added on each side.
      batch_size: crops at a time; constant, because features differ in the last bits between sizes.
      threshold: the mask is where the probability is greater.
      judge: the score of a mask from its final map; None: the mean probability inside it.
      joint: the masks of an image compete (`compete`); bring the instances of an image together.
      edges: how the mask's edge is drawn.
      on_error: called for an instance whose image cannot be used, which then gets its box as mask,
        flagged `item_error`. None: the error is raised.
    """

    def __init__(
        self,
        predict: Predict,
        *,
        crop_size: int,
        margin: float,
        batch_size: int,
        threshold: float = 0.5,
        joint: bool = False,
        judge: Callable[[Crop], float] | None = None,
        edges: Edges = STRAIGHT,
        on_error: Callable[[Instance, UserError], None] | None = None,
    ) -> None:
        self._predict, self._threshold, self._on_error = predict, threshold, on_error
        self._joint, self._judge, self._edges = joint, judge, edges
        self._cut = {"crop_size": crop_size, "margin": margin, "batch_size": batch_size}

    def __call__(
        self,
        source: Source,
        instances: Sequence[Instance],
        made: Sequence[Predicted] = (),
        keep: Callable[[Predicted], None] = lambda batch: None,
    ) -> list[Label]:
        """Labels in the order of `instances`, which are those of `source`.

        Args:
          source: where the images come from.
          instances: those of `source`.
          made: the first batches, as an earlier call gave them to `keep`. Positions missing between
            them belong to images that it could not use.
          keep: takes every other batch once the network has done it.
        """
        labels: dict[int, Label] = {}
        crops: dict[int, Crop] = {}
        for batch in itertools.chain(made, self._predicted(source, instances, made, keep)):
            rows = zip(batch.index.tolist(), batch.logits, batch.window_xyxy, strict=True)
            crops |= {index: Crop(instances[index], *crop) for index, *crop in rows}
        for index, crop in zip(crops, self._joined(list(crops.values())), strict=True):
            score = self._judge(crop) if self._judge else None
            labels[index] = label_from_logits(*crop, self._threshold, score, self._edges)
        unused = (index for index in range(len(instances)) if index not in labels)
        labels |= {index: box_label(instances[index]) for index in unused}
        return [labels[index] for index in range(len(instances))]

    def _predicted(
        self,
        source: Source,
        instances: Sequence[Instance],
        made: Sequence[Predicted],
        keep: Callable[[Predicted], None],
    ) -> Iterator[Predicted]:
        """The batches after those that are already made."""
        first = int(made[-1].index[-1]) + 1 if made else 0

        def unusable(indices: list[int], error: UserError) -> None:
            if self._on_error is None:
                raise error
            for index in indices:
                self._on_error(instances[first + index], error)

        rest = source.take(range(first, len(source)))
        for batch in label_batches(rest, **self._cut, on_error=unusable):
            logits, valid = self._predict(batch), batch["valid"]
            done = Predicted(
                batch["index"][valid] + first, logits[valid], batch["window_xyxy"][valid]
            )
            keep(done)
            yield done

    def _joined(self, crops: Sequence[Crop]) -> Iterator[Crop]:
        """The crops as they are, or after those of one image have competed."""
        if not self._joint:
            yield from crops
            return
        for _, group in itertools.groupby(crops, lambda crop: crop.instance.image.id):
            together = list(group)
            for crop, logits in zip(together, compete(together), strict=True):
                yield crop._replace(logits=logits)


def label_from_logits(
    instance: Instance,
    logits: Float[np.ndarray, "m m"],
    window_xyxy: Float[np.ndarray, "4"],
    threshold: float = 0.5,
    score: float | None = None,
    edges: Edges = STRAIGHT,
) -> Label:
    """The label of one crop: logits at image resolution, sigmoid, cut at the threshold and the box.

    Args:
      instance: the annotation.
      logits: on the crop's cells.
      window_xyxy: where the crop lies in the image.
      threshold: of the probability.
      score: of the label; None: the mean probability inside the mask.
      edges: how the mask's edge is drawn.
    """
    height, width = instance.image.height, instance.image.width
    window = window_xyxy.astype(np.float64)
    patch, region = paste_probability(logits, window, height, width, cubic=edges.cubic)
    probability = 1 / (1 + np.exp(-np.clip(patch, -30, 30)))
    mask, empty = binary_mask(
        probability, region, instance.box_xyxy, height, width, threshold=threshold
    )
    if not empty:
        box = box_pixels(instance.box_xyxy, height, width)
        cell_yx = (window[[3, 2]] - window[[1, 0]]) / logits.shape
        mask = drawn_edges(mask, region, box, cell_yx, edges)
    return make_label(instance, mask, probability, region, empty=empty, score=score)
