"""A task of any phase, trained as the run's machine settings say."""

import optax

from exits_jax.app.run import Run
from exits_jax.system.types import Params
from exits_jax.training.loop import Machine, fit
from exits_jax.training.schedule import Schedule
from exits_jax.training.settings import PhaseSettings
from exits_jax.training.task import Task

TRAIN_OVER_FORWARD = 3.0  # a training step against a forward pass, all blocks trained


def fit_task(
    run: Run,
    phase: str,
    section: PhaseSettings,
    task: Task,
    optimiser: optax.GradientTransformation,
    rate: optax.Schedule,
    steps: int,
) -> Params:
    """The trained parameters; parallelism, checkpoints and logs are those of section `train`.

    Args:
      run: whose workdir is written to.
      phase: names checkpoints and log lines.
      section: of the phase.
      task, optimiser, rate: as `fit` takes them.
      steps: in all.
    """
    train = run.config.train
    return fit(
        task,
        optimiser,
        rate,
        Schedule(steps, train.checkpoint_every, train.log_every),
        Machine(train.parallel, section.batch_size, section.microbatches, run.config.data.workers),
        phase=phase,
        workdir=run.workdir.folder,
    )
