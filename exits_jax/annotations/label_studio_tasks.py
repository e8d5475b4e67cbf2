"""The tasks of a Label Studio export: the image of each, and which results are read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from exits_jax.annotations.draft import Draft
from exits_jax.annotations.folder_files import IMAGE_ENDINGS
from exits_jax.annotations.numbers import shown

MOST_LOOKED_AT = 100  # entries examined: the first may be one that nobody has labelled
GEOMETRY = ("x", "points", "rle")  # one of them is in every shape of the JSON-MIN export


@dataclass(frozen=True)
class Task:
    """One image.

    Attributes:
      file_name: as the server has it, below its root; with a prefix if it was uploaded.
      results: of the annotation that is read.
      where: what messages call it.
    """

    file_name: str
    results: list[Any]
    where: str


def is_label_studio(content: Any) -> bool:
    """Whether the content of a JSON file is an export of Label Studio, or one of its tasks."""
    rows = content[:MOST_LOOKED_AT] if isinstance(content, list) else [content]
    return any(_is_task(row) for row in rows)


def _is_task(first: Any) -> bool:
    """Whether an entry of a list is a task, of either export."""
    if not isinstance(first, dict) or "images" in first:
        return False
    task = isinstance(first.get("data"), dict) and bool(
        {"annotations", "predictions", "completions"} & first.keys()
    )
    single = isinstance(first.get("task"), dict) and "result" in first
    flat = any(key.endswith("labels") for shape in _minimal(first) for key in shape["value"])
    return task or single or flat or {"annotation_id", "annotator", "lead_time"} <= first.keys()


def tasks_in(content: Any, draft: Draft) -> Iterator[Task]:
    """The tasks of an export; those without an image are counted.

    JSON-MIN has one row per annotator: rows of one task and image are one task.
    """
    tasks: dict[tuple[str, str], dict[str, Any]] = {}
    for number, row in enumerate(content if isinstance(content, list) else [content], start=1):
        if not isinstance(row, dict):
            draft.passed.add("entries are not tasks", f"entry {number}")
            continue
        task = _whole(row)
        stated = _image(task["data"])
        if stated is None:
            draft.passed.add("tasks have no image", f"task {shown(row.get('id', number))}")
            continue
        task = {"id": number, **task}
        known = tasks.setdefault((repr(task["id"]), stated), task)
        if known is not task:
            known["annotations"] = [*known["annotations"], *task["annotations"]]
    for (_, stated), task in tasks.items():
        where = f"task {shown(task['id'])}"
        yield Task(_plain(stated).lstrip("/"), _results(task, draft, where), where)


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    """A row of any of the exports as a task of the full one, with a list of annotations."""
    if isinstance(row.get("task"), dict):  # the cloud export: an annotation around its task
        row = {**row["task"], "annotations": [row]}
    if not isinstance(row.get("data"), dict):
        row = {**row, "data": row, "annotations": [{"result": _minimal(row)}]}
    return {**row, "annotations": _dicts(row.get("annotations") or row.get("completions"))}


def _image(data: dict[str, Any]) -> str | None:
    """The value of a task that names an image."""
    if isinstance(data.get("image"), str) and data["image"]:
        return data["image"]
    names = (text for text in data.values() if isinstance(text, str))
    return next((name for name in names if _plain(name).lower().endswith(IMAGE_ENDINGS)), None)


def _plain(name: str) -> str:
    """What an address means: for local files it is `/data/local-files/?d=FOLDER/NAME`."""
    try:
        parts = urlsplit(name)
        return parse_qs(parts.query)["d"][0] if "local-files" in parts.path else name
    except (ValueError, KeyError, IndexError):
        return name


def _results(task: dict[str, Any], draft: Draft, where: str) -> list[Any]:
    """The results of the annotation of a task that is read, or of its last prediction."""
    found = task["annotations"]
    made = [entry for entry in found if not entry.get("was_cancelled")]
    for _ in range(len(found) - len(made)):
        draft.passed.add("skipped annotations are not read", where)
    if len(made) > 1:
        text = "tasks have several annotations, of which the ground truth or the last with results"
        text += " is read"
        draft.passed.add(text, where)
    if not made:
        made = _dicts(task.get("predictions"))
        if made:
            draft.passed.add("tasks have no annotation, their last predictions are read", where)
    truth = [entry for entry in made if entry.get("ground_truth") is True]
    drawn = [entry for entry in made if entry.get("result")]
    results = (truth or drawn or [{}])[-1].get("result")
    return results if isinstance(results, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _minimal(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The shapes of a row of the JSON-MIN export as results: their fields lie flat in a list."""
    shapes = [shape for value in row.values() for shape in _dicts(value)]
    return [
        {**{key: shape.get(key) for key in ("original_width", "original_height")}, "value": shape}
        for shape in shapes
        if any(key in shape for key in GEOMETRY)
    ]
