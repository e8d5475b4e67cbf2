"""A run's folder: the names in it, its config, its lock."""

import contextlib
import fcntl
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

from exits_jax.app.outputs import MAKING
from exits_jax.app.saved_config import saved_settings
from exits_jax.app.settings import Settings, as_json, flat, keys_affecting
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_bytes, write_json
from exits_jax.system.settings import Affects

# JSON files of a workdir that are not labels.
RECORDS = (
    *("config.json", "outputs.json", "review.json", "review_decisions.json"),
    *("evaluation.json", "training_check.json"),
)
OLD_SECONDS = 3600  # no file takes that long to be written


class Workdir:
    """Where a run keeps what it makes; every path in it is named here, once."""

    def __init__(self, folder: str | pathlib.Path) -> None:
        self.folder = pathlib.Path(folder)
        self.config = self.folder / "config.json"
        self.outputs = self.folder / "outputs.json"
        self.metrics = self.folder / "metrics.jsonl"
        self.extractor = self.folder / "params" / "similarity_extractor.safetensors"
        self.generator = self.folder / "params" / "generator.safetensors"
        self.segmentation = self.folder / "params" / "segmentation.safetensors"
        self.tokens = self.folder / "tokens"
        self.training_check = self.folder / "training_check.json"
        self.retrieval = self.folder / "retrieval"
        self.thresholds = self.retrieval / "thresholds.json"
        self.label_parts = self.folder / "label_parts"
        self.labels = self.folder / "pseudo_labels.json"
        self.results = self.folder / "pseudo_labels.results.json"
        self.prediction_parts = self.folder / "prediction_parts"
        self.predictions = self.folder / "predictions.json"
        self.review = self.folder / "review.json"
        self.decisions = self.folder / "review_decisions.json"
        self.evaluation = self.folder / "evaluation.json"
        self.report = self.folder / "report.html"
        self.figures = self.folder / "figures"

    @contextlib.contextmanager
    def adopted(self, settings: Settings, alone: bool) -> Iterator[None]:
        """Writes the config of a new workdir; refuses a workdir that was made with another.

        A workdir without results may change its config, and settings that affect nothing may always
        change: they have no influence on parameters or masks. If work inside the context fails
        before there is any result, the earlier config is restored.

        Args:
          settings: of this run.
          alone: the run has one process: what other processes may rely on is not restored.

        Raises:
          UserError: the config differs; the message names the keys and their values.
        """
        config = as_json(settings)
        before = self.config.read_bytes() if self.config.exists() else None
        if before is not None and self._has_results():
            self._check_same(config)
        write_json(self.config, config, indent=2)
        try:
            yield
        except BaseException:
            if alone and not self._has_results():
                self._take_back(before)
            raise

    def _take_back(self, config: bytes | None) -> None:
        if config is None:
            self.config.unlink(missing_ok=True)
        else:
            write_bytes(self.config, config)

    def _has_results(self) -> bool:
        made = (self.folder / "checkpoints", self.folder / "params", self.retrieval)
        parts = (self.label_parts, self.prediction_parts)
        return any(file.exists() for file in (self.labels, self.predictions)) or any(
            path.is_file() for folder in (*made, *parts) for path in folder.rglob("*")
        )

    def _check_same(self, config: dict[str, Any]) -> None:
        before, now = saved_settings(self.config), flat(config)
        fixed = now.keys() - keys_affecting(Affects.NOTHING)
        differ = sorted(key for key in fixed if before[key] != now[key])
        if differ:
            rows = [f"{k} = {before[k]!r}, now {now[k]!r}" for k in differ]
            more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
            raise UserError(
                f"{self.folder}: was made with another config: {'; '.join(rows[:5])}{more}. "
                "Use the same config, or a new --workdir"
            )

    def sweep(self, alone: bool) -> None:
        """Removes what killed runs were writing; only old files if other processes may be running.

        Args:
          alone: the run has one process, which holds the lock.
        """
        age = 0 if alone and not any(self.folder.glob(".lock.*")) else OLD_SECONDS
        for path in self.folder.rglob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime >= age:
                    path.unlink()
        if not age:
            for path in self.folder.glob(f".*{MAKING}"):
                shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self, process: int = 0) -> Iterator[None]:
        """Locks the folder for this process of the run; another run in it gets a UserError.

        Args:
          process: which of the run's processes this is; each has its own lock.
        """
        new = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        path = self.folder / (f".lock.{process}" if process else ".lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be used as a workdir: {error.strerror}"
            ) from error
        with lock as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{self.folder}: another run is working in this folder; wait for it to end, "
                    "or use another --workdir"
                ) from error
            except OSError as error:
                raise UserError(f"{lock.name}: cannot be locked: {error.strerror}") from error
            try:
                yield
            finally:
                _unmake(new, path)


def _unmake(new: list[pathlib.Path], lock: pathlib.Path) -> None:
    """Removes the lock if a run left nothing else, and the folders that were made for it."""
    with contextlib.suppress(OSError):
        if list(lock.parent.iterdir()) == [lock]:
            lock.unlink()
            for folder in new:
                folder.rmdir()
