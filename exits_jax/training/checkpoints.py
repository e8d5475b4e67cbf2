"""Saving and resuming with orbax: the training state together with the data iterator."""

import contextlib
import pathlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from grain.checkpoint import CheckpointHandler, CheckpointRestore, CheckpointSave

from exits_jax.system.errors import UserError
from exits_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints of one phase, the newest two kept; a save is complete or absent.

    Use as a context manager: leaving it waits for a save in progress.

    Args:
      folder: where they are; made if missing.
      made_with: what a resumed run must share with the one that saved, such as its number of
        devices: JSON, kept in every checkpoint and compared by `restore`.

    Raises:
      UserError: the folder cannot be made or written.
    """

    def __init__(self, folder: pathlib.Path, made_with: dict[str, Any]) -> None:
        self._folder, self._made_with = folder, made_with
        with _writing(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                folder.resolve(),
                options=ocp.CheckpointManagerOptions(max_to_keep=2),
                item_handlers={
                    "state": ocp.StandardCheckpointHandler(),
                    "batches": CheckpointHandler(),
                    "made_with": ocp.JsonCheckpointHandler(),
                },
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The error being raised says more than the one it causes here.
        with contextlib.suppress(*([Exception] if kind else [])), _writing(str(self._folder)):
            self._manager.wait_until_finished()
            self._manager.close()

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, batches: grain.DatasetIterator) -> None:
        """Saves state and position in the data under the state's step.

        Raises:
          UserError: the disk is full or not writable; earlier checkpoints are untouched.
        """
        step = int(state.step)
        if step == self.latest():
            return
        items = {
            "state": ocp.args.StandardSave(jax.device_get(state._asdict())),
            "batches": CheckpointSave(batches),
            "made_with": ocp.args.JsonSave(self._made_with),
        }
        with _writing(f"{self._folder}: checkpoint {step}"):
            self._manager.save(step, args=ocp.args.Composite(**items))
            self._manager.wait_until_finished()

    def restore(self, state: TrainState, batches: grain.DatasetIterator) -> TrainState:
        """The newest state, with `batches` moved to where it was; `state` gives the shapes.

        Raises:
          UserError: the checkpoint was made with something else (another number of devices), has
            other arrays than this config's networks, was saved at a position in other data
            (another batch size, another seed), or is damaged.
        """
        step = self.latest()
        where = f"{self._folder}: checkpoint {step}"
        self._check_made_with(step, where)
        self._check_shapes(step, state, where)
        template = ocp.args.StandardRestore(
            jax.tree.map(lambda x: np.empty(x.shape, x.dtype), state._asdict())
        )
        items = {"state": template, "batches": CheckpointRestore(batches)}
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{where}: cannot be read: {_first_line(error)}; delete the folder "
                f"{self._folder / str(step)} to resume from an earlier checkpoint, if there is "
                "one, or start in a new workdir"
            ) from error
        return TrainState(**restored["state"])

    def _check_made_with(self, step: int, where: str) -> None:
        """Compares what the checkpoint was made with to what this run has."""
        item = ocp.args.Composite(made_with=ocp.args.JsonRestore())
        try:
            saved = self._manager.restore(step, args=item)["made_with"]
        except (OSError, ValueError, KeyError):
            saved = {}
        differ = [
            f"{name} was {saved.get(name, 'not recorded')}, is {value}"
            for name, value in self._made_with.items()
            if saved.get(name) != value
        ]
        if differ:
            raise UserError(
                f"{where}: cannot be resumed here: {'; '.join(differ)}; resume with the same, or "
                "start in a new workdir"
            )

    def _check_shapes(self, step: int, state: TrainState, where: str) -> None:
        """Compares names and shapes before orbax does, to list all differences in one line."""
        saved = _shapes(self._manager.item_metadata(step)["state"])
        wanted = _shapes(state._asdict())
        differ = sorted(k for k in saved.keys() | wanted.keys() if saved.get(k) != wanted.get(k))
        if differ:
            rows = [
                f"{k} {saved.get(k, 'absent')} (here {wanted.get(k, 'absent')})" for k in differ
            ]
            more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
            raise UserError(f"{where}: another architecture: {'; '.join(rows[:3])}{more}")


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(getattr(tree, "tree", tree))[0]
    return {_name(path): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}


def _name(path: tuple) -> str:
    """One name for a leaf, whether its containers are dicts, lists or named tuples."""
    return "/".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)


@contextlib.contextmanager
def _writing(what: str) -> Iterator[None]:
    """Turns a failed write into an error that names the file; tensorstore raises ValueErrors."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{what}: cannot be written: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """The beginning and the end of a long line: tensorstore gives the reason last."""
    line = str(error).strip().split("\n")[0]
    return line if len(line) <= 300 else f"{line[:100]} ... {line[-200:]}"
