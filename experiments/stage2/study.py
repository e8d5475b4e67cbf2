"""All arms and seeds on one data set: what is missing is made, what is finished is read."""

import importlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from exits_jax.annotations import read_annotations
from exits_jax.evaluation.iou import label_ious, read_ground_truth
from exits_jax.export.export import labels_of
from experiments.stage2.arms import ARMS, TRUE, label_file
from experiments.stage2.compare import Seeds
from experiments.stage2.data_sets import DataSet
from experiments.stage2.detections import Found, found_by, matched
from experiments.stage2.page import Section
from experiments.stage2.pictures import found_figure
from experiments.stage2.runs import trained, workdir_of
from experiments.supplement.ledger import Ledger


class Study:
    """One data set.

    Fields:
      data: of it.
      folder: of labels and networks.
      results: folder of the ledgers.
      more: further arguments of the program, for every arm alike.
    """

    def __init__(
        self, data: DataSet, folder: pathlib.Path, results: pathlib.Path, more: Sequence[str]
    ) -> None:
        self._data, self._folder, self._more = data, folder, more
        facts = (network_settings(data.config), *more)
        self._runs = Ledger(results / f"stage2_{data.name}.csv", ("arm", "seed"), facts)
        labels = results / f"stage2_{data.photographs}_labels.csv"
        self._labels = Ledger(labels, ("labels",))

    @property
    def machines(self) -> list[str]:
        """What the networks were trained on."""
        return self._runs.machines

    def fill(self, arms: Sequence[str], seeds: Sequence[int]) -> None:
        """Makes labels and networks that are not there; one seed of every arm before the next."""
        made = dict.fromkeys(ARMS[arm].labels for arm in arms if ARMS[arm].labels != TRUE)
        self._labels.fill("labels", [(name,) for name in made], self._label_quality)
        runs = [(arm, seed) for seed in seeds for arm in arms]
        self._runs.fill(self._data.name, runs, self._trained)

    def section(self, arms: Sequence[str], seeds: Sequence[int], samples: int) -> Section:
        """What came out of what is finished."""
        found: dict[str, Seeds] = {}
        for arm in arms:
            finished = [seed for seed in seeds if (arm, seed) in self._runs]
            if finished:
                found[arm] = {seed: self._found(arm, seed, samples) for seed in finished}
        names = dict.fromkeys(ARMS[arm].labels for arm in found)
        rows = [self._runs[arm, seed] for arm, seeds in found.items() for seed in seeds]
        return Section(
            self._data.name,
            self._data.title,
            found,
            {name: self._labels[(name,)] for name in names if name != TRUE},
            sum(float(row["minutes"]) for row in rows),
        )

    def pictures(self, section: Section) -> Figure:
        """What the first network of every arm found."""
        first = {arm: next(iter(seeds)) for arm, seeds in section.arms.items()}
        return found_figure(
            self._data, {ARMS[arm].title: self._workdir(arm, seed) for arm, seed in first.items()}
        )

    def _workdir(self, arm: str, seed: int) -> pathlib.Path:
        return workdir_of(self._folder, self._data, arm, seed)

    def _trained(self, arm: str, seed: int) -> Mapping[str, float]:
        return trained(self._folder, self._data, arm, seed, self._more)

    def _label_quality(self, labels: str) -> Mapping[str, float]:
        """IoU of labels of the training images with the true masks."""
        path = label_file(self._folder, self._data, labels)
        truth = read_ground_truth(read_annotations(self._data.train, self._data.train_images))
        ious = label_ious(truth, labels_of(json.loads(path.read_text())))
        shares = {"miou": float(ious.mean()), "share_iou_75": float((ious > 0.75).mean())}
        return {"instances": len(ious), **shares}

    def _found(self, arm: str, seed: int, samples: int) -> Found:
        """From the predictions; AP over all classes has to be what the program says."""
        data, evaluated = self._data, matched(self._data, self._workdir(arm, seed))
        said, ours = float(self._runs[arm, seed]["ap"]), float(found_by(evaluated, 1).ap[0])
        if abs(ours - said) > 1e-5:
            raise ValueError(f"{data.name}, {arm}, {seed}: AP {ours}, --mode=evaluate says {said}")
        return found_by(evaluated, samples, data.measured)


def network_settings(config: str) -> dict[str, Any]:
    """The settings of stage 2 in a config file, with its variant: with others, runs are others."""
    file, _, variant = config.partition(":")
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    found = module.get_config(variant) if variant else module.get_config()
    return found.segmentation.to_dict()
