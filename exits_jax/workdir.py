"""A run's folder: its names, its config, its lock."""

import contextlib
import fcntl
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from exits_jax.errors import UserError
from exits_jax.files import write_json

# Beginnings of the keys that change neither parameters nor labels.
FREE = (
    "data.on_error",
    "data.prepared",
    "data.source",
    "data.workers",
    "label.accept_worse",
    "label.formats",
    "label.min_score",
    "report.",
    "train.checkpoint_every",
    "train.heartbeat",
    "train.log_every",
)
OLD_SECONDS = 3600  # no file takes that long to be written


class Workdir:
    """Where a run keeps what it makes; every path in it has one name, here."""

    def __init__(self, folder: str | pathlib.Path) -> None:
        self.folder = pathlib.Path(folder)
        self.config = self.folder / "config.json"
        self.metrics = self.folder / "metrics.jsonl"
        self.extractor = self.folder / "params" / "similarity_extractor.safetensors"
        self.generator = self.folder / "params" / "generator.safetensors"
        self.training_check = self.folder / "training_check.json"
        self.retrieval = self.folder / "retrieval"
        self.thresholds = self.retrieval / "thresholds.json"
        self.label_parts = self.folder / "label_parts"
        self.labels = self.folder / "pseudo_labels.json"
        self.results = self.folder / "pseudo_labels.results.json"
        self.review = self.folder / "review.json"
        self.evaluation = self.folder / "evaluation.json"
        self.report = self.folder / "report.html"
        self.figures = self.folder / "figures"

    def adopt(self, config: dict[str, Any]) -> None:
        """Writes the config of a new workdir; refuses a workdir that was made with another.

        A workdir without results may change its config, and keys in `FREE` may always change: they
        have no influence on parameters or labels.

        Raises:
          UserError: naming the keys that differ and their values.
        """
        config = json.loads(json.dumps(config))  # tuples become lists, as in the file
        if self.config.exists() and self._has_results():
            self._check_same(config)
        write_json(self.config, config, indent=2)

    def _has_results(self) -> bool:
        made = (self.folder / "checkpoints", self.folder / "params", self.retrieval)
        return self.labels.exists() or any(
            path.is_file() for folder in (*made, self.label_parts) for path in folder.rglob("*")
        )

    def _check_same(self, config: dict[str, Any]) -> None:
        try:
            saved = json.loads(self.config.read_text())
        except ValueError as error:
            raise UserError(f"{self.config}: not readable as JSON ({error}); delete it") from error
        before, now = _flat(saved), _flat(config)
        differ = sorted(
            k
            for k in before.keys() | now.keys()
            if before.get(k) != now.get(k) and not k.startswith(FREE)
        )
        if differ:
            rows = [
                f"{k} = {before.get(k, 'absent')!r}, now {now.get(k, 'absent')!r}" for k in differ
            ]
            more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
            raise UserError(
                f"{self.folder}: made with another config: {'; '.join(rows[:5])}{more}. "
                "Use the same config, or a new --workdir"
            )

    def sweep(self, alone: bool) -> None:
        """Removes what killed runs were writing; while others may be at work, only what is old.

        Args:
          alone: the run has one process, which holds the lock.
        """
        age = 0 if alone and not any(self.folder.glob(".lock.*")) else OLD_SECONDS
        for path in self.folder.rglob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime >= age:
                    path.unlink()

    @contextlib.contextmanager
    def locked(self, process: int = 0) -> Iterator[None]:
        """Keeps the folder for this process of the run; another run in it gets a UserError.

        Args:
          process: which of the run's processes this is: each has a lock of its own.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / (f".lock.{process}" if process else ".lock")).open("w")
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be used as a workdir: {error.strerror}"
            ) from error
        with lock as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{self.folder}: another run works in this folder; wait for it to end, or use "
                    "another --workdir"
                ) from error
            except OSError as error:
                raise UserError(f"{lock.name}: cannot be locked: {error.strerror}") from error
            yield


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            rows |= _flat(value, f"{prefix}{name}.")
        else:
            rows[prefix + name] = value
    return rows
