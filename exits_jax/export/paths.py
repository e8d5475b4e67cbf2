"""The further label formats, and where each goes in a run's folder."""

PATHS = {
    "polygons": "pseudo_labels.polygons.json",
    "png": "png",
    "voc": "voc",
    "yolo": "yolo",
    "label_studio": "label_studio",
    "label_studio_polygons": "label_studio_polygons",
}
FORMATS = tuple(PATHS)
