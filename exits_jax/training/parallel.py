"""The training step on all devices: `pmap`, or `jit` over a sharded batch; the same numbers."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from exits_jax.models.slices import slice_size
from exits_jax.system.errors import UserError
from exits_jax.system.types import Batch, Params
from exits_jax.training.state import TrainState
from exits_jax.training.step import Logs, Step

AXIS = "devices"


def parallel_step(
    make_step: Callable[[str | None], Step],
    kind: str,
    devices: list[jax.Device],
    batch_size: int,
    microbatches: int = 1,
) -> Step:
    """Wraps the step for `devices`.

    Args:
      make_step: called with the name of pmap's axis, or None; returns the pure step.
      kind: "pmap" or "jit".
      devices: where to run, those of every process.
      batch_size: crops in a batch over all devices; must be divisible by their number (pmap would
        otherwise quietly use fewer).
      microbatches: how many the step divides each device's share into; must divide it evenly.

    Returns:
      step(state, frozen, batch of numpy arrays [b, ...]) -> (state, logs), b being this process's
      rows. `frozen` is best placed once, by `replicate`; the state comes back placed likewise.

    Raises:
      UserError: unknown kind, or a batch that cannot be divided evenly.
    """
    if batch_size % len(devices):
        raise UserError(
            f"batch_size {batch_size} cannot be shared by {len(devices)} devices: give a multiple"
        )
    share = batch_size // len(devices)
    if microbatches < 1 or share % microbatches:
        raise UserError(
            f"microbatches is {microbatches}, but a device has {share} crops of batch_size "
            f"{batch_size} on {len(devices)} devices: give a divisor of {share}"
        )
    if kind == "pmap":
        return _pmap(make_step(AXIS), devices)
    if kind == "jit":
        return _jit(make_step(None), devices)
    raise UserError(f"train.parallel is '{kind}', expected pmap or jit")


def automatic_microbatches(share: int) -> int:
    """Microbatches into which a device should divide its `share` of a batch: one, except on a CPU.

    There two crops at a time take four fifths of the time of eight, and half of the memory; an odd
    share stays whole, because crops one by one are slower.
    """
    return share // slice_size(share) if share and share % 2 == 0 else 1


def replicate(tree: Params, kind: str, devices: list[jax.Device]) -> Params:
    """Copies arrays to where the step reads them without a copy.

    With pmap a process sees its own devices only, with jit those of all.
    """
    if kind == "pmap":
        devices = [d for d in devices if d.process_index == jax.process_index()]
    return jax.device_put(tree, NamedSharding(_mesh(devices), PartitionSpec()))


def _mesh(devices: list[jax.Device]) -> Mesh:
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def _pmap(step: Step, devices: list[jax.Device]) -> Step:
    """The state goes in and comes out whole (axis None); only the batch has a device axis."""
    mapped = jax.pmap(
        step, axis_name=AXIS, in_axes=(None, None, 0), out_axes=(None, None), devices=devices
    )

    def run(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, Logs]:
        return mapped(state, frozen, jax.tree.map(cut, batch))

    here = sum(device.process_index == jax.process_index() for device in devices)

    def cut(x: np.ndarray) -> np.ndarray:
        return x.reshape(here, -1, *x.shape[1:])

    return run


def _jit(step: Step, devices: list[jax.Device]) -> Step:
    """The compiler divides the work along the sharded batch and adds the sums up by itself.

    The exception is several devices of a CPU, where attention is a loop over images, which it
    cannot divide: each device then does the work of all, and pmap is faster.
    """
    mesh = _mesh(devices)
    everywhere = NamedSharding(mesh, PartitionSpec())
    along_batch = NamedSharding(mesh, PartitionSpec(AXIS))
    compiled = jax.jit(
        step,
        in_shardings=(everywhere, everywhere, along_batch),
        out_shardings=(everywhere, everywhere),
    )

    def run(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, Logs]:
        return compiled(state, frozen, jax.tree.map(spread, batch))

    def spread(x: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(along_batch, x)

    return run
