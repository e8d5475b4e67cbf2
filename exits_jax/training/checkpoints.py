"""Saving and resuming with orbax: the training state together with the data iterator."""

import pathlib
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from grain.checkpoint import CheckpointHandler, CheckpointRestore, CheckpointSave

from exits_jax.errors import UserError
from exits_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints of one phase, the newest two kept; a save is complete or absent.

    Use as a context manager: leaving it waits for a save that is under way.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            options=ocp.CheckpointManagerOptions(max_to_keep=2),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "batches": CheckpointHandler(),
            },
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
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
            "state": ocp.args.StandardSave(state._asdict()),
            "batches": CheckpointSave(batches),
        }
        try:
            self._manager.save(step, args=ocp.args.Composite(**items))
            self._manager.wait_until_finished()
        except OSError as error:
            raise UserError(
                f"{self._folder}: checkpoint {step} cannot be written: {error}"
            ) from error

    def restore(self, state: TrainState, batches: grain.DatasetIterator) -> TrainState:
        """The newest state, with `batches` moved to where it was; `state` gives the shapes.

        Raises:
          UserError: the checkpoint has other arrays than this config's networks, or its data
            iterator does not fit (another number of workers, another batch size).
        """
        step = self.latest()
        where = f"{self._folder}: checkpoint {step}"
        self._check_shapes(step, state, where)
        template = ocp.args.StandardRestore(
            jax.tree.map(ocp.utils.to_shape_dtype_struct, state._asdict())
        )
        items = {"state": template, "batches": CheckpointRestore(batches)}
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{where}: does not continue here: {_first_line(error)}; resume with the same "
                "data.workers, batch size and devices, or start in a new workdir"
            ) from error
        return TrainState(**restored["state"])

    def _check_shapes(self, step: int, state: TrainState, where: str) -> None:
        """Compares names and shapes before orbax does, to say all that differs in one line."""
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


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
