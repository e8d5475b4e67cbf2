"""The public data sets that configs are for: how large they are, and where to get them.

With them `--dry_run` can say what an experiment takes before anything is downloaded. Counts are as
published: COCO 2017 (cocodataset.org; 849,949 of train2017's 860,001 annotations are not crowds),
LVIS v1 (lvisdataset.org), PASCAL VOC 2012 (its statistics page: images and objects of train and val
with boxes).
"""

from typing import NamedTuple


class DataSet(NamedTuple):
    """A data set as published.

    Fields:
      name: what people call it.
      images: how many.
      instances: objects to label.
      gigabytes: of images and annotations on the disk.
      where: web addresses.
      layout: what `data.root` must contain.
      licence: of it.
    """

    name: str
    images: int
    instances: int
    gigabytes: float
    where: tuple[str, ...]
    layout: str
    licence: str


_COCO_IMAGES = "http://images.cocodataset.org/zips/train2017.zip"
_COCO_LICENCE = "annotations CC BY 4.0; the photographs keep Flickr's licences"

# By the name of the config.
PUBLISHED = {
    "coco": DataSet(
        "COCO train2017",
        images=118_287,
        instances=849_949,
        gigabytes=20.0,
        where=(
            _COCO_IMAGES,
            "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        ),
        layout="annotations/instances_train2017.json and train2017/",
        licence=_COCO_LICENCE,
    ),
    "lvis": DataSet(
        "LVIS v1 train",
        images=100_170,
        instances=1_270_141,
        gigabytes=21.0,
        where=(_COCO_IMAGES, "https://dl.fbaipublicfiles.com/LVIS/lvis_v1_train.json.zip"),
        layout="lvis_v1_train.json and COCO's train2017/",
        licence=_COCO_LICENCE,
    ),
    "voc": DataSet(
        "PASCAL VOC 2012 train and val",
        images=11_530,
        instances=27_450,
        gigabytes=2.0,
        where=("http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",),
        layout="Annotations/ and JPEGImages/ (the tar's VOCdevkit/VOC2012)",
        licence="the photographs keep Flickr's terms",
    ),
}
