"""The two measurements every table is made of: retrieval alone, and a generator trained on it."""

import dataclasses
import functools
import json
import time
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from exits_jax.retrieval.calibrate import calibrate_thresholds
from exits_jax.retrieval.score import Scores
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.files import write_json
from experiments.retrieval_measures import measure, object_shares
from experiments.supplement import decoder
from experiments.supplement.kept import PUBLISHED, Extractor, crops_of, path_of, scores_of
from experiments.supplement.protocol import (
    CALIBRATION,
    EMPTY,
    GENERATOR_SIZE,
    MARGIN,
    RETRIEVAL_SIZE,
    Sets,
    ids,
    read_sets,
)


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: `_shares` is kept
class Study:
    """Sets of instances, and the folder of what is computed once from them."""

    cache: str
    sets: Sets

    @property
    def facts(self) -> tuple:
        """What all measurements depend on besides their own arguments."""
        sizes = (MARGIN, CALIBRATION, EMPTY, RETRIEVAL_SIZE, GENERATOR_SIZE)
        return (*map(ids, self.sets), *sizes, decoder.FACTS)

    def retrieval(
        self,
        settings: Mapping[str, RetrievalSettings],
        row: str,
        name: str,
        *,
        extractor: Extractor = PUBLISHED,
        size: int = RETRIEVAL_SIZE,
    ) -> dict[str, float]:
        """Retrieval of one setting on one set; thresholds from the first 300 of `train`.

        Args:
          settings: all of a table; what is not kept of them is computed together.
          row: the one to measure.
          name: "tune" or "val".
          extractor: of the similarity.
          size: side of the crops in pixels.
        """
        part = self.sets.train.take(range(min(CALIBRATION, len(self.sets.train.instances))))
        chosen = getattr(self.sets, name)
        known, scores = (
            scores_of(self.cache, one, settings, size, extractor)[row] for one in (part, chosen)
        )
        grid = round(scores.score.shape[1] ** 0.5)
        tau_fg, tau_bg = calibrated(known, settings[row])
        shares = self._shares(name, grid)
        found = measure(scores, chosen, shares, tau_fg=tau_fg, tau_bg=tau_bg, margin=MARGIN)
        return found._asdict()

    @functools.cache  # noqa: B019 -- a study lives as long as its script
    def _shares(self, name: str, grid: int) -> Float[np.ndarray, "n p"]:
        """`object_shares` of a set, the same for all rows of a table."""
        return object_shares(getattr(self.sets, name), grid, MARGIN)

    def generator(
        self,
        settings: Mapping[str, RetrievalSettings],
        row: str,
        seed: int,
        *,
        extractor: Extractor = PUBLISHED,
        factors: tuple[float, float] = (1.0, 1.0),
        weights: Mapping[str, float] = decoder.WEIGHTS,
        rate: float = decoder.RATE,
        epochs: float = decoder.EPOCHS,
        judged_on: Sequence[str] = ("tune", "val"),
    ) -> dict[str, float]:
        """Trains a generator on `train`; mean mask IoU and share above .75 on some sets.

        What it finds is kept: the tables share rows.

        Args:
          settings: all of a table; what is not kept of them is computed together.
          row: the one to train with; its thresholds are calibrated on `train`.
          seed: of the run.
          extractor: of the similarity.
          factors: on the calibrated tau_FG and tau_BG.
          weights: of the losses.
          rate: the highest learning rate.
          epochs: passes over `train`.
          judged_on: names of the sets.
        """
        train = self.sets.train
        kept = scores_of(self.cache, train, settings, GENERATOR_SIZE, extractor)[row]
        pairs = zip(factors, calibrated(kept, settings[row]), strict=True)
        tau_fg, tau_bg = (factor * tau for factor, tau in pairs)
        run = {"weights": dict(weights), "seed": seed, "rate": rate, "epochs": epochs}
        facts = (
            self.facts,
            settings[row],
            extractor.weights,
            extractor.digest,
            tau_fg,
            tau_bg,
            run,
        )
        path = path_of(self.cache, "generator", facts, "json")
        known = json.loads(path.read_text()) if path.exists() else {}
        if all(f"{name}_iou" in known for name in judged_on):
            return known
        crops = crops_of(self.cache, train, GENERATOR_SIZE)
        began = time.monotonic()
        params = decoder.train(crops, kept, (tau_fg, tau_bg), **run)
        found = {"tau_fg": tau_fg, "tau_bg": tau_bg, "seconds": time.monotonic() - began}
        for name in judged_on:
            chosen = getattr(self.sets, name)
            values = decoder.ious(params, crops_of(self.cache, chosen, GENERATOR_SIZE), chosen)
            found[f"{name}_iou"] = float(values.mean())
            found[f"{name}_iou_75"] = float((values > 0.75).mean())
        write_json(path, found)
        return found


def open_study(root: str, cache: str) -> Study:
    """The study of a COCO folder."""
    return Study(cache, read_sets(root))


def calibrated(scores: Scores, settings: RetrievalSettings) -> tuple[float, float]:
    """Thresholds that leave 7 % of the crops empty; no mask is read."""
    ratio = (settings.tau_fg, settings.tau_bg)
    return calibrate_thresholds(scores.score, scores.retrievable, EMPTY, ratio=ratio)
