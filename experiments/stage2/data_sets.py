"""What stage 2 is trained and tested on."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

PERSON = 1  # COCO's category id


class DataSet(NamedTuple):
    """Two splits with masks, and the config of the network.

    Fields:
      name: of its rows.
      title: of its section.
      train, val: annotation files.
      train_images, val_images: folders.
      config: of stage 2.
      photographs: the data set whose labels these are: two networks may learn from the same.
      measured: category id of the class whose AP is reported; None: the mean over all.
    """

    name: str
    title: str
    train: pathlib.Path
    val: pathlib.Path
    train_images: pathlib.Path
    val_images: pathlib.Path
    config: str
    photographs: str
    measured: int | None = None


def data_sets(
    scenes: pathlib.Path, many_scenes: pathlib.Path, coco: pathlib.Path
) -> Mapping[str, DataSet]:
    """All there are, by name.

    Args:
      scenes, many_scenes: folders that experiments/shape_scenes.py wrote.
      coco: folder of the COCO subset.
    """
    names = ("train2017", "val2017")
    files = [coco / "annotations" / f"instances_{name}.json" for name in names]
    photographs = (*files, *(coco / name for name in names))
    few, many = "Synthetic scenes, 8 minutes of training", "4,000 synthetic scenes, 25 minutes"
    config = "configs/solov2_scenes.py"
    rows = (
        DataSet("scenes", few, *_splits(scenes), config, "scenes"),
        DataSet("many_scenes", many, *_splits(many_scenes), f"{config}:long", "many_scenes"),
        DataSet(
            "coco_mini",
            "coco-mini, one class of everything",
            *photographs,
            "configs/solov2_mini.py",
            "coco_mini",
        ),
        DataSet(
            "coco_mini_person",
            "coco-mini, persons (beside one class of everything else)",
            *photographs,
            "configs/solov2_mini.py:person",
            "coco_mini",
            PERSON,
        ),
    )
    return {row.name: row for row in rows}


def _splits(folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    return (folder / "train.json", folder / "val.json", folder / "train", folder / "val")
